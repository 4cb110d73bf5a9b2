import { X509Certificate } from "node:crypto";
import { createServer, type Server } from "node:http";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docker, inspect, removeStackObjects, stackObjects } from "../support/docker.ts";
import { metricNames, metricQueries, sameMetric } from "../support/metric-names.ts";
import { freePort, type Outputs, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { exposed, generatedSecrets } from "../support/secrets.ts";
import { query, value } from "../support/sql.ts";

interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state?: string;
}
interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let prometheus: string;
let alertmanager: Server;
/** What the Alertmanager was sent. */
const received: Alert[] = [];

const superuser = () => outputs.connections.superuser.host.source;
const inApplication = () => superuser().replace(/\/postgres\?/, `/${outputs.connections.app.database}?`);

/** Prometheus' HTTP API; fails while it can't be asked. */
async function ask<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
  const response = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const answer = (await response.json()) as { status: string; error?: string; data: T };
  if (answer.status !== "success") throw new Error(`${path}: ${answer.error}`);
  return answer.data;
}

const samples = async (expression: string) =>
  (await ask<{ result: Sample[] }>("query", { query: expression })).result;

/** Asks again until the answer is there. */
async function eventually<T>(what: string, work: () => Promise<T | undefined>): Promise<T> {
  let problem: unknown;
  for (const end = Date.now() + 240_000; Date.now() < end; await sleep(500)) {
    try {
      const result = await work();
      if (result !== undefined) return result;
    } catch (error) {
      problem = error;
    }
  }
  throw new Error(`${what} did not come`, { cause: problem });
}

const alert = (name: string, state: string) =>
  eventually(`the alert ${name}, ${state}`, async () =>
    (await ask<{ alerts: Alert[] }>("alerts")).alerts.find(
      (each) => each.labels.alertname === name && each.state === state,
    ),
  );

const containerOf = (role: string) => outputs.containerName.replace(/-postgres$/, `-${role}`);

beforeAll(async () => {
  // Any address of this machine but loopback: a container reaches it by way of its gateway.
  const here = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
  alertmanager = createServer((request, response) => {
    let body = "";
    request.on("data", (data) => {
      body += data;
    });
    request.on("end", () => {
      received.push(...(JSON.parse(body) as Alert[]));
      response.end("{}");
    });
  });
  await new Promise<void>((resolve) => alertmanager.listen(0, here, resolve));
  const { port } = alertmanager.address() as { port: number };

  project = new TestProject();
  const prometheusPort = await freePort();
  prometheus = `http://127.0.0.1:${prometheusPort}`;
  stack = await project.stack("production", {
    settings: {
      port: await freePort(),
      memory: "256MB",
      monitoring: "prometheus",
      prometheusPort,
      alertmanager: `http://${here}:${port}`,
    },
  });
  succeeded(await stack.up());
  outputs = await stack.outputs();
  await eventually("a base backup", async () => {
    const [[count] = []] = await query(inApplication(), "SELECT count(*)::int FROM backups.backup");
    return count ? true : undefined;
  });
  // Newer than what the container of the drills finds.
  await query(
    inApplication(),
    `INSERT INTO backups.drill (id, started, ended, seconds, ok, message, checks)
     VALUES ('99990101T000000Z', now() + interval '1 day', now() + interval '1 day', 1, false, 'made by a test', '')`,
  );
});

afterAll(async () => {
  alertmanager?.close();
  await project?.remove();
});

describe("a production environment with Prometheus", () => {
  it("has no difference after its first up", async () => {
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("publishes what a setting asks for, and nothing else", async () => {
    const published = async (role: string) => {
      const { Ports } = (await inspect(containerOf(role))).NetworkSettings;
      return Object.values(Ports)
        .flatMap((ports) => ports ?? [])
        .map(({ HostIp, HostPort }) => `${HostIp}:${HostPort}`);
    };
    expect(await published("exporter")).toEqual([]);
    expect(await published("node-exporter")).toEqual([]);
    expect(await published("prometheus")).toEqual([prometheus.replace("http://", "")]);
  });

  it("shows no secret in docker inspect, and none in a log", async () => {
    const secrets = generatedSecrets(await stack.deployment("--show-secrets"));
    expect(secrets.length).toBeGreaterThan(5);
    const { containers } = await stackObjects(stack.name);
    expect(containers).toHaveLength(6);
    expect(exposed(secrets, await docker("inspect", ...containers))).toEqual([]);
    for (const container of containers) {
      expect(exposed(secrets, await docker("logs", container))).toEqual([]);
    }
  });

  it("limits each of the containers, and starts it again", async () => {
    for (const role of ["exporter", "node-exporter", "prometheus"]) {
      const { HostConfig } = await inspect(containerOf(role));
      expect(HostConfig.Memory).toBeGreaterThan(0);
      expect(HostConfig.MemorySwap).toBe(HostConfig.Memory);
      expect(HostConfig.RestartPolicy.Name).toBe("unless-stopped");
    }
  });

  it("reaches both exporters, and the exporter the server", async () => {
    await eventually("every target", async () => {
      const up = await samples("up == 1");
      return up.length === 3 ? up : undefined;
    });
    const [server] = await eventually("the server's answer", async () => {
      const found = await samples("pg_up == 1");
      return found.length > 0 ? found : undefined;
    });
    expect(server?.metric).toMatchObject({ project: "postgres-environments", stack: stack.name });
  });

  it("connects to the server as the monitor, with TLS", async () => {
    const sessions = await eventually("a session of the exporter", async () => {
      const rows = await query(
        superuser(),
        "SELECT DISTINCT usename::text, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'exporter'",
      );
      return rows.length > 0 ? rows : undefined;
    });
    expect(sessions).toEqual([[outputs.connections.monitor.username, true]]);
  });

  it("is healthy by its own promtool", async () => {
    await eventually("health", async () => {
      const { State } = await inspect(containerOf("prometheus"));
      return State.Health?.Status === "healthy" ? true : undefined;
    });
  });

  it("has every metric that a rule or a dashboard asks for", async () => {
    const queries = metricQueries().filter(({ expression }) => !expression.includes("ALERTS"));
    const wanted = new Set(queries.flatMap(({ expression }) => metricNames(expression)));
    // Of those with several names, the one that this server and this exporter have.
    for (const [, ...others] of sameMetric) for (const other of others) wanted.delete(other);
    // Of tables with many rows alone.
    wanted.delete("postgresql:table_bytes_per_row");
    expect(wanted.size).toBeGreaterThan(40);
    await eventually("every metric", async () => {
      const there = new Set(await ask<string[]>("label/__name__/values"));
      const missing = [...wanted].filter((name) => !there.has(name));
      if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")}`);
      return true;
    });
    expect(await samples("pg_exporter_last_scrape_error + pg_exporter_user_queries_load_error > 0")).toEqual(
      [],
    );
    expect(await samples("pg_scrape_collector_success == 0")).toEqual([]);
  });

  it("understands every query of a dashboard", async () => {
    for (const { expression, place } of metricQueries()) {
      const filled = expression.replace(/\$(?:project|stack)/g, ".*").replaceAll("$__rate_interval", "1m");
      await expect(samples(filled), place).resolves.toBeInstanceOf(Array);
    }
  });

  it("has every rule at work", async () => {
    const { groups } = await ask<{ groups: { name: string; rules: { name: string; health: string }[] }[] }>(
      "rules",
    );
    expect(groups.map(({ name }) => name).sort()).toEqual(["environment", "server"]);
    await eventually("an evaluation of every rule", async () => {
      const again = await ask<{
        groups: { rules: { name: string; health: string; lastError?: string }[] }[];
      }>("rules");
      const rest = again.groups.flatMap(({ rules }) => rules).filter(({ health }) => health !== "ok");
      if (rest.length > 0) throw new Error(JSON.stringify(rest));
      return true;
    });
  });

  it("knows the certificate's end, the disk of each volume, the migrations, and backups", async () => {
    const number = async (expression: string) => Number((await samples(expression))[0]?.value[1]);
    const deployment = await stack.deployment("--show-secrets");
    const made = deployment.resources.find(
      ({ type }) => type === "tls:index/locallySignedCert:LocallySignedCert",
    );
    const ends = new X509Certificate(String(made?.outputs?.certPem)).validToDate.getTime() / 1000;
    expect(await number("postgresql_environment_certificate_expires_timestamp_seconds")).toBe(ends);
    expect(
      (await samples('node_filesystem_size_bytes{mountpoint=~"/volumes/.+"} > 0')).map(
        ({ metric }) => metric.mountpoint,
      ),
    ).toEqual(expect.arrayContaining(["/volumes/backups", "/volumes/data", "/volumes/metrics"]));
    expect(await number("postgresql_environment_migrations_pending")).toBe(0);
    const newest = "SELECT extract(epoch FROM max(ended))::float8 FROM backups.backup WHERE ok";
    expect(await number("postgresql_environment_backup_newest_timestamp_seconds")).toBe(
      await value(inApplication(), newest),
    );
    expect(await number("postgresql_environment_drill_ok")).toBe(0);
  });

  it("tells the Alertmanager when a drill has failed, and what to do", async () => {
    await alert("RestoreDrillFailed", "firing");
    const sent = await eventually("the alert at the Alertmanager", async () =>
      received.find(({ labels }) => labels.alertname === "RestoreDrillFailed"),
    );
    expect(sent.labels).toMatchObject({ stack: stack.name, severity: "critical" });
    expect(sent.annotations.action).toContain(`./db backup verify ${stack.name}`);
  });
});

describe("a migration that fails", () => {
  it("fires an alert until it is mended", async () => {
    project.write("migrations/0008_wrong.up.sql", "SELECT 1 / 0;");
    project.write("migrations/0008_wrong.down.sql", "SELECT 1;");
    expect((await stack.up()).code).not.toBe(0);
    await alert("MigrationFailed", "firing");
    expect(await value(inApplication(), "SELECT pending FROM migrations.run")).toBe(1);
    project.write("migrations/0008_wrong.up.sql", "SELECT 1;");
    succeeded(await stack.up());
    expect(await query(inApplication(), "SELECT pending, failed FROM migrations.run")).toEqual([[0, false]]);
  });
});

describe("a server that is stopped", () => {
  beforeAll(async () => {
    await docker("stop", outputs.containerName);
  });
  afterAll(async () => {
    await docker("start", outputs.containerName);
  });

  // Here, because the alert takes its time.
  it("is not destroyed, and nothing of monitoring is gone when that is refused", async () => {
    const { code, output } = await stack.destroy();
    expect(code).not.toBe(0);
    expect(output).toContain("protect");
    expect((await inspect(containerOf("exporter"))).State.Status).toBe("running");
  });

  it("fires the alert that it is down", async () => {
    const { annotations, labels } = await alert("PostgresqlDown", "firing");
    expect(labels.severity).toBe("critical");
    expect(annotations.action).toContain(`./db status ${stack.name}`);
  });
});

describe("monitoring that is taken back", () => {
  it("leaves the server alone, and the numbers in their volume", async () => {
    const { Id } = await inspect(outputs.containerName);
    await stack.unset("prometheusPort", "alertmanager");
    await stack.set({ monitoring: "none" });
    succeeded(await stack.up());
    const { containers, volumes } = await stackObjects(stack.name);
    expect(containers.sort()).toEqual(["backup", "drill", "postgres"].map(containerOf));
    expect((await inspect(outputs.containerName)).Id).toBe(Id);
    expect(volumes.sort()).toEqual(["backups", "data", "drill", "metrics"].map(containerOf));
    await removeStackObjects(stack.name);
  });
});
