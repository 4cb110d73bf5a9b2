import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { exitCodes, MigratorError } from "../migrator/errors.ts";
import { isHealthCheck, maintenance, ownDatabases } from "./names.ts";
import {
  type DatabaseProperties,
  databasesQuery,
  type FoundDatabase,
  propertyStatements,
} from "./properties.ts";

const { escapeIdentifier, escapeLiteral } = pg;

/** How the superuser reaches an ephemeral server. */
export interface ServerAccess {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** Key of the lock under which databases are made and swapped; any number, the same everywhere. */
const lockKey = "4851220938470156037";
/** Milliseconds that another reset or up is waited for. */
const lockPatience = 60_000;
/** Milliseconds that ended sessions get to go. */
const farewell = 10_000;

/** SQLSTATEs of the server; see the manual, «PostgreSQL Error Codes». */
const states = { diskFull: "53100", lockNotAvailable: "55P03", objectInUse: "55006" };

/** @param patience Milliseconds in which the server must answer. */
export async function connectServer(access: ServerAccess, patience = 10_000): Promise<pg.Client> {
  const client = new pg.Client({
    ...access,
    database: maintenance,
    application_name: "postgresql-environments reset",
    ssl: false,
    connectionTimeoutMillis: patience,
    options: "-c client_encoding=UTF8",
  });
  // Without a listener, a connection that is lost while idle ends the process; the next query reports it.
  client.on("error", () => {});
  try {
    await client.connect();
  } catch (error) {
    client.end().catch(() => {});
    throw error;
  }
  return client;
}

/** Databases by their name. */
export type Found = ReadonlyMap<string, FoundDatabase>;

/** Looks for the program's own databases and the application's. */
export async function findDatabases(client: pg.Client, database: string): Promise<Found> {
  return byName(await client.query(databasesQuery(namesOf(database))));
}

/**
 * The same, under the lock that lets one at a time make and swap databases. The lock goes with the session, also when
 * this process is killed.
 *
 * @throws MigratorError where another holds it for longer than a minute.
 */
export async function lockAndFind(client: pg.Client, database: string): Promise<Found> {
  try {
    const results = (await client.query(
      `SET lock_timeout = ${lockPatience}; SELECT pg_advisory_lock(${lockKey}); ${databasesQuery(namesOf(database))}`,
    )) as unknown as pg.QueryResult[];
    return byName(results.at(-1));
  } catch (error) {
    if ((error as { code?: string }).code !== states.lockNotAvailable) throw error;
    throw new MigratorError(
      exitCodes.busy,
      `Another reset or up has been at work in this server for ${lockPatience / 1000} s; nothing was changed.\nWhat to do: wait for it to end, then run this again.`,
    );
  }
}

function namesOf(database: string): string[] {
  return [database, ...Object.values(ownDatabases)];
}

function byName(result: pg.QueryResult | undefined): Found {
  const rows = (result?.rows ?? []) as FoundDatabase[];
  return new Map(rows.map((row) => [row.name, row]));
}

/**
 * Makes a database as a copy of another in which nobody is.
 *
 * FILE_COPY copies the files and logs nothing but that; the server's default logs every page, which takes two to four
 * times as long and needs its room in memory once more (bench/reset.ts).
 *
 * @throws MigratorError where there is no room left for it.
 */
export async function clone(
  client: pg.Client,
  template: string,
  name: string,
  properties: Pick<DatabaseProperties, "owner" | "connectionLimit">,
  options: { readonly open: boolean },
): Promise<void> {
  try {
    await client.query(
      `CREATE DATABASE ${escapeIdentifier(name)} OWNER ${escapeIdentifier(properties.owner)}
         TEMPLATE ${escapeIdentifier(template)} STRATEGY FILE_COPY
         ALLOW_CONNECTIONS ${options.open} CONNECTION LIMIT ${properties.connectionLimit}`,
    );
  } catch (error) {
    throw isDiskFull(error) ? new NoRoom((error as Error).message) : error;
  }
}

/** The memory that holds the server's data is full. */
export class NoRoom extends MigratorError {
  constructor(message: string) {
    super(
      exitCodes.failed,
      `There is no room left in the server's memory for another database: ${message}\nWhat to do: raise tmpfsSize, and memory with it, then pulumi up; ./db testdb drop --all removes databases of tests.`,
    );
  }
}

function isDiskFull(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return code === states.diskFull || /no space left/i.test(message ?? "");
}

/** Runs statements as one transaction, in one journey to the server. */
export async function transaction(client: pg.Client, statements: readonly string[]): Promise<void> {
  try {
    await client.query(["BEGIN", ...statements, "COMMIT"].join(";\n"));
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

export function dropStatement(name: string): string {
  return `DROP DATABASE IF EXISTS ${escapeIdentifier(name)} WITH (FORCE)`;
}

export function openStatement(name: string, open: boolean): string {
  return `ALTER DATABASE ${escapeIdentifier(name)} ALLOW_CONNECTIONS ${open}`;
}

export function renameStatement(name: string, next: string): string {
  return `ALTER DATABASE ${escapeIdentifier(name)} RENAME TO ${escapeIdentifier(next)}`;
}

export function commentStatement(name: string, comment: string): string {
  return `COMMENT ON DATABASE ${escapeIdentifier(name)} IS ${escapeLiteral(comment)}`;
}

/**
 * Ends every session in a database and lets none begin.
 *
 * @returns How many were ended, without that of the health check, which comes and goes by itself.
 */
export async function close(
  client: pg.Client,
  name: string,
  before: readonly string[] = [],
): Promise<number> {
  await transaction(client, [...before, openStatement(name, false)]);
  const deadline = performance.now() + farewell;
  for (let ended = -1; ; ) {
    // CREATE, RENAME and DROP wait for sessions to go too, but look only every 100 ms.
    const { rows } = await client.query<{ left: number; told: number }>(
      `SELECT count(pg_terminate_backend(pid))::int AS left,
              count(*) FILTER (WHERE NOT ${isHealthCheck})::int AS told FROM pg_stat_activity
        WHERE datname = ${escapeLiteral(name)} AND pid <> pg_backend_pid()`,
    );
    const { left = 0, told = 0 } = rows[0] ?? {};
    if (ended < 0) ended = told;
    if (left === 0) return ended;
    if (performance.now() > deadline) return ended;
    await sleep(1);
  }
}

/**
 * Puts a clone of the template in the application's database's place. Whenever this is interrupted, the next call mends
 * it: the clone is complete before the old database is touched, and the two change names in one transaction.
 *
 * @returns How many sessions in the old database were ended.
 */
export async function replaceDatabase(
  client: pg.Client,
  found: Found,
  options: { readonly database: string; readonly template: string; readonly properties: DatabaseProperties },
): Promise<number> {
  const { database, template, properties } = options;
  const { next, old } = ownDatabases;
  for (const left of [next, old]) if (found.has(left)) await client.query(dropStatement(left));
  let hasOld = found.has(database);
  let ended = 0;
  try {
    await clone(client, template, next, properties, { open: false });
  } catch (error) {
    if (!(error instanceof NoRoom) || !hasOld) throw error;
    // Both at once are too much: then one after the other.
    ended = await close(client, database);
    await client.query(dropStatement(database));
    hasOld = false;
    await clone(client, template, next, properties, { open: false });
  }
  const dressing = propertyStatements(next, properties);
  if (hasOld) ended = await close(client, database, dressing);
  else await transaction(client, dressing);
  await transaction(client, [
    ...(hasOld ? [renameStatement(database, old)] : []),
    openStatement(next, true),
    renameStatement(next, database),
  ]);
  if (hasOld) await client.query(dropStatement(old));
  return ended;
}

/**
 * Lets a database that was built take a template's place: closed to everybody, with what it was made of as its comment.
 */
export async function seal(
  client: pg.Client,
  built: string,
  template: string,
  comment: string,
): Promise<void> {
  const { old } = ownDatabases;
  await close(client, built);
  await client.query(dropStatement(old));
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT count(*) > 0 AS there FROM pg_database WHERE datname = ${escapeLiteral(template)}`,
  );
  const there = rows[0]?.there === true;
  await transaction(client, [
    ...(there ? [renameStatement(template, old)] : []),
    renameStatement(built, template),
    commentStatement(template, comment),
  ]);
  if (there) await client.query(dropStatement(old));
}
