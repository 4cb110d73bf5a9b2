import { describe, expect, it } from "vitest";
import { z } from "zod";
import { exporterEnvironment } from "../../components/monitoring/exporters.ts";
import { dataSourceUid, grafanaFiles } from "../../components/monitoring/grafana.ts";
import { dashboardFiles, prometheusConfiguration } from "../../components/monitoring/prometheus.ts";
import { ownQueries } from "../../components/monitoring/queries.ts";
import { metricNames, metricQueries, sameMetric } from "../support/metric-names.ts";

/**
 * What Grafana's own description of dashboards (kinds/dashboard/dashboard_kind.cue in its repository) says of the parts in
 * use. Strict: a key that is misspelt would be ignored there without a word.
 */
const dataSource = z.strictObject({ type: z.literal("prometheus"), uid: z.literal(dataSourceUid) });
const gridPos = z.strictObject({
  x: z.int().min(0).max(23),
  y: z.int().min(0),
  w: z.int().min(1).max(24),
  h: z.int().min(1),
});
const row = z.strictObject({
  id: z.int().positive(),
  type: z.literal("row"),
  title: z.string().min(1),
  collapsed: z.boolean(),
  gridPos,
  panels: z.array(z.never()),
});
const panel = z.strictObject({
  id: z.int().positive(),
  type: z.enum(["stat", "timeseries"]),
  title: z.string().min(1),
  description: z.string().min(1),
  datasource: dataSource,
  gridPos,
  targets: z
    .array(
      z.strictObject({
        refId: z.string().regex(/^[A-Z]$/),
        datasource: dataSource,
        expr: z.string().min(1),
        legendFormat: z.string(),
        instant: z.boolean().optional(),
      }),
    )
    .min(1),
  fieldConfig: z.strictObject({
    defaults: z.strictObject({
      unit: z.enum(["none", "s", "ops", "bytes", "Bps", "percentunit"]),
      min: z.number().optional(),
      max: z.number().optional(),
      mappings: z
        .array(
          z.strictObject({
            type: z.literal("value"),
            options: z.record(z.string(), z.strictObject({ text: z.string(), index: z.int() })),
          }),
        )
        .optional(),
      thresholds: z
        .strictObject({
          mode: z.enum(["absolute", "percentage"]),
          // The first value is null: everything from -Infinity.
          steps: z.tuple(
            [z.strictObject({ color: z.string(), value: z.null() })],
            z.strictObject({ color: z.string(), value: z.number() }),
          ),
        })
        .optional(),
    }),
    overrides: z.array(z.never()),
  }),
  options: z.union([
    z.strictObject({
      reduceOptions: z.strictObject({
        calcs: z.tuple([z.literal("lastNotNull")]),
        fields: z.string(),
        values: z.boolean(),
      }),
      colorMode: z.enum(["none", "value", "background"]),
      graphMode: z.enum(["none", "area"]),
      textMode: z.enum(["auto", "value", "value_and_name", "name", "none"]),
      orientation: z.enum(["auto", "vertical", "horizontal"]),
      justifyMode: z.enum(["auto", "center"]),
    }),
    z.strictObject({
      legend: z.strictObject({
        displayMode: z.enum(["list", "table", "hidden"]),
        placement: z.enum(["bottom", "right"]),
        showLegend: z.boolean(),
      }),
      tooltip: z.strictObject({
        mode: z.enum(["single", "multi", "none"]),
        sort: z.enum(["none", "asc", "desc"]),
      }),
    }),
  ]),
});
const variable = z.strictObject({
  type: z.literal("query"),
  name: z.string(),
  label: z.string(),
  datasource: dataSource,
  query: z.strictObject({ query: z.string(), refId: z.string() }),
  definition: z.string(),
  refresh: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  includeAll: z.boolean(),
  multi: z.boolean(),
  sort: z.int().min(0).max(8),
  hide: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  current: z.strictObject({ text: z.array(z.string()), value: z.array(z.string()) }),
  allValue: z.string(),
});
const dashboard = z.strictObject({
  uid: z.string().min(8).max(40),
  title: z.string().min(1),
  description: z.string(),
  tags: z.array(z.string()),
  schemaVersion: z.int().min(36),
  version: z.int().min(1),
  editable: z.boolean(),
  graphTooltip: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  refresh: z.string(),
  timezone: z.enum(["browser", "utc"]),
  time: z.strictObject({ from: z.string(), to: z.string() }),
  annotations: z.strictObject({ list: z.array(z.never()) }),
  links: z.array(z.never()),
  templating: z.strictObject({ list: z.array(variable) }),
  panels: z.array(z.union([row, panel])),
});

describe.each(dashboardFiles())("the dashboard $name", ({ text }) => {
  const board = dashboard.parse(JSON.parse(text));

  it("has a number of its own for each panel", () => {
    const ids = board.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("puts no panel over another, and none beyond the edge", () => {
    const taken = new Set<string>();
    for (const { gridPos: at, title } of board.panels) {
      expect(at.x + at.w).toBeLessThanOrEqual(24);
      for (let x = at.x; x < at.x + at.w; x += 1) {
        for (let y = at.y; y < at.y + at.h; y += 1) {
          expect(taken.has(`${x},${y}`), `${title} covers another at ${x},${y}`).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
  });

  it("asks for the chosen environments alone", () => {
    for (const each of board.panels) {
      for (const { expr } of "targets" in each ? each.targets : []) {
        expect(expr).toContain('project=~"$project",stack=~"$stack"');
      }
    }
  });
});

it("Grafana's home page is a dashboard that there is", () => {
  expect(dashboardFiles().map(({ name }) => name)).toContain("postgresql.json");
  expect(grafanaFiles.dashboards).toBe("/etc/grafana/dashboards");
});

describe("a query of a rule or a dashboard", () => {
  it("has a metric that has other names in other versions by all of them", () => {
    for (const { expression, place } of metricQueries()) {
      const names = metricNames(expression);
      for (const group of sameMetric) {
        if (group.some((name) => names.includes(name))) {
          expect(names, place).toEqual(expect.arrayContaining([...group]));
        }
      }
    }
  });

  it("knows a metric from a function, a label and a text", () => {
    expect(
      metricNames(
        'sum by (stack) (rate(pg_a_total{b="pg_not"}[5m])) / on (stack) up{job="node"} or postgresql:c',
      ),
    ).toEqual(["pg_a_total", "up", "postgresql:c"]);
  });
});

describe("the exporter's connection", () => {
  const options = { user: "shop_monitor", host: "postgres", port: 5432, tls: true, ownCertificate: false };

  it("is a part of a URL: every name of a database can be in it", () => {
    expect(exporterEnvironment({ ...options, database: "Shop & «Söhne»/1" })[0]).toMatch(
      /^DATA_SOURCE_URI=postgres:5432\/Shop%20%26%20%C2%ABS%C3%B6hne%C2%BB%2F1\?/,
    );
  });

  it("is in the clear only where the server has no TLS", () => {
    expect(exporterEnvironment({ ...options, database: "shop", tls: false })[0]).toContain("sslmode=disable");
  });
});

describe("the exporter's file of queries", () => {
  const every = { backupEvery: 86_400, drillEvery: 86_400 };

  it("says nothing of a certificate that there is not", () => {
    expect(Object.keys(JSON.parse(ownQueries({ ...every, certificateExpires: undefined })))).toEqual([
      "postgresql_environment_migrations",
      "postgresql_environment_backup",
      "postgresql_environment_heartbeat",
      "postgresql_environment_drill",
    ]);
  });

  it("names each metric that its queries give", () => {
    const queries = JSON.parse(ownQueries({ ...every, certificateExpires: new Date(0) }));
    for (const { metrics, query } of Object.values(queries) as { metrics: object[]; query: string }[]) {
      for (const name of metrics.flatMap((metric) => Object.keys(metric))) expect(query).toContain(name);
    }
  });
});

it("Prometheus' Alertmanager may have a path, and is addressed by its scheme", () => {
  const labels = { project: "shop", stack: "production" };
  const alerting = (alertmanager: string) =>
    JSON.parse(prometheusConfiguration({ labels, alertmanager })).alerting.alertmanagers[0];
  expect(alerting("http://am:9093")).toEqual({ scheme: "http", static_configs: [{ targets: ["am:9093"] }] });
  expect(alerting("https://am/x")).toMatchObject({ scheme: "https", path_prefix: "/x" });
});
