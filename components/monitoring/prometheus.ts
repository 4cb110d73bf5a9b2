import { readdirSync, readFileSync } from "node:fs";
import { exporterPort, nodeExporterPort } from "./exporters.ts";

export const prometheusPort = 9090;
export const grafanaPort = 3000;

export const prometheusFolder = "/etc/prometheus";

/** Seconds between two looks at a target, and between two evaluations of the rules. */
const interval = 15;

/** Both stand on every metric and alert: one Prometheus or Alertmanager may have several environments. */
export interface EnvironmentLabels {
  readonly project: string;
  readonly stack: string;
}

/**
 * Prometheus' configuration, as JSON, which is YAML too.
 * @param alertmanager http or https address
 */
export function prometheusConfiguration(options: {
  labels: EnvironmentLabels;
  alertmanager: string | undefined;
}): string {
  const { alertmanager, labels } = options;
  const job = (name: string, target: string) => ({
    job_name: name,
    static_configs: [{ targets: [target], labels }],
  });
  const configuration = {
    global: { scrape_interval: `${interval}s`, evaluation_interval: `${interval}s` },
    rule_files: [`${prometheusFolder}/rules/*.yml`],
    scrape_configs: [
      job("postgresql", `exporter:${exporterPort}`),
      job("node", `node-exporter:${nodeExporterPort}`),
      job("prometheus", `localhost:${prometheusPort}`),
    ],
    ...(alertmanager === undefined ? {} : { alerting: { alertmanagers: [alertmanagerOf(alertmanager)] } }),
  };
  return `${JSON.stringify(configuration, null, 2)}\n`;
}

function alertmanagerOf(address: string): object {
  const { host, pathname, protocol } = new URL(address);
  return {
    scheme: protocol.replace(":", ""),
    ...(pathname === "/" ? {} : { path_prefix: pathname }),
    static_configs: [{ targets: [host] }],
  };
}

export function prometheusCommand(options: { retention: number; size: number }): string[] {
  return [
    `--web.listen-address=:${prometheusPort}`,
    `--config.file=${prometheusFolder}/prometheus.yml`,
    "--storage.tsdb.path=/prometheus",
    `--storage.tsdb.retention.time=${options.retention}s`,
    `--storage.tsdb.retention.size=${options.size}B`,
  ];
}

/** The files of alert rules, by name. */
export function ruleFiles(): { name: string; text: string }[] {
  return filesOf("rules", ".yml");
}

/** Grafana's dashboards, by file name. */
export function dashboardFiles(): { name: string; text: string }[] {
  return filesOf("dashboards", ".json");
}

function filesOf(folder: string, ending: string): { name: string; text: string }[] {
  const place = new URL(`${folder}/`, import.meta.url);
  return readdirSync(place)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => ({ name, text: readFileSync(new URL(name, place), "utf8") }));
}
