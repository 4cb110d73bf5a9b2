import { cpSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { image, inspect } from "../support/docker.ts";
import { diagnostics, hasStackTrace } from "../support/output.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { query, value } from "../support/sql.ts";

let project: TestProject;

/** What a command that must fail tells its user. */
function told({ code, output }: Finished, replace: Readonly<Record<string, string>> = {}): string {
  expect(code, output).not.toBe(0);
  expect(hasStackTrace(output), output).toBe(false);
  return diagnostics(output, { [project.folder]: "FOLDER", ...replace });
}

beforeAll(() => {
  project = new TestProject();
});

afterAll(async () => {
  await project?.remove();
});

describe("before anything is made", () => {
  let stack: TestStack;
  const preview = async () => told(await stack.preview(), { [stack.name]: "STACK" });

  beforeAll(async () => {
    stack = await project.stack("development");
  });

  it("every mistake in the settings is told at once", async () => {
    await stack.set({
      databsename: "shop",
      databaseName: "",
      appName: "ü".repeat(27),
      port: 70000,
      image: "Postgres:17:latest",
      memory: "1 gigabyte",
      bindAddress: "localhost",
      deletionProtection: "perhaps",
      serverSettings: { hba_file: "/tmp/mine", "work_mem; DROP": 1 },
      superuserPassword: "in plain text",
    });
    expect(await preview()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: 10 mistakes in the settings of stack STACK (Pulumi.STACK.yaml):
            - appName: got "üüüüüüüüüüüüüüüüüüüüüüüüüüü", expected 1 to 53 bytes without backslashes, control characters or outer spaces. Fix: pulumi config set appName shop
            - bindAddress: got "localhost", expected an IPv4 or IPv6 address of the Docker host. Fix: pulumi config set bindAddress 127.0.0.1
            - databaseName: got "", expected 1 to 63 bytes without %, ?, #, control characters or outer spaces, other than postgres, template0, template1 and template_building. Fix: pulumi config set databaseName shop
            - databsename: is not a setting. Did you mean databaseName? Fix: pulumi config rm databsename
            - deletionProtection: got "perhaps", expected true or false. Fix: pulumi config set deletionProtection false
            - image: got "Postgres:17:latest", expected an image reference such as postgres:17-trixie. Fix: pulumi config set image postgres:17-trixie
            - memory: got "1 gigabyte", expected a size of at least 128MB with its unit, such as 512MB or 4GB. Fix: pulumi config set memory 4GB
            - port: got "70000", expected a whole number from 1 to 65535. Fix: pulumi config set port 5432
            - serverSettings: got "{\\"hba_file\\":\\"/tmp/mine\\",\\"work_mem; DROP\\":1}", expected a map from PostgreSQL parameters to strings, numbers or booleans, without config_file, data_directory, external_pid_file, hba_file, ident_file, listen_addresses, password_encryption, port, ssl, ssl_ca_file, ssl_cert_file, ssl_key_file, unix_socket_directories. Fix: correct it in the stack's file, for example serverSettings: {max_connections: 200}
            - superuserPassword: is in plain text, expected an encrypted value. Fix: take it out of the file, choose another value and run: pulumi config set --secret superuserPassword
          Nothing has been changed. Every setting is explained in README.md, «Settings»."
    `);
    await stack.unset("databsename", "databaseName", "port", "memory", "bindAddress", "deletionProtection");
    await stack.unset("serverSettings", "superuserPassword");
    await stack.set({ appName: "shop", image });
  });

  it("a value of a type that Pulumi itself checks is refused by Pulumi", async () => {
    await stack.set({ adoptVolume: "yes, please" });
    expect(await preview()).toMatchInlineSnapshot(
      `"error: validating stack config: Stack 'STACK' with configuration key 'adoptVolume' must be of type 'boolean'"`,
    );
    await stack.unset("adoptVolume");
  });

  it("a migrations folder that is missing is named", async () => {
    await stack.set({ migrationsFolder: "migration" });
    expect(await preview()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: The migrations cannot be read:
            - there is no folder "migration": create it, or correct the setting that names it"
    `);
    await stack.unset("migrationsFolder");
  });

  it("a gap, a duplicate number, a down file without an up file and psql's own commands are told at once", async () => {
    cpSync(project.path("migrations"), project.path("kept"), { recursive: true });
    renameSync(
      project.path("migrations/0004_payment.up.sql"),
      project.path("migrations/0004_payment.up.sql.old"),
    );
    project.write("migrations/0005_another.up.sql", "SELECT 1;");
    project.write("migrations/0005_another.down.sql", "SELECT 1;");
    project.write("migrations/0008_copy.up.sql", "\\copy customer from 'customers.csv'\n");
    project.write("migrations/0008_copy.down.sql", "COMMIT;\n");
    project.write("migrations/0010_late.up.sql", "SELECT 1;");
    project.write("migrations/0010_late.down.sql", "SELECT 1;");
    expect(await preview()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: The migrations in "migrations" cannot be used:
            - 0004_payment.up.sql.old: not a migration's file name: rename it as in "0001_name.up.sql" and "0001_name.down.sql", or move it to another place
            - 0004_payment.down.sql has no up script: write 0004_payment.up.sql, or remove the down script
            - number 5 is used twice, by 0005_another.up.sql and 0005_order_number.up.sql, and by 0005_another.down.sql and 0005_order_number.down.sql: give one of them a number of its own
            - 0008_copy.down.sql:1:1: COMMIT stands in the way of the transaction that is opened around each file: take it out
            - 0008_copy.up.sql:1:1: \\copy is a command of psql, which the server does not know: write it in SQL, or take it out
            - number 9 is missing before number 10: restore the files, or renumber the later ones"
    `);
    rmSync(project.path("migrations"), { recursive: true });
    renameSync(project.path("kept"), project.path("migrations"));
  });

  it("a target that is no migration is told, with the choices", async () => {
    await stack.set({ migrationsTarget: "0099" });
    expect(await preview()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: The migration target "0099" does not exist:
            - choose a number or a name of: 0 (none of them), 0001_customer, 0002_product, 0003_purchase_order, 0004_payment, 0005_order_number, 0006_order_number_backfill, 0007_order_number_required; or leave the target out for the newest"
    `);
    await stack.unset("migrationsTarget");
  });

  it("an init script that the image would leave out silently is refused", async () => {
    mkdirSync(project.path("scripts"));
    project.write("scripts/10_roles.psql", "SELECT 1;");
    await stack.set({ initdbFolder: "scripts" });
    expect(await preview()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: initdbFolder: scripts/10_roles.psql would never run; the image takes files that end in .sh, .sql, .sql.gz, .sql.xz, .sql.zst. Rename or remove them."
    `);
    await stack.unset("initdbFolder");
  });
});

describe("an environment with data", () => {
  let stack: TestStack;
  let outputs: Outputs;
  let port: number;
  let occupied: Server;
  let takenPort: number;
  const up = async () =>
    told(await stack.up(), { [stack.name]: "STACK", [String(port)]: "PORT", [String(takenPort)]: "TAKEN" });

  beforeAll(async () => {
    port = await freePort();
    takenPort = await freePort();
    stack = await project.stack("production", {
      passphrase: "the right one",
      settings: { port, memory: "256MB", backups: false },
    });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    await query(
      outputs.DB_SOURCE,
      "INSERT INTO customer (email, full_name) SELECT i || '@x', 'C' FROM generate_series(1, 100) i",
    );
    occupied = createServer().listen(takenPort, "127.0.0.1");
  });

  afterAll(() => {
    occupied?.close();
  });

  it("is not opened by a wrong passphrase", async () => {
    const wrong = await project.pulumi(["up", "--yes", "--stack", stack.name], { passphrase: "a wrong one" });
    expect(told(wrong)).toMatchInlineSnapshot(
      `"error: getting stack configuration: get stack secrets manager: incorrect passphrase"`,
    );
  });

  it("is asked for its passphrase where none is given", async () => {
    const { finished } = project.start(
      "sh",
      [
        "-c",
        `unset PULUMI_CONFIG_PASSPHRASE; pulumi up --yes --non-interactive --color never -s ${stack.name}`,
      ],
      {},
    );
    expect(told(await finished)).toMatchInlineSnapshot(
      `"error: getting stack configuration: get stack secrets manager: passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"`,
    );
  });

  it("keeps running where an extension is unknown, which is told with those that there are", async () => {
    const before = await inspect(outputs.containerName);
    await stack.set({ extensions: ["citext", "pg_trgm", "no_such_extension"] });
    const text = await up();
    expect(text).toContain('extension "no_such_extension" is not in the image.');
    expect(text).toMatch(/It has:\n[^"]*\bcitext\b[^"]*\bpgcrypto\b[^"]*\bplpgsql\b/);
    expect(text).toContain('What to do: correct the setting "extensions"');
    await stack.set({ extensions: ["citext", "pg_trgm"] });
    expect((await inspect(outputs.containerName)).Id).toBe(before.Id);
  });

  it("is told of a syntax error in a migration before anything runs", async () => {
    project.write("migrations/0008_broken.up.sql", "ALTER TABLE customer\n  ADD COLUM phone text;\n");
    project.write("migrations/0008_broken.down.sql", "ALTER TABLE customer DROP COLUMN phone;\n");
    expect(await up()).toMatchInlineSnapshot(`
      "  pulumi:pulumi:Stack (postgres-environments-STACK):
          error: The migrations hold what fails, can stop the application or loses data; nothing will be changed:
            - migrations/0008_broken.up.sql:2: syntax error at or near "text" [syntax-error]
          What to do: correct it, or write it the safe way, which docs/migrations.md shows."
    `);
  });

  it("keeps its rows where SQL of a migration is broken in a way that the server alone sees, and is told the place", async () => {
    project.write("migrations/0008_broken.up.sql", "ALTER TABLE customer\n  ADD COLUMN phone txt;\n");
    expect(await up()).toMatchInlineSnapshot(`
      "  command:local:Command (postgres-migrations-run):
          error: exit status 1: running "node migrator/main.ts":
          database "shop" at 127.0.0.1:PORT as "shop_migrator": 1 migration to apply
          migrations/0008_broken.up.sql:2:20: type "txt" does not exist
              1 | ALTER TABLE customer
            > 2 |   ADD COLUMN phone txt;
                |                    ^
              3 |
            SQLSTATE: 42704
          0008_broken was not applied, not even in part; what was applied before it stays so.
          Note: if this comes from an extension, add the extension to the setting "extensions".
          What to do: correct migrations/0008_broken.up.sql, then run again: it goes on from there."
    `);
    rmSync(project.path("migrations/0008_broken.up.sql"));
    rmSync(project.path("migrations/0008_broken.down.sql"));
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
  });

  it("tells of a server parameter's value that the server refuses", async () => {
    await stack.set({ serverSettings: { work_mem: "lots" } });
    expect(await up()).toMatchInlineSnapshot(`
      "  command:local:Command (postgres-configuration):
          error: exit status 1: running "node reload/main.ts":
          The server refuses its new configuration; it goes on with the old one, nothing was changed:
            - serverSettings: work_mem = "lots": invalid value for parameter "work_mem": "lots"
          Correct it in the stack's settings and run pulumi up again."
    `);
  });

  it("tells of a server parameter that does not exist", async () => {
    await stack.set({ serverSettings: { wrok_mem: "4MB" } });
    expect(await up()).toContain('wrok_mem = "4MB": unrecognized configuration parameter');
    await stack.unset("serverSettings");
  });

  it("tells of a port that is in use", async () => {
    await stack.set({ port: takenPort });
    // The words around them are Docker's own, and other ones in each of its versions.
    const text = await up();
    expect(text).toContain("docker:index:Container (postgres-container)");
    expect(text).toMatch(/127\.0\.0\.1:TAKEN.*address already in use/);
    await stack.set({ port });
  });

  it("tells of an image that cannot be pulled, while the server goes on", async () => {
    succeeded(await stack.up());
    await stack.set({ image: "127.0.0.1:1/nobody/postgres:17" });
    const text = await up();
    expect(text).toContain("docker:index:RemoteImage (postgres-image)");
    expect(text).toMatch(/127\.0\.0\.1:1\/nobody\/postgres:17.*connection refused/);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
    await stack.set({ image });
  });

  it("is as it was once all is corrected, with every row and no diff", async () => {
    succeeded(await stack.up());
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});
