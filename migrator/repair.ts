import type { Client } from "pg";
import { type ConnectionSettings, connect, describeServer, isConnectionLost } from "./connection.ts";
import { InputError } from "./errors.ts";
import { type Migration, numberOf, readFolder } from "./files.ts";
import { findLeftovers } from "./leftovers.ts";
import { takeLock } from "./lock.ts";
import { type MigrationsRecord, prepareRecord, readRecord, settleEntry } from "./record.ts";
import { connectionLost } from "./scripts.ts";
import { actAsOwner, findOwner, type SessionOptions } from "./session.ts";
import { readScript } from "./sql.ts";

export interface RepairOptions {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Default: see `findOwner`. */
  readonly owner?: string | undefined;
  readonly schema: string;
  readonly name: string;
  /** What is to be recorded of it from now on. */
  readonly status: "applied" | "reverted";
  readonly log: (line: string) => void;
}

/**
 * Settles what the record says of one migration, after a person has looked at the database; runs no script. As
 * `applied`, its files are recorded as they are now.
 *
 * @throws InputError where the record would then not fit the folder.
 */
export async function repair(options: RepairOptions): Promise<void> {
  const { log, name, status } = options;
  const { migrations } = readFolder(options.folder);
  const client = await connect(options.connection);
  try {
    await takeLock(client, log, 60_000);
    const session = { ...options, owner: await findOwner(client, options) };
    await actAsOwner(client, session);
    const record = await readRecord(client, session);
    const migration = migrations.find((candidate) => candidate.name === name);
    const lines = await describeFound(client, session, record, migration, name);
    for (const line of lines) log(line);
    checkRepair(migrations, record, name, status, migration);
    await prepareRecord(client, session, { ...record, unfinished: undefined }, []);
    await settleEntry(client, { name, status, migration, recorded: isApplied(record, name) });
    log(`recorded: ${name} is ${status}`);
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost(options) : error;
  } finally {
    await client.end().catch(() => {});
  }
}

function isApplied({ applied }: MigrationsRecord, name: string): boolean {
  return applied.some((entry) => entry.name === name);
}

function checkRepair(
  migrations: readonly Migration[],
  record: MigrationsRecord,
  name: string,
  status: RepairOptions["status"],
  migration: Migration | undefined,
): void {
  const fail = (problem: string): never => {
    throw new InputError(`${name} cannot be recorded as ${status}; nothing was changed:`, [problem]);
  };
  const recorded = isApplied(record, name);
  if (status === "applied") {
    if (!migration && !(recorded && record.unfinished?.name === name)) {
      fail("its files are not in the folder, or the folder cannot be used: ./db migrate verify says more");
    }
    const before = migrations.find(
      (other) => other.number < numberOf(name) && !isApplied(record, other.name),
    );
    if (!recorded && before) fail(`${before.name} comes before it, and is not applied: apply that first`);
    return;
  }
  if (!recorded && record.unfinished?.name !== name) fail("it is not recorded as applied");
  const after = record.applied
    .toSorted((a, b) => numberOf(b.name) - numberOf(a.name))
    .find((entry) => numberOf(entry.name) > numberOf(name));
  if (after) fail(`${after.name} comes after it, and is applied: revert that first`);
}

async function describeFound(
  client: Client,
  session: SessionOptions,
  record: MigrationsRecord,
  migration: Migration | undefined,
  name: string,
): Promise<string[]> {
  const lines = [
    `${describeServer(session.connection)}: ${name} is ${isApplied(record, name) ? "recorded as applied" : "not recorded as applied"}`,
  ];
  const { unfinished } = record;
  if (unfinished?.name === name) {
    const end = unfinished.error === undefined ? "interrupted" : `failed: ${unfinished.error}`;
    lines.push(
      `  begun (${unfinished.direction}) on ${unfinished.startedAt.toISOString()}, ${end}; statements completed for certain: ${unfinished.statementsDone}`,
    );
  }
  const { rows } = await client.query<{ what: string; found: boolean }>(
    `SELECT kind || ' ' || name AS what, to_regclass(name) IS NOT NULL AS found
       FROM unnest($1::text[], $2::text[]) AS made (kind, name)`,
    unzip(migration ? madeBy(migration.up.sql) : []),
  );
  for (const { found, what } of rows) lines.push(`  ${found ? "there is" : "there is no"} ${what}`);
  for (const { what } of await findLeftovers(client)) lines.push(`  there is an ${what}`);
  return lines;
}

/** The tables, indexes, views and sequences that a script makes, by name as it is written there. */
export function madeBy(sql: string): (readonly [kind: string, name: string])[] {
  const pattern =
    /^CREATE\s+(?:UNIQUE\s+|UNLOGGED\s+|MATERIALIZED\s+|OR\s+REPLACE\s+)*(TABLE|INDEX|VIEW|SEQUENCE)\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?((?:[\w$]+|"(?:[^"]|"")+")(?:\.(?:[\w$]+|"(?:[^"]|"")+"))?)/i;
  return readScript(sql).statements.flatMap(({ end, start }) => {
    const [, kind, name] = pattern.exec(sql.slice(start, end)) ?? [];
    // An index without a name gets one from the server.
    return kind && name && name.toUpperCase() !== "ON" ? [[kind.toLowerCase(), name] as const] : [];
  });
}

function unzip(pairs: readonly (readonly [string, string])[]): [string[], string[]] {
  return [pairs.map(([kind]) => kind), pairs.map(([, name]) => name)];
}
