import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { VerifyReport } from "../../verification/report.ts";
import { type ClientContainer, startClient } from "../support/client-container.ts";
import { docker, inspect } from "../support/docker.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { exposed, generatedSecrets } from "../support/secrets.ts";
import { open, query, refusal, value } from "../support/sql.ts";

const passphrase = "a passphrase of one's own";
let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let log: string;
let client: ClientContainer | undefined;
/**
 * An address of this host that is none of Docker's: a connection from here to it comes from it, as the server sees it,
 * while one to loopback comes from the gateway of the stack's network.
 */
const elsewhere = Object.entries(networkInterfaces())
  .filter(([name]) => !/^(?:docker|br-|veth)/.test(name))
  .flatMap(([, addresses]) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase,
    settings: {
      port: await freePort(),
      // Larger than the throwaway server, and with the containers that a production environment has by default.
      memory: "2GB",
      monitoring: "exporter",
      serverSettings: { log_connections: "on" },
      bindAddress: "0.0.0.0",
      accessRules: [
        { role: "readonly", address: elsewhere ?? "192.0.2.1" },
        { role: "readonly", address: "network", method: "reject" },
        // A slip that would shut the program out: `up` goes on as its migrator and superuser all the same.
        { role: "migrator", address: "0.0.0.0/0", method: "reject" },
      ],
    },
  });
  project.write(
    "migrations/0008_order_count.up.sql",
    "CREATE FUNCTION order_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM purchase_order';",
  );
  project.write("migrations/0008_order_count.down.sql", "DROP FUNCTION order_count();");
  log = succeeded(await stack.up());
  outputs = await stack.outputs();
});

afterAll(async () => {
  await client?.remove();
  await project?.remove();
});

function verify(...options: string[]): Promise<Finished> {
  return project.start(process.execPath, [project.path("cli", "main.ts"), "verify", stack.name, ...options], {
    passphrase,
  }).finished;
}

/** The differences of a report, each with its container's name and hashes taken out. */
function differences(report: string): string[] {
  return report
    .split("\n")
    .filter((line) => line.startsWith("  "))
    .map((line) =>
      line
        .trim()
        .replace(outputs.containerName, "POSTGRES")
        .replace(/\b[0-9a-f]{16}\b/g, "…"),
    );
}

/** As somebody with the superuser's password would, by hand. */
async function byHand(database: string, ...statements: string[]): Promise<void> {
  const source = outputs.connections.superuser.host.source.replace(/\/postgres\?/, `/${database}?`);
  const client = await open(source);
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

describe("access rules", () => {
  const from = (source: string, address: string) => source.replace("@127.0.0.1:", `@${address}:`);
  const sources = () => ({
    app: outputs.connections.app.host.source,
    readonly: outputs.connections.readonly.host.source,
    superuser: outputs.connections.superuser.host.source,
  });

  it("are printed as PostgreSQL reads them, without mistakes", async () => {
    expect(log).toContain(`hostssl "shop"  "shop_reader"  ${elsewhere ?? "192.0.2.1"}/32  scram-sha-256`);
    const faults = "SELECT rule_number FROM pg_hba_file_rules WHERE error IS NOT NULL";
    expect(await query(sources().superuser, faults)).toEqual([]);
  });

  it.runIf(elsewhere)("let in whom they name from where they say, and nobody else", async () => {
    if (elsewhere === undefined) return;
    const seenFrom = "SELECT host(inet_client_addr())";
    expect(await value(from(sources().readonly, elsewhere), seenFrom)).toBe(elsewhere);
    const noEntry = (role: string) => `no pg_hba.conf entry for host "${elsewhere}", user "${role}"`;
    expect(await refusal(from(sources().app, elsewhere), "SELECT 1")).toContain(noEntry("shop_app_a"));
    expect(await refusal(from(sources().superuser, elsewhere), "SELECT 1")).toContain(noEntry("postgres"));
  });

  it("leave the stack's network and the Docker host to the others, and can take them away", async () => {
    expect(await value(sources().app, "SELECT current_user::text")).toBe("shop_app_a");
    expect(await refusal(sources().readonly, "SELECT 1")).toContain("pg_hba.conf rejects connection");
    client = await startClient(stack.name, outputs.networkName);
    expect(await client.psql(outputs.connections.app.network.source, "SELECT 1")).toBe("1");
    await expect(client.psql(outputs.connections.readonly.network.source, "SELECT 1")).rejects.toThrow(
      "pg_hba.conf rejects connection",
    );
  });

  it("can't shut the program out, whatever they say", async () => {
    expect(log).toMatch(/reject\n/);
    expect(await value(outputs.connections.migrator.host.source, "SELECT current_user::text")).toBe(
      "shop_migrator",
    );
    if (elsewhere) {
      const migrator = from(outputs.connections.migrator.host.source, elsewhere);
      expect(await refusal(migrator, "SELECT 1")).toContain("pg_hba.conf rejects connection");
    }
  });

  it.runIf(elsewhere)("let the program in from where programNetworks says, with no restart", async () => {
    if (elsewhere === undefined) return;
    const before = await inspect(outputs.containerName);
    await stack.set({ programNetworks: [elsewhere] });
    succeeded(await stack.up());
    const { migrator } = outputs.connections;
    expect(await value(from(sources().superuser, elsewhere), "SELECT current_user::text")).toBe("postgres");
    expect(await value(from(migrator.host.source, elsewhere), "SELECT current_user::text")).toBe(
      "shop_migrator",
    );
    expect(await refusal(from(sources().app, elsewhere), "SELECT 1")).toContain("no pg_hba.conf entry");
    expect((await inspect(outputs.containerName)).Id).toBe(before.Id);
  });
});

it("finds nothing on a server that nobody has touched", async () => {
  const { code, stdout } = await verify();
  expect(stdout).toMatch(/ is as the code says: container, passwords, roles, settings, access rules/);
  expect(code).toBe(0);
});

describe("a container of one program alone, which could print no file of it", () => {
  it("is compared too", async () => {
    const exporter = outputs.containerName.replace(/postgres$/, "exporter");
    project.write("changed.yml", "{}\n");
    const file = "/opt/postgresql-environment/queries.yml";
    await docker("cp", project.path("changed.yml"), `${exporter}:${file}`);
    const { code, stdout } = await verify();
    expect(differences(stdout)).toEqual([`file ${file}: content should be SHA-256 …, is SHA-256 …`]);
    expect(code).toBe(1);
  });

  it("leaves nothing that counts as a difference when it is taken back", async () => {
    await stack.set({ monitoring: "none" });
    succeeded(await stack.up());
    const { code, stdout } = await verify();
    expect(stdout).toContain(" is as the code says: ");
    expect(code).toBe(0);
  });
});

describe("changes by hand", () => {
  let first: string[];

  it("are all reported, and nothing else: ten of ten", async () => {
    await byHand(
      "shop",
      "ALTER ROLE shop_reader CREATEDB",
      "GRANT shop_owner TO shop_app_a",
      "GRANT SELECT ON app.customer TO PUBLIC",
      "CREATE OR REPLACE FUNCTION app.order_count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
      "ALTER TABLE app.order_line OWNER TO postgres",
      "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA app GRANT TRUNCATE ON TABLES TO shop_app_a",
      "CREATE EXTENSION pgcrypto SCHEMA extensions",
      "ALTER SYSTEM SET log_min_duration_statement = '250ms'",
      "ALTER ROLE shop_monitor PASSWORD 'chosen by hand'",
    );
    await docker(
      "exec",
      outputs.containerName,
      "sh",
      "-c",
      "echo 'host all all 10.0.0.0/8 trust' >> /var/lib/postgresql/data/configuration/current/pg_hba.conf",
    );
    await byHand("postgres", "SELECT pg_reload_conf()");

    const finished = await verify();
    expect(finished.code).toBe(1);
    expect(finished.stdout).toMatch(/ is not as the code says: 10 differences/);
    first = differences(finished.stdout);
    expect(first).toMatchInlineSnapshot(`
      [
        "password of shop_monitor: value should be the stack's, is another",
        "membership of shop_app_a in shop_owner is there, and should not be",
        "role shop_reader: create databases should be none, is yes",
        "setting log_min_duration_statement: value should be 1s, is 250ms; cause should be the program, is ALTER SYSTEM",
        "pg_hba.conf: rule «host all all 10.0.0.0/8 trust» should be none, is there",
        "default privileges of shop_owner for tables in schema app: privileges of shop_app_a should be none, are TRUNCATE",
        "extension pgcrypto is there, and should not be",
        "function app.order_count(): definition differs in line 4: should be «AS $function$SELECT count(*) FROM purchase_order$function$», is «AS $function$SELECT 0::bigint$function$»",
        "table app.customer: privileges of PUBLIC should be none, are SELECT",
        "table app.order_line: owner should be shop_owner, is postgres; privileges of postgres should be none, are DELETE, INSERT, MAINTAIN, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE; privileges of shop_owner should be DELETE, INSERT, MAINTAIN, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE, are none",
      ]
    `);
    const secrets = generatedSecrets(await stack.deployment("--show-secrets"));
    expect(exposed(secrets, finished.output)).toEqual([]);
  });

  it("outside of the application's database and around the server are reported too", async () => {
    await byHand("shop", "DROP INDEX app.purchase_order_to_ship", "ALTER TABLE app.product ADD hand text");
    await byHand("shop", "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO shop_app_a");
    await byHand("template1", "CREATE TABLE public.left_behind (id integer)");
    await byHand(
      "postgres",
      "CREATE ROLE mallory LOGIN SUPERUSER PASSWORD 'secret'",
      "GRANT shop_readwrite TO mallory",
      "CREATE DATABASE side",
      "ALTER SYSTEM SET max_connections = 50",
      "GRANT SET ON PARAMETER log_statement TO shop_reader",
    );
    await docker("update", "--memory", "768m", "--memory-swap", "768m", outputs.containerName);
    await docker(
      "exec",
      outputs.containerName,
      "sh",
      "-c",
      "echo >> /opt/postgresql-environment/healthcheck",
    );
    const all = differences((await verify()).stdout);
    expect(all.filter((text) => !first.includes(text))).toMatchInlineSnapshot(`
      [
        "container POSTGRES: memory should be 2048 MB, is 768 MB; memory and swap should be 2048 MB, is 768 MB",
        "file /opt/postgresql-environment/healthcheck: content should be SHA-256 …, is SHA-256 …",
        "role mallory is there, and should not be (with 1 membership)",
        "rights on parameter log_statement are there, and should not be",
        "setting max_connections: value in postgresql.auto.conf should be none, is 50",
        "database side is there, and should not be",
        "column hand of app.product is there, and should not be",
        "index purchase_order_to_ship on app.purchase_order is missing",
        "objects of PostgreSQL and of extensions: rights on function pg_read_file(text) should be the built-in ones, are postgres: EXECUTE; shop_app_a: EXECUTE",
        "in database template1: table public.left_behind is there, and should not be (with 1 column)",
      ]
    `);
    expect(first.filter((text) => !all.includes(text))).toEqual([]);
  });

  it("name the superuser's password where it is another, and what could not be compared", async () => {
    await byHand("postgres", "ALTER ROLE postgres PASSWORD 'chosen by hand'");
    const report: VerifyReport = JSON.parse((await verify("--json")).stdout);
    expect(report.good).toBe(false);
    expect(report.differences.filter(({ area }) => area === "passwords").map(({ text }) => text)).toEqual([
      "password of shop_monitor: value should be the stack's, is another",
      "password of postgres: value should be the stack's, is another",
    ]);
    expect(report.notCompared).toEqual([
      expect.stringContaining(`./db rotate ${stack.name} --role superuser`),
    ]);
  });

  it("of access rules and settings are gone with the rotation that the report asks for, which locks in a new login", async () => {
    const rotate = (...args: string[]) =>
      project.start(
        process.execPath,
        [project.path("cli", "main.ts"), "rotate", stack.name, ...args, "--yes"],
        {
          passphrase,
        },
      ).finished;
    succeeded(await rotate("--role", "superuser"));
    const before = await verify();
    expect(before.stdout).toMatch(/password of shop_monitor/);
    expect(before.stdout).not.toMatch(/pg_hba|log_min_duration_statement|password of postgres|shop_app_b/);
    succeeded(await rotate("--role", "monitor"));
    succeeded(await rotate("--role", "app"));
    // Both logins are open, until the rotation is finished.
    expect((await verify()).stdout).not.toMatch(/role shop_app/);
    succeeded(await rotate("--role", "app", "--finish"));
    expect((await verify()).stdout).not.toMatch(/role shop_app/);
  });
});
