import type { Client } from "pg";

/** Something that a statement which failed outside a transaction leaves in the catalogue. */
export interface Leftover {
  /** For a person: «invalid index app.account_email». */
  readonly what: string;
  /** The statement that takes it away. */
  readonly cleanUp: string;
}

/**
 * Finds what CREATE INDEX, REINDEX and DETACH PARTITION leave behind when they fail while CONCURRENTLY (manual,
 * «Building Indexes Concurrently»): invalid indexes, and partitions that are half detached. Only those that the
 * session's role may clean up. The invalid index of a partitioned table itself waits for its parts: it is none.
 */
export async function findLeftovers(client: Client): Promise<Leftover[]> {
  const { rows } = await client.query<Leftover>(
    `SELECT format('invalid index %I.%I', nspname, relname) AS what,
            format('DROP INDEX CONCURRENTLY %I.%I;', nspname, relname) AS "cleanUp"
       FROM pg_catalog.pg_index
       JOIN pg_catalog.pg_class AS class ON class.oid = indexrelid
       JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
      WHERE NOT indisvalid AND relkind = 'i' AND pg_catalog.pg_has_role(relowner, 'USAGE')
     UNION ALL
     SELECT format('half detached partition %I.%I', child_schema.nspname, child.relname),
            format('ALTER TABLE %I.%I DETACH PARTITION %I.%I FINALIZE;',
                   parent_schema.nspname, parent.relname, child_schema.nspname, child.relname)
       FROM pg_catalog.pg_inherits
       JOIN pg_catalog.pg_class AS parent ON parent.oid = inhparent
       JOIN pg_catalog.pg_namespace AS parent_schema ON parent_schema.oid = parent.relnamespace
       JOIN pg_catalog.pg_class AS child ON child.oid = inhrelid
       JOIN pg_catalog.pg_namespace AS child_schema ON child_schema.oid = child.relnamespace
      WHERE inhdetachpending AND pg_catalog.pg_has_role(parent.relowner, 'USAGE')
      ORDER BY 1`,
  );
  return rows;
}
