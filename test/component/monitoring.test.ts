import { X509Certificate } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { mockEngine, type Registered, resolved } from "../support/mocks.ts";

const registered: Registered[] = await mockEngine("postgres-environments", "test");
const { PostgresEnvironment } = await import("../../components/postgres-environment.ts");
const { planMigrations } = await import("../../components/migrations/planned-migrations.ts");
const { parseSettings } = await import("../../components/settings.ts");

interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: string[];
  readonly envs?: string[];
  readonly ports?: object[];
  readonly volumes?: object[];
  readonly uploads: { file: string; content: string; permissions: string }[];
  readonly [key: string]: unknown;
}

async function environment(name: string, values: Record<string, string>) {
  const result = parseSettings(
    Object.fromEntries(
      Object.entries(values).map(([key, text]) => [
        key,
        { text, secret: key.endsWith("Password") || key === "tlsKey" },
      ]),
    ),
    pulumi.secret,
  );
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  const start = registered.length;
  const component = new PostgresEnvironment(name, {
    settings: result.settings,
    migrations: await planMigrations(result.settings),
    data: { generation: 0, restored: undefined, pending: false, adopt: false },
  });
  await resolved(component.migrations);
  // Registered when everything that it waits for is.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const all = registered.slice(start);
  const containers = new Map(
    all
      .filter(({ type }) => type.endsWith(":Container"))
      .map(({ inputs }) => [
        String(inputs.name).replace("postgres-environments-test-", ""),
        inputs as unknown as Container,
      ]),
  );
  return { component, all, containers };
}

/** The text of an uploaded file; a secret is unpacked. */
function uploaded(container: Container | undefined, file: string): string {
  const { uploads } = (container ?? {}) as { uploads: unknown };
  const list = (
    Array.isArray(uploads) ? uploads : (uploads as { value: unknown }).value
  ) as Container["uploads"];
  const found = list.find((upload) => upload.file === file);
  if (!found) throw new Error(`${file} is not among ${list.map((upload) => upload.file)}`);
  const content = found.content as unknown as string | { value: string };
  return typeof content === "string" ? content : content.value;
}

const production = { profile: "production", appName: "shop", port: "6432" };

describe("a production environment that says nothing of monitoring", () => {
  let containers: Map<string, Container>;
  let all: Registered[];
  let component: InstanceType<typeof PostgresEnvironment>;
  beforeAll(async () => {
    ({ all, component, containers } = await environment("default", production));
  });

  it("has two exporters beside its server and its backups, and no volume of theirs", () => {
    expect([...containers.keys()].sort()).toEqual([
      "backup",
      "drill",
      "exporter",
      "node-exporter",
      "postgres",
    ]);
    const volumes = all.filter(({ type }) => type.endsWith(":Volume")).map(({ inputs }) => inputs.name);
    expect(volumes.map((name) => String(name).split("-").at(-1)).sort()).toEqual([
      "backups",
      "data",
      "drill",
    ]);
  });

  it("publishes neither of them, and reaches them in its network", () => {
    for (const role of ["exporter", "node-exporter"]) {
      expect(containers.get(role)).not.toHaveProperty("ports");
      expect(containers.get(role)).toMatchObject({
        networksAdvanced: [{ name: "postgres-environments-test-network", aliases: [role] }],
      });
    }
    expect(component.monitoring?.addresses).toEqual({
      exporter: { network: "http://exporter:9187", host: undefined },
      nodeExporter: { network: "http://node-exporter:9100", host: undefined },
    });
  });

  it("limits them, starts them again, and leaves them no rights that they don't need", () => {
    for (const role of ["exporter", "node-exporter"]) {
      const { memory, memorySwap } = containers.get(role) as { memory?: number; memorySwap?: number };
      expect(memory).toBeGreaterThan(0);
      expect(memorySwap).toBe(memory);
      expect(containers.get(role)).toMatchObject({
        restart: "unless-stopped",
        capabilities: { drops: ["ALL"] },
        securityOpts: ["no-new-privileges:true"],
        logOpts: { "max-size": "10m", "max-file": "3" },
      });
    }
  });

  it("connects as the monitor over verified TLS, its password in a file alone", () => {
    const exporter = containers.get("exporter");
    expect(exporter?.envs).toEqual([
      "DATA_SOURCE_URI=postgres:5432/shop?application_name=exporter&connect_timeout=5&sslmode=verify-full&sslrootcert=%2Fopt%2Fpostgresql-environment%2Fca.crt",
      "DATA_SOURCE_USER=shop_monitor",
      "DATA_SOURCE_PASS_FILE=/opt/postgresql-environment/password",
    ]);
    expect(uploaded(exporter, "/opt/postgresql-environment/password")).toBe("generated-password");
    expect(JSON.stringify([exporter?.envs, exporter?.command, exporter?.labels])).not.toContain(
      "generated-password",
    );
    expect(uploaded(exporter, "/opt/postgresql-environment/ca.crt")).toBe("certificate");
  });

  it("looks at the disks of data and backups without a right to write", () => {
    expect(containers.get("node-exporter")?.volumes).toEqual([
      { volumeName: "postgres-environments-test-data", containerPath: "/volumes/data", readOnly: true },
      { volumeName: "postgres-environments-test-backups", containerPath: "/volumes/backups", readOnly: true },
    ]);
  });

  it("lets the monitor read how the last run of migrations went", () => {
    const run = all.find(({ inputs }) => inputs.create === "node migrator/main.ts");
    expect(run?.inputs.environment).toMatchObject({ value: { MIGRATIONS_MONITOR: "shop_monitor" } });
  });
});

describe("monitoring: none", () => {
  it("leaves the server alone", async () => {
    const { all, component, containers } = await environment("none", { ...production, monitoring: "none" });
    expect([...containers.keys()].sort()).toEqual(["backup", "drill", "postgres"]);
    expect(component.monitoring).toBeUndefined();
    expect(JSON.stringify(all)).not.toContain("MIGRATIONS_MONITOR");
  });

  it("is what a development environment has", async () => {
    const { component, containers } = await environment("development", { profile: "development" });
    expect([...containers.keys()]).toEqual(["abc123-postgres"]);
    expect(component.monitoring).toBeUndefined();
  });
});

describe("monitoring: prometheus", () => {
  let containers: Map<string, Container>;
  let all: Registered[];
  beforeAll(async () => {
    ({ all, containers } = await environment("prometheus", {
      ...production,
      monitoring: "prometheus",
      prometheusRetention: "7d",
      prometheusSize: "1GB",
      prometheusPort: "9090",
      exporterPort: "9187",
      bindAddress: "::",
      accessRules: '[{"role": "app", "address": "2001:db8::/32"}]',
      alertmanager: "https://alerts.example.com/prefix",
    }));
  });

  it("keeps its numbers in a volume, for as long and as large as the settings say", () => {
    expect(all.filter(({ type }) => type.endsWith(":Volume")).map(({ inputs }) => inputs.name)).toEqual(
      expect.arrayContaining(["postgres-environments-test-metrics"]),
    );
    expect(containers.get("prometheus")).toMatchObject({
      volumes: [{ volumeName: "postgres-environments-test-metrics", containerPath: "/prometheus" }],
      command: expect.arrayContaining([
        "--storage.tsdb.retention.time=604800s",
        "--storage.tsdb.retention.size=1073741824B",
      ]),
    });
    expect(containers.get("node-exporter")?.volumes).toHaveLength(3);
  });

  it("is published where the settings say so, on the bind address", () => {
    expect(containers.get("prometheus")?.ports).toEqual([{ internal: 9090, external: 9090, ip: "::" }]);
    expect(containers.get("exporter")?.ports).toEqual([{ internal: 9187, external: 9187, ip: "::" }]);
    expect(containers.get("node-exporter")).not.toHaveProperty("ports");
  });

  it("gathers from both exporters, has every rule, and sends alerts to the Alertmanager", () => {
    const prometheus = containers.get("prometheus");
    const configuration = parse(uploaded(prometheus, "/etc/prometheus/prometheus.yml"));
    expect(configuration.scrape_configs).toEqual([
      {
        job_name: "postgresql",
        static_configs: [
          { targets: ["exporter:9187"], labels: { project: "postgres-environments", stack: "test" } },
        ],
      },
      expect.objectContaining({ job_name: "node" }),
      expect.objectContaining({ job_name: "prometheus" }),
    ]);
    expect(configuration.alerting.alertmanagers).toEqual([
      { scheme: "https", path_prefix: "/prefix", static_configs: [{ targets: ["alerts.example.com"] }] },
    ]);
    expect(uploaded(prometheus, "/etc/prometheus/rules/server.yml")).toContain("PostgresqlDown");
  });

  it("is healthy when its own promtool says so, which needs no shell", () => {
    expect(containers.get("prometheus")?.healthcheck).toMatchObject({
      tests: ["CMD", "promtool", "check", "ready"],
    });
  });

  it("sends alerts to nobody without an Alertmanager", async () => {
    const made = await environment("no-alertmanager", { ...production, monitoring: "prometheus" });
    const text = uploaded(made.containers.get("prometheus"), "/etc/prometheus/prometheus.yml");
    expect(parse(text)).not.toHaveProperty("alerting");
  });
});

describe("monitoring: grafana", () => {
  it("provisions data source and dashboards, with the password in a file alone", async () => {
    const { component, containers } = await environment("grafana", {
      ...production,
      monitoring: "grafana",
      grafanaPort: "3000",
    });
    const grafana = containers.get("grafana");
    expect([...containers.keys()].sort()).toEqual([
      "backup",
      "drill",
      "exporter",
      "grafana",
      "node-exporter",
      "postgres",
      "prometheus",
    ]);
    expect(grafana?.ports).toEqual([{ internal: 3000, external: 3000, ip: "127.0.0.1" }]);
    expect(grafana).not.toHaveProperty("envs");
    expect(uploaded(grafana, "/etc/grafana/admin-password")).toBe("generated-password");
    expect(uploaded(grafana, "/etc/grafana/grafana.ini")).toContain(
      "admin_password = $__file{/etc/grafana/admin-password}",
    );
    const [source] = parse(
      uploaded(grafana, "/etc/grafana/provisioning/datasources/prometheus.yml"),
    ).datasources;
    expect(source).toMatchObject({ uid: "prometheus", url: "http://prometheus:9090" });
    const [provider] = parse(
      uploaded(grafana, "/etc/grafana/provisioning/dashboards/postgresql.yml"),
    ).providers;
    expect(uploaded(grafana, `${provider.options.path}/postgresql.json`)).toContain(
      '"uid": "postgresql-environment"',
    );
    expect(component.monitoring?.addresses.grafana?.host).toBe("http://127.0.0.1:3000");
    expect(await pulumi.isSecret(component.monitoring?.grafanaPassword as pulumi.Output<string>)).toBe(true);
  });

  it("takes the password of the settings, and makes none then", async () => {
    const { all, component } = await environment("grafana-password", {
      ...production,
      monitoring: "grafana",
      grafanaPort: "3000",
      grafanaPassword: "correct horse battery",
    });
    expect(all.filter(({ name }) => name.includes("grafana-password-monitoring-grafana-password"))).toEqual(
      [],
    );
    expect(await resolved(component.monitoring?.grafanaPassword as pulumi.Output<string>)).toBe(
      "correct horse battery",
    );
  });
});

/** Of nobody, and with its key thrown away. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUW+fCLunejZ7sG17jaO4OPbhzGUswCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAeFw0yNjExMjUxMjM2NDJaFw0zNjExMjIxMjM2NDJa
MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQQOV8s
UU74xoMcDse6gT6nXzGukR/lbtZ/H0D6DYhamKpyo91IagA8HCHpwCcsD+/nY3S6
kL1s7AXS1tIPSadwo1MwUTAdBgNVHQ4EFgQU9KLbpzA0sUZZcvfpaIltyI9+FO8w
HwYDVR0jBBgwFoAU9KLbpzA0sUZZcvfpaIltyI9+FO8wDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEAsGiABeUb/AqDU5Z11PqjSKlm8HOO4Hg20Tkr
pbiiXFoCIGEl9LBT1yJbcjEWFy2BnN1Rq8uCwJzct3PCfjY58vy7
-----END CERTIFICATE-----
`;

describe("an own certificate", () => {
  it("is verified without the name that containers use, and its end is watched", async () => {
    const { containers } = await environment("own-certificate", {
      ...production,
      tlsCertificate: certificate,
      tlsKey: "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
      tlsCa: certificate,
    });
    const exporter = containers.get("exporter");
    expect(exporter?.envs?.[0]).toContain("sslmode=verify-ca");
    const queries = parse(uploaded(exporter, "/opt/postgresql-environment/queries.yml"));
    const ends = new X509Certificate(certificate).validToDate.getTime() / 1000;
    expect(queries.postgresql_environment_certificate.query).toBe(
      `SELECT ${ends}::float8 AS expires_timestamp_seconds`,
    );
  });
});
