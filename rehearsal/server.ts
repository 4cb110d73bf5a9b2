import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { isHolding, ownMark } from "../airgap/lock.ts";
import { inspectContainer } from "../cli/docker.ts";
import { exitCode, UserError } from "../cli/errors.ts";
import { capture } from "../cli/processes.ts";
import { maintenanceDatabase, roleNames } from "../components/names.ts";
import { dataPaths } from "../components/server/files.ts";
import type { InitScript } from "../components/server/init-scripts.ts";
import { memorySettings, serverCommand } from "../components/server/server-settings.ts";
import type { Settings } from "../components/settings.ts";
import { type ConnectionSettings, connect } from "../migrator/connection.ts";
import { describeMissing } from "../migrator/extensions.ts";
import { databaseSql, serverSql } from "./database.ts";

/**
 * On every container of a rehearsal: the process that it belongs to, or `kept`. By it the next rehearsal finds what a
 * killed one has left behind.
 */
export const rehearsalLabel = "postgresql-environments.rehearsal";
const kept = "kept";

/** A server in memory that has what a new stack has, and no migration. */
export interface ThrowawayServer {
  readonly container: string;
  readonly port: number;
  /** To the application's database. */
  readonly migrator: ConnectionSettings;
  /** A session of the superuser there. */
  readonly superuser: Client;
}

export interface ServerOptions {
  readonly container: string;
  readonly settings: Settings;
  readonly initScripts: readonly InitScript[];
  /** Whether it is to stay, also for the next rehearsal. */
  readonly keep: boolean;
}

/** In bytes. What the server may use counts for nothing here, and a stack's own figures may be more than the machine has. */
const memory = 512 * 1024 ** 2;
/** How long a new server may take, in milliseconds. */
const patience = 120_000;

/** Parameters that have to do with memory, disks, copies of the data and the way in: the rehearsal has its own. */
const notRehearsed =
  /^(?:shared_buffers|effective_cache_size|huge_pages|(?:min|max)_wal_size|archive_.*|restore_command|primary_.*|synchronous_standby_names|ssl_.*|log_(?:directory|filename)|logging_collector)$/;

/** The server's parameters: the stack's, as far as they can matter to a migration, and no care for the data. */
export function rehearsalParameters(
  settings: Pick<Settings, "serverSettings">,
): Readonly<Record<string, string>> {
  const own = Object.entries(settings.serverSettings).filter(([key]) => !notRehearsed.test(key));
  return {
    ...memorySettings(memory, 100),
    // As in an ephemeral stack: with some, wal_level can't be minimal.
    max_wal_senders: "0",
    ...Object.fromEntries(own),
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
    listen_addresses: "*",
    password_encryption: "scram-sha-256",
    ssl: "off",
  };
}

/** A name that people can type, and that no other container has. */
export function containerName(project: string): string {
  return `${project}-rehearsal-${randomBytes(3).toString("hex")}`;
}

/**
 * Starts the server, and makes roles, database, schemas, extensions and privileges as a stack has them. The caller
 * removes the container, also where this fails.
 *
 * @throws UserError where the server does not start or refuses what a stack needs.
 */
export async function startServer(options: ServerOptions): Promise<ThrowawayServer> {
  const { container, settings } = options;
  const passwords = { superuser: newPassword(), migrator: newPassword() };
  await runContainer(options, passwords.superuser);
  const port = await publishedPort(container);
  const login = (user: string, password: string, database: string): ConnectionSettings => ({
    host: "127.0.0.1",
    port,
    user,
    password,
    database,
    sslMode: "disable",
    sslRootCert: undefined,
    applicationName: "postgresql-environments rehearsal",
  });
  const asSuperuser = (database: string) => login(settings.superuserName, passwords.superuser, database);
  const first = await untilReady(container, asSuperuser(maintenanceDatabase));
  try {
    await checkExtensions(first, settings);
    for (const sql of serverSql(settings, passwords)) await execute(first, sql);
  } finally {
    await first.end().catch(() => {});
  }
  const superuser = await connect(asSuperuser(settings.databaseName));
  for (const sql of databaseSql(settings)) await execute(superuser, sql);
  const migrator = login(roleNames(settings.appName).migrator, passwords.migrator, settings.databaseName);
  return { container, port, migrator, superuser };
}

function newPassword(): string {
  return randomBytes(18).toString("hex");
}

async function runContainer({ container, settings, initScripts, keep }: ServerOptions, password: string) {
  const { mount, dataDirectory } = dataPaths(settings.majorVersion);
  const labels = { ...settings.labels, [rehearsalLabel]: keep ? kept : await ownerMark() };
  await docker(
    [
      ...["create", "--name", container, "--init", "--publish", "127.0.0.1::5432"],
      ...["--tmpfs", `${mount}:mode=0755`, "--shm-size", "256m"],
      ...Object.entries(labels).flatMap(([label, value]) => ["--label", `${label}=${value}`]),
      ...["--env", `PGDATA=${dataDirectory}`, "--env", `POSTGRES_USER=${settings.superuserName}`],
      // As in a stack: the scripts run in the template of the application's database.
      ...["--env", "POSTGRES_DB=template1", "--env", "POSTGRES_INITDB_ARGS=--no-sync"],
      // The value comes by this process's environment, not by the command line.
      ...["--env", "POSTGRES_PASSWORD", settings.image, ...serverCommand(rehearsalParameters(settings))],
    ],
    { ...process.env, POSTGRES_PASSWORD: password },
  );
  if (initScripts.length > 0) await copyInitScripts(container, initScripts);
  await docker(["start", container]);
}

async function copyInitScripts(container: string, scripts: readonly InitScript[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "rehearsal-"));
  try {
    // The server's own user reads them in the container.
    await chmod(folder, 0o755);
    for (const { name, contentBase64, executable } of scripts) {
      await writeFile(join(folder, name), Buffer.from(contentBase64, "base64"));
      await chmod(join(folder, name), executable ? 0o755 : 0o644);
    }
    await docker(["cp", `${folder}/.`, `${container}:/docker-entrypoint-initdb.d/`]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function publishedPort(container: string): Promise<number> {
  const published = await docker(["port", container, "5432/tcp"]).catch((error: unknown) => error);
  const port = Number(String(published).trim().split("\n")[0]?.split(":").at(-1));
  if (published instanceof Error || !Number.isInteger(port)) throw await notStarted(container);
  return port;
}

/** While it makes its data directory, the server listens on a socket only: the first answer is the finished server's. */
async function untilReady(container: string, settings: ConnectionSettings): Promise<Client> {
  const end = performance.now() + patience;
  for (;;) {
    try {
      return await connect(settings, 500);
    } catch (error) {
      const state = await inspectContainer(container);
      if (!state?.running) throw await notStarted(container);
      if (performance.now() > end) throw error;
    }
    await sleep(50);
  }
}

async function notStarted(container: string): Promise<UserError> {
  const { stdout, stderr } = await capture("docker", ["logs", "--tail", "15", container]);
  return new UserError("the throwaway server did not start. Its last words:", {
    next: `${`${stdout}${stderr}`.trim()}\nCorrect the stack's settings or the init scripts, and rehearse again.`,
  });
}

async function checkExtensions(client: Client, { extensions }: Settings): Promise<void> {
  if (extensions.length === 0) return;
  const { rows } = await client.query<{ name: string; versions: string[] }>(
    "SELECT name, array_agg(version) AS versions FROM pg_catalog.pg_available_extension_versions GROUP BY name",
  );
  const requests = extensions.map(({ name, version }) => ({
    name,
    ...(version === undefined ? {} : { version }),
  }));
  const missing = describeMissing(requests, new Map(rows.map(({ name, versions }) => [name, versions])));
  if (missing !== undefined) {
    const [first = "", ...rest] = missing.split("\n");
    throw new UserError(first, { next: rest.join("\n") });
  }
}

async function execute(client: Client, sql: string): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    const statement = sql.replace(/ PASSWORD '.*/, " PASSWORD …");
    throw new UserError(`the throwaway server refuses «${statement}»: ${(error as Error).message}.`, {
      next: "Correct the stack's settings: a stack would be refused the same.",
    });
  }
}

export async function removeServer(container: string): Promise<void> {
  const { code, stderr } = await capture("docker", ["rm", "--force", "--volumes", container]);
  if (code !== 0 && !/no such container|removal .* already in progress/i.test(stderr)) {
    throw new UserError(`the container ${container} cannot be removed: ${stderr.trim()}`, {
      next: `Remove it by hand: docker rm --force --volumes ${container}`,
    });
  }
}

/** Host and process, so that a rehearsal leaves those of other machines on the same Engine alone. */
async function ownerMark(): Promise<string> {
  return `${hostname()}/${await ownMark()}`;
}

/** In milliseconds. No rehearsal takes that long: what is older was left behind, whichever machine it was. */
const oldAge = 24 * 60 * 60 * 1_000;

/** Removes the servers of rehearsals that were killed. @returns Their names. */
export async function removeLeftOvers(now = Date.now()): Promise<string[]> {
  const format = `{{.Names}}\t{{.CreatedAt}}\t{{.Label "${rehearsalLabel}"}}`;
  const list = await docker([
    "container",
    "ls",
    "--all",
    "--filter",
    `label=${rehearsalLabel}`,
    "--format",
    format,
  ]);
  const removed: string[] = [];
  for (const line of list.split("\n").filter(Boolean)) {
    const [container = "", created = "", mark = ""] = line.split("\t");
    if (!(await isLeftOver(mark, now - createdAt(created)))) continue;
    await removeServer(container);
    removed.push(container);
  }
  return removed;
}

/** @param created As in `2026-01-31 14:25:00 +0100 CET`; Node does not know every zone's name. */
function createdAt(created: string): number {
  return Date.parse(created.split(" ").slice(0, 3).join(" "));
}

async function isLeftOver(mark: string, age: number): Promise<boolean> {
  if (mark === kept) return false;
  const [host, process = ""] = mark.split("/");
  return host === hostname() ? !(await isHolding(process)) : age > oldAge;
}

async function docker(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { code, stdout, stderr } = await capture("docker", args, env === undefined ? {} : { env });
  if (code === 0) return stdout;
  throw new UserError(`docker ${args[0]}: ${stderr.trim()}`, {
    next: "./db doctor says what is missing.",
    exitCode: exitCode.missing,
  });
}
