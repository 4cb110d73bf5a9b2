import type { Client } from "pg";
import { InputError } from "./errors.ts";
import { type Migration, numberOf } from "./files.ts";
import { type MigrationsRecord, recordTable } from "./record.ts";
import { quote, recordSchema } from "./session.ts";

/**
 * Tools whose own table is recognised, by the name and the columns that they give it unless told otherwise:
 * golang-migrate keeps the last version in one row, node-pg-migrate a row for each migration.
 */
const tools = {
  "golang-migrate": { table: "schema_migrations", columns: ["dirty", "version"] },
  "node-pg-migrate": { table: "pgmigrations", columns: ["id", "name", "run_on"] },
} as const;

export type OtherTool = keyof typeof tools;

export const otherTools = Object.keys(tools) as OtherTool[];

/** What another tool says of a database. */
export interface OtherRecord {
  readonly tool: OtherTool;
  /** Quoted, with its schema. */
  readonly table: string;
  /** Whether the owner may read it. */
  readonly readable: boolean;
  /** golang-migrate's: the last version, as its digits. */
  readonly version?: string;
  /** golang-migrate's: whether that one failed, or was interrupted. */
  readonly dirty?: boolean;
  /** node-pg-migrate's, in their order. */
  readonly names?: readonly string[];
}

/**
 * Looks for the tables of other tools in `public` and in the application's schema. Those that say that nothing is
 * applied are left out.
 */
export async function findOtherRecords(client: Client, schema: string): Promise<OtherRecord[]> {
  const { rows } = await client.query<{
    schema: string;
    table: string;
    columns: string[];
    readable: boolean;
  }>(
    `SELECT nspname AS schema, relname AS table,
            ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
                   WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname) AS columns,
            pg_catalog.has_schema_privilege(namespace.oid, 'USAGE')
              AND pg_catalog.has_table_privilege(class.oid, 'SELECT') AS readable
       FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
      WHERE relkind = 'r' AND relname = ANY ($1) AND nspname IN ('public', $2)
      ORDER BY 1, 2`,
    [Object.values(tools).map(({ table }) => table), schema],
  );
  const found: OtherRecord[] = [];
  for (const row of rows) {
    const tool = otherTools.find(
      (name) => tools[name].table === row.table && tools[name].columns.join() === row.columns.join(),
    );
    if (tool === undefined) continue;
    const table = `${quote(row.schema)}.${quote(row.table)}`;
    const record = row.readable
      ? await readOtherRecord(client, tool, table)
      : { tool, table, readable: false };
    if (record) found.push(record);
  }
  return found;
}

async function readOtherRecord(
  client: Client,
  tool: OtherTool,
  table: string,
): Promise<OtherRecord | undefined> {
  if (tool === "golang-migrate") {
    const { rows } = await client.query<{ version: string; dirty: boolean }>(
      `SELECT version::text AS version, dirty FROM ${table} LIMIT 1`,
    );
    return rows[0] && { tool, table, readable: true, ...rows[0] };
  }
  const { rows } = await client.query<{ name: string }>(`SELECT name FROM ${table} ORDER BY run_on, id`);
  return rows.length === 0 ? undefined : { tool, table, readable: true, names: rows.map(({ name }) => name) };
}

/** For a person: «golang-migrate (table "public"."schema_migrations": version 7)». */
export function describeOtherRecord({ dirty, names, readable, table, tool, version }: OtherRecord): string {
  const says = !readable
    ? "which the owner may not read"
    : names === undefined
      ? `version ${version}${dirty ? ", dirty" : ""}`
      : `${names.length === 1 ? "1 migration" : `${names.length} migrations`}, the last one ${names.at(-1)}`;
  return `${tool} (table ${table}: ${says})`;
}

/**
 * What keeps a run from starting in a database that another tool has migrated, and of which nothing is recorded here:
 * it would begin at the first migration.
 */
export async function describeOtherTool(
  client: Client,
  record: MigrationsRecord,
  schema: string,
): Promise<string | undefined> {
  if (record.applied.length > 0 || record.unfinished) return undefined;
  // A record that was in use before and is empty now, since all was reverted, is to be believed.
  if (record.state !== "none" && (await wasInUse(client))) return undefined;
  const [other] = await findOtherRecords(client, schema);
  return (
    other &&
    `it was migrated by ${describeOtherRecord(other)}, and nothing is recorded here yet: take its record over by ` +
      `./db migrate baseline --from ${other.tool}; or drop that table where it means nothing any more`
  );
}

async function wasInUse(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ used: boolean }>(
    "SELECT pg_catalog.pg_sequence_last_value(pg_catalog.pg_get_serial_sequence($1, 'id')::regclass) IS NOT NULL AS used",
    [`${recordSchema}.${recordTable}`],
  );
  return rows[0]?.used === true;
}

/**
 * The migrations of the folder that are in place, as another tool's table has it.
 *
 * @throws InputError where the table is in doubt, or does not fit the folder.
 */
export function takenOver(other: OtherRecord, migrations: readonly Migration[]): readonly Migration[] {
  const fail = (problems: readonly string[]): never => {
    throw new InputError(
      `The record of ${describeOtherRecord(other)} cannot be taken over; nothing was changed:`,
      problems,
    );
  };
  const { table, names = [], version = "" } = other;
  if (!other.readable) {
    fail([
      `let the owner read it: GRANT SELECT ON ${table} TO the owner (and USAGE on its schema), as whoever owns it`,
    ]);
  }
  if (other.tool === "golang-migrate") {
    const index = migrations.findIndex(({ number }) => String(number) === version);
    if (other.dirty) {
      const previous = index < 0 ? "PREVIOUS" : migrations[index - 1]?.number;
      fail([
        `dirty means that version ${version} failed or was interrupted, and may be in place in part. Look at the database, ` +
          `and finish it or undo it by hand; then say which: migrate force ${version} (it is in place) or ` +
          `${previous === undefined ? `TRUNCATE ${table}` : `migrate force ${previous}`} (it is not); then run this again`,
      ]);
    }
    if (index < 0) {
      fail([
        `the folder has no migration of number ${version}: bring the files up to it along, with their numbers`,
      ]);
    }
    return migrations.slice(0, index + 1);
  }
  const files = new Set(migrations.map(({ name }) => name));
  const applied = new Set(names);
  const unknown = names.filter((name) => !files.has(name));
  const last = Math.max(...names.map(numberOf));
  const between = migrations.filter(({ name, number }) => number < last && !applied.has(name));
  if (unknown.length > 0 || between.length > 0) {
    fail([
      ...unknown.map(
        (name) =>
          `${name} is applied, and not in the folder: write ${name}.up.sql and ${name}.down.sql ` +
          "(node-pg-migrate prints a migration's SQL with --dry-run)",
      ),
      ...between.map(
        ({ name }) =>
          `${name} is in the folder, and not applied, but comes before the last one that is: ` +
          "apply it by node-pg-migrate first, or give it a number after the newest one",
      ),
    ]);
  }
  return migrations.filter(({ name }) => applied.has(name));
}
