import { parse } from "yaml";
import { dashboardFiles, ruleFiles } from "../../components/monitoring/prometheus.ts";

/** A query of a rule or a dashboard, and where it stands. */
export interface MetricQuery {
  readonly place: string;
  readonly expression: string;
}

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

/** Every query that the project has. */
export function metricQueries(): MetricQuery[] {
  const ofRules = ruleFiles().flatMap(({ text }) =>
    (parse(text).groups as { rules: { alert?: string; record?: string; expr: string }[] }[]).flatMap(
      ({ rules }) =>
        rules.map(({ alert, expr, record }) => ({ place: alert ?? record ?? "", expression: expr })),
    ),
  );
  const ofDashboards = dashboardFiles().flatMap(({ name, text }) =>
    (JSON.parse(text).panels as Panel[]).flatMap(({ targets = [], title }) =>
      targets.map(({ expr }) => ({ place: `${name}: ${title}`, expression: expr })),
    ),
  );
  return [...ofRules, ...ofDashboards];
}

/** Names of the metrics in a PromQL expression: what begins like one of an exporter's. */
export function metricNames(expression: string): string[] {
  const withoutTexts = expression.replace(/"[^"]*"/g, '""');
  return [
    ...new Set(
      withoutTexts.match(
        /\b(?:pg|node|postgresql_environment)_[a-z0-9_]+|\bpostgresql:[a-z_]+|\bup\b|\bALERTS\b/g,
      ) ?? [],
    ),
  ];
}

/**
 * Metrics by other names in other versions, the first of which the stand-ins have: exporter before 0.18, between 0.18 and
 * 0.19, and since 0.20; PostgreSQL since 17, and before. A query that has one of a group has all of it.
 */
export const sameMetric: readonly (readonly string[])[] = [
  [
    "pg_stat_user_tables_size_bytes",
    "pg_stat_user_tables_table_size_bytes",
    "pg_stat_user_tables_index_size_bytes",
  ],
  ["pg_replication_slot_wal_status", "pg_replication_slots_wal_status"],
  ["pg_stat_checkpointer_num_requested_total", "pg_stat_bgwriter_checkpoints_req_total"],
  ["pg_stat_checkpointer_num_timed_total", "pg_stat_bgwriter_checkpoints_timed_total"],
];
