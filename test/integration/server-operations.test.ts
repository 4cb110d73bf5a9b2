import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restartParameters } from "../../components/server/restart-parameters.ts";
import { servedFingerprint } from "../../reload/served-certificate.ts";
import { containerLog, docker, image, inspect, testLabel, testRun } from "../support/docker.ts";
import { issueCertificate } from "../support/issue-certificate.ts";
import { Load } from "../support/load.ts";
import {
  type Deployment,
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { exposed, generatedSecrets } from "../support/secrets.ts";
import { open, query, show, value } from "../support/sql.ts";

// What a running production environment takes without a pause, one after the other on one stack: an application queries
// all the time, and no query may fail.

let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let started: string;
/** Every password and key that the stack has ever had. */
const secrets = new Set<string>();

const app = () => outputs.connections.app.host.source;
const superuser = () => outputs.connections.superuser.host.source;

async function noteSecrets(): Promise<void> {
  for (const secret of generatedSecrets(await stack.deployment("--show-secrets"))) secrets.add(secret);
}

/** `./db rotate`, without the question before pulumi up. */
function rotate(...args: string[]): Promise<Finished> {
  const command = [project.path("cli", "main.ts"), "rotate", stack.name, ...args, "--yes"];
  return project.start(process.execPath, command, { passphrase: stack.passphrase }).finished;
}

/** When the server was started; another value after a restart, wherever it came from. */
async function startOf(): Promise<string> {
  const { Id, RestartCount } = await inspect(outputs.containerName);
  return `${Id} ${RestartCount} ${await value(superuser(), "SELECT pg_postmaster_start_time()::text")}`;
}

/** Compares pg_settings with the program's own parameters, each in the server's own form. */
async function expectServerIsAsTheCodeSays(): Promise<void> {
  const deployment = await stack.deployment("--show-secrets");
  const command = deployment.resources.find(({ urn }) => urn.endsWith("postgres-configuration"));
  const { parameters } = JSON.parse(String(command?.inputs?.stdin)) as { parameters: Record<string, string> };
  expect(Object.keys(parameters).length).toBeGreaterThan(10);
  const client = await open(superuser());
  try {
    // A new session has the server's value; a value that is set there comes back in the server's own form.
    for (const [name, wanted] of Object.entries(parameters)) {
      const now = "SELECT setting, unit, vartype, pending_restart FROM pg_settings WHERE name = $1";
      const { setting, unit, vartype, pending_restart } = (await client.query(now, [name])).rows[0] ?? {};
      expect([name, pending_restart]).toEqual([name, false]);
      const same =
        unit !== null && /[A-Za-z]/.test(wanted)
          ? inUnit(wanted) === Number(setting) * inUnit(/^\d/.test(unit) ? unit : `1${unit}`)
          : vartype === "real"
            ? Number(setting) === Number(wanted)
            : setting === wanted;
      expect([name, wanted, setting, unit, same]).toEqual([name, wanted, setting, unit, true]);
    }
  } finally {
    await client.end();
  }
}

/** Bytes or milliseconds. */
function inUnit(text: string): number {
  const [, count, unit = ""] = /^(\d+)\s*(\w+)$/.exec(text) ?? [];
  const factors: Record<string, number> = {
    B: 1,
    kB: 1024,
    MB: 1024 ** 2,
    GB: 1024 ** 3,
    ms: 1,
    s: 1_000,
    min: 60_000,
  };
  return Number(count) * (factors[unit] ?? Number.NaN);
}

/** A window for restarts that is half a day away. */
function closedWindow(): string {
  const hour = String((new Date().getUTCHours() + 12) % 24).padStart(2, "0");
  return `${hour}:00-${hour}:30`;
}

/** An application queries while something is done; none of its queries fails. */
async function underLoad(action: () => Promise<void>): Promise<void> {
  const load = new Load(app);
  await load.more();
  await action();
  await load.more();
  const { answered, failures, newConnections } = await load.stop();
  expect(failures).toEqual([]);
  console.log(`${answered} queries answered, ${newConnections} on connections of their own, 0 failed`);
}

/** Of the image that all tests have, so that it can be given to another one. */
const tag = `postgres-environments-test/${testRun}:17-moving`;

beforeAll(async () => {
  await docker("tag", image, tag);
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase: "a passphrase",
    settings: {
      image: tag,
      port: await freePort(),
      memory: "256MB",
      serverSettings: { work_mem: "5MB" },
      certificateValidity: "6h",
    },
  });
  succeeded(await stack.up());
  outputs = await stack.outputs();
  started = await startOf();
  await noteSecrets();
});

afterAll(async () => {
  await project?.remove();
  await docker("rmi", "--force", tag);
});

describe("what a server reads at its start only", () => {
  it.each([
    [15, "postgres:15-bookworm"],
    [17, image],
  ] as const)("is what the table for PostgreSQL %s says", async (majorVersion, image) => {
    const script = `
      chown postgres /data
      gosu postgres initdb --no-sync -D /data/pgdata >/dev/null
      echo "COPY (SELECT name FROM pg_settings WHERE context = 'postmaster') TO '/tmp/names'" |
        gosu postgres postgres --single -F -D /data/pgdata -c shared_preload_libraries="$MODULES" postgres >/dev/null
      cat /tmp/names`;
    const modules = "pg_stat_statements,auto_explain,pgaudit,pg_cron,pg_prewarm,auth_delay,basic_archive";
    const names = await docker(
      ...["run", "--rm", "--label", `${testLabel}=${testRun}`, "--env", `MODULES=${modules}`],
      ...["--tmpfs", "/data"],
      ...["--entrypoint", "sh", image, "-ec", script],
    );
    // Debian's pg_cron for 15 is of a version that hasn't got this one.
    const table = [...restartParameters(majorVersion)].filter(
      (name) => majorVersion > 15 || name !== "cron.timezone",
    );
    expect(table.sort()).toEqual(names.split("\n").sort());
  });
});

describe("settings", () => {
  it("are what the code says after the first up, and are no change after it", async () => {
    expect(await show(app(), "work_mem", "shared_buffers")).toEqual({
      work_mem: "5MB",
      shared_buffers: "64MB",
    });
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("that the server can reload reach it under load, with no restart and no query that fails", async () => {
    await stack.set({
      serverSettings: { work_mem: "6MB", log_min_duration_statement: "750ms" },
    });
    await underLoad(async () => {
      const log = succeeded(await stack.up());
      expect(log).toContain("work_mem: 5MB → 6MB");
      expect(log).toContain("the running server has its configuration; no restart");
    });
    expect(await show(app(), "work_mem", "log_min_duration_statement")).toEqual({
      work_mem: "6MB",
      log_min_duration_statement: "750ms",
    });
    expect(await startOf()).toBe(started);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("that are not the server's language change nothing, and the message names them", async () => {
    await stack.set({ serverSettings: { work_mem: "lots" } });
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toContain(
      'serverSettings: work_mem = "lots": invalid value for parameter "work_mem": "lots"',
    );
    expect(await show(app(), "work_mem")).toEqual({ work_mem: "6MB" });
  });

  const restarting = { work_mem: "7MB", max_connections: 60 };

  it("that need a restart say so in preview, and are refused outside the window for restarts", async () => {
    const restartWindow = closedWindow();
    await stack.set({ restartWindow, serverSettings: restarting });
    expect(succeeded(await stack.preview())).toContain(
      "The server will be restarted once, in a new container, for: max_connections 100 → 60",
    );
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toContain("This needs a restart of the server (max_connections 100 → 60)");
    expect(await startOf()).toBe(started);
  });

  it("are made with one clean restart inside it, and the server is what the code says", async () => {
    await stack.unset("restartWindow");
    await stack.set({ logging: { audit: ["role"], connections: true } });
    // What someone has set by hand would win over the files.
    await query(superuser(), "ALTER SYSTEM SET work_mem = '3MB'");
    succeeded(await stack.up());
    const now = await startOf();
    expect(now).not.toBe(started);
    started = now;
    expect((await inspect(outputs.containerName)).RestartCount).toBe(0);
    const log = await containerLog(outputs.containerName);
    expect(log.match(/database system is ready to accept connections/g)).toHaveLength(1);
    expect(log).toContain("database system was shut down at");
    await expectServerIsAsTheCodeSays();
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("certificates", () => {
  const certificate = () => servedFingerprint("127.0.0.1", outputs.connections.app.host.port);
  const verifying = (ca: string | undefined) => query(app(), "SELECT 1", [], { ca: ca ?? "" });

  it("are renewed by up before they expire, under load, with no restart and no query that fails", async () => {
    const before = await certificate();
    // Of its six hours, all but one and a half are over.
    const state = JSON.parse(await stack.export());
    const resource = (state.deployment.resources as Deployment["resources"]).find(({ urn }) =>
      urn.endsWith("::postgres-certificates-certificate"),
    );
    if (!resource?.outputs) throw new Error("the state has no certificate");
    resource.outputs.validityEndTime = new Date(Date.now() + 1.5 * 3_600_000).toISOString();
    project.write("state.json", JSON.stringify(state));
    succeeded(await stack.pulumi("stack", "import", "--file", project.path("state.json")));
    await underLoad(async () => {
      expect(succeeded(await stack.up())).toContain("certificate of the server: valid until");
    });
    expect(await certificate()).not.toBe(before);
    expect(await verifying(outputs.tls.ca)).toEqual([[1]]);
    expect(await startOf()).toBe(started);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("of a new authority are taken by clients that know only the old one, until the rotation is finished", async () => {
    const before = outputs.tls.ca;
    await underLoad(async () => {
      expect(succeeded(await rotate("--authority"))).toContain("of a new authority");
    });
    outputs = await stack.outputs();
    await noteSecrets();
    expect(outputs.tls.ca).not.toBe(before);
    expect(await verifying(before)).toEqual([[1]]);
    expect(await verifying(outputs.tls.ca)).toEqual([[1]]);
    await underLoad(async () => {
      succeeded(await rotate("--authority", "--finish"));
    });
    await expect(verifying(before)).rejects.toThrow(/certificate/);
    expect(await verifying(outputs.tls.ca)).toEqual([[1]]);
    expect(await startOf()).toBe(started);
  });

  it("of one's own that can't work are refused in preview", async () => {
    await stack.set({ tlsCertificate: outputs.tls.ca, tlsCa: outputs.tls.ca });
    await stack.setByPulumi(
      { tlsKey: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" },
      { secret: true },
    );
    await stack.unset("certificateValidity", "rotation");
    const { code, output } = await stack.preview();
    expect(code).not.toBe(0);
    expect(output).toContain("tlsKey: can't be read");
    expect(output).toContain(
      "tlsCertificate: is for no name, expected 127.0.0.1 among its alternative names",
    );
  });

  it("of one's own that live for a minute are replaced under load, and clients go on after the first one's end", async () => {
    const first = await issueCertificate({ seconds: 60 });
    const end = new Date(new X509Certificate(first.certificate).validTo);
    await stack.set({ tlsCertificate: first.certificate, tlsCa: first.ca });
    await stack.setByPulumi({ tlsKey: first.key }, { secret: true });
    succeeded(await stack.up());
    expect(await verifying(first.ca)).toEqual([[1]]);
    const session = await open(app(), { ca: first.ca });
    const before = await certificate();
    const second = await issueCertificate({ of: first });
    await stack.set({ tlsCertificate: second.certificate });
    await stack.setByPulumi({ tlsKey: second.key }, { secret: true });
    await underLoad(async () => {
      expect(succeeded(await stack.up())).toContain("certificate of the server: valid until");
    });
    expect(await certificate()).not.toBe(before);
    await sleep(Math.max(0, end.getTime() - Date.now()));
    expect(await verifying(first.ca)).toEqual([[1]]);
    expect((await session.query("SELECT 1")).rowCount).toBe(1);
    await session.end();
    expect(await startOf()).toBe(started);

    // One whose end has come is refused before the server gets it.
    await stack.set({ tlsCertificate: first.certificate });
    await stack.setByPulumi({ tlsKey: first.key }, { secret: true });
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toMatch(
      /tlsCertificate: is valid from \S+ to \S+, and today is \S+ Fix: set one that is valid/,
    );
    expect(await verifying(first.ca)).toEqual([[1]]);

    await stack.unset("tlsCertificate", "tlsCa", "tlsKey");
    await stack.set({ certificateValidity: "6h", rotation: { authority: 2 } });
    await underLoad(async () => {
      succeeded(await stack.up());
    });
    outputs = await stack.outputs();
    await noteSecrets();
    expect(await verifying(outputs.tls.ca)).toEqual([[1]]);
    await expect(verifying(first.ca)).rejects.toThrow(/certificate/);
    expect(await startOf()).toBe(started);
  });
});

describe("rotation", () => {
  it("of the application's password makes its other login the current one, and no query fails", async () => {
    const before = app();
    const load = new Load(app);
    await load.more();
    const told = succeeded(await rotate("--role", "app"));
    expect(told).toContain("The application's login is shop_app_b from now on; shop_app_a may still log in.");
    expect(told).toMatch(/sessions? uses? shop_app_a:\n {2}\d of test from [\d.]+, the newest since \d/);
    await load.more();
    // The client that comes and goes has its new settings from here on.
    outputs = await stack.outputs();
    await noteSecrets();
    expect(outputs.connections.app.username).toBe("shop_app_b");
    await load.more();
    expect(await value(before, "SELECT current_user")).toBe("shop_app_a");
    const early = await rotate("--role", "app", "--finish");
    expect(early.code).toBe(1);
    expect(early.output).toContain("shop_app_a is still in use.");
    const seen = await load.stop();
    expect(seen.failures).toEqual([]);
    console.log(
      `rotation: ${seen.answered} queries answered, ${seen.newConnections} on new connections, 0 failed`,
    );

    await underLoad(async () => {
      expect(succeeded(await rotate("--role", "app", "--finish"))).toContain("shop_app_a is locked.");
    });
    await expect(query(before, "SELECT 1")).rejects.toThrow('role "shop_app_a" is not permitted to log in');
    expect(await startOf()).toBe(started);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("of the superuser needs no password that is known, and all others rotate too", async () => {
    const before = outputs.connections;
    await query(superuser(), "ALTER ROLE postgres PASSWORD 'lost and forgotten'");
    await expect(query(superuser(), "SELECT 1")).rejects.toThrow("password authentication failed");
    const others = { migrator: 2, readonly: 2, monitor: 2, backup: 2 };
    await stack.set({ rotation: { app: 2, authority: 2, ...others } });
    await underLoad(async () => {
      succeeded(await rotate("--role", "superuser"));
    });
    outputs = await stack.outputs();
    await noteSecrets();
    for (const role of ["superuser", "migrator", "readonly", "monitor"] as const) {
      const { password, host, username } = outputs.connections[role];
      expect(password).not.toBe(before[role].password);
      expect(await value(host.source, "SELECT current_user")).toBe(username);
      await expect(query(before[role].host.source, "SELECT 1")).rejects.toThrow("authentication failed");
    }
    // The backup's password is in its container alone: WAL goes on with the new one, also after a broken connection.
    const streaming =
      "SELECT count(*)::int FROM pg_stat_replication WHERE usename = 'shop_backup' AND state = 'streaming'";
    expect(await value(superuser(), streaming)).toBe(1);
    const [walSender] = await query(
      superuser(),
      "SELECT pid, pg_terminate_backend(pid, 5000) FROM pg_stat_replication WHERE usename = 'shop_backup'",
    );
    const anew = `${streaming} AND pid <> $1`;
    await expect.poll(() => value(superuser(), anew, [walSender?.[0]]), { timeout: 30_000 }).toBe(1);
    expect(await startOf()).toBe(started);
  });

  it("is what previews remind of once passwords are too old", async () => {
    await stack.set({ passwordMaxAge: "1s" });
    const preview = succeeded(await stack.preview("--expect-no-changes"));
    expect(preview).toMatch(/The password of app is \d+ days old \(passwordMaxAge\)/);
    await stack.unset("passwordMaxAge");
  });
});

describe("the server's log", () => {
  it("tells what is slow, waits, is defined and by whom, and no value that a client has bound", async () => {
    const client = await open(app());
    await client.query("SELECT $1::text, pg_sleep(1.1)", ["a bound value"]);
    await client.query("SET work_mem = '64kB'");
    await client.query(
      "SELECT count(*) FROM (SELECT FROM generate_series(1, 200000) AS i ORDER BY repeat('x', 100) || i) AS t",
    );
    await client.query("BEGIN; LOCK TABLE customer IN ACCESS EXCLUSIVE MODE");
    const waiting = query(app(), "SELECT count(*) FROM customer");
    await expect
      .poll(() => containerLog(outputs.containerName), { timeout: 20_000 })
      .toMatch(/still waiting for/);
    await client.query("ROLLBACK");
    await waiting;
    await client.end();
    const log = await containerLog(outputs.containerName);
    const who = "shop_app_b@shop test [\\d.]+";
    expect(log).toMatch(new RegExp(`${who} LOG: {2}duration: [\\d.]+ ms .*SELECT \\$1::text, pg_sleep`));
    expect(log).toMatch(/LOG: {2}temporary file: path/);
    expect(log).toMatch(new RegExp(`${who} LOG: {2}process \\d+ still waiting for AccessShareLock`));
    expect(log).toMatch(/LOG: {2}connection authorized: user=shop_app_b/);
    expect(log).toMatch(/AUDIT: SESSION,.*ROLE,ALTER ROLE/);
    expect(log).not.toContain("a bound value");
  });

  it("has no password and no key of the stack, not even in the statements that set them", async () => {
    const log = await containerLog(outputs.containerName);
    expect(log).toMatch(/statement: .*ALTER ROLE "shop_app_b" PASSWORD 'SCRAM-SHA-256\$/);
    expect(secrets.size).toBeGreaterThan(14);
    expect(exposed([...secrets], log)).toEqual([]);
  });

  it("is limited in size by Docker", async () => {
    const { HostConfig } = await inspect(outputs.containerName);
    expect(HostConfig.LogConfig).toEqual({
      Type: "json-file",
      Config: { "max-size": "10m", "max-file": "5" },
    });
  });
});

describe("an image whose tag is given to another one", () => {
  const contentOf = async (name: string) => (await inspect(name)).Image;
  let first: string;
  let second: string;

  it("is not taken by a container that is made anew for another reason", async () => {
    first = await contentOf(outputs.containerName);
    expect(outputs.imageId).toBe(first);
    const container = await docker("create", "--label", `${testLabel}=${testRun}`, image);
    second = await docker("commit", "--change", "LABEL newer=yes", container, tag);
    await docker("rm", container);
    expect(second).not.toBe(first);
    await stack.set({ serverSettings: { max_connections: 70 } });
    succeeded(await stack.up());
    expect(await startOf()).not.toBe(started);
    expect(await contentOf(outputs.containerName)).toBe(first);
  });

  it("is found by a refresh, told, and refused outside the window for restarts", async () => {
    const restartWindow = closedWindow();
    await stack.set({ restartWindow });
    const why = `image ${tag} is another one than before`;
    expect(succeeded(await stack.preview("--refresh", "--run-program"))).toContain(
      `The server will be restarted once, in a new container, for: ${why}`,
    );
    const { code, output } = await stack.up("--refresh", "--run-program");
    expect(code).not.toBe(0);
    expect(output).toContain(`This needs a restart of the server (${why})`);
    expect(await contentOf(outputs.containerName)).toBe(first);
    await stack.unset("restartWindow");
    succeeded(await stack.up("--refresh", "--run-program"));
    expect(await contentOf(outputs.containerName)).toBe(second);
    expect(await contentOf(outputs.containerName.replace(/postgres$/, "backup"))).toBe(second);
    expect(await value(app(), "SELECT count(*)::int FROM customer")).toBe(0);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});
