import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareCatalogues, describeDifference } from "../../catalogue/compare.ts";
import { readCatalogue } from "../../catalogue/read.ts";
import { readInitScripts } from "../../components/server/init-scripts.ts";
import { readMigrations } from "../../migrator/files.ts";
import { applyAll } from "../../rehearsal/rehearse.ts";
import { containerName, removeServer, startServer } from "../../rehearsal/server.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";
import { type ClientContainer, startClient } from "../support/client-container.ts";
import { docker, inspect, stackObjects, testLabel, testRun } from "../support/docker.ts";
import { type Outputs, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { open, query, refusal, show, value } from "../support/sql.ts";

const MB = 1024 ** 2;
const second = 1e9;
const committed = [
  "0001_customer",
  "0002_product",
  "0003_purchase_order",
  "0004_payment",
  "0005_order_number",
  "0006_order_number_backfill",
  "0007_order_number_required",
];

let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let client: ClientContainer;

/** Migrations on record, in the order of their application. */
async function recorded(): Promise<unknown[]> {
  const rows = await query(
    outputs.connections.migrator.host.source,
    "SELECT name FROM migrations.applied ORDER BY id",
  );
  return rows.flat();
}

async function tableExists(name: string): Promise<boolean> {
  return (await value(outputs.DB_SOURCE, "SELECT to_regclass($1) IS NOT NULL", [name])) === true;
}

/** What every new container of an ephemeral environment must have again. */
async function expectRebuilt(): Promise<void> {
  expect(await recorded()).toEqual(outputs.migrations);
  expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("0");
  await query(outputs.DB_SOURCE, "INSERT INTO customer (email, full_name) VALUES ('a@b', 'A')");
  expect(await refusal(outputs.connections.readonly.host.source, "DELETE FROM customer")).toBe(
    "permission denied for table customer",
  );
  // What is only taken away is easily forgotten: nothing about it can be read back.
  expect(await refusal(outputs.DB_SOURCE, "CREATE TEMPORARY TABLE mine ()")).toMatch("permission denied");
  const byDefault = `SELECT count(*) FROM pg_default_acl, aclexplode(defaclacl)
                      WHERE defaclobjtype = 'f' AND defaclnamespace = 0 AND grantee = 0`;
  expect(await value(outputs.DB_SOURCE, byDefault)).toBe("0");
  expect(
    await value(outputs.DB_SOURCE, "SELECT count(*) FROM pg_default_acl WHERE defaclnamespace = 0"),
  ).toBe("1");
}

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("development");
});

afterAll(async () => {
  await client?.remove();
  await project?.remove();
});

describe("a first up", () => {
  it("succeeds as the plain command, and logs each migration with its duration", async () => {
    const log = succeeded(await stack.upWithPreview());
    for (const name of committed) expect(log).toMatch(new RegExp(`applied ${name} in [\\d.]+ m?s`));
    outputs = await stack.outputs();
    expect(outputs.migrations).toEqual(committed);
    client = await startClient(stack.name, outputs.networkName);
  });

  it("is followed by a preview and an up without changes, with a refresh too", async () => {
    succeeded(await stack.preview("--expect-no-changes"));
    expect(succeeded(await stack.up("--refresh", "--expect-no-changes"))).not.toMatch(
      /updated|replaced|created/,
    );
  });
});

describe("the container", () => {
  it("keeps its data in memory, in no volume and no folder of the host", async () => {
    const { HostConfig, Mounts } = await inspect(outputs.containerName);
    expect(HostConfig.Tmpfs).toEqual({ "/var/lib/postgresql/data": `size=${512 * MB},mode=0755` });
    expect(Mounts).toEqual([]);
    expect(HostConfig.Binds ?? []).toEqual([]);
    expect(outputs.volumeName ?? null).toBeNull();
    expect(
      await docker("exec", outputs.containerName, "df", "--output=fstype", "/var/lib/postgresql/data"),
    ).toMatch(/tmpfs$/);
    expect(
      await docker(
        "exec",
        outputs.containerName,
        "df",
        "--output=size",
        "--block-size=1",
        "/var/lib/postgresql/data",
      ),
    ).toMatch(new RegExp(`\\b${512 * MB}$`));
  });

  it("publishes one port, on loopback only", async () => {
    const { NetworkSettings } = await inspect(outputs.containerName);
    const { port } = outputs.connections.app.host;
    expect(NetworkSettings.Ports).toEqual({ "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: String(port) }] });
    expect(Object.keys(NetworkSettings.Networks)).toEqual([outputs.networkName]);
  });

  it("has the limits, the health check, the log rotation and the way to stop that its profile says", async () => {
    const { Config, HostConfig } = await inspect(outputs.containerName);
    expect(HostConfig).toMatchObject({
      Memory: 1024 * MB,
      MemorySwap: 1024 * MB,
      ShmSize: 256 * MB,
      RestartPolicy: { Name: "no" },
      LogConfig: { Type: "json-file", Config: { "max-size": "10m", "max-file": "5" } },
    });
    expect(Config).toMatchObject({
      StopSignal: "SIGINT",
      StopTimeout: 10,
      Healthcheck: { Interval: second, Timeout: 5 * second, StartPeriod: 60 * second, Retries: 30 },
    });
  });

  it("has labels by which it is found, those of the settings included", async () => {
    const { Config } = await inspect(outputs.containerName);
    expect(Config.Labels).toMatchObject({
      "postgresql-environments.project": "postgres-environments",
      "postgresql-environments.stack": stack.name,
      "postgresql-environments.role": "postgres",
      [testLabel]: testRun,
    });
    expect(await docker("network", "inspect", outputs.networkName, "--format", "{{json .Labels}}")).toContain(
      `"${testLabel}":"${testRun}"`,
    );
  });

  it("passes its health check every time", async () => {
    const { RestartCount } = await inspect(outputs.containerName);
    const checks = async () => (await inspect(outputs.containerName)).State.Health?.Log.length;
    await expect.poll(checks, { timeout: 60_000, interval: 500 }).toBe(5);
    const { State } = await inspect(outputs.containerName);
    expect(State.Health?.Status).toBe("healthy");
    expect(State.Health?.Log.map(({ ExitCode }) => ExitCode)).toEqual([0, 0, 0, 0, 0]);
    expect(RestartCount).toBe(0);
  });
});

describe("the server", () => {
  it("gives durability up for speed", async () => {
    expect(
      await show(outputs.DB_SOURCE, "fsync", "synchronous_commit", "full_page_writes", "wal_level"),
    ).toEqual({ fsync: "off", synchronous_commit: "off", full_page_writes: "off", wal_level: "minimal" });
  });

  it("takes its memory settings from the container's limit", async () => {
    const names = ["shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem"];
    expect(await show(outputs.DB_SOURCE, ...names)).toEqual({
      shared_buffers: "256MB",
      effective_cache_size: "768MB",
      maintenance_work_mem: "64MB",
      work_mem: "2MB",
    });
  });

  it("takes plain connections, and offers no TLS", async () => {
    const { source } = outputs.connections.app.host;
    expect(new URL(source).searchParams.get("sslmode")).toBe("disable");
    const plain = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    expect(await value(source, plain)).toBe(false);
    await expect(value(source.replace("sslmode=disable", "sslmode=require"), plain)).rejects.toThrow(
      "The server does not support SSL connections",
    );
  });

  it("asks for a password, and takes no other", async () => {
    const url = new URL(outputs.DB_SOURCE);
    url.password = "wrong";
    await expect(open(url.href)).rejects.toThrow('password authentication failed for user "shop_app_a"');
  });

  it("is reached by its alias from another container of the network, with psql and the URL of the outputs", async () => {
    const { network } = outputs.connections.app;
    expect(network.host).toBe("postgres");
    const answer = await client.psql(
      network.source,
      "SELECT current_user, current_database(), inet_server_port()",
    );
    expect(answer).toBe("shop_app_a|shop|5432");
  });

  it("has the extensions of the settings, apart from the application's objects", async () => {
    const rows = await query(
      outputs.DB_SOURCE,
      `SELECT extname, nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname <> 'plpgsql' ORDER BY extname`,
    );
    expect(rows).toEqual([
      ["citext", "extensions"],
      ["pg_trgm", "extensions"],
    ]);
  });
});

describe("a rehearsal of migrations", () => {
  it("has a server with the same catalogue, roles and settings as a stack of the same settings", async () => {
    const { connections } = outputs;
    const source = new URL(connections.superuser.host.source);
    source.pathname = connections.app.database;
    const inStack = await open(source.href);

    const settings = stackSettings(
      stack.name,
      project.read("Pulumi.yaml"),
      project.read(`Pulumi.${stack.name}.yaml`),
    );
    const container = containerName("test");
    try {
      const initScripts = readInitScripts(settings.initdbFolder, project.folder);
      const { superuser, migrator } = await startServer({ container, settings, initScripts, keep: false });
      const folder = project.path("migrations");
      await applyAll({ superuser, migrator, settings, folder }, readMigrations(folder));

      const differences = compareCatalogues(await readCatalogue(inStack), await readCatalogue(superuser));
      expect(differences.map((difference) => describeDifference(difference, "in the rehearsal"))).toEqual([]);
      const roles = `SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
                            rolconnlimit, ARRAY(SELECT roleid::regrole::text || admin_option || inherit_option
                            FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1) AS groups
                       FROM pg_roles ORDER BY rolname`;
      expect((await superuser.query(roles)).rows).toEqual((await inStack.query(roles)).rows);
      // What the init scripts have taken away, which is in PostgreSQL's own schema.
      const largeObjects =
        "SELECT proname, proacl::text FROM pg_proc WHERE proname LIKE 'lo\\_%' ORDER BY 1, oid";
      expect((await superuser.query(largeObjects)).rows).toEqual((await inStack.query(largeObjects)).rows);
      await superuser.end();
    } finally {
      await removeServer(container);
      await inStack.end();
    }
  });
});

describe("a changed setting", () => {
  it("of the health check alone reaches the container, in which all is made again", async () => {
    await query(outputs.DB_SOURCE, "INSERT INTO customer (email, full_name) VALUES ('old@row', 'Old')");
    const before = await inspect(outputs.containerName);
    await stack.set({ healthCheck: { interval: 2, timeout: 4, retries: 7, startPeriod: 90 } });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    const after = await inspect(outputs.containerName);
    expect(after.Id).not.toBe(before.Id);
    expect(after.Config.Healthcheck).toMatchObject({
      Interval: 2 * second,
      Timeout: 4 * second,
      StartPeriod: 90 * second,
      Retries: 7,
    });
    await expectRebuilt();
  });

  it("of the tmpfs size alone reaches the container, in which all is made again", async () => {
    await stack.set({ tmpfsSize: "200MB" });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    const size = await docker(
      ...["exec", outputs.containerName, "df", "--output=size", "--block-size=1", "/var/lib/postgresql/data"],
    );
    expect(size).toMatch(new RegExp(`\\b${200 * MB}$`));
    await expectRebuilt();
  });

  it("of memory, CPU, shared memory, labels and server parameters reaches container and server", async () => {
    await stack.setByPulumi({
      memory: "512MB",
      cpus: 1.5,
      shmSize: "64MB",
      labels: { [testLabel]: testRun, team: "payments" },
      serverSettings: {
        max_connections: 40,
        work_mem: "7MB",
        "auto_explain.log_min_duration": "3s",
        jit: false,
      },
    });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    const { Config, HostConfig } = await inspect(outputs.containerName);
    // Its network stays, since other containers use it.
    expect(await client.psql(outputs.connections.app.network.source, "SELECT 1")).toBe("1");
    expect(HostConfig).toMatchObject({
      Memory: 512 * MB,
      MemorySwap: 512 * MB,
      CpuPeriod: 100_000,
      CpuQuota: 150_000,
      ShmSize: 64 * MB,
    });
    expect(Config.Labels.team).toBe("payments");
    const names = [
      "max_connections",
      "work_mem",
      "shared_buffers",
      "jit",
      "auto_explain.log_min_duration",
      "fsync",
    ];
    expect(await show(outputs.DB_SOURCE, ...names)).toEqual({
      max_connections: "40",
      work_mem: "7MB",
      shared_buffers: "128MB",
      jit: "off",
      "auto_explain.log_min_duration": "3s",
      fsync: "off",
    });
    await expectRebuilt();
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("migrations", () => {
  it("that are new are named by preview, and applied alone, with the rows in place", async () => {
    const before = await inspect(outputs.containerName);
    project.write("migrations/0008_coupon.up.sql", "CREATE TABLE coupon (code text PRIMARY KEY);\n");
    project.write("migrations/0008_coupon.down.sql", "DROP TABLE coupon;\n");
    expect(succeeded(await stack.preview("--diff"))).toContain("0008_coupon");
    expect(await tableExists("coupon")).toBe(false);

    const log = succeeded(await stack.up());
    expect(log).toContain("1 migration to apply");
    expect(log).toMatch(/applied 0008_coupon in/);
    expect(log).not.toMatch(/applied 0007/);
    outputs = await stack.outputs();
    expect(outputs.migrations).toEqual([...committed, "0008_coupon"]);
    expect(await recorded()).toEqual(outputs.migrations);
    expect((await inspect(outputs.containerName)).Id).toBe(before.Id);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("1");
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("make objects of the owner, which the application may write and the reader may read", async () => {
    const owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'coupon'::regclass";
    expect(await value(outputs.DB_SOURCE, owner)).toBe("shop_owner");
    await query(outputs.DB_SOURCE, "INSERT INTO coupon VALUES ('SPRING')");
    expect(await query(outputs.connections.readonly.host.source, "SELECT code FROM coupon")).toEqual([
      ["SPRING"],
    ]);
  });

  it("are taken back down to a lower target, and applied again without it", async () => {
    await stack.setByPulumi({ migrationsTarget: "0007" });
    expect(succeeded(await stack.up())).toMatch(/reverted 0008_coupon in/);
    expect(await recorded()).toEqual(committed);
    expect(await tableExists("coupon")).toBe(false);
    await stack.unsetByPulumi("migrationsTarget");
    expect(succeeded(await stack.up())).toMatch(/applied 0008_coupon in/);
  });

  it("that fail leave those before them applied and nothing of themselves, and say file, line and the server's words", async () => {
    project.write("migrations/0009_before.up.sql", "CREATE TABLE before_failure ();\n");
    project.write("migrations/0009_before.down.sql", "DROP TABLE before_failure;\n");
    project.write(
      "migrations/0010_fails.up.sql",
      "CREATE TABLE half_made ();\n\nALTER TABLE coupon\n  ADD COLUMN amount numeric(10, 2) NOT NULL DEFAULT 'much';\n",
    );
    project.write("migrations/0010_fails.down.sql", "DROP TABLE half_made;\n");
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toContain(
      'migrations/0010_fails.up.sql:3:1: invalid input syntax for type numeric: "much"',
    );
    expect(output).toMatch(/applied 0009_before in/);
    expect(output).not.toMatch(/^ +at /m);
    outputs = await stack.outputs();
    expect(await recorded()).toEqual([...committed, "0008_coupon", "0009_before"]);
    expect(await tableExists("half_made")).toBe(false);
  });

  it("go on from the mended one with the next up", async () => {
    project.write("migrations/0010_fails.up.sql", "CREATE TABLE half_made ();\n");
    const log = succeeded(await stack.up());
    expect(log).toContain("1 migration to apply");
    expect(log).toMatch(/applied 0010_fails in/);
    succeeded(await stack.preview("--expect-no-changes"));
    outputs = await stack.outputs();
    expect(await recorded()).toEqual([...committed, "0008_coupon", "0009_before", "0010_fails"]);
  });
});

describe("a container that is gone", () => {
  // Without --run-program, a refresh would ask the server that is gone for its roles.
  const heal = () => stack.up("--refresh", "--run-program");

  it("because it was removed by hand comes back with all that was in it by up --refresh", async () => {
    await docker("rm", "--force", outputs.containerName);
    succeeded(await heal());
    outputs = await stack.outputs();
    await expectRebuilt();
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("because it was stopped comes back in the same way", async () => {
    await docker("stop", outputs.containerName);
    succeeded(await heal());
    outputs = await stack.outputs();
    await expectRebuilt();
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("several environments on one host", () => {
  let checkout: TestProject;
  let neighbours: TestStack[] = [];

  afterAll(async () => {
    await checkout?.remove();
  });

  it("run side by side: two stacks of one checkout, and the same stack of another checkout", async () => {
    const small = { migrationsTarget: "0", extensions: [] };
    checkout = new TestProject();
    neighbours = [
      await project.stack("development", { settings: small }),
      await checkout.stack("development", { name: stack.name, settings: small }),
    ];
    for (const result of await Promise.all(neighbours.map((neighbour) => neighbour.up()))) succeeded(result);
    const all = [outputs, ...(await Promise.all(neighbours.map((neighbour) => neighbour.outputs())))];
    const distinct = (values: unknown[]) => new Set(values).size;
    expect(distinct(all.map(({ containerName }) => containerName))).toBe(3);
    expect(distinct(all.map(({ networkName }) => networkName))).toBe(3);
    expect(distinct(all.map(({ connections }) => connections.app.host.port))).toBe(3);
    expect(distinct(all.map(({ connections }) => connections.app.password))).toBe(3);
    const ofContainer = "SELECT pg_postmaster_start_time()::text";
    expect(distinct(await Promise.all(all.map((one) => value(one.DB_SOURCE, ofContainer))))).toBe(3);
  });

  it("are destroyed one without the other", async () => {
    for (const result of await Promise.all(
      neighbours.map((neighbour) => neighbour.destroy("--skip-preview")),
    )) {
      succeeded(result);
    }
    const { containers } = await stackObjects(stack.name);
    expect(containers).toContain(outputs.containerName);
    expect(containers).toHaveLength(2);
    expect(await recorded()).toEqual(outputs.migrations);
  });
});

describe("destroy", () => {
  it("and up, as one plain command line, start afresh", async () => {
    await client.remove();
    const line = (command: string) =>
      `pulumi ${command} -s ${stack.name} --yes --non-interactive --color never`;
    const { finished } = project.start("sh", ["-c", `${line("destroy")} && ${line("up")}`]);
    succeeded(await finished);
    outputs = await stack.outputs();
    await expectRebuilt();
  });

  it("leaves nothing in Docker", async () => {
    succeeded(await stack.destroy());
    expect(await stackObjects(stack.name)).toEqual({ containers: [], networks: [], volumes: [] });
  });
});
