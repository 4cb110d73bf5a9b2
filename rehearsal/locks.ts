import type { Client } from "pg";
import { recordSchema } from "../migrator/session.ts";
import { isStronger, type LockMode, lockModes, modeOf } from "../review/locks.ts";

/** A lock on a table that was there before the script. */
export interface TakenLock {
  /** With its schema, quoted where SQL needs it. */
  readonly table: string;
  /** The strongest that the script took. */
  readonly mode: LockMode;
  /** Whether the table has new files: all of it was written anew, or emptied. */
  readonly rewritten: boolean;
}

interface ExistingTable {
  readonly oid: number;
  readonly table: string;
  readonly file: number | null;
}

/** The tables and materialized views that a script may lock. */
export async function readTables(superuser: Client): Promise<ExistingTable[]> {
  const { rows } = await superuser.query<ExistingTable>(
    `SELECT class.oid, format('%I.%I', nspname, relname) AS table, pg_relation_filenode(class.oid) AS file
       FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
      WHERE relkind IN ('r', 'p', 'm', 'f') AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', $1)`,
    [recordSchema],
  );
  return rows;
}

/**
 * The locks that a session has on such tables. A transaction keeps its locks to its end, so at its end they are all
 * that it has taken.
 */
export async function readLocks(session: Client, tables: readonly ExistingTable[]): Promise<TakenLock[]> {
  const { rows } = await session.query<{ oid: number; file: number | null; modes: string[] }>(
    `SELECT relation AS oid, pg_catalog.pg_relation_filenode(relation) AS file, pg_catalog.array_agg(mode) AS modes
       FROM pg_catalog.pg_locks
      WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      GROUP BY relation`,
  );
  const existing = new Map(tables.map((table) => [table.oid, table]));
  return rows
    .flatMap(({ oid, file, modes: held }) => {
      const known = existing.get(oid);
      // A dropped table has no file any more, which is another matter.
      return known
        ? [{ table: known.table, mode: strongest(held), rewritten: file !== null && file !== known.file }]
        : [];
    })
    .toSorted(
      (a, b) => lockModes.indexOf(b.mode) - lockModes.indexOf(a.mode) || (a.table < b.table ? -1 : 1),
    );
}

/** @param held In pg_locks' words. */
function strongest(held: readonly string[]): LockMode {
  return held
    .map(modeOf)
    .reduce((strongest, mode) => (isStronger(mode, strongest) ? mode : strongest), "ACCESS SHARE");
}
