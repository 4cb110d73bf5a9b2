import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClientContainer, startClient } from "../support/client-container.ts";
import {
  containerLog,
  docker,
  image,
  inspect,
  stackLabel,
  stackObjects,
  testLabel,
  testRun,
} from "../support/docker.ts";
import { type IssuedCertificate, issueCertificate } from "../support/issue-certificate.ts";
import {
  type Deployment,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { allText, exposed, generatedSecrets, watchProcesses } from "../support/secrets.ts";
import { open, query, refusal, show, value } from "../support/sql.ts";

const run = promisify(execFile);
const MB = 1024 ** 2;
const second = 1e9;

let project: TestProject;
let stack: TestStack;
let port: number;
let outputs: Outputs;
let client: ClientContainer;
let secrets: string[];
let ca: string;

const app = () => outputs.connections.app.host.source;
const reader = () => outputs.connections.readonly.host.source;
const superuser = () => outputs.connections.superuser.host.source;

/** The superuser's connection to another database than the maintenance database. */
function superuserIn(database: string): string {
  return superuser().replace(/\/postgres\?/, `/${database}?`);
}

async function customers(): Promise<unknown> {
  return value(app(), "SELECT count(*) FROM customer");
}

/** All that the state knows of each resource, decrypted; their order in the file may change with every run. */
async function state(): Promise<unknown> {
  const { resources } = await stack.deployment("--show-secrets");
  return Object.fromEntries(
    resources.map(({ urn, id, inputs, outputs, protect }) => [urn, { id, inputs, outputs, protect }]),
  );
}

async function until(condition: () => Promise<boolean>, seconds: number): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) {
    if (await condition()) return;
  }
  throw new Error(`not within ${seconds} s`);
}

async function untilHealthy(): Promise<void> {
  await until(async () => {
    const { State } = await inspect(outputs.containerName);
    return State.Status === "running" && State.Health?.Status === "healthy";
  }, 240);
}

/** Puts a file with the CA into the client's container. */
async function giveCa(path: string, pem: string): Promise<void> {
  await docker("exec", client.id, "sh", "-c", `echo '${pem}' > ${path}`);
}

beforeAll(async () => {
  project = new TestProject();
  port = await freePort();
  stack = await project.stack("production", {
    passphrase: "a passphrase of one's own",
    settings: { port, memory: "512MB", serverSettings: { log_connections: "on" } },
  });
  // Slow enough to look at the process list meanwhile; with a function, since tables alone don't show all privileges.
  project.write(
    "migrations/0008_order_count.up.sql",
    `SELECT pg_sleep(1);
     CREATE FUNCTION order_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM purchase_order';`,
  );
  project.write("migrations/0008_order_count.down.sql", "DROP FUNCTION order_count();");
});

afterAll(async () => {
  await client?.remove();
  await project?.remove();
});

describe("a first up", () => {
  let log: string;
  let processes: string;

  it("brings server, roles and migrations up", async () => {
    const watch = watchProcesses();
    try {
      log = succeeded(await stack.upWithPreview());
    } finally {
      processes = await watch.stop();
    }
    expect(log).toMatch(/applied 0008_order_count in [1-9][\d.]* s/);
    outputs = await stack.outputs();
    ca = outputs.tls.ca ?? "";
    secrets = generatedSecrets(await stack.deployment("--show-secrets"));
    client = await startClient(stack.name, outputs.networkName);
  });

  it("shows no password and no key in its log, in the process list or in the container's log", async () => {
    // Passwords of superuser, migrator, reader, monitor, backup and the login in use, what their salts are made from,
    // the key of the copy; the keys of authority and server.
    expect(secrets).toHaveLength(10);
    expect(processes).toContain("node migrator/main.ts");
    expect(exposed(secrets, processes)).toEqual([]);
    expect(exposed(secrets, log)).toEqual([]);
    expect(exposed(secrets, await containerLog(outputs.containerName))).toEqual([]);
  });

  it("keeps none of them in plain text in state, stack file or what docker inspect prints", async () => {
    expect(exposed(secrets, await stack.export("--show-secrets"))).not.toEqual([]);
    expect(exposed(secrets, await stack.export())).toEqual([]);
    expect(allText(project.path(".pulumi-state"))).toContain(outputs.containerName);
    expect(exposed(secrets, allText(project.path(".pulumi-state")))).toEqual([]);
    expect(exposed(secrets, project.read(`Pulumi.${stack.name}.yaml`))).toEqual([]);
    const { containerName, networkName, volumeName = "" } = outputs;
    expect(exposed(secrets, await docker("inspect", containerName, networkName, volumeName))).toEqual([]);
  });

  it("is followed by a preview and a refresh without changes", async () => {
    succeeded(await stack.preview("--expect-no-changes"));
    succeeded(await stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"));
  });

  it("protects every resource but those that are replaced in normal life", async () => {
    const { resources } = await stack.deployment();
    // The engine's own default providers stand for nothing that could be lost.
    const open = resources
      .filter(({ custom, protect, type }) => custom && !protect && !type.startsWith("pulumi:"))
      .map(({ id, type }) => (type.endsWith(":Volume") ? `${type} ${id}` : type));
    expect([...new Set(open)].sort()).toEqual([
      "docker:index/container:Container",
      "docker:index/remoteImage:RemoteImage",
      // Where drills work: what is left of one is no loss.
      `docker:index/volume:Volume ${outputs.volumeName?.replace(/-data$/, "-drill")}`,
      "random:index/randomPassword:RandomPassword",
      "tls:index/certRequest:CertRequest",
      "tls:index/locallySignedCert:LocallySignedCert",
      "tls:index/privateKey:PrivateKey",
      "tls:index/selfSignedCert:SelfSignedCert",
    ]);
    const inside = resources.filter(({ type }) => type.startsWith("postgresql:"));
    expect(inside.length).toBeGreaterThan(20);
    expect(inside.filter(({ retainOnDelete }) => !retainOnDelete)).toEqual([]);
    const kept = resources.filter(({ retainOnDelete, type }) => retainOnDelete && type.endsWith(":Volume"));
    expect(kept.map(({ id }) => id).sort()).toEqual([outputs.backupRepository, outputs.volumeName]);
  });
});

describe("the container", () => {
  it("keeps its data in one named volume, with checksums and all durability settings on", async () => {
    const { Mounts, HostConfig } = await inspect(outputs.containerName);
    expect(Mounts.map(({ Type, Name, Destination }) => ({ Type, Name, Destination }))).toEqual([
      { Type: "volume", Name: outputs.volumeName, Destination: "/var/lib/postgresql/data" },
    ]);
    expect(HostConfig.Tmpfs ?? {}).toEqual({});
    expect(await show(app(), "fsync", "synchronous_commit", "full_page_writes", "data_checksums")).toEqual({
      fsync: "on",
      synchronous_commit: "on",
      full_page_writes: "on",
      data_checksums: "on",
    });
  });

  it("starts again by itself, is stopped by a fast shutdown, and has the time for it", async () => {
    const { Config, HostConfig } = await inspect(outputs.containerName);
    expect(HostConfig).toMatchObject({ RestartPolicy: { Name: "unless-stopped" }, Memory: 512 * MB });
    expect(Config).toMatchObject({
      StopSignal: "SIGINT",
      StopTimeout: 120,
      Healthcheck: { Interval: 5 * second, StartPeriod: 300 * second, Retries: 3 },
    });
  });

  it("publishes the configured port, on loopback only", async () => {
    const { NetworkSettings } = await inspect(outputs.containerName);
    expect(NetworkSettings.Ports).toEqual({ "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: String(port) }] });
  });
});

describe("a connection", () => {
  const encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

  it("verifies server and name with the CA of the outputs, from the host and from the network", async () => {
    expect(await query(app(), encrypted, [], { ca })).toEqual([[true]]);
    await giveCa("/tmp/ca.crt", ca);
    const verified = `${outputs.connections.app.network.source.replace("=require", "=verify-full")}&sslrootcert=/tmp/ca.crt`;
    expect(await client.psql(verified, encrypted)).toBe("t");
    const { hostname } = new URL(verified);
    await docker(
      "exec",
      client.id,
      "sh",
      "-c",
      `getent hosts ${hostname} | sed 's/postgres/elsewhere/' >> /etc/hosts`,
    );
    await expect(client.psql(verified.replace("@postgres:", "@elsewhere:"), encrypted)).rejects.toThrow(
      'does not match host name "elsewhere"',
    );
  });

  it("with sslmode=require, as the outputs have it, is encrypted", async () => {
    expect(outputs.tls.mode).toBe("require");
    for (const role of ["app", "migrator", "readonly"] as const) {
      const { host, network } = outputs.connections[role];
      expect(await value(host.source, encrypted)).toBe(true);
      expect(await client.psql(network.source, encrypted)).toBe("t");
    }
  });

  it("in plain is refused, from the host and from the network", async () => {
    const { host, network } = outputs.connections.app;
    const plain = (source: string) => source.replace("sslmode=require", "sslmode=disable");
    await expect(open(plain(host.source))).rejects.toThrow(
      /pg_hba.conf rejects connection for host "[\d.]+", user "shop_app_a", database "shop", no encryption/,
    );
    await expect(client.psql(plain(network.source), "SELECT 1")).rejects.toThrow("no encryption");
  });

  it("needs a password, checked by SCRAM, over TLS 1.2 or later", async () => {
    const wrong = new URL(app());
    wrong.password = "wrong";
    await expect(open(wrong.href)).rejects.toThrow("password authentication failed");
    const rules = await query(
      superuser(),
      "SELECT type, auth_method FROM pg_hba_file_rules WHERE type LIKE 'host%' AND address IS DISTINCT FROM '127.0.0.1' ORDER BY rule_number",
    );
    expect(rules).toEqual([
      ["host", "reject"],
      ["hostnossl", "reject"],
      ["hostssl", "scram-sha-256"],
      ["hostssl", "scram-sha-256"],
      ["hostssl", "scram-sha-256"],
    ]);
    const passwords = "SELECT DISTINCT left(rolpassword, 14) FROM pg_authid WHERE rolpassword IS NOT NULL";
    expect(await query(superuser(), passwords)).toEqual([["SCRAM-SHA-256$"]]);
    expect(await show(superuser(), "ssl_min_protocol_version")).toEqual({
      ssl_min_protocol_version: "TLSv1.2",
    });
  });

  it("of the health check's role is possible from within the container alone", async () => {
    const { network } = outputs.connections.app;
    const health = `postgresql://shop_health@${network.host}:${network.port}/shop?sslmode=require`;
    await expect(client.psql(health, "SELECT 1")).rejects.toThrow("pg_hba.conf rejects connection");
  });
});

describe("the roles", () => {
  it("have no more attributes and memberships than their part needs", async () => {
    const roles = await query(
      superuser(),
      `SELECT rolname, concat_ws(' ',
                CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreatedb THEN 'createdb' END,
                CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END,
                CASE WHEN rolbypassrls THEN 'bypassrls' END, CASE WHEN rolcanlogin THEN 'login' END),
              ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = role.oid ORDER BY 1)
         FROM pg_roles AS role WHERE rolname !~ '^pg_' ORDER BY rolname`,
    );
    expect(roles).toEqual([
      ["postgres", "superuser createdb createrole replication bypassrls login", []],
      ["shop_app_a", "login", ["shop_readwrite"]],
      ["shop_app_b", "", ["shop_readwrite"]],
      ["shop_backup", "replication login", []],
      ["shop_health", "login", ["pg_use_reserved_connections"]],
      ["shop_migrator", "login", ["shop_owner"]],
      ["shop_monitor", "login", ["pg_monitor"]],
      ["shop_owner", "", []],
      ["shop_reader", "login", ["shop_readonly"]],
      ["shop_readonly", "", []],
      ["shop_readwrite", "", []],
    ]);
  });

  it("own as the design says: database, schema and every object are the owner's", async () => {
    const owners = await query(
      superuserIn("shop"),
      `SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
        WHERE relnamespace IN ('app'::regnamespace, 'migrations'::regnamespace)
        UNION SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'app'::regnamespace
        UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'
        UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname IN ('app', 'migrations')`,
    );
    expect(owners).toEqual([["shop_owner"]]);
  });

  it("let the application read and write every table, and do no more with it", async () => {
    const privileges = await query(
      superuserIn("shop"),
      `SELECT DISTINCT privilege, has_table_privilege('shop_app_a', relation.oid, privilege),
              has_table_privilege('shop_reader', relation.oid, privilege)
         FROM pg_class AS relation,
              unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
        WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p', 'v')
        ORDER BY 1`,
    );
    expect(privileges).toEqual([
      ["DELETE", true, false],
      ["INSERT", true, false],
      ["REFERENCES", false, false],
      ["SELECT", true, true],
      ["TRIGGER", false, false],
      ["TRUNCATE", false, false],
      ["UPDATE", true, false],
    ]);
    await query(
      app(),
      "INSERT INTO customer (email, full_name) SELECT i || '@x', 'C' FROM generate_series(1, 1000) i",
    );
    await query(app(), "INSERT INTO purchase_order (customer_id, currency) SELECT id, 'EUR' FROM customer");
    await query(app(), "UPDATE customer SET full_name = 'D' WHERE email = '1@X'");
    expect(await value(app(), "SELECT order_count()")).toBe("1000");
    expect(await value(app(), "SELECT count(*) FROM customer WHERE full_name = 'D'")).toBe("1");
  });

  it.each([
    ["CREATE TABLE evil (id int)", "permission denied for schema app"],
    ["CREATE TABLE public.evil (id int)", "permission denied for schema public"],
    [
      "CREATE TEMPORARY TABLE evil (id int)",
      'permission denied to create temporary tables in database "shop"',
    ],
    ["CREATE VIEW evil AS SELECT 1", "permission denied for schema app"],
    ["CREATE SEQUENCE evil", "permission denied for schema app"],
    ["CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'", "permission denied for schema app"],
    ["CREATE TYPE evil AS ENUM ('a')", "permission denied for schema app"],
    ["CREATE SCHEMA evil", "permission denied for database shop"],
    ["CREATE EXTENSION hstore", 'permission denied to create extension "hstore"'],
    ["CREATE ROLE evil", "permission denied to create role"],
    ["CREATE DATABASE evil", "permission denied to create database"],
    ["SELECT lo_create(0)", "permission denied for function lo_create"],
    ["SELECT lo_from_bytea(0, 'x')", "permission denied for function lo_from_bytea"],
    ["ALTER TABLE customer ADD COLUMN evil int", "must be owner of table customer"],
    ["CREATE INDEX ON customer (full_name)", "must be owner of table customer"],
    ["TRUNCATE payment", "permission denied for table payment"],
    ["SET ROLE shop_owner", 'permission denied to set role "shop_owner"'],
    ["SELECT * FROM migrations.applied", "permission denied for schema migrations"],
  ])("let neither application nor reader do: %s", async (sql, message) => {
    expect(await refusal(app(), sql)).toContain(message);
    expect(await refusal(reader(), sql)).toContain(message);
  });

  it("let the reader read, and write nothing", async () => {
    expect(await value(reader(), "SELECT count(*) FROM customer")).toBe("1000");
    expect(await value(reader(), "SELECT order_count()")).toBe("1000");
    for (const sql of [
      "INSERT INTO customer (email, full_name) VALUES ('r@x', 'R')",
      "UPDATE customer SET full_name = 'R'",
      "DELETE FROM customer",
    ]) {
      expect(await refusal(reader(), sql)).toBe("permission denied for table customer");
    }
    expect(await refusal(reader(), "SELECT nextval('purchase_order_number')")).toBe(
      "permission denied for sequence purchase_order_number",
    );
  });

  it("see no database but their own", async () => {
    const databases = (
      await query(superuser(), "SELECT datname FROM pg_database WHERE datname <> 'shop' AND datallowconn")
    ).flat();
    expect(databases).toEqual(expect.arrayContaining(["postgres", "template1"]));
    for (const role of ["app", "migrator", "readonly"] as const) {
      for (const database of databases) {
        const source = outputs.connections[role].host.source.replace(/\/shop\?/, `/${database}?`);
        await expect(open(source)).rejects.toThrow(`permission denied for database "${database}"`);
      }
    }
  });

  it("leave PUBLIC with nothing: no database, schema, table, sequence or function of the application's", async () => {
    const databases = await query(
      superuser(),
      `SELECT datname, privilege_type FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
        WHERE grantee = 0 AND datname <> 'template0'`,
    );
    expect(databases).toEqual([]);
    const inside = await query(
      superuserIn("shop"),
      `SELECT nspname, privilege_type FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
        WHERE grantee = 0 AND nspname NOT IN ('pg_catalog', 'information_schema')
        UNION ALL
       SELECT relname, privilege_type FROM pg_class, aclexplode(relacl)
        WHERE grantee = 0 AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        UNION ALL
       SELECT proname, privilege_type FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
        WHERE grantee = 0
          AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                                   'extensions'::regnamespace)`,
    );
    expect(inside).toEqual([]);
  });

  it("leave the superuser to the provider alone", async () => {
    const connections = (await containerLog(outputs.containerName))
      .split("\n")
      .filter(
        (line) =>
          /connection authorized: user=postgres\b/.test(line) && !line.includes("application_name=test"),
      );
    expect(connections.length).toBeGreaterThan(0);
    // Over the socket comes the image's own initialisation, before the server listens to anybody.
    const others = connections.filter(
      (line) => !/application_name=(Terraform provider|pulumi\S*|psql)/i.test(line),
    );
    expect(others).toEqual([]);
    expect(exposed([outputs.connections.superuser.password], JSON.stringify(await migratorInputs()))).toEqual(
      [],
    );
  });
});

/** What the commands that run on this machine are given, decrypted. */
async function migratorInputs(): Promise<Deployment["resources"]> {
  const { resources } = await stack.deployment("--show-secrets");
  return resources.filter(({ type }) => type === "command:local:Command");
}

describe("the outputs", () => {
  it("name driver, URL, TLS mode, CA, container, network and volume", async () => {
    expect(outputs).toMatchObject({
      DB_DRIVER: "postgres",
      DB_SOURCE: outputs.connections.app.host.source,
      tls: { mode: "require", ca: expect.stringContaining("BEGIN CERTIFICATE") },
      containerName: `postgres-environments-${stack.name}-postgres`,
      networkName: `postgres-environments-${stack.name}-network`,
      volumeName: `postgres-environments-${stack.name}-data`,
    });
    expect(await stackObjects(stack.name)).toMatchObject({
      containers: expect.arrayContaining([outputs.containerName]),
      networks: [outputs.networkName],
      volumes: expect.arrayContaining([outputs.volumeName, outputs.backupRepository]),
    });
  });

  it("are secret where they have a password", async () => {
    const { stdout } = await stack.pulumi("stack", "output", "--json");
    expect(exposed(secrets, stdout)).toEqual([]);
    expect(JSON.parse(stdout)).toMatchObject({ DB_SOURCE: "[secret]" });
  });

  it("reach an application's container by nothing but the file of ./db env", async () => {
    const file = project.path("app.env");
    const options = ["--from", "network", "--out", file];
    succeeded(
      await project.start(process.execPath, ["cli/main.ts", "env", stack.name, ...options], {
        passphrase: stack.passphrase,
      }).finished,
    );
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const program = `
      test "$DB_DRIVER" = postgres
      echo "$DB_SSLROOTCERT_BASE64" | base64 -d > /tmp/ca.crt
      psql -At -c "SELECT current_user, count(*) FROM customer" "$DB_SOURCE"
      PGPASSWORD=$POSTGRES_PASSWORD psql -At -c "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" \\
        "host=$DB_HOST port=$DB_PORT user=$POSTGRES_USER dbname=$POSTGRES_DB sslmode=verify-full sslrootcert=/tmp/ca.crt"`;
    const answer = await docker(
      ...[
        "run",
        "--rm",
        "--network",
        outputs.networkName,
        "--env-file",
        file,
        "--label",
        `${testLabel}=${testRun}`,
      ],
      ...["--label", `${stackLabel}=${stack.name}`, "--entrypoint", "sh", image, "-ec", program],
    );
    expect(answer).toBe("shop_app_a|1000\nt");
  });
});

describe("a changed setting", () => {
  it("replaces the container after a clean shutdown, and nothing in the database", async () => {
    const before = await inspect(outputs.containerName);
    await stack.set({
      serverSettings: { log_connections: "on", work_mem: "9MB" },
      healthCheck: { interval: 2 },
    });
    const log = succeeded(await stack.up());
    expect(log).not.toMatch(/postgresql:index|Volume|random:|tls:/);
    outputs = await stack.outputs();
    const after = await inspect(outputs.containerName);
    expect(after.Id).not.toBe(before.Id);
    expect(after.Config.Healthcheck).toMatchObject({ Interval: 2 * second, Timeout: 5 * second });
    expect(await show(app(), "work_mem")).toEqual({ work_mem: "9MB" });
    expect(await customers()).toBe("1000");
    const serverLog = await containerLog(outputs.containerName);
    expect(serverLog).toMatch(/database system was shut down at/);
    expect(serverLog).not.toMatch(/not properly shut down|was interrupted/);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("destroy", () => {
  it("is refused before anything is touched, and says what protects what", async () => {
    const before = {
      state: await state(),
      container: (await inspect(outputs.containerName)).Id,
    };
    const { code, output } = await stack.destroy();
    expect(code).not.toBe(0);
    expect(output).toMatch(/cannot be deleted\s+because it is protected/);
    expect(output).toContain("protect");
    expect(await state()).toEqual(before.state);
    expect((await inspect(outputs.containerName)).Id).toBe(before.container);
    expect(await customers()).toBe("1000");
  });
});

describe("a crash", () => {
  it("of the server (SIGKILL) is survived with every row, and the container starts again by itself", async () => {
    await query(app(), "INSERT INTO customer (email, full_name) VALUES ('crash@x', 'just before')");
    const { State } = await inspect(outputs.containerName);
    await docker(
      ...["run", "--rm", "--pid", "host", "--label", `${testLabel}=${testRun}`],
      ...["--entrypoint", "kill", image, "-9", String(State.Pid)],
    );
    await until(async () => (await inspect(outputs.containerName)).RestartCount === 1, 120);
    await untilHealthy();
    expect(await containerLog(outputs.containerName)).not.toMatch(/received \w+ shutdown request/);
    expect(await customers()).toBe("1001");
  });

  it("or restart of the host's Docker starts the container again, and is no change", async () => {
    await docker("restart", outputs.containerName);
    await untilHealthy();
    expect(await customers()).toBe("1001");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("another major version", () => {
  it("on the volume is refused by preview and by up, with the way out, and nothing is changed", async () => {
    const before = {
      state: await state(),
      container: (await inspect(outputs.containerName)).Id,
    };
    await stack.set({ image: "postgres:15-bookworm" });
    for (const { code, output } of [await stack.preview(), await stack.up()]) {
      expect(code).not.toBe(0);
      expect(output).toContain(
        "image: postgres:15-bookworm is PostgreSQL 15, but the volume's data was made by PostgreSQL 17",
      );
      expect(output).toContain("Set the image back to PostgreSQL 17");
      expect(output).not.toMatch(/^ +at /m);
    }
    await stack.set({ image });
    expect(await state()).toEqual(before.state);
    expect((await inspect(outputs.containerName)).Id).toBe(before.container);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("is never started on another's data directory, and leaves it as it was", async () => {
    const volume = `postgres-environments-test-${randomBytes(4).toString("hex")}`;
    const labels = ["--label", `${testLabel}=${testRun}`, "--label", `${stackLabel}=${stack.name}`];
    await docker("volume", "create", ...labels, volume);
    const mount = ["--volume", `${volume}:/var/lib/postgresql/data`, ...labels];
    const files = "cd /var/lib/postgresql/data && find . -type f -exec md5sum {} +";
    await docker(
      ...["run", "--rm", ...mount, "--entrypoint", "sh", image, "-ec"],
      "mkdir -m 700 /var/lib/postgresql/data/pgdata; cd /var/lib/postgresql/data/pgdata; echo 15 > PG_VERSION; echo kept > base",
    );
    const dataBefore = await docker("run", "--rm", ...mount, "--entrypoint", "sh", image, "-ec", files);
    const id = await docker(
      ...["create", ...mount, "--env", "PGDATA=/var/lib/postgresql/data/pgdata"],
      ...["--env", "DATA_MOUNT=/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=x"],
      ...["--entrypoint", "/opt/postgresql-environment/entrypoint", image, "postgres"],
    );
    const uploads = project.path("uploads");
    cpSync(project.path("components/server/container"), uploads, { recursive: true });
    await run("chmod", ["-R", "755", uploads]);
    await docker("cp", uploads, `${id}:/opt/postgresql-environment`);
    await docker("start", id);
    expect(await docker("wait", id)).toBe("1");
    expect(await containerLog(id)).toContain(
      "the data directory was made by PostgreSQL 15, this image has 17. Nothing was started or changed.",
    );
    const dataAfter = await docker("run", "--rm", ...mount, "--entrypoint", "sh", image, "-ec", files);
    expect(dataAfter).toBe(dataBefore);
    await docker("rm", "--volumes", id);
    await docker("volume", "rm", volume);
  });
});

describe("a third stack", () => {
  let staging: TestStack;
  let own: IssuedCertificate;

  it("of another name, with profile production and another port, runs beside it with no change of code", async () => {
    own = await issueCertificate();
    staging = await project.stack("production", {
      name: `staging-${randomBytes(3).toString("hex")}`,
      passphrase: "another passphrase",
      settings: {
        port: await freePort(),
        memory: "256MB",
        tlsCertificate: own.certificate,
        tlsCa: own.ca,
        backups: false,
      },
    });
    await staging.setByPulumi({ superuserPassword: "Sup3r $ecret 'ü\"%", tlsKey: own.key }, { secret: true });
    const log = succeeded(await staging.up());
    const theirs = await staging.outputs();
    expect(theirs.connections.superuser.password).toBe("Sup3r $ecret 'ü\"%");
    expect(await value(theirs.connections.superuser.host.source, "SELECT current_user")).toBe("postgres");
    expect(await value(theirs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("0");
    expect(await customers()).toBe("1001");
    const everything = [
      log,
      await staging.export(),
      await docker("inspect", theirs.containerName),
      project.read(`Pulumi.${staging.name}.yaml`),
    ].join("\n");
    expect(exposed(["Sup3r $ecret", own.key.split("\n")[1] ?? ""], everything)).toEqual([]);
  });

  it("serves a certificate that the settings give, which another authority does not verify", async () => {
    const theirs = await staging.outputs();
    expect(theirs.tls.ca?.trim()).toBe(own.ca.trim());
    expect(await query(theirs.DB_SOURCE, "SELECT 1", [], { ca: own.ca })).toEqual([[1]]);
    await expect(query(theirs.DB_SOURCE, "SELECT 1", [], { ca })).rejects.toThrow(/certificate/);
    await expect(query(app(), "SELECT 1", [], { ca: own.ca })).rejects.toThrow(/certificate/);
    succeeded(await staging.preview("--expect-no-changes"));
  });
});

describe("the end of a production environment", () => {
  it("is reached by lifting protection, which changes no container, and by destroy", async () => {
    const before = await inspect(outputs.containerName);
    await stack.set({ deletionProtection: false });
    succeeded(await stack.up());
    expect((await inspect(outputs.containerName)).Id).toBe(before.Id);
    await client.remove();
    succeeded(await stack.destroy());
    const left = await stackObjects(stack.name);
    expect({ ...left, volumes: left.volumes.sort() }).toEqual({
      containers: [],
      networks: [],
      volumes: [outputs.backupRepository, outputs.volumeName],
    });
  });

  it("is not the end of its data: with adoptVolume, up takes the volume over with rows, roles and new passwords", async () => {
    await stack.set({ adoptVolume: true });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    expect(await customers()).toBe("1001");
    expect(await value(reader(), "SELECT order_count()")).toBe("1000");
    expect(await refusal(reader(), "DELETE FROM customer")).toBe("permission denied for table customer");
    expect(
      await value(outputs.connections.migrator.host.source, "SELECT count(*) FROM migrations.applied"),
    ).toBe("8");
    expect(exposed(secrets, JSON.stringify(outputs))).toEqual([]);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("and life goes on without that setting, protected again, with no diff in the end", async () => {
    await stack.unset("adoptVolume", "deletionProtection");
    succeeded(await stack.up());
    outputs = await stack.outputs();
    succeeded(await stack.preview("--expect-no-changes"));
    succeeded(await stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"));
    expect(await customers()).toBe("1001");
    expect((await stack.destroy()).code).not.toBe(0);
  });
});
