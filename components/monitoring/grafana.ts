import { grafanaPort, prometheusPort } from "./prometheus.ts";

/** Where Grafana's image looks for its configuration and for what it is provisioned with. */
export const grafanaFolder = "/etc/grafana";
export const grafanaFiles = {
  configuration: `${grafanaFolder}/grafana.ini`,
  password: `${grafanaFolder}/admin-password`,
  dashboards: `${grafanaFolder}/dashboards`,
} as const;

export const grafanaUser = "admin";

/**
 * grafana.ini. Grafana itself reads the password from its file (`$__file`); it is asked for before anything is shown, and
 * nothing is fetched from, or told to, anyone outside.
 */
export const grafanaConfiguration = `[server]
http_port = ${grafanaPort}
[security]
admin_user = ${grafanaUser}
admin_password = $__file{${grafanaFiles.password}}
disable_gravatar = true
[users]
allow_sign_up = false
[auth.anonymous]
enabled = false
[analytics]
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false
[news]
news_feed_enabled = false
[plugins]
preinstall_disabled = true
[dashboards]
default_home_dashboard_path = ${grafanaFiles.dashboards}/postgresql.json
`;

/** The data source that the dashboards name. */
export const dataSourceUid = "prometheus";

/** By path below `provisioning`; JSON, which is YAML too. */
export const provisioning: Readonly<Record<string, string>> = {
  "datasources/prometheus.yml": json({
    apiVersion: 1,
    datasources: [
      {
        name: "Prometheus",
        uid: dataSourceUid,
        type: "prometheus",
        access: "proxy",
        url: `http://prometheus:${prometheusPort}`,
        isDefault: true,
        editable: false,
      },
    ],
  }),
  "dashboards/postgresql.yml": json({
    apiVersion: 1,
    providers: [
      {
        name: "postgresql-environment",
        type: "file",
        allowUiUpdates: false,
        options: { path: grafanaFiles.dashboards },
      },
    ],
  }),
};

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
