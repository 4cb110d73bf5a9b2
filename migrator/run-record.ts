import type { Client } from "pg";
import { recordTable, revokeDefaults } from "./record.ts";
import type { OwnedRun } from "./run-options.ts";
import { guarded, quote, recordSchema, sessionSetup } from "./session.ts";

const table = `${recordSchema}.run`;

/** Whether a database has it: a role reads it now, or did before. */
export async function hasRunRecord(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>("SELECT to_regclass($1) IS NOT NULL AS there", [
    table,
  ]);
  return rows[0]?.there === true;
}

/**
 * Tells monitoring how the last run went, in a table of one row: what it was to do is not done while `pending` is above
 * 0. Nothing else reads it, and a run that is killed leaves it as it stands.
 */
export class RunRecord {
  private readonly client: Client;
  private readonly options: OwnedRun;
  private readonly up: readonly string[];
  private readonly down: readonly string[];

  private constructor(client: Client, options: OwnedRun, up: readonly string[], down: readonly string[]) {
    this.client = client;
    this.options = options;
    this.up = up;
    this.down = down;
  }

  /**
   * @param up names of the migrations that are to be applied
   * @param down names of those that are to be reverted
   * @returns Undefined where no role is to read it (`options.monitor`), now or before.
   */
  static async begin(
    client: Client,
    options: OwnedRun,
    up: readonly string[],
    down: readonly string[],
  ): Promise<RunRecord | undefined> {
    const { monitor } = options;
    const record = new RunRecord(client, options, up, down);
    if (monitor === undefined && !(await hasRunRecord(client))) return undefined;
    await guarded(
      options,
      `the role "${monitor}" must exist, and "${options.owner}" own ${table}.`,
      async () => {
        if (monitor !== undefined) await record.open(monitor);
        await record.write(false);
        await client.query(`UPDATE ${table} SET started_at = clock_timestamp()`);
      },
    );
    return record;
  }

  succeeded(): Promise<void> {
    return this.write(false);
  }

  /** Never throws: what went wrong before is what counts. */
  async failed(): Promise<void> {
    try {
      // The script that failed may have left another role and other limits.
      await this.client.query(sessionSetup(this.options));
      await this.write(true);
    } catch {
      // The connection is lost, or the transaction still open: the row stays as it was when the run began.
    }
  }

  private async open(monitor: string): Promise<void> {
    const { rows } = await this.client.query<{ open: boolean }>(
      `SELECT coalesce(has_schema_privilege($1, n.oid, 'USAGE') AND has_table_privilege($1, c.oid, 'SELECT'), false) AS open
         FROM pg_catalog.pg_namespace AS n
         LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'run'
        WHERE n.nspname = $2`,
      [monitor, recordSchema],
    );
    if (rows[0]?.open) return;
    await this.client.query(`
      CREATE TABLE IF NOT EXISTS ${table} (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        pending integer NOT NULL,
        failed boolean NOT NULL
      );
      COMMENT ON TABLE ${table} IS 'How the last run of migrations went, for monitoring';
      ${revokeDefaults}
      GRANT USAGE ON SCHEMA ${recordSchema} TO ${quote(monitor)};
      GRANT SELECT ON ${table} TO ${quote(monitor)}`);
  }

  private async write(failed: boolean): Promise<void> {
    await this.client.query(
      `INSERT INTO ${table} (pending, failed)
         SELECT count(*) FILTER (WHERE (name = ANY ($1)) AND NOT there) + count(*) FILTER (WHERE (name = ANY ($2)) AND there), $3
           FROM (SELECT name, EXISTS (SELECT FROM ${recordSchema}.${recordTable} AS entry WHERE entry.name = planned.name) AS there
                   FROM unnest($1::text[] || $2::text[]) AS planned (name)) AS planned
       ON CONFLICT (single) DO UPDATE SET pending = excluded.pending, failed = excluded.failed`,
      [this.up, this.down, failed],
    );
  }
}
