/**
 * Brings a stack's data to another major version, in a new volume; run by the program's command resource before the
 * server's container is replaced. The server is stopped meanwhile, so that nobody writes what would be left behind, and
 * is started again where the upgrade fails. The old volume stays as it was.
 *
 * Environment: see components/backups/restored-volume.ts. Standard input: `{superuser}`, the password, as JSON.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { ask, BackupError, docker, runProgram, variable } from "../backup/docker.ts";
import { dataPaths } from "../components/server/files.ts";
import { formatTransfer } from "./report.ts";
import { finishTarget, isGood, publishedPort, type Target, transfer } from "./transfer.ts";

const prefix = variable("PREFIX");
const server = `${prefix}-postgres`;
const from = Number(variable("UPGRADE_FROM"));
const labels: Readonly<Record<string, string>> = JSON.parse(variable("LABELS"));
const target: Target = {
  container: `${prefix}-upgrade`,
  image: variable("IMAGE"),
  majorVersion: Number(variable("MAJOR_VERSION")),
  volume: variable("VOLUME"),
  networkName: `${prefix}-network`,
  labels,
  memory: Number(variable("MEMORY")),
};
const oldContainer = `${prefix}-upgrade-from`;

interface OldServer {
  readonly image: string;
  readonly volume: string;
  readonly command: readonly string[];
  readonly running: boolean;
}

await runProgram(async () => {
  if (variable("ADOPT_VOLUME") === "on") {
    await checkComplete();
    return;
  }
  const { superuser } = JSON.parse(await text(process.stdin)) as { superuser: string };
  const old = await findServer();
  console.log(
    `Upgrading from PostgreSQL ${from} (volume ${old.volume}) to ${target.majorVersion} (volume ${target.volume}). The server is stopped until that has ended.`,
  );
  await ask(["stop", "--time", variable("STOP_TIMEOUT"), server]);
  try {
    await checkVersion(old);
    const port = await startOld(old);
    const report = await transfer(
      {
        connection: {
          host: "127.0.0.1",
          port,
          user: variable("SUPERUSER"),
          password: superuser,
          database: "postgres",
          sslMode: "disable",
          sslRootCert: undefined,
          applicationName: "upgrade",
        },
        network: { host: oldContainer, port: 5432, sslMode: "disable" },
      },
      target,
      (line) => console.log(line),
    );
    console.log(formatTransfer(report));
    if (!isGood(report))
      throw new BackupError("The new server does not have what the old one has, as the lines above say.");
    await finishTarget(target);
    await stopOld();
    await setBackupsAside();
  } catch (error) {
    await docker(["rm", "--force", "--volumes", target.container]);
    await stopOld();
    if (old.running) await docker(["start", server]);
    const reason = error instanceof Error ? error.message : String(error);
    throw new BackupError(
      `${reason}\nThe data is as it was${old.running ? `; the server ${server} was started again` : ""}. Set image back and remove upgradeFrom, or mend the cause and run pulumi up again.`,
    );
  }
  console.log(
    `The old data stays in volume ${old.volume}: docs/operations.md, «Another major version», tells the way back.`,
  );
});

async function checkComplete(): Promise<void> {
  const { dataDirectory, mount } = dataPaths(target.majorVersion);
  const complete = 'test -s "$1/PG_VERSION" && ! test -e "$2/upgrade-unfinished"';
  const volume = ["--mount", `type=volume,source=${target.volume},target=${mount}`];
  const { code } = await docker([
    ...["run", "--rm", "--network", "none", ...volume, "--entrypoint", "sh", target.image],
    ...["-c", complete, "sh", dataDirectory, mount],
  ]);
  if (code !== 0) {
    throw new BackupError(
      `Volume ${target.volume} has no complete data: an upgrade into it was interrupted.\nWhat to do: remove it (docker volume rm ${target.volume}) and run pulumi up again.`,
    );
  }
  console.log(`Volume ${target.volume} is taken as it is.`);
}

async function findServer(): Promise<OldServer> {
  const { code, stdout } = await docker(["container", "inspect", server]);
  const [found] = code === 0 ? JSON.parse(stdout) : [];
  const { mount } = dataPaths(from);
  const volume = found?.Mounts.find(
    ({ Destination }: { Destination: string }) => Destination === mount,
  )?.Name;
  if (volume === undefined || volume === target.volume) {
    throw new BackupError(
      `There is no server ${server} of PostgreSQL ${from} to upgrade. Nothing was changed.\nWhat to do: set image back and remove upgradeFrom, run pulumi up --refresh --run-program, and then upgrade.`,
    );
  }
  return { image: found.Image, volume, command: found.Config.Cmd, running: found.State.Running };
}

async function checkVersion({ image, volume }: OldServer): Promise<void> {
  const { dataDirectory, mount } = dataPaths(from);
  const read = ["--entrypoint", "cat", image, `${dataDirectory}/PG_VERSION`];
  const version = await ask([
    ...[
      "run",
      "--rm",
      "--network",
      "none",
      "--mount",
      `type=volume,source=${volume},target=${mount}`,
      ...read,
    ],
  ]);
  if (Number(version) !== from) {
    throw new BackupError(
      `upgradeFrom is ${from}, but the data in volume ${volume} is of PostgreSQL ${version}.`,
    );
  }
}

/** The old server on the old volume, with nobody but the upgrade let in. @returns Its port on loopback. */
async function startOld({ command, image, volume }: OldServer): Promise<number> {
  const { dataDirectory, mount } = dataPaths(from);
  await docker(["rm", "--force", "--volumes", oldContainer]);
  const own = {
    hba_file: "/tmp/pg_hba.conf",
    ident_file: "/tmp/pg_ident.conf",
    ssl: "off",
    archive_mode: "off",
    synchronous_standby_names: "",
    listen_addresses: "*",
  };
  await ask([
    ...[
      "create",
      "--name",
      oldContainer,
      "--init",
      "--network",
      target.networkName,
      "--publish",
      "127.0.0.1::5432",
    ],
    ...[
      "--mount",
      `type=volume,source=${volume},target=${mount}`,
      "--user",
      "postgres",
      "--stop-signal",
      "SIGINT",
    ],
    ...["--memory", `${target.memory}m`, "--memory-swap", `${target.memory}m`, "--shm-size", "256m"],
    ...Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
    ...["--env", `PGDATA=${dataDirectory}`, "--entrypoint", "postgres", image, ...command.slice(1)],
    ...Object.entries(own).flatMap(([key, value]) => ["-c", `${key}=${value}`]),
  ]);
  const folder = mkdtempSync(join(tmpdir(), "postgresql-environment-"));
  try {
    const superuser = `"${variable("SUPERUSER").replaceAll('"', '""')}"`;
    const rules = `host all ${superuser} samenet scram-sha-256\n`;
    for (const [name, content] of [
      ["pg_hba.conf", rules],
      ["pg_ident.conf", ""],
    ] as const) {
      writeFileSync(join(folder, name), content, { mode: 0o644 });
      await ask(["cp", join(folder, name), `${oldContainer}:/tmp/${name}`]);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  await ask(["start", oldContainer]);
  return await publishedPort(oldContainer);
}

async function stopOld(): Promise<void> {
  await docker(["stop", "--time", variable("STOP_TIMEOUT"), oldContainer]);
  await docker(["rm", "--force", "--volumes", oldContainer]);
}

/**
 * Backups and WAL of the old server are none of the new one's, which has another identity: they move to a folder of
 * their own in the repository, out of which they can be restored with the old image.
 */
async function setBackupsAside(): Promise<void> {
  const repository = variable("REPOSITORY");
  const isFolder = repository.startsWith("/");
  if (repository === "" || (!isFolder && (await docker(["volume", "inspect", repository])).code !== 0))
    return;
  for (const name of [`${prefix}-backup`, `${prefix}-drill`]) {
    await docker(["stop", "--time", variable("STOP_TIMEOUT"), name]);
  }
  const aside = `postgresql-${from}`;
  const script = `
    cd /repository; aside=$1; while [ -e "$aside" ]; do aside="$aside-again"; done
    if [ -z "$(find . -mindepth 1 -maxdepth 1 ! -name 'postgresql-*')" ]; then exit; fi
    mkdir "$aside"; find . -mindepth 1 -maxdepth 1 ! -name 'postgresql-*' -exec mv -t "$aside" {} +
    chown --reference=. "$aside"; echo "$aside"`;
  const moved = await ask([
    ...["run", "--rm", "--network", "none", "--user", "root"],
    ...["--mount", `type=${isFolder ? "bind" : "volume"},source=${repository},target=/repository`],
    ...["--entrypoint", "bash", target.image, "-euc", script, "bash", aside],
  ]);
  if (moved !== "")
    console.log(`Backups of PostgreSQL ${from} are in the folder ${moved} of ${repository} now.`);
}
