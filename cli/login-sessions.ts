import pg from "pg";
import type { StackOutputs } from "./stack-outputs.ts";

/** Who uses a login at the moment. */
export interface LoginSessions {
  readonly login: string;
  /** By application and address, the most sessions first. */
  readonly groups: readonly {
    readonly application: string;
    readonly address: string;
    readonly count: number;
    /** ISO 8601, of the newest. */
    readonly newest: string;
  }[];
}

/** Asks as the monitor, who sees everybody's sessions. */
export async function readSessions(outputs: StackOutputs, login: string): Promise<LoginSessions> {
  const { monitor } = outputs.connections;
  const { ca } = outputs.tls;
  const client = new pg.Client({
    host: monitor.host.host,
    port: monitor.host.port,
    user: monitor.username,
    password: monitor.password,
    database: monitor.database,
    ssl: ca === undefined ? false : { ca },
    application_name: "db rotate",
    connectionTimeoutMillis: 10_000,
    query_timeout: 10_000,
  });
  try {
    await client.connect();
    const { rows } = await client.query(
      `SELECT coalesce(nullif(application_name, ''), '(no name)') AS application,
              coalesce(host(client_addr), 'socket') AS address, count(*)::int AS count,
              to_char(max(backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS newest
         FROM pg_stat_activity WHERE usename = $1 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2`,
      [login],
    );
    return { login, groups: rows };
  } finally {
    await client.end();
  }
}

export function formatSessions({ groups, login }: LoginSessions): string {
  if (groups.length === 0) return `No session uses ${login}.`;
  const total = groups.reduce((sum, { count }) => sum + count, 0);
  return [
    `${total === 1 ? "1 session uses" : `${total} sessions use`} ${login}:`,
    ...groups.map(
      ({ address, application, count, newest }) =>
        `  ${count} of ${application} from ${address}, the newest since ${newest}`,
    ),
  ].join("\n");
}
