import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { removeLeftOvers } from "../../rehearsal/server.ts";
import { docker, inspect, testLabel, testRun } from "../support/docker.ts";
import { copied } from "../support/project.ts";

const repository = join(import.meta.dirname, "..", "..");
/** Of this file's own rehearsals: others may be under way on the machine. */
const ownLabel = `${testLabel}.rehearse=${process.pid}`;
const stackFile = `config:
  profile: development
  appName: shop
  extensions: [citext, pg_trgm]
  labels: {${testLabel}: "${testRun}", ${ownLabel.replace("=", ': "')}"}
`;

let folder: string;
const path = (...parts: string[]) => join(folder, ...parts);
const git = (...args: string[]) =>
  execFileSync("git", ["-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.com", ...args]);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rehearse-"));
  for (const name of [...copied, "airgap"]) cpSync(join(repository, name), path(name), { recursive: true });
  symlinkSync(join(repository, "node_modules"), path("node_modules"));
  writeFileSync(path("Pulumi.development.yaml"), stackFile);
  writeFileSync(path(".gitignore"), "node_modules\n.airgap\n.environments\n");
  git("init", "--quiet", "--initial-branch=main");
  git("add", ".");
  git("commit", "--quiet", "--message=base");
});
beforeEach(() => {
  git("checkout", "--quiet", "-B", "feature", "main");
  git("clean", "--quiet", "-fd", "migrations");
});
afterEach(async () => {
  git("checkout", "--quiet", ".");
  expect(await containers()).toEqual([]);
});
afterAll(async () => {
  for (const name of await containers()) await docker("rm", "--force", "--volumes", name);
  rmSync(folder, { recursive: true });
});

async function containers(): Promise<string[]> {
  const names = await docker("ps", "--all", "--filter", `label=${ownLabel}`, "--format", "{{.Names}}");
  return names.split("\n").filter(Boolean);
}

const db = (...args: string[]) => command("rehearse", ...args);

function command(...args: string[]) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [path("cli/main.ts"), ...args], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

function write(name: string, up: string, down: string): void {
  writeFileSync(path("migrations", `${name}.up.sql`), up);
  writeFileSync(path("migrations", `${name}.down.sql`), down);
}

/** With one migration, apart from the folder that rehearsals under way still read. */
function smallFolder(): string {
  for (const file of ["0001_customer.up.sql", "0001_customer.down.sql"])
    cpSync(path("migrations", file), path(".environments", file));
  return path(".environments");
}

/** Milliseconds and seconds differ from run to run. */
const timeless = (text: string) => text.replace(/\d+(?:\.\d+)? (m?s)\b/g, "N $1");

describe("./db rehearse", () => {
  it("says that there is nothing to do where the base has every migration", async () => {
    const { code, stdout } = await db("--stack", "development");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: "Nothing to rehearse: main has every migration in migrations (7). --all rehearses them all.\n",
    });
  });

  it("takes what is not on the base up, down and up again", async () => {
    write(
      "0008_product_weight",
      "ALTER TABLE product ADD COLUMN weight integer;",
      "ALTER TABLE product DROP COLUMN weight;",
    );
    const { code, stdout, stderr } = await db();
    expect(timeless(stdout)).toMatchInlineSnapshot(`
      "0008_product_weight: up N ms, down N ms, up again N ms
        lock        ACCESS EXCLUSIVE on app.product (reads and writes wait)
        good        down takes everything back, and up works again
      1 migration rehearsed in N s: up, down and up again leave no difference
      "
    `);
    // On a slow machine, a step tells how far it is, too.
    const steps = stderr.split("\n").filter((line) => line.endsWith(")"));
    expect(timeless(steps.join("\n"))).toMatchInlineSnapshot(`
      "Throwaway server as stack development has it: postgres:17-trixie (N s)
      What main has: 7 migrations (N s)"
    `);
    expect(code).toBe(0);
  });

  it("names what is different afterwards, and goes on with the next migration", async () => {
    write(
      "0008_weight",
      "ALTER TABLE product ADD COLUMN IF NOT EXISTS weight integer; GRANT SELECT (sku) ON product TO shop_monitor;",
      "ALTER TABLE product ALTER name TYPE varchar(100);",
    );
    git("add", ".");
    git("commit", "--quiet", "--message=feature");
    write("0009_gone", "DROP TABLE payment;", "CREATE TABLE payment (id bigint);");
    const { code, stdout } = await db();
    expect(timeless(stdout)).toMatchInlineSnapshot(`
      "0008_weight: up N ms, down N ms, up again N ms
        lock        ACCESS EXCLUSIVE on app.product (reads and writes wait)
        DIFFERENCE  column name of app.product, after down: type was text, is character varying(100)
        DIFFERENCE  column sku of app.product, after down: privileges of shop_monitor were none, are SELECT
        DIFFERENCE  column weight of app.product is there after down, and was not before
        DIFFERENCE  constraint product_name_check on app.product, after down: definition was CHECK ((btrim(name) <> ''::text)), is CHECK ((btrim((name)::text) <> ''::text))
      0009_gone: up N ms, down N ms, up again N ms
        lock        ACCESS EXCLUSIVE on app.payment (reads and writes wait)
        lock        ACCESS EXCLUSIVE on app.purchase_order (reads and writes wait)
        DIFFERENCE  column amount of app.payment is missing after down
        DIFFERENCE  column id of app.payment, after down: NOT NULL was yes, is none; identity was always, is none
        DIFFERENCE  column provider of app.payment is missing after down
        DIFFERENCE  column provider_reference of app.payment is missing after down
        DIFFERENCE  column purchase_order_id of app.payment is missing after down
        DIFFERENCE  column received_at of app.payment is missing after down
        DIFFERENCE  constraint payment_amount_check on app.payment is missing after down
        DIFFERENCE  constraint payment_pkey on app.payment is missing after down (with 1 index)
        DIFFERENCE  constraint payment_provider_provider_reference_key on app.payment is missing after down (with 1 index)
        DIFFERENCE  constraint payment_purchase_order_id_fkey on app.payment is missing after down
        DIFFERENCE  index payment_purchase_order on app.payment is missing after down
        DIFFERENCE  sequence app.payment_id_seq is missing after down
        DIFFERENCE  table app.payment, after down: comment was «Money received for orders, and given back», is none
      2 of 2 migrations rehearsed in N s do not pass: 0008_weight, 0009_gone
      "
    `);
    expect(code).toBe(1);
  });

  it("finds no difference in the migrations of the repository itself", async () => {
    const { code, stdout } = await db("--all", "--json");
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ good: true, base: null, stack: "development", notRehearsed: [] });
    expect(report.migrations).toHaveLength(7);
    expect(report.migrations[6]).toMatchObject({
      name: "0007_order_number_required",
      locks: [{ table: "app.purchase_order", mode: "ACCESS EXCLUSIVE", rewritten: false }],
      differences: [],
      notes: [],
      failure: null,
    });
    expect(code).toBe(0);
  });

  it("refuses files of the base that were changed or removed, and starts no server", async () => {
    writeFileSync(path("migrations/0002_product.up.sql"), "SELECT 1;");
    rmSync(path("migrations/0007_order_number_required.up.sql"));
    rmSync(path("migrations/0007_order_number_required.down.sql"));
    const { code, stderr, stdout } = await db();
    const commit = git("rev-parse", "main").toString().slice(0, 12);
    expect(stderr.replaceAll(commit, "COMMIT")).toMatchInlineSnapshot(`
      "db: The migrations do not fit those of main:
        - 0002_product.up.sql is not as main has it, where it may be applied already: restore it: git checkout COMMIT -- migrations/0002_product.up.sql; and write a new migration for what is to be different
        - 0007_order_number_required.down.sql is on main, and missing here: restore it: git checkout COMMIT -- migrations/0007_order_number_required.down.sql
        - 0007_order_number_required.up.sql is on main, and missing here: restore it: git checkout COMMIT -- migrations/0007_order_number_required.up.sql
      "
    `);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("ends with the server's last words where it does not start", async () => {
    writeFileSync(
      path("Pulumi.development.yaml"),
      `${stackFile}  serverSettings: {shared_preload_libraries: nothing}\n`,
    );
    const { code, stderr } = await db("--all");
    expect(stderr).toMatch(/did not start\. Its last words:[\s\S]*could not access file "nothing"/);
    expect(code).toBe(1);
  });

  it("names an extension that the image has not", async () => {
    writeFileSync(path("Pulumi.development.yaml"), stackFile.replace("pg_trgm", "postgis"));
    const { code, stderr } = await db("--all");
    expect(stderr).toContain('db: extension "postgis" is not in the image.');
    expect(code).toBe(1);
  });

  it("has the passwords on no command line and in no output", async () => {
    write("0008_slow", "SELECT pg_sleep(2);", "SELECT 1;");
    const run = start();
    const name = await untilContainer();
    const lines = execFileSync("ps", ["-eo", "args"]).toString();
    const { Config } = await inspect(name);
    const password = Config.Env.find((text) => text.startsWith("POSTGRES_PASSWORD="))?.split("=")[1] ?? "";
    expect(password).toMatch(/^[0-9a-f]{36}$/);
    run.child.kill("SIGTERM");
    const { output } = await run.finished;
    expect(lines).not.toContain(password);
    expect(output).not.toContain(password);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("removes its server when it is ended by %s", async (signal, code) => {
    write("0008_slow", "SELECT pg_sleep(60);", "SELECT 1;");
    const run = start();
    await untilContainer();
    run.child.kill(signal);
    expect(await run.finished).toEqual({
      code,
      output: expect.stringContaining("the rehearsal was interrupted; its server has been removed."),
    });
  });

  it("removes what a killed rehearsal has left behind, and leaves others alone", async () => {
    write("0008_slow", "SELECT pg_sleep(60);", "SELECT 1;");
    const [killed, alive] = [start(), start()];
    const names = await untilContainers(2);
    killed.child.kill("SIGKILL");
    await killed.finished;
    const { code, stderr } = await db("--all", "--dir", smallFolder());
    const [left] = await containers();
    expect(stderr).toContain(
      `Removed ${names.find((name) => name !== left)}, left behind by a killed rehearsal`,
    );
    expect(await containers()).toHaveLength(1);
    expect(code).toBe(0);
    alive.child.kill("SIGTERM");
    await alive.finished;
  });

  it("leaves the server where that is asked for, and says how to connect", async () => {
    const { code, stderr } = await db("--all", "--keep", "--dir", smallFolder());
    expect(code).toBe(0);
    const [name = ""] = await containers();
    expect(stderr).toContain(`docker exec -it ${name} psql -U postgres -d shop`);
    const count = "SELECT count(*) FROM app.customer";
    expect(await docker("exec", name, "psql", "-U", "postgres", "-d", "shop", "-Atc", count)).toBe("0");
    expect(await removeLeftOvers()).not.toContain(name);
    expect(await containers()).toEqual([name]);
    await docker("rm", "--force", "--volumes", name);
  });
});

describe("./db migrate plan --base", () => {
  it("goes by production's settings where there are any, else by development's", async () => {
    write(
      "0008_x",
      "ALTER TABLE sales.product ADD COLUMN x text;",
      "ALTER TABLE sales.product DROP COLUMN x;",
    );
    const locked = async () => {
      const { code, stdout } = await command("migrate", "plan", "--base", "main", "--format", "json");
      expect(code).toBe(0);
      return JSON.parse(stdout)[0].statements[0].locks[0].table;
    };
    expect(await locked()).toBe("sales.product");
    writeFileSync(path("Pulumi.production.yaml"), "config: {profile: production, schemaName: sales}\n");
    try {
      expect(await locked()).toBe("product");
    } finally {
      rmSync(path("Pulumi.production.yaml"));
    }
  });
});

function start(): { child: ChildProcess; finished: Promise<{ code: number | null; output: string }> } {
  const child = spawn(process.execPath, [path("cli/main.ts"), "rehearse"], { cwd: folder });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const finished = new Promise<{ code: number | null; output: string }>((resolve) =>
    child.on("close", (code) => resolve({ code, output })),
  );
  return { child, finished };
}

async function untilContainers(count: number): Promise<string[]> {
  for (let tries = 0; tries < 3_000; tries += 1) {
    const names = await containers();
    if (names.length === count) return names;
    await sleep(50);
  }
  throw new Error("no container");
}

async function untilContainer(): Promise<string> {
  const [name = ""] = await untilContainers(1);
  return name;
}
