/** A query of the exporter's file of queries, of which each column becomes a metric or a label. */
interface Query {
  readonly query: string;
  readonly metrics: readonly Readonly<Record<string, { usage: "GAUGE" | "LABEL"; description: string }>>[];
}

/** First part of the names of metrics that no collector of the exporter has. */
export const ownMetrics = "postgresql_environment";

export interface OwnQueriesArgs {
  /** PEM; undefined: no TLS. */
  readonly certificateExpires: Date | undefined;
  /** In seconds: how often a backup is taken, and a restore is tried. */
  readonly backupEvery: number;
  readonly drillEvery: number;
}

/**
 * What the exporter is to ask beside its own collectors: its file of queries (`--extend.query-path`), as JSON, which is
 * YAML too.
 *
 * The option is called deprecated since 0.13 of 2023, and is there in every version since, 0.20 included. What it is for
 * here has no collector, and no other way to Prometheus that would need less: no further program, port or file.
 */
export function ownQueries({ backupEvery, certificateExpires, drillEvery }: OwnQueriesArgs): string {
  const queries: Record<string, Query> = {
    ...(certificateExpires
      ? {
          // SQL can't see the server's certificate. The program that made it, or was given it, knows its end.
          [`${ownMetrics}_certificate`]: {
            query: `SELECT ${Math.floor(certificateExpires.getTime() / 1000)}::float8 AS expires_timestamp_seconds`,
            metrics: [gauge("expires_timestamp_seconds", "When the server's certificate ends")],
          },
        }
      : {}),
    [`${ownMetrics}_migrations`]: {
      query: fromTables(
        ["migrations.run"],
        `SELECT pending, failed::int AS failed, extract(epoch FROM started_at) AS started_timestamp_seconds
           FROM migrations.run`,
        ["pending", "failed", "started_timestamp_seconds"],
      ),
      metrics: [
        gauge("pending", "Migrations that the last run was to apply or revert, and has not"),
        gauge("failed", "Whether the last run failed"),
        gauge("started_timestamp_seconds", "When the last run began"),
      ],
    },
    [`${ownMetrics}_backup`]: {
      query: fromTables(
        ["backups.backup"],
        // 0: there is none yet.
        `SELECT coalesce(extract(epoch FROM max(ended) FILTER (WHERE ok)), 0) AS newest_timestamp_seconds,
                ${backupEvery} AS every_seconds
           FROM backups.backup`,
        ["newest_timestamp_seconds", "every_seconds"],
      ),
      metrics: [
        gauge("newest_timestamp_seconds", "When the newest backup was complete; 0: there is none"),
        gauge("every_seconds", "How often one is taken"),
      ],
    },
    [`${ownMetrics}_heartbeat`]: {
      query: fromTables(
        ["backups.heartbeat"],
        'SELECT extract(epoch FROM "at") AS timestamp_seconds FROM backups.heartbeat',
        ["timestamp_seconds"],
      ),
      metrics: [
        gauge("timestamp_seconds", "When the backup's container last wrote to the database, every minute"),
      ],
    },
    [`${ownMetrics}_drill`]: {
      query: fromTables(
        ["backups.drill"],
        `SELECT coalesce(extract(epoch FROM max(ended) FILTER (WHERE ok)), 0) AS success_timestamp_seconds,
                coalesce((SELECT newest.ok::int FROM backups.drill AS newest ORDER BY newest.started DESC LIMIT 1), 1) AS ok,
                ${drillEvery} AS every_seconds
           FROM backups.drill`,
        ["success_timestamp_seconds", "ok", "every_seconds"],
      ),
      metrics: [
        gauge("success_timestamp_seconds", "When a restore last succeeded in a drill; 0: never yet"),
        gauge("ok", "Whether the last drill succeeded"),
        gauge("every_seconds", "How often one is run"),
      ],
    },
  };
  return `${JSON.stringify(queries, null, 2)}\n`;
}

function gauge(name: string, description: string): Query["metrics"][number] {
  return { [name]: { usage: "GAUGE", description } };
}

/**
 * A query of tables that may not be there, or not be open to the monitor: it has no rows then, and no error, which would
 * count as a failed scrape. A query that names a missing table fails as a whole; as a text for `query_to_xml`, it is
 * looked at only where it is chosen.
 */
function fromTables(tables: readonly string[], select: string, columns: readonly string[]): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const readable = tables.map((table) => {
    const [schema = "", name = ""] = table.split(".");
    return `EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                     WHERE n.nspname = ${literal(schema)} AND c.relname = ${literal(name)}
                       AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))`;
  });
  return `SELECT * FROM xmltable('/table/row' PASSING query_to_xml(
      CASE WHEN ${readable.join(" AND ")} THEN ${literal(select.replace(/\s+/g, " "))} ELSE 'SELECT WHERE false' END,
      false, false, '')
    COLUMNS ${columns.map((column) => `${column} float8 PATH '${column}'`).join(", ")})`.replace(/\s+/g, " ");
}
