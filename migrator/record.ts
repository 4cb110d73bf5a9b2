import { hostname, userInfo } from "node:os";
import type { Client } from "pg";
import manifest from "../package.json" with { type: "json" };
import type { Migration } from "./files.ts";
import { guarded, quote, recordSchema, refusal, type SessionOptions } from "./session.ts";

/** The engine's table: it writes `name` and `run_on`, and deletes by `name`. */
export const recordTable = "applied";

const applied = `${recordSchema}.${recordTable}`;
const inProgress = `${recordSchema}.in_progress`;

/** A migration that is in place. Undefined: applied by a version that did not record it. */
export interface AppliedMigration {
  readonly name: string;
  readonly appliedAt: Date;
  readonly upChecksum: string | undefined;
  readonly downChecksum: string | undefined;
  /** Whether the down script is in the record. The script itself is read only when it is to run. */
  readonly hasDownScript: boolean;
  /** The login. */
  readonly appliedBy: string | undefined;
  /** `user@machine` where the runner ran. */
  readonly appliedFrom: string | undefined;
  /** In milliseconds. */
  readonly duration: number | undefined;
  /** The version of this tool. */
  readonly toolVersion: string | undefined;
}

/** A migration without a transaction that was begun, and of which it is not recorded that it was completed. */
export interface UnfinishedMigration {
  readonly name: string;
  readonly direction: "up" | "down";
  readonly startedAt: Date;
  readonly startedBy: string;
  readonly startedFrom: string;
  /** How many statements were completed for certain. */
  readonly statementsDone: number;
  /** The server's message; undefined: the run was killed, or the connection lost. */
  readonly error: string | undefined;
  /** What clean-up statements were due before it began: not of its making. */
  readonly leftoversBefore: readonly string[];
}

export interface MigrationsRecord {
  /** `none`: no table yet; `old`: a table that lacks columns of this version. */
  readonly state: "none" | "old" | "current";
  /** Whether the schema is there. */
  readonly hasSchema: boolean;
  /** In no particular order. */
  readonly applied: readonly AppliedMigration[];
  readonly unfinished: UnfinishedMigration | undefined;
}

/** The columns beside the engine's own. An older table gets those that it lacks. */
const ownColumns: Readonly<Record<string, { readonly type: string; readonly comment: string }>> = {
  up_checksum: { type: "text", comment: "SHA-256 of the up script without its whitespace" },
  down_checksum: { type: "text", comment: "SHA-256 of the down script without its whitespace" },
  down_script: {
    type: "text",
    comment: "The down script as it was when the migration was applied: the way back",
  },
  applied_by: { type: "text", comment: "The login that applied it" },
  applied_from: { type: "text", comment: "user@machine where the runner ran" },
  duration: { type: "interval", comment: "How long the up script ran" },
  tool_version: { type: "text", comment: "Version of the tool that applied it" },
};

/**
 * Reads the record, and changes nothing.
 *
 * @throws MigratorError where the record's schema belongs to another role.
 */
export async function readRecord(client: Client, options: SessionOptions): Promise<MigrationsRecord> {
  const { owner } = options;
  const { rows } = await client.query<{ own: boolean; columns: string[]; hasUnfinished: boolean }>(
    `SELECT pg_catalog.pg_has_role(namespace.nspowner, 'USAGE') AS own,
            ARRAY(SELECT attname::text
                    FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_class AS class ON class.oid = attrelid
                   WHERE relnamespace = namespace.oid AND relname = $1 AND attnum > 0 AND NOT attisdropped) AS columns,
            EXISTS (SELECT FROM pg_catalog.pg_class
                     WHERE relnamespace = namespace.oid AND relname = 'in_progress') AS "hasUnfinished"
       FROM pg_catalog.pg_namespace AS namespace WHERE nspname = $2`,
    [recordTable, recordSchema],
  );
  const [found] = rows;
  if (found && !found.own) {
    throw refusal(
      options,
      `the schema "${recordSchema}", where migrations are recorded, does not belong to "${owner}"`,
      `rename that schema, or let "${owner}" have it: ALTER SCHEMA ${recordSchema} OWNER TO ${quote(owner)}.`,
    );
  }
  const hasSchema = found !== undefined;
  if (!found || found.columns.length === 0) {
    return { state: "none", hasSchema, applied: [], unfinished: undefined };
  }
  return guarded(options, `"${owner}" must own the tables in ${recordSchema}.`, async () => {
    const current =
      found.hasUnfinished && Object.keys(ownColumns).every((name) => found.columns.includes(name));
    return {
      state: current ? ("current" as const) : ("old" as const),
      hasSchema,
      applied: await readApplied(client, found.columns),
      unfinished: found.hasUnfinished ? await readUnfinished(client) : undefined,
    };
  });
}

async function readApplied(client: Client, columns: readonly string[]): Promise<AppliedMigration[]> {
  const column = (name: string, expression = name) => (columns.includes(name) ? expression : "NULL");
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT name, run_on AS "appliedAt",
            ${column("up_checksum")} AS "upChecksum", ${column("down_checksum")} AS "downChecksum",
            ${column("down_script", "down_script IS NOT NULL")} AS "hasDownScript",
            ${column("applied_by")} AS "appliedBy", ${column("applied_from")} AS "appliedFrom",
            ${column("duration", "extract(epoch FROM duration)::float8 * 1000")} AS duration,
            ${column("tool_version")} AS "toolVersion"
       FROM ${applied}`,
  );
  return rows.map((row) => ({
    ...(withoutNulls(row) as unknown as AppliedMigration),
    hasDownScript: row.hasDownScript === true,
  }));
}

async function readUnfinished(client: Client): Promise<UnfinishedMigration | undefined> {
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT name, direction, started_at AS "startedAt", started_by AS "startedBy", started_from AS "startedFrom",
            statements_done AS "statementsDone", error, leftovers_before AS "leftoversBefore"
       FROM ${inProgress}`,
  );
  return rows[0] && (withoutNulls(rows[0]) as unknown as UnfinishedMigration);
}

function withoutNulls(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, value ?? undefined]));
}

/**
 * Makes the record where it is not there yet, or brings one of an earlier version up to date: adds columns, and
 * takes the checksums and down scripts that it lacks from the files. A migration that failed with nothing left of it
 * is forgotten.
 *
 * @returns How many entries were completed from the files.
 */
export async function prepareRecord(
  client: Client,
  options: SessionOptions,
  record: MigrationsRecord,
  migrations: readonly Migration[],
): Promise<number> {
  const { escapeLiteral } = (await import("pg")).default;
  const recorded = new Map(record.applied.map((entry) => [entry.name, entry]));
  const incomplete = migrations.filter(({ name }) => {
    const entry = recorded.get(name);
    return entry !== undefined && (entry.upChecksum === undefined || !entry.hasDownScript);
  });
  const statements = [
    ...(record.hasSchema ? [] : [createSchema]),
    ...(record.state === "none" ? [createTable] : []),
    ...(record.state === "current" ? [] : [completeTable(escapeLiteral)]),
    ...incomplete.map((migration) => `${recordFiles(migration, escapeLiteral)};`),
  ];
  if (record.unfinished) statements.push(`${forgetUnfinished};`);
  if (statements.length > 0) {
    // Several statements in one query are one transaction.
    await guarded(options, `"${options.owner}" must own the database, or have CREATE on it.`, () =>
      client.query(statements.join("\n")),
    );
  }
  return incomplete.length;
}

const createSchema = `
  CREATE SCHEMA ${recordSchema};
  COMMENT ON SCHEMA ${recordSchema} IS 'Record of the applied migrations';`;

// node-pg-migrate would make a table of its own, with a time of no time zone, and without UNIQUE.
const createTable = `
  CREATE TABLE ${applied} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    run_on timestamptz NOT NULL
  );
  COMMENT ON TABLE ${applied} IS
    'One row for each migration that is in place; written by the migration runner alone';`;

/** What default privileges for the owner's schemas and tables have given to others: this is no part of their data. */
export const revokeDefaults = `
  DO $$
  DECLARE
    grantee text;
  BEGIN
    FOR grantee IN
      SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
        FROM (SELECT nspacl, nspowner FROM pg_namespace WHERE nspname = '${recordSchema}'
              UNION ALL
              SELECT relacl, relowner FROM pg_class WHERE relnamespace = '${recordSchema}'::regnamespace) AS object (acl, owner),
             aclexplode(object.acl) AS acl
       WHERE acl.grantee <> object.owner
    LOOP
      EXECUTE 'REVOKE ALL ON SCHEMA ${recordSchema} FROM ' || grantee;
      EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA ${recordSchema} FROM ' || grantee;
      EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA ${recordSchema} FROM ' || grantee;
    END LOOP;
  END $$;`;

function completeTable(escapeLiteral: (text: string) => string): string {
  const columns = Object.entries(ownColumns);
  return `
  ALTER TABLE ${applied}
    ${columns.map(([name, { type }]) => `ADD COLUMN IF NOT EXISTS ${name} ${type}`).join(",\n    ")};
  ${columns.map(([name, { comment }]) => `COMMENT ON COLUMN ${applied}.${name} IS ${escapeLiteral(comment)};`).join("\n  ")}
  CREATE TABLE IF NOT EXISTS ${inProgress} (
    -- One row at most: the lock lets one run in at a time.
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    name text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('up', 'down')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by text NOT NULL DEFAULT session_user,
    started_from text NOT NULL,
    statements_done integer NOT NULL DEFAULT 0,
    error text,
    leftovers_before text[] NOT NULL
  );
  COMMENT ON TABLE ${inProgress} IS
    'The migration without a transaction that is being run, or was left in doubt; empty at rest';
  ${revokeDefaults}`;
}

let here: string | undefined;

/** `user@machine`, for the record. */
export function whereFrom(): string {
  here ??= `${userName()}@${hostname()}`;
  return here;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number that has no name.
    return String(process.getuid?.() ?? "unknown");
  }
}

/**
 * Completes the engine's entry of a migration, in the same transaction. In SQL text, so that it needs no round trip
 * of its own.
 *
 * @param duration In milliseconds.
 */
export function completeEntry(
  migration: Migration,
  duration: number | undefined,
  escapeLiteral: (text: string) => string,
): string {
  const values: Record<string, string> = {
    up_checksum: escapeLiteral(migration.up.checksum),
    down_checksum: escapeLiteral(migration.down.checksum),
    down_script: escapeLiteral(migration.down.sql),
    applied_by: "session_user",
    applied_from: escapeLiteral(whereFrom()),
    duration: duration === undefined ? "NULL" : `make_interval(secs => ${duration / 1_000})`,
    tool_version: escapeLiteral(manifest.version),
  };
  const assignments = Object.entries(values).map(([column, value]) => `${column} = ${value}`);
  return `UPDATE ${applied} SET ${assignments.join(", ")} WHERE name = ${escapeLiteral(migration.name)}`;
}

/** The down scripts as they were when the migrations were applied, by name. */
export async function readDownScripts(
  client: Client,
  names: readonly string[],
): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; script: string }>(
    `SELECT name, down_script AS script FROM ${applied} WHERE name = ANY ($1) AND down_script IS NOT NULL`,
    [names],
  );
  return new Map(rows.map(({ name, script }) => [name, script]));
}

/** Recorded before a migration without a transaction starts. */
export async function recordStart(
  client: Client,
  entry: Pick<UnfinishedMigration, "name" | "direction" | "leftoversBefore">,
): Promise<void> {
  await client.query(
    `INSERT INTO ${inProgress} (name, direction, started_from, leftovers_before) VALUES ($1, $2, $3, $4)
     ON CONFLICT (single) DO UPDATE SET name = $1, direction = $2, started_from = $3, leftovers_before = $4, statements_done = 0,
       started_at = DEFAULT, started_by = DEFAULT, error = NULL`,
    [entry.name, entry.direction, whereFrom(), entry.leftoversBefore],
  );
}

export async function recordProgress(client: Client, statementsDone: number): Promise<void> {
  await client.query(`UPDATE ${inProgress} SET statements_done = $1`, [statementsDone]);
}

export async function recordError(client: Client, message: string): Promise<void> {
  await client.query(`UPDATE ${inProgress} SET error = $1`, [message]);
}

/**
 * Records what a person has decided about one migration.
 *
 * @param entry `recorded`: whether it has an entry, which keeps its time and its author.
 */
export async function settleEntry(
  client: Client,
  entry: {
    readonly name: string;
    readonly status: "applied" | "reverted";
    readonly migration: Migration | undefined;
    readonly recorded: boolean;
  },
): Promise<void> {
  const { escapeLiteral } = (await import("pg")).default;
  const { migration, name, recorded, status } = entry;
  const literal = escapeLiteral(name);
  const statements = [
    `DELETE FROM ${inProgress} WHERE name = ${literal}`,
    ...(status === "reverted" ? [`DELETE FROM ${applied} WHERE name = ${literal}`] : []),
    ...(status === "applied" && !recorded
      ? [`INSERT INTO ${applied} (name, run_on) VALUES (${literal}, now())`]
      : []),
    ...(status === "applied" && migration
      ? [
          recorded
            ? recordFiles(migration, escapeLiteral)
            : completeEntry(migration, undefined, escapeLiteral),
        ]
      : []),
  ];
  // One query, one transaction.
  await client.query(statements.join("; "));
}

/** Records migrations that are in place although no script of theirs was run here; part of the caller's transaction. */
export async function recordAsApplied(client: Client, migrations: readonly Migration[]): Promise<void> {
  const { escapeLiteral } = (await import("pg")).default;
  const statements = migrations.flatMap((migration) => [
    `INSERT INTO ${applied} (name, run_on) VALUES (${escapeLiteral(migration.name)}, now())`,
    completeEntry(migration, undefined, escapeLiteral),
  ]);
  await client.query(statements.join("; "));
}

function recordFiles({ down, name, up }: Migration, escapeLiteral: (text: string) => string): string {
  const [upChecksum, downChecksum, script] = [up.checksum, down.checksum, down.sql].map(escapeLiteral);
  return `UPDATE ${applied} SET up_checksum = ${upChecksum}, down_checksum = ${downChecksum}, down_script = ${script}
           WHERE name = ${escapeLiteral(name)}`;
}

/** Part of the transaction that records what a migration without one has come to. */
export const forgetUnfinished = `DELETE FROM ${inProgress}`;
