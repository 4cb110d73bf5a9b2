import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import pg from "pg";
import { ask, BackupError, docker } from "../backup/docker.ts";
import { describeDifference } from "../catalogue/compare.ts";
import { type Catalogue, readCatalogue, readCluster } from "../catalogue/read.ts";
import { maintenanceDatabase } from "../components/names.ts";
import { dataPaths } from "../components/server/files.ts";
import { type ConnectionSettings, connect } from "../migrator/connection.ts";
import { databasesQuery, type FoundDatabase, propertyStatements } from "../reset/properties.ts";
import { type Contents, compareAcrossVersions, compareContents, readContents } from "./database-facts.ts";

/** A server whose data is to come to another major version. */
export interface Source {
  /** The superuser's, from this host. */
  readonly connection: ConnectionSettings;
  /** How a container of its network reaches it. */
  readonly network: { readonly host: string; readonly port: number; readonly sslMode: "disable" | "require" };
}

export interface Target {
  /** Name of the throwaway container that loads the data. */
  readonly container: string;
  readonly image: string;
  readonly majorVersion: number;
  /** Empty, or left unfinished by an earlier transfer. */
  readonly volume: string;
  readonly networkName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** In mebibytes. */
  readonly memory: number;
}

export interface TransferReport {
  readonly from: string;
  readonly to: string;
  /** In bytes, of all databases. */
  readonly size: number;
  /** Milliseconds by step. */
  readonly durations: Readonly<Record<string, number>>;
  readonly databases: readonly {
    readonly name: string;
    readonly tables: number;
    readonly rows: number;
    readonly differences: readonly string[];
    readonly notes: readonly string[];
  }[];
  /** Of roles and memberships. */
  readonly differences: readonly string[];
}

/** At the root of the volume, from before the first file of data until all of it was checked. */
const unfinished = "upgrade-unfinished";
/** Where the target finds how to log in at the source and at itself. */
const passFile = "/tmp/upgrade.pgpass";
/** Milliseconds that a new server may take. */
const patience = 120_000;

/**
 * Loads everything that a server has into a new one of another major version, by dump and restore, and compares the two.
 * The source is only read, at one moment for each database. The container stays, for the caller to stop or remove.
 *
 * @throws BackupError where the image lacks an extension, the volume has other data, or a step fails.
 */
export async function transfer(
  source: Source,
  target: Target,
  log: (text: string) => void,
): Promise<TransferReport> {
  const durations: Record<string, number> = {};
  const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
    log(`${step} …`);
    const begin = performance.now();
    const result = await work();
    durations[step] = (durations[step] ?? 0) + performance.now() - begin;
    return result;
  };
  const client = await connect(source.connection);
  try {
    const facts = await readFacts(client);
    await timed("empty server", () => startTarget(source, target, facts));
    const port = await publishedPort(target.container);
    const asTarget = (database: string) =>
      connect(
        {
          ...source.connection,
          host: "127.0.0.1",
          port,
          sslMode: "disable",
          sslRootCert: undefined,
          database,
        },
        patience,
      );
    const first = await asTarget(maintenanceDatabase);
    try {
      await refuseMissingExtensions(source, facts, first, target.image);
      await writePassFile(source, target);
      await timed("roles", () => inTarget(source, target, rolesScript, { CREATED: facts.superuser }));
      const databases: TransferReport["databases"][number][] = [];
      for (const database of facts.databases) {
        databases.push(await transferDatabase({ source, target, first, asTarget, timed }, database));
      }
      await timed("statistics", () =>
        inTarget(source, target, "vacuumdb --all --analyze-only --quiet --jobs 2"),
      );
      const [before, after] = [await readCluster(client), await readCluster(first)];
      const roles = compareAcrossVersions(before, after).faults.map((each) =>
        describeDifference(each, "after"),
      );
      return {
        from: facts.version,
        to:
          (await first.query<{ version: string }>("SELECT current_setting('server_version') AS version"))
            .rows[0]?.version ?? "",
        size: facts.databases.reduce((sum, { size }) => sum + Number(size), 0),
        durations,
        databases,
        differences: roles,
      };
    } finally {
      await first.end().catch(() => {});
    }
  } finally {
    await client.end().catch(() => {});
  }
}

interface Facts {
  readonly version: string;
  /** As SQL writes it. */
  readonly superuser: string;
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  readonly databases: readonly { readonly name: string; readonly size: string }[];
}

async function readFacts(client: Client): Promise<Facts> {
  const [facts] = (
    await client.query<Omit<Facts, "databases">>(
      `SELECT current_setting('server_version') AS version, quote_ident(current_user) AS superuser,
              pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype
         FROM pg_catalog.pg_database WHERE datname = 'template1'`,
    )
  ).rows;
  if (!facts)
    throw new BackupError("The server has no template1, which every PostgreSQL has. Nothing was changed.");
  const { rows } = await client.query<Facts["databases"][number]>(
    `SELECT datname AS name, pg_database_size(oid) AS size FROM pg_catalog.pg_database
      WHERE datallowconn ORDER BY datname NOT IN ('template1', '${maintenanceDatabase}'), datname`,
  );
  return { ...facts, databases: rows };
}

/** Makes a new cluster of the same encoding and locale, without care for the data until all of it is there. */
async function startTarget(
  { connection }: Source,
  { container, image, labels, majorVersion, memory, networkName, volume }: Target,
  { collate, ctype, encoding }: Facts,
): Promise<void> {
  const { dataDirectory, mount } = dataPaths(majorVersion);
  await docker(["rm", "--force", "--volumes", container]);
  const volumeMount = ["--mount", `type=volume,source=${volume},target=${mount}`];
  const prepare = `if [ -n "$(ls -A "$1")" ] && ! [ -e "$1/${unfinished}" ]; then exit 9; fi
    find "$1" -mindepth 1 -delete; : >"$1/${unfinished}"`;
  const emptied = await docker([
    ...["run", "--rm", "--network", "none", ...volumeMount, "--entrypoint", "sh", image],
    ...["-euc", prepare, "sh", mount],
  ]);
  if (emptied.code === 9) {
    throw new BackupError(
      `Volume ${volume} has data already, of an upgrade that came to its end. Nothing was changed.\nWhat to do: look what it is, and remove it where it is not needed: docker volume rm ${volume}`,
    );
  }
  if (emptied.code !== 0) throw new BackupError(`Volume ${volume} can't be used: ${emptied.stderr.trim()}`);
  const shared = Math.max(32, Math.floor(memory / 4));
  const parameters = {
    ...{ fsync: "off", full_page_writes: "off", synchronous_commit: "off", wal_level: "minimal" },
    ...{ max_wal_senders: "0", autovacuum: "off", max_wal_size: "4GB" },
    ...{ shared_buffers: `${shared}MB`, maintenance_work_mem: `${Math.max(16, Math.floor(memory / 8))}MB` },
    password_encryption: "scram-sha-256",
  };
  await ask([
    ...["create", "--name", container, "--init", "--network", networkName, "--publish", "127.0.0.1::5432"],
    ...volumeMount,
    ...["--memory", `${memory}m`, "--memory-swap", `${memory}m`, "--shm-size", "256m"],
    ...Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
    ...["--env", `PGDATA=${dataDirectory}`, "--env", `POSTGRES_USER=${connection.user}`],
    ...[
      "--env",
      `POSTGRES_DB=${maintenanceDatabase}`,
      "--env",
      "POSTGRES_PASSWORD_FILE=/tmp/superuser-password",
    ],
    "--env",
    `POSTGRES_INITDB_ARGS=--data-checksums --no-sync --encoding=${encoding} --lc-collate=${collate} --lc-ctype=${ctype}`,
    ...["--env", "POSTGRES_HOST_AUTH_METHOD=scram-sha-256", image, "postgres"],
    ...Object.entries(parameters).flatMap(([key, value]) => ["-c", `${key}=${value}`]),
  ]);
  await copyInto(container, "/tmp/superuser-password", connection.password ?? "");
  await ask(["start", container]);
}

/** A file that only root can read, which the image's entrypoint is at that time. */
async function copyInto(container: string, path: string, content: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "postgresql-environment-"));
  try {
    const file = join(folder, "file");
    writeFileSync(file, content, { mode: 0o600 });
    chmodSync(file, 0o600);
    await ask(["cp", file, `${container}:${path}`]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function publishedPort(container: string): Promise<number> {
  const end = performance.now() + 10_000;
  for (;;) {
    const { code, stdout } = await docker(["port", container, "5432/tcp"]);
    const port = Number(stdout.trim().split("\n")[0]?.split(":").at(-1));
    if (code === 0 && Number.isInteger(port)) return port;
    if (performance.now() > end) {
      const { stdout: out, stderr } = await docker(["logs", "--tail", "15", container]);
      throw new BackupError(`${container} did not start. Its last words:\n${`${out}${stderr}`.trim()}`);
    }
  }
}

async function refuseMissingExtensions(
  source: Source,
  facts: Facts,
  first: Client,
  image: string,
): Promise<void> {
  const { rows } = await first.query<{ name: string }>("SELECT name FROM pg_catalog.pg_available_extensions");
  const available = new Set(rows.map(({ name }) => name));
  const missing = new Set<string>();
  for (const { name } of facts.databases) {
    const client = await connect({ ...source.connection, database: name });
    try {
      const found = await client.query<{ name: string }>(
        "SELECT extname AS name FROM pg_catalog.pg_extension",
      );
      for (const extension of found.rows) if (!available.has(extension.name)) missing.add(extension.name);
    } finally {
      await client.end().catch(() => {});
    }
  }
  if (missing.size > 0) {
    throw new BackupError(
      `The image ${image} has no extension ${[...missing].join(", ")}, which the data uses.\nWhat to do: take an image that has it, or drop the extension by a migration first.`,
    );
  }
}

/** One line for the source and one for the server itself, by standard input. */
async function writePassFile({ connection, network }: Source, { container }: Target): Promise<void> {
  const escaped = (text: string) => text.replace(/[\\:]/g, "\\$&");
  const line = (host: string, port: number) =>
    [host, String(port), "*", connection.user, connection.password ?? ""]
      .map((text) => (text === "*" ? text : escaped(text)))
      .join(":");
  await ask(
    ["exec", "--interactive", "--user", "postgres", container, "sh", "-c", `umask 077; cat >${passFile}`],
    `${line(network.host, network.port)}\n${line("127.0.0.1", 5432)}\n`,
  );
}

/** All that belongs to no database. The superuser is there already. */
const rolesScript = `
pg_dumpall --globals-only --no-sync --dbname "$SOURCE" | grep -vxF "CREATE ROLE $CREATED;" >/tmp/globals.sql
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname postgres --file /tmp/globals.sql >/dev/null
rm /tmp/globals.sql`;

/** Custom folders, so that several tables come at once. */
const databaseScript = (existing: boolean) => `
rm -rf "$DUMP"
pg_dump --format=directory --jobs 2 --no-sync --snapshot "$SNAPSHOT" --file "$DUMP" --dbname "$SOURCE"
pg_restore ${existing ? '--dbname "$DATABASE_URL"' : "--create --dbname postgres"} --jobs 2 --exit-on-error "$DUMP"
rm -rf "$DUMP"`;

/** Runs a script in the target as postgres, who is its superuser over TCP by the password file. */
async function inTarget(
  { connection, network }: Source,
  { container, majorVersion }: Target,
  script: string,
  variables: Readonly<Record<string, string>> = {},
  database = maintenanceDatabase,
): Promise<void> {
  const { mount } = dataPaths(majorVersion);
  const uri = (host: string, port: number, sslMode: string) =>
    `postgresql://${encodeURIComponent(connection.user)}@${host}:${port}/${encodeURIComponent(database)}?sslmode=${sslMode}`;
  const environment = {
    PGPASSFILE: passFile,
    ...{ PGHOST: "127.0.0.1", PGPORT: "5432", PGUSER: connection.user },
    SOURCE: uri(network.host, network.port, network.sslMode),
    DATABASE_URL: uri("127.0.0.1", 5432, "disable"),
    DUMP: `${mount}/upgrade-dump`,
    ...variables,
  };
  const flags = Object.entries(environment).flatMap(([key, value]) => ["--env", `${key}=${value}`]);
  const { code, stderr } = await docker(
    ["exec", "--interactive", "--user", "postgres", ...flags, container, "bash", "-euo", "pipefail", "-s"],
    { input: script },
  );
  if (code !== 0) {
    throw new BackupError(
      `Loading ${database === maintenanceDatabase ? "the server" : `database ${database}`} failed:\n${stderr.trim()}`,
    );
  }
}

interface Work {
  readonly source: Source;
  readonly target: Target;
  readonly first: Client;
  readonly asTarget: (database: string) => Promise<Client>;
  readonly timed: <T>(step: string, work: () => Promise<T>) => Promise<T>;
}

interface Side {
  readonly contents: Contents;
  readonly catalogue: Catalogue;
}

async function transferDatabase(
  { asTarget, first, source, target, timed }: Work,
  { name }: Facts["databases"][number],
): Promise<TransferReport["databases"][number]> {
  const existing = name === "template1" || name === maintenanceDatabase;
  const { properties, ...before } = await timed(`database ${name}`, async () => {
    const client = await connect({ ...source.connection, database: name });
    try {
      const catalogue = await readCatalogue(client);
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const { rows } = await client.query<{ id: string }>("SELECT pg_export_snapshot() AS id");
      await inTarget(source, target, databaseScript(existing), { SNAPSHOT: rows[0]?.id ?? "" }, name);
      const contents = await readContents(client);
      const [found] = (await client.query<FoundDatabase>(databasesQuery([name]))).rows;
      return { catalogue, contents, properties: found };
    } finally {
      await client.end().catch(() => {});
    }
  });
  // A dump of a database that is there already says nothing about the database itself.
  if (existing && properties) {
    await first.query(
      `ALTER DATABASE ${pg.escapeIdentifier(name)} OWNER TO ${pg.escapeIdentifier(properties.owner)}`,
    );
    for (const sql of propertyStatements(name, properties)) await first.query(sql);
  }
  const after = await timed("comparison", () => readSide(asTarget, name));
  const { faults, notes } = compareAcrossVersions(before.catalogue, after.catalogue);
  const tables = [...before.contents].filter(([object]) => object.startsWith("table "));
  return {
    name,
    tables: tables.length,
    rows: tables.reduce((sum, [, count]) => sum + Number(count), 0),
    differences: [
      ...compareContents(before.contents, after.contents),
      ...faults.map((fault) => describeDifference(fault, "after")),
    ],
    notes,
  };
}

async function readSide(asTarget: Work["asTarget"], name: string): Promise<Side> {
  const client = await asTarget(name);
  try {
    return { catalogue: await readCatalogue(client), contents: await readContents(client) };
  } finally {
    await client.end().catch(() => {});
  }
}

/** Whether nothing was lost or changed. */
export function isGood({ databases, differences }: TransferReport): boolean {
  return differences.length === 0 && databases.every((database) => database.differences.length === 0);
}

/** Shuts the target down cleanly and brings every file to the disk: from then on, the volume is a server's. */
export async function finishTarget({ container, image, majorVersion, volume }: Target): Promise<void> {
  const { dataDirectory, mount } = dataPaths(majorVersion);
  await ask(["stop", "--time", "600", container]);
  await ask(["rm", "--volumes", container]);
  const script = `gosu postgres initdb --sync-only -D "$1" >/dev/null; rm "$2/${unfinished}"; sync "$2"`;
  await ask([
    ...["run", "--rm", "--network", "none", "--mount", `type=volume,source=${volume},target=${mount}`],
    ...["--entrypoint", "bash", image, "-euc", script, "bash", dataDirectory, mount],
  ]);
}
