import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type MigrationsLab, makeLab } from "../support/migrations-lab.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

let server: ThrowawayServer;
let lab: MigrationsLab;

beforeAll(async () => {
  server = await startThrowawayServer();
});
afterAll(async () => {
  await server?.remove();
});
beforeEach(async () => {
  lab = await makeLab(server);
});
afterEach(async () => {
  await lab.dispose();
});

const table = (name: string) => [`CREATE TABLE ${name} (id int);`, `DROP TABLE ${name};`] as const;

async function db(...args: string[]) {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ["cli/main.ts", "migrate", ...args], {
      env: { PATH: process.env.PATH, DB_SOURCE: lab.source, MIGRATIONS_DIR: lab.folder },
    });
    return { code: 0, stdout, stderr: "" };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr: stderr.replaceAll(lab.folder, "FOLDER") };
  }
}

describe("the record", () => {
  it("has what was applied, by whom, when, how long, by which version, and the way back as it was", async () => {
    lab.write("0001_a", "CREATE TABLE a (id int); SELECT pg_sleep(0.05);", "DROP TABLE a; -- it's \\ gone");
    expect((await lab.run()).error).toBe("");
    const { rows } = await lab.query(
      "SELECT *, extract(epoch FROM duration)::float AS seconds FROM migrations.applied",
    );
    expect(rows).toEqual([
      {
        id: 1,
        name: "0001_a",
        run_on: expect.any(Date),
        up_checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        down_checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        down_script: "DROP TABLE a; -- it's \\ gone",
        applied_by: lab.connection.user,
        applied_from: expect.stringMatching(/^.+@.+$/),
        duration: expect.anything(),
        seconds: expect.any(Number),
        tool_version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      },
    ]);
    expect(rows[0].up_checksum).not.toBe(rows[0].down_checksum);
    expect(rows[0].seconds).toBeGreaterThan(0.05);
    expect(rows[0].seconds).toBeLessThan(60);
  });

  it("belongs to the owner, and is out of reach of the application's role", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    const { rows } = await lab.query(
      `SELECT relname, relowner::regrole::text AS owner FROM pg_class
        WHERE relnamespace = 'migrations'::regnamespace AND relkind = 'r' ORDER BY 1`,
    );
    expect(rows).toEqual([
      { relname: "applied", owner: lab.owner },
      { relname: "in_progress", owner: lab.owner },
    ]);
    for (const sql of ["SELECT FROM migrations.applied", "DELETE FROM migrations.in_progress"]) {
      await lab.query(`SET ROLE ${lab.application}`);
      await expect(lab.query(sql)).rejects.toThrow(/permission denied/);
      await lab.query("RESET ROLE");
    }
  });

  it("of an earlier version is brought up to date in place, from the files", async () => {
    lab.write("0001_a", ...table("a"));
    lab.write("0002_b", ...table("b"));
    await lab.query(`SET ROLE ${lab.owner};
      CREATE SCHEMA migrations;
      CREATE TABLE migrations.applied (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, run_on timestamptz NOT NULL);
      INSERT INTO migrations.applied (name, run_on) VALUES ('0001_a', '2026-01-31 12:00Z');
      CREATE TABLE a (id int);
      RESET ROLE`);
    expect((await db("status")).stdout).toMatch(/0001_a +applied +2026-01-31 12:00:00\n0002_b +pending\n/);
    const { log, error } = await lab.run();
    expect(error).toBe("");
    expect(log).toContain("recorded the checksums and the way back of 1 migration, from the files\n");
    const { rows } = await lab.query(
      "SELECT name, run_on, down_script FROM migrations.applied ORDER BY name",
    );
    expect(rows).toEqual([
      { name: "0001_a", run_on: new Date("2026-01-31T12:00:00Z"), down_script: "DROP TABLE a;" },
      { name: "0002_b", run_on: expect.any(Date), down_script: "DROP TABLE b;" },
    ]);
    lab.remove("0001_a", "0002_b");
    expect((await lab.run({ target: "0" })).error).toBe("");
    expect(await lab.tables()).toEqual([]);
  });
});

describe("./db migrate status", () => {
  it("prints a table and changes nothing", async () => {
    lab.write("0001_a", ...table("a"));
    const before = await db("status");
    expect(before.stdout).toMatch(
      /^database "lab\d+" at .*\nmigration .*\n0001_a +pending\n0 applied, 1 pending\n$/,
    );
    expect((await lab.query("SELECT to_regnamespace('migrations') AS schema")).rows).toEqual([
      { schema: null },
    ]);
    await lab.run();
    lab.write("0002_b", ...table("b"));
    expect((await db("status")).stdout).toMatch(
      /0001_a +applied +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+ ms +lab\d+_migrator, \S+@\S+ +\d+\.\d+\.\d+\n0002_b +pending\n1 applied, 1 pending\n$/,
    );
  });

  it("prints the same as JSON", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    const { migrations, problems } = JSON.parse((await db("status", "--json")).stdout);
    expect(problems).toEqual([]);
    expect(migrations).toEqual([
      expect.objectContaining({
        name: "0001_a",
        state: "applied",
        hasDownScript: true,
        duration: expect.any(Number),
      }),
    ]);
  });

  it("says what is missing without a connection", async () => {
    const failure = await promisify(execFile)(process.execPath, ["cli/main.ts", "migrate", "status"], {
      env: { PATH: process.env.PATH },
    }).catch((error) => error);
    expect(failure).toMatchObject({ code: 2, stderr: expect.stringContaining("DB_SOURCE is missing") });
  });
});

describe("./db migrate plan", () => {
  const index = "CREATE INDEX b ON a (id);\n";

  it("prints the SQL of what is pending, with its locks; a finding at error level makes it fail", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    lab.write("0002_b", index, "DROP INDEX b;");
    lab.write("0003_c", ...table("c"));
    const { code, stdout } = await db("plan");
    expect(code).toBe(1);
    expect(stdout.replaceAll(lab.folder, "FOLDER")).toMatchInlineSnapshot(`
      "2 migrations to apply in the database
        0002_b
            CREATE INDEX: SHARE on a (writes wait), reads the whole table
            error in line 1: During normal index creation, table updates are blocked, but reads are still allowed. Use \`concurrently\` to avoid blocking writes. [require-concurrent-index-creation]
        0003_c
            CREATE TABLE

      -- FOLDER/0002_b.up.sql
      CREATE INDEX b ON a (id);
      -- FOLDER/0003_c.up.sql
      CREATE TABLE c (id int);
      "
    `);
    expect(await lab.applied()).toEqual(["0001_a"]);
  });

  it("prints the same for a pull request, and as JSON", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    lab.write("0002_b", ...table("b"));
    const { code, stdout } = await db("plan", "--format", "markdown");
    expect(code).toBe(0);
    expect(stdout).toContain("### 1 migration to apply in the database\n\n#### 0002_b\n");
    expect(JSON.parse((await db("plan", "--format", "json")).stdout)).toEqual([
      expect.objectContaining({
        name: "0002_b",
        findings: [],
        statements: [expect.objectContaining({ line: 1 })],
      }),
    ]);
    await lab.run();
    expect((await db("plan")).stdout).toBe("No migration to apply in the database\n");
  });

  it("refuses a folder that does not fit the database, as up does", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    lab.write("0001_a", "CREATE TABLE a (id bigint);", "DROP TABLE a;");
    const { code, stderr } = await db("plan");
    expect(code).toBe(2);
    expect(stderr).toContain("0001_a");
  });
});

describe("./db migrate verify", () => {
  it("is content with what fits", async () => {
    lab.write("0001_a", ...table("a"));
    await lab.run();
    lab.write("0001_a", "  CREATE TABLE a\r\n(id int);\r\n", "DROP TABLE\n\na;");
    expect(await db("verify")).toEqual({ code: 0, stdout: "0 pending; everything fits\n", stderr: "" });
  });

  it("names each mismatch with what to do, and up changes nothing", async () => {
    lab.write("0001_a", ...table("a"));
    lab.write("0002_b", ...table("b"));
    lab.write("0003_c", ...table("c"));
    lab.write("0004_d", ...table("d"));
    await lab.run();
    lab.write("0001_a", "CREATE TABLE a (id bigint);", "DROP TABLE a;");
    writeFileSync(join(lab.folder, "0003_c.down.sql"), "DROP TABLE c CASCADE;");
    lab.remove("0002_b", "0004_d");
    lab.write("0002_between", ...table("between"));
    lab.write("0004_renamed", ...table("d"));
    lab.write("0005_e", ...table("e"));
    const { code, stderr } = await db("verify");
    expect(code).toBe(2);
    const stable = stderr
      .replaceAll(/lab\d+/g, "lab")
      .replaceAll(/:\d{4,5}/g, ":PORT")
      .replaceAll(/\(\d{4}-.{11} UTC\)/g, "(TIME UTC)");
    expect(stable).toMatchInlineSnapshot(`
      "db: The migrations in "FOLDER" do not fit database "lab" at 127.0.0.1:PORT as "lab_migrator":
        - 0002_b is applied in the database, but its files are missing: restore them (\`git log --all -- '*0002_b*'\` finds them)
        - 0004_d is applied in the database, and its files are now called 0004_renamed: give them their name back
        - FOLDER/0001_a.up.sql was changed after 0001_a was applied (TIME UTC): restore it (\`git log -p -- FOLDER/0001_a.up.sql\` shows the change), and write a new migration for what is to be different; or record the files as they are now: ./db migrate repair 0001_a --status applied
        - FOLDER/0003_c.down.sql was changed after 0003_c was applied (TIME UTC): restore it (\`git log -p -- FOLDER/0003_c.down.sql\` shows the change), and leave it so: the way back is the script in the record; or record the files as they are now: ./db migrate repair 0003_c --status applied
        - 0002_between is not applied, but comes before 0004_d, which is: give it a number after the newest one
      "
    `);
    const up = await lab.run();
    expect(up.code).toBe(2);
    for (const line of stderr.split("\n").filter((text) => text.startsWith("  - ")))
      expect(up.error).toContain(line);
    expect(await lab.tables()).toEqual(["a", "b", "c", "d"]);
    expect(await lab.applied()).toEqual(["0001_a", "0002_b", "0003_c", "0004_d"]);
  });
});

describe("./db migrate up, down and repair", () => {
  it("work on the database of DB_SOURCE, whose owner they find", async () => {
    lab.write("0001_a", ...table("a"));
    lab.write("0002_b", ...table("b"));
    const up = await db("up", "1");
    expect(up).toMatchObject({ code: 0, stderr: "" });
    expect(up.stdout).toMatch(/\napplied 0001_a in .*\n1 migration applied in .*\n$/);
    expect((await db("up")).stdout).toMatch(/\napplied 0002_b in /);
    const { rows } = await lab.query("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'app'");
    expect(rows).toEqual([{ tableowner: lab.owner }]);
    lab.remove("0002_b");
    expect((await db("down", "0001_a")).stderr).toContain("./db migrate down 0001_a --allow-data-loss");
    expect((await db("down", "0001_a", "--allow-data-loss")).stdout).toMatch(
      /\nreverted 0002_b in .*\n.*, database is at 0001_a\n$/,
    );
    expect(await lab.tables()).toEqual(["a"]);
    lab.write("0002_b", ...table("b"));
    expect(await db("down", "2")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("0002_b is not applied yet"),
    });
    await lab.query("DROP TABLE a");
    expect((await db("repair", "0001_a", "--status", "reverted")).stdout).toMatch(
      /: 0001_a is recorded as applied\n {2}there is no table a\nrecorded: 0001_a is reverted\n$/,
    );
    expect(await lab.applied()).toEqual([]);
  });
});
