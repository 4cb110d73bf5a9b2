/**
 * Images of the programs that watch an environment. Alert rules and dashboards fit the PostgreSQL exporter from 0.17 to
 * 0.20, which has changed the names of some metrics on the way, and Prometheus from 2.53 on.
 *
 * Not declared in Pulumi.yaml, like the other settings of monitoring: each of them is refused where nothing uses it, and a
 * declared default is there in every stack.
 */
export const monitoringImages = {
  exporter: "quay.io/prometheuscommunity/postgres-exporter:v0.19.1",
  nodeExporter: "quay.io/prometheus/node-exporter:v1.9.1",
  prometheus: "quay.io/prometheus/prometheus:v3.5.3",
  grafana: "grafana/grafana:12.4.2",
} as const;

/** An age and a size, as the settings take them. */
export const prometheusLimits = { retention: "30d", size: "5GB" } as const;
