import pg from "pg";
import { isHealthCheck } from "../reset/names.ts";
import type { StackOutputs } from "./stack-outputs.ts";

/** What a server says of itself. Sizes are bytes, times milliseconds. */
export interface ServerReport {
  readonly version: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly databaseSize: number;
  readonly connections: {
    readonly used: number;
    readonly max: number;
    /** Of clients, the most first. The one that asks is left out, and so is the health check. */
    readonly sessions: readonly { readonly role: string; readonly state: string; readonly count: number }[];
  };
  /** The open transaction that began first. */
  readonly longestTransaction:
    | {
        readonly role: string;
        readonly state: string;
        readonly milliseconds: number;
        readonly pid: number;
        readonly query: string;
      }
    | undefined;
  readonly slowQueries: SlowQueries;
}

export type SlowQueries =
  | {
      readonly available: true;
      /** By total time, the most first. */
      readonly statements: readonly {
        readonly calls: number;
        readonly total: number;
        readonly mean: number;
        readonly rows: number;
        readonly role: string;
        readonly query: string;
      }[];
    }
  | {
      readonly available: false;
      readonly reason: string;
      readonly preloaded: boolean;
      readonly installed: boolean;
    };

const answerTime = 10_000;
/** Statements that are shown. */
const slowest = 5;

/** Asks as the monitor, who reads statistics and settings, and no rows. */
export async function readServerReport(outputs: StackOutputs): Promise<ServerReport> {
  const client = monitorClient(outputs);
  try {
    await client.connect();
    const [facts] = (await client.query(factsSql)).rows;
    const sessions = (await client.query(sessionsSql)).rows;
    const [oldest] = (await client.query(oldestSql)).rows;
    return {
      version: facts.version,
      startedAt: facts.started_at.toISOString(),
      databaseSize: Number(facts.size),
      connections: { used: facts.used, max: Number(facts.max), sessions },
      longestTransaction: oldest,
      slowQueries: await readSlowQueries(client, outputs.connections.app.database),
    };
  } finally {
    await client.end().catch(() => {});
  }
}

/** The caller connects it, and ends it. */
export function monitorClient(outputs: Pick<StackOutputs, "connections" | "tls">): pg.Client {
  const { monitor } = outputs.connections;
  const { ca } = outputs.tls;
  return new pg.Client({
    host: monitor.host.host,
    port: monitor.host.port,
    user: monitor.username,
    password: monitor.password,
    database: monitor.database,
    ssl: ca === undefined ? false : { ca },
    application_name: "db status",
    connectionTimeoutMillis: answerTime,
    query_timeout: answerTime,
  });
}

const factsSql = `
  SELECT current_setting('server_version') AS version,
         pg_postmaster_start_time() AS started_at,
         pg_database_size(current_database()) AS size,
         current_setting('max_connections') AS max,
         (SELECT count(*)::int FROM pg_stat_activity
           WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS used`;

const sessionsSql = `
  SELECT coalesce(usename, '?') AS role, coalesce(state, '?') AS state, count(*)::int AS count
    FROM pg_stat_activity
   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND NOT ${isHealthCheck}
   GROUP BY 1, 2 ORDER BY count DESC, 1, 2`;

const oldestSql = `
  SELECT usename AS role, state, pid, query,
         round(extract(epoch FROM clock_timestamp() - xact_start) * 1000)::float8 AS milliseconds
    FROM pg_stat_activity
   WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
     AND NOT ${isHealthCheck}
   ORDER BY xact_start LIMIT 1`;

async function readSlowQueries(client: pg.Client, database: string): Promise<SlowQueries> {
  const [state] = (
    await client.query(
      `SELECT 'pg_stat_statements' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ','))
                AS preloaded,
              (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                WHERE e.extname = 'pg_stat_statements') AS schema`,
    )
  ).rows as [{ preloaded: boolean; schema: string | null }];
  const { preloaded, schema } = state;
  const missing = { available: false, preloaded, installed: schema !== null } as const;
  if (!preloaded) return { ...missing, reason: "the server has not loaded pg_stat_statements" };
  if (schema === null) return { ...missing, reason: "the database has no extension pg_stat_statements" };
  try {
    const { rows } = await client.query(
      `SELECT s.calls::float8 AS calls, s.total_exec_time AS total, s.mean_exec_time AS mean, s.rows::float8 AS rows,
              coalesce(r.rolname, '?') AS role, s.query
         FROM ${pg.escapeIdentifier(schema)}.pg_stat_statements s
         JOIN pg_database d ON d.oid = s.dbid LEFT JOIN pg_roles r ON r.oid = s.userid
        WHERE d.datname = $1 ORDER BY s.total_exec_time DESC LIMIT ${slowest}`,
      [database],
    );
    return { available: true, statements: rows };
  } catch (error) {
    return { ...missing, reason: (error as Error).message };
  }
}
