import { randomBytes } from "node:crypto";
import pg from "pg";
import { ownDatabases } from "./names.ts";
import { databasesQuery, type FoundDatabase, propertyStatements } from "./properties.ts";
import { clone, commentStatement, dropStatement, NoRoom, openStatement, transaction } from "./server.ts";

const { escapeLiteral } = pg;

/** A database's name tells that it is one for tests, and since when: of a killed run nothing else is left. */
const pattern = /^testdb_(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)_[0-9a-f]{8}$/;
const likePattern = "testdb\\_%";

/** Milliseconds after which a database of a killed run goes, when the next one is made. */
export const leftoverAge = 60 * 60_000;
/** The same for one that was kept for a look, since its test failed. */
export const keptAge = 24 * 60 * 60_000;

export interface TestDatabaseInfo {
  readonly name: string;
  /** ISO 8601, UTC. */
  readonly made: string;
  /** Why it was kept; null: it was not. */
  readonly kept: string | null;
  /** Number of sessions in it. */
  readonly sessions: number;
  /** In bytes. */
  readonly size: number;
}

export function testDatabaseName(now: Date): string {
  const [date, time] = now.toISOString().slice(0, 19).replace(/[-:]/g, "").split("T");
  return `testdb_${date}_${time}_${randomBytes(4).toString("hex")}`;
}

/** @returns Milliseconds since 1970; undefined: it is no name of a database for tests. */
export function madeAt(name: string): number | undefined {
  const [, year, month, day, hour, minute, second] = pattern.exec(name) ?? [];
  if (year === undefined) return undefined;
  return Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
}

/** The template with its mark; undefined: there is none. */
export async function findTemplate(client: pg.Client): Promise<FoundDatabase | undefined> {
  return (await client.query<FoundDatabase>(databasesQuery([ownDatabases.ready]))).rows[0];
}

/**
 * Makes a database for tests, which has what the application's has after `up`, and the same privileges.
 *
 * @throws NoRoom
 */
export async function makeTestDatabase(client: pg.Client, template: FoundDatabase): Promise<string> {
  const name = testDatabaseName(new Date());
  const make = () => clone(client, template.name, name, template, { open: false });
  await make().catch(async (error: unknown) => {
    if (!(error instanceof NoRoom) || (await removeOutdated(client)).length === 0) throw error;
    await make();
  });
  // The template's comment is its mark.
  const statements = propertyStatements(name, { ...template, comment: null });
  await transaction(client, [...statements, openStatement(name, true)]);
  return name;
}

export async function listTestDatabases(
  client: pg.Client,
  options: { readonly sizes: boolean },
): Promise<TestDatabaseInfo[]> {
  const { rows } = await client.query<Omit<TestDatabaseInfo, "made">>(
    `SELECT datname AS name, shobj_description(oid, 'pg_database') AS kept,
            (SELECT count(*)::int FROM pg_stat_activity WHERE datid = oid) AS sessions,
            ${options.sizes ? "pg_database_size(oid)::float8" : "0"} AS size
       FROM pg_database WHERE datname LIKE ${escapeLiteral(likePattern)} ORDER BY datname`,
  );
  return rows.flatMap((row) => {
    const made = madeAt(row.name);
    return made === undefined ? [] : [{ ...row, made: new Date(made).toISOString() }];
  });
}

/** Keeps a database from being removed with the left-overs, for a day. */
export async function keepTestDatabase(client: pg.Client, name: string, reason: string): Promise<void> {
  await client.query(commentStatement(name, reason));
}

/** @returns Those that have had their time and in which nobody is. */
export function outdated(databases: readonly TestDatabaseInfo[], now: number): string[] {
  return databases
    .filter(({ kept, made, sessions }) => {
      const age = now - Date.parse(made);
      return sessions === 0 && age > (kept === null ? leftoverAge : keptAge);
    })
    .map(({ name }) => name);
}

/** Removes left-overs of killed runs, and what was kept for a day. @returns Their names. */
export async function removeOutdated(client: pg.Client): Promise<string[]> {
  const names = outdated(await listTestDatabases(client, { sizes: false }), Date.now());
  for (const name of names) await client.query(dropStatement(name));
  return names;
}
