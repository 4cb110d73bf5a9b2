/**
 * Fills a new volume from a backup; run by the program's command resource before the server's container is replaced.
 * The server runs on meanwhile, except where the newest moment is wanted: then it is stopped, so that the backup has
 * everything, and started again where the restore fails.
 *
 * Environment: see components/backups/restored-volume.ts. Standard input, as JSON: the logins' passwords by role name, and how the copy
 * off the host is reached where the data comes from there.
 */
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { describeTarget, parseRestore } from "../components/backups/data-generation.ts";
import { programCommand } from "../components/backups/program.ts";
import { restoredPasswordsSql } from "../components/server/bootstrap.ts";
import { ask, BackupError, docker, runProgram, variable } from "./docker.ts";
import { type CopySecrets, fetchCopy } from "./fetch-copy.ts";
import {
  createRestoreContainer,
  namedRepository,
  type Repository,
  repositoryOfStack,
  restoreArguments,
} from "./restore-container.ts";

const secretsSchema = z.object({
  passwords: z.record(z.string(), z.string()),
  copy: z.object({ config: z.string(), key: z.string() }).optional(),
});

const prefix = variable("PREFIX");
const volume = variable("VOLUME");
const directory = variable("DATA_DIRECTORY");
const mount = `type=volume,source=${volume},target=${variable("MOUNT")}`;
const image = variable("IMAGE");
const server = `${prefix}-postgres`;

await runProgram(async () => {
  await refuseInUse();
  if (variable("ADOPT_VOLUME") === "on") {
    await checkAdopted();
    return;
  }
  const restore = parseRestore(variable("RESTORE"));
  if (!restore) throw new Error("RESTORE is no restore setting.");
  const secrets = secretsSchema.parse(JSON.parse(await text(process.stdin)));
  const sql = [
    ...(restore.maskingFile === undefined ? [] : [readMasking(restore.maskingFile)]),
    restoredPasswordsSql(secrets.passwords),
  ].join("\n");
  if (restore.from === "copy") await fetchFromCopy(secrets.copy);
  const repository = await findRepository(restore.from);
  console.log(`Restoring to ${describeTarget(restore)}, from ${repository.source} into volume ${volume}.`);
  const stopped = restore.latest && restore.from === undefined ? await stopServer() : false;
  const container = `${prefix}-restore`;
  try {
    await createRestoreContainer(
      {
        name: container,
        image,
        repository,
        mount,
        directory,
        environment: JSON.parse(variable("PROGRAM_ENVIRONMENT")),
        labels: JSON.parse(variable("LABELS")),
        memory: Number(variable("MEMORY")),
      },
      restoreArguments(restore, directory),
    );
    const { code } = await docker(["start", "--attach", "--interactive", container], {
      input: sql,
      show: true,
    });
    if (code !== 0) throw new BackupError("The restore failed, as the lines above say.");
  } catch (error) {
    if (stopped) await docker(["start", server]);
    if (!(error instanceof BackupError)) throw error;
    throw new BackupError(
      `${error.message}\nThe environment is as it was${stopped ? `; its server was started again` : ""}. What there is to restore: ./db backup list ${variable("STACK")}`,
    );
  } finally {
    await docker(["rm", "--force", "--volumes", container]);
  }
});

/** A server must never find its data emptied under it. */
async function refuseInUse(): Promise<void> {
  const users = await ask(["ps", "--filter", `volume=${volume}`, "--format", "{{.Names}}"]);
  if (users !== "") {
    throw new BackupError(
      `Nothing was restored: volume ${volume} is in use by ${users.replace(/\n/g, ", ")}.`,
    );
  }
}

async function checkAdopted(): Promise<void> {
  const complete = 'test -s "$1/PG_VERSION" && ! test -e "$1/restore-unfinished"';
  const args = ["--mount", mount, "--entrypoint", "sh", image, "-c", complete, "sh", directory];
  if ((await docker(["run", "--rm", "--network", "none", ...args])).code !== 0) {
    throw new BackupError(
      `Volume ${volume} has no complete data: a restore into it was interrupted.\nWhat to do: remove it (docker volume rm ${volume}) and run pulumi up again, which takes over the one before it.`,
    );
  }
  console.log(`Volume ${volume} is taken over as it is.`);
}

function readMasking(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new BackupError(`restore: the maskingFile can't be read: ${(error as Error).message}`);
  }
}

/** The stack's own repository is gone, and is filled from the copy; the restore then is one like any other. */
async function fetchFromCopy(secrets: CopySecrets | undefined): Promise<void> {
  if (!secrets) throw new Error("There is nothing on standard input to reach the copy with.");
  const labels: Record<string, string> = JSON.parse(variable("LABELS"));
  await fetchCopy({
    name: `${prefix}-fetch`,
    repository: variable("REPOSITORY"),
    image,
    labels,
    environment: JSON.parse(variable("COPY_ENVIRONMENT")),
    secrets,
  });
}

async function findRepository(
  from: NonNullable<ReturnType<typeof parseRestore>>["from"],
): Promise<Repository> {
  if (typeof from === "object") return await repositoryOfStack(variable("PROJECT"), from.stack);
  return await namedRepository(variable("REPOSITORY"));
}

/**
 * Stops the server cleanly, which hands all of its WAL to the backup.
 * @returns Whether it ran.
 * @throws BackupError where the backup would not get it.
 */
async function stopServer(): Promise<boolean> {
  const health = await docker(["container", "inspect", "--format", "{{.State.Health.Status}}", server]);
  const running = health.code === 0 && health.stdout.trim() === "healthy";
  const backup = `${prefix}-backup`;
  if (running) {
    const { code, stderr, stdout } = await docker(["exec", backup, programCommand, "healthy"]);
    if (code !== 0) {
      throw new BackupError(
        `The server runs, but the backup does not receive its WAL: ${`${stdout}${stderr}`.trim()}\nThe newest moment would be an old one. Mend the backup first (./db backup check ${variable("STACK")}), or restore to a time that it has. Nothing was changed.`,
      );
    }
    console.log(`Stopping ${server}, so that the backup has everything.`);
  }
  const state = await docker(["container", "inspect", "--format", "{{.State.Running}}", server]);
  await docker(["stop", "--time", variable("STOP_TIMEOUT"), server]);
  return state.stdout.trim() === "true";
}
