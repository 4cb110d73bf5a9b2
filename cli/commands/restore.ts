import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { BackupError, docker } from "../../backup/docker.ts";
import {
  createRestoreContainer,
  type Repository,
  repositoryOfStack,
  restoreArguments,
} from "../../backup/restore-container.ts";
import { describeTarget } from "../../components/backups/data-generation.ts";
import { scratchMount } from "../../components/backups/program.ts";
import {
  generationLabel,
  projectLabel,
  restoredLabel,
  roleLabel,
  stackLabel,
} from "../../components/labels.ts";
import { settingKeys } from "../../components/settings/schema.ts";
import type { RestoreSetting } from "../../components/settings.ts";
import { formatTable } from "../amounts.ts";
import { engineError } from "../docker.ts";
import { exitCode, UserError } from "../errors.ts";
import { capture } from "../processes.ts";
import { imageSetting, readStackFile } from "../stack-files.ts";
import { readStateBackend } from "../state-backend.ts";

export interface RestoreOptions {
  readonly to?: string;
  readonly backup?: string;
  readonly timeline?: string;
  readonly into?: string;
  readonly server?: true;
  readonly listVolumes?: true;
  readonly json?: true;
}

export async function restore(stack: string, options: RestoreOptions): Promise<void> {
  if (options.listVolumes) {
    await listVolumes(stack, options);
    return;
  }
  const target = readTarget(options);
  if ((options.into === undefined) === (options.server === undefined)) {
    throw new UserError("restore needs one of --into FOLDER and --server.", {
      next: "They restore beside the environment. To bring the environment itself back, use the setting restore: ./db restore --help",
      exitCode: exitCode.usage,
    });
  }
  try {
    await restoreBeside(stack, target, options);
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    throw new UserError(error.message, { next: `./db backup list ${stack} shows what there is to restore.` });
  }
}

/** `latest`, a log position, a time with its zone, or else a restore point's name. */
export function readTarget({ backup, timeline, to }: RestoreOptions): RestoreSetting {
  if (to === undefined) {
    throw new UserError("restore needs --to: a time, a restore point's name, a log position, or latest.", {
      next: "./db restore --help",
      exitCode: exitCode.usage,
    });
  }
  const rest = {
    ...(backup === undefined ? {} : { backup }),
    ...(timeline === undefined ? {} : { timeline: Number(timeline) }),
  };
  const attempts = [to === "latest" ? { latest: true } : { lsn: to }, { time: to }];
  for (const attempt of attempts) {
    const parsed = settingKeys.restore.schema.safeParse({ ...attempt, ...rest });
    if (parsed.success) return parsed.data;
  }
  if (/^\d{4}-\d\d-\d\d/.test(to)) {
    throw new UserError(`"${to}" is no time with its zone.`, {
      next: "As in 2026-11-25T12:30:00Z, or 2026-11-25 13:30:00+01.",
      exitCode: exitCode.usage,
    });
  }
  const named = settingKeys.restore.schema.safeParse({ name: to, ...rest });
  if (named.success) return named.data;
  throw new UserError(`--backup ${backup} or --timeline ${timeline} can't be used.`, {
    next: `./db backup list shows those that there are.`,
    exitCode: exitCode.usage,
  });
}

async function restoreBeside(stack: string, target: RestoreSetting, options: RestoreOptions): Promise<void> {
  const { project } = await readStateBackend();
  const repository = await repositoryOfStack(project, stack);
  const image = repository.image ?? imageSetting(await readStackFile(stack), project);
  const folder = options.into === undefined ? undefined : emptyFolder(options.into);
  const name = `${project}-${stack}-restored-${randomBytes(3).toString("hex")}`;
  const labels = { [projectLabel]: project, [stackLabel]: stack, [roleLabel]: "restored" };
  process.stderr.write(`Restoring to ${describeTarget(target)}.\n`);
  const mount =
    folder === undefined
      ? `type=volume,source=${name},target=${scratchMount}`
      : `type=bind,source=${folder},target=${scratchMount}`;
  const directory = `${scratchMount}/data`;
  const environment = environmentOf(repository);
  let kept = false;
  try {
    await createRestoreContainer(
      { name, image, repository, mount, directory, environment, labels, memory: undefined },
      restoreArguments(target, directory),
    );
    const { code } = await docker(["start", "--attach", "--interactive", name], { show: "stderr" });
    if (code !== 0) throw new BackupError("the restore failed, as the lines above say.");
    if (folder === undefined) await startServer({ name, image, mount, directory, labels });
    kept = true;
  } finally {
    if (!kept || folder !== undefined) await docker(["rm", "--force", "--volumes", name]);
    if (!kept && folder === undefined) await docker(["volume", "rm", "--force", name]);
  }
  tell(options, { name, folder, environment });
}

function environmentOf({ environment }: Repository): Record<string, string> {
  return {
    REPOSITORY: "/repository",
    SUPERUSER: environment.SUPERUSER ?? settingKeys.superuserName.declared.default,
    PGDATABASE: environment.PGDATABASE ?? "postgres",
  };
}

function emptyFolder(folder: string): string {
  const path = resolve(folder);
  mkdirSync(path, { recursive: true });
  if (readdirSync(path).length > 0) {
    throw new UserError(`${path} is not empty.`, {
      next: "A restore needs an empty folder, or one that is not there yet.",
      exitCode: exitCode.usage,
    });
  }
  return path;
}

/** Reached through the container alone: its data has the rows, and may have the passwords, of the real one. */
async function startServer(server: {
  readonly name: string;
  readonly image: string;
  readonly mount: string;
  readonly directory: string;
  readonly labels: Readonly<Record<string, string>>;
}): Promise<void> {
  const { directory, image, labels, mount, name } = server;
  const script = `
    echo 'local all all trust' > /tmp/pg_hba.conf
    if command -v gosu >/dev/null; then drop=gosu; else drop=su-exec; fi
    exec $drop postgres postgres -D "$1" -c listen_addresses= -c unix_socket_directories=/var/run/postgresql \\
      -c hba_file=/tmp/pg_hba.conf -c archive_mode=off -c synchronous_standby_names= -c ssl=off`;
  await docker(["rm", "--force", "--volumes", name]);
  const { code, stderr } = await docker([
    ...["run", "--detach", "--name", name, "--init", "--network", "none", "--mount", mount],
    ...Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
    ...["--entrypoint", "sh", image, "-c", script, "sh", directory],
  ]);
  if (code !== 0) throw new BackupError(`the restored server could not be started: ${stderr.trim()}`);
  const ready = "for i in $(seq 600); do pg_isready -q && exit 0; sleep 0.1; done; exit 1";
  if ((await docker(["exec", name, "sh", "-c", ready])).code !== 0) {
    throw new BackupError(`the restored server does not answer: docker logs ${name}`);
  }
}

function tell(
  options: RestoreOptions,
  result: {
    readonly name: string;
    readonly folder: string | undefined;
    readonly environment: Readonly<Record<string, string>>;
  },
): void {
  const { environment, folder, name } = result;
  const psql = `docker exec -it ${name} psql -U ${environment.SUPERUSER} ${environment.PGDATABASE}`;
  const remove = `docker rm --force ${name} && docker volume rm ${name}`;
  if (options.json) {
    const found = folder === undefined ? { container: name, psql, remove } : { folder: `${folder}/data` };
    process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  } else if (folder === undefined) {
    process.stdout.write(
      `\nA server with the restored data runs; nothing but this reaches it:\n  ${psql}\n\nWhen you have seen enough:\n  ${remove}\n`,
    );
  } else {
    process.stdout.write(`\nThe restored data directory is ${folder}/data.\n`);
  }
}

interface DataVolume {
  readonly name: string;
  readonly created: string;
  /** The container that has it. */
  readonly usedBy: string | undefined;
  /** What it was restored to; undefined: the stack began with it. */
  readonly restored: string | undefined;
}

async function listVolumes(stack: string, { json }: RestoreOptions): Promise<void> {
  const { project } = await readStateBackend();
  const labels = { [projectLabel]: project, [stackLabel]: stack, [roleLabel]: "data" };
  const filters = Object.entries(labels).flatMap(([key, value]) => ["--filter", `label=${key}=${value}`]);
  const names = (await ask(["volume", "ls", "--quiet", ...filters])).split("\n").filter(Boolean);
  const inspected = names.length === 0 ? "[]" : await ask(["volume", "inspect", ...names]);
  const found = JSON.parse(inspected) as {
    Name: string;
    CreatedAt: string;
    Labels: Record<string, string>;
  }[];
  const volumes = await Promise.all(
    found
      .toSorted((a, b) => Number(a.Labels[generationLabel] ?? 0) - Number(b.Labels[generationLabel] ?? 0))
      .map(async ({ CreatedAt, Labels, Name }): Promise<DataVolume> => {
        const users = await ask(["ps", "--all", "--filter", `volume=${Name}`, "--format", "{{.Names}}"]);
        const restored = settingKeys.restore.schema.safeParse(JSON.parse(Labels[restoredLabel] ?? "null"));
        return {
          name: Name,
          created: CreatedAt,
          usedBy: users.split("\n")[0] || undefined,
          restored: restored.success ? describeTarget(restored.data) : undefined,
        };
      }),
  );
  process.stdout.write(json ? `${JSON.stringify(volumes, null, 2)}\n` : formatVolumes(stack, volumes));
}

export function formatVolumes(stack: string, volumes: readonly DataVolume[]): string {
  if (volumes.length === 0) return `Stack ${stack} has no data volume on this host.\n`;
  const rows = volumes.map(({ created, name, restored, usedBy }) => [
    name,
    created,
    restored === undefined ? "the stack's first" : `restored to ${restored}`,
    usedBy === undefined ? "not in use" : `in use by ${usedBy}`,
  ]);
  const idle = volumes.filter(({ usedBy }) => usedBy === undefined).map(({ name }) => name);
  return [
    ...formatTable([["VOLUME", "MADE", "DATA", "USE"], ...rows]),
    ...(idle.length === 0
      ? []
      : [
          "",
          "To remove one for good, with all that is in it:",
          ...idle.map((name) => `  docker volume rm ${name}`),
        ]),
    "",
  ].join("\n");
}

async function ask(args: readonly string[]): Promise<string> {
  const { code, stderr, stdout } = await capture("docker", args);
  if (code !== 0) throw engineError(stderr);
  return stdout.trimEnd();
}
