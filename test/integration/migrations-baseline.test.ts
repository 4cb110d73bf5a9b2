import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { runner } from "node-pg-migrate";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { findGolangMigrate } from "../../bench/golang-migrate.ts";
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
  const stable = (text: string) =>
    text
      .replaceAll(lab.folder, "FOLDER")
      .replaceAll(/lab\d+/g, "lab")
      .replaceAll(/127\.0\.0\.1:\d+/g, "HOST");
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ["cli/main.ts", "migrate", ...args], {
      env: { PATH: process.env.PATH, DB_SOURCE: lab.source, MIGRATIONS_DIR: lab.folder },
    });
    return { code: 0, stdout: stable(stdout), stderr: "" };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout: stable(stdout), stderr: stable(stderr) };
  }
}

/** The owner's script, run by hand, as whoever had the database before may have done. */
const byHand = (sql: string) => lab.query(`SET ROLE ${lab.owner}; ${sql}; RESET ROLE`);
const hasRecord = async () =>
  (await lab.query("SELECT to_regclass('migrations.applied') IS NOT NULL AS there")).rows[0].there;

describe("./db migrate baseline NAME", () => {
  it("records what is in place without running it, and up goes on from there", async () => {
    lab.write("0001_a", ...table("a"));
    lab.write("0002_b", ...table("b"));
    lab.write("0003_c", ...table("c"));
    await byHand("CREATE TABLE app.a (id int); CREATE TABLE app.b (id int)");
    expect(await db("baseline", "0002_b")).toEqual({
      code: 0,
      stderr: "",
      stdout: [
        'database "lab" at HOST as "lab_migrator": what 0002_b and those before it make, in the catalogue:',
        "  table: 2 of 2",
        "  column: 2 of 2",
        "recorded as applied, without running a script: 0001_a to 0002_b (2 of 3 in the folder)",
        "",
      ].join("\n"),
    });
    const { rows } = await lab.query(
      "SELECT name, down_script, applied_by, duration FROM migrations.applied ORDER BY id",
    );
    const applied_by = lab.connection.user;
    expect(rows).toEqual([
      { name: "0001_a", down_script: "DROP TABLE a;", applied_by, duration: null },
      { name: "0002_b", down_script: "DROP TABLE b;", applied_by, duration: null },
    ]);
    expect((await lab.run()).log).toMatch(/1 migration to apply\napplied 0003_c in/);
    expect((await lab.run({ target: "0" })).error).toBe("");
    expect(await lab.tables()).toEqual([]);
  });

  it("names what is missing and records nothing, unless it is forced to", async () => {
    lab.write("0001_a", "CREATE TABLE a (id int, wanted int);\nCREATE INDEX a_wanted ON a (wanted);");
    lab.write(
      "0002_b",
      "CREATE TABLE b ();\nCREATE FUNCTION twice(int) RETURNS int RETURN 2 * $1;\nDO 'BEGIN END';",
    );
    await lab.query(`CREATE SCHEMA extra AUTHORIZATION ${lab.owner}`);
    await byHand("CREATE TABLE app.a (id int); CREATE TABLE extra.b ()");
    const refused = await db("baseline", "2");
    expect(refused.code).toBe(2);
    expect(refused.stdout).toContain("  not looked for: what the DO block in FOLDER/0002_b.up.sql makes\n");
    expect(refused.stderr).toMatchInlineSnapshot(`
      "db: 0002_b was not recorded as the baseline of database "lab" at HOST as "lab_migrator"; nothing was changed:
        - there is no column "wanted" of "app"."a"
        - there is no index "app"."a_wanted"
        - there is no table "app"."b"; one of that name is in "extra": the setting schemaName (option --schema) says where it is looked for
        - there is no routine "app"."twice"
        - where that is as it should be, run this again with --force
      "
    `);
    expect(await hasRecord()).toBe(false);
    const forced = await db("baseline", "2", "--force");
    expect(forced.code).toBe(0);
    expect(forced.stdout).toContain('  recorded all the same: there is no index "app"."a_wanted"\n');
    expect(await lab.applied()).toEqual(["0001_a", "0002_b"]);
  });

  it("refuses where the record has entries, a folder that cannot be used, and a name that is not there", async () => {
    lab.write("0001_a", ...table("a"));
    await byHand("CREATE TABLE app.a (id int)");
    expect((await db("baseline", "0002_b")).stderr).toContain('"0002_b" does not exist');
    expect((await db("baseline", "0")).stderr).toContain("name the last migration that is in place");
    expect((await db("baseline")).stderr).toContain("It is not said what is in place");
    lab.write("0003_c", ...table("c"));
    expect((await db("baseline", "0001_a")).stderr).toContain("number 2 is missing");
    lab.remove("0003_c");
    expect(await hasRecord()).toBe(false);
    expect((await db("baseline", "0001_a")).code).toBe(0);
    const again = await db("baseline", "0001_a");
    expect(again.code).toBe(2);
    expect(again.stderr).toMatchInlineSnapshot(`
      "db: The record has entries already, and a baseline is for a database without any; nothing was changed:
        - 1 migration is recorded as applied: ./db migrate status shows the record, ./db migrate up goes on from there; ./db migrate repair NAME --status applied (or reverted) corrects one entry
      "
    `);
  });

  it("says who owns what the owner does not, and the statement that mends it", async () => {
    lab.write("0001_a", "CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY);");
    await lab.query("CREATE TABLE app.a (id int GENERATED ALWAYS AS IDENTITY)");
    await lab.query(
      "CREATE FUNCTION app.f(a int) RETURNS int RETURN a; CREATE TYPE app.mood AS ENUM ('good')",
    );
    const { code, stdout } = await db("baseline", "0001_a");
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "database "lab" at HOST as "lab_migrator": what 0001_a and those before it make, in the catalogue:
        table: 1 of 1
        column: 1 of 1
        not owned by "lab_owner", so that migrations which change them would fail:
          routine app.f(a integer) is owned by "postgres": ALTER ROUTINE app.f(a integer) OWNER TO lab_owner;
          table app.a is owned by "postgres": ALTER TABLE app.a OWNER TO lab_owner;
          type app.mood is owned by "postgres": ALTER TYPE app.mood OWNER TO lab_owner;
        run these statements as a superuser (or as a member of both roles) before the next migration
      recorded as applied, without running a script: 0001_a (1 of 1 in the folder)
      "
    `);
    lab.write("0002_b", "ALTER TABLE a ADD COLUMN b int; DROP FUNCTION f(int); DROP TYPE mood;");
    expect((await lab.run()).error).toContain("must be owner of table a");
    for (const [, statement] of stdout.matchAll(/is owned by "postgres": (.*;)/g)) {
      await lab.query((statement ?? "").replaceAll("lab_", `${lab.connection.database}_`));
    }
    expect((await lab.run()).error).toBe("");
  });

  it("knows what the example's migrations leave in place, and what later ones take away again", async () => {
    const { rows } = await lab.query(
      "SELECT count(*) FROM pg_available_extensions WHERE name IN ('citext', 'pg_trgm')",
    );
    expect(rows[0].count).toBe("2");
    await lab.query(
      "CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions",
    );
    await lab.query(`GRANT USAGE ON SCHEMA extensions TO ${lab.owner}`);
    for (const file of readdirSync("migrations").filter((name) => name.endsWith(".up.sql"))) {
      lab.write(file.slice(0, -".up.sql".length), readFileSync(join("migrations", file), "utf8"));
    }
    const more = readdirSync(lab.folder).length / 2 + 1;
    const name = (number: number) => `${String(number).padStart(4, "0")}_more`;
    lab.write(
      name(more),
      `CREATE TABLE x (a int, b int, c int); CREATE INDEX x_b ON x (b); CREATE INDEX x_c ON x (c);
       CREATE VIEW v AS SELECT a FROM x; CREATE TYPE t AS ENUM ('a'); CREATE TABLE gone (); CREATE SEQUENCE s;
       CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER tr BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f();
       CREATE SCHEMA other; CREATE TABLE other.y (); CREATE TEMPORARY TABLE tmp (a int);`,
    );
    lab.write(
      name(more + 1),
      `ALTER TABLE x RENAME TO z; ALTER TABLE z RENAME COLUMN a TO aa; ALTER TABLE z DROP COLUMN b;
       ALTER INDEX x_c RENAME TO z_c; ALTER VIEW v RENAME TO w; DROP TABLE gone; ALTER TYPE t RENAME TO t2;
       ALTER TRIGGER tr ON z RENAME TO tr2; ALTER FUNCTION f() RENAME TO g; ALTER TABLE z SET SCHEMA other;
       DROP TABLE other.y; ALTER SCHEMA other RENAME TO another;`,
    );
    expect((await lab.run()).error).toBe("");
    const database = lab.connection.database;
    await lab.query("DROP SCHEMA migrations CASCADE");
    const { code, stdout } = await db("baseline", name(more + 1));
    expect(stdout, database).toMatch(/ {2}trigger: 1 of 1\n/);
    expect(stdout).toMatch(/ {2}routine: 1 of 1\n/);
    expect(stdout).toMatch(/ {2}type: 1 of 1\n/);
    expect(stdout).toMatch(/ {2}schema: 1 of 1\n/);
    expect(stdout).toMatch(/ {2}view: 1 of 1\n/);
    expect(code).toBe(0);
  });
});

describe("a database that golang-migrate has migrated", () => {
  const program = findGolangMigrate();

  /** By the program itself where it was built (npm run bench:migrations), or by the same statements. */
  async function golangMigrate(version: number, options: { dirty?: boolean; schema?: string } = {}) {
    const { dirty = false, schema = "app" } = options;
    if (program && !dirty) {
      const source = `${lab.source}&search_path=${schema}`;
      await lab.query(`GRANT ${lab.owner} TO ${lab.connection.user} WITH INHERIT TRUE`);
      await lab.query(`ALTER ROLE ${lab.connection.user} SET role TO ${lab.owner}`);
      await promisify(execFile)(program, ["-path", lab.folder, "-database", source, "goto", String(version)]);
      await lab.query(`ALTER ROLE ${lab.connection.user} RESET role`);
      return;
    }
    await byHand(
      `CREATE TABLE ${schema}.schema_migrations (version bigint not null primary key, dirty boolean not null);
       INSERT INTO ${schema}.schema_migrations (version, dirty) VALUES (${version}, ${dirty})`,
    );
    for (const file of readdirSync(lab.folder)
      .filter((name) => name.endsWith(".up.sql"))
      .sort()) {
      if (Number.parseInt(file, 10) <= version) {
        await byHand(`SET search_path TO app; ${readFileSync(join(lab.folder, file), "utf8")}`);
      }
    }
  }

  beforeEach(() => {
    lab.write("0001_a", ...table("a"));
    lab.write("0002_b", ...table("b"));
    lab.write("0003_c", ...table("c"));
  });

  it("is taken over by one command, which status and up name; up never begins at the first migration", async () => {
    await golangMigrate(2);
    const told =
      'it was migrated by golang-migrate (table "app"."schema_migrations": version 2), and nothing is recorded here yet: ' +
      "take its record over by ./db migrate baseline --from golang-migrate; or drop that table where it means nothing any more";
    expect((await db("status")).stdout).toContain(`What keeps a run from starting:\n  - ${told}\n`);
    expect((await db("verify")).stderr).toContain(told);
    const up = await lab.run();
    expect(up.code).toBe(2);
    expect(up.error).toContain(told);
    expect(await hasRecord()).toBe(false);
    const taken = await db("baseline", "--from", "golang-migrate");
    expect(taken.code).toBe(0);
    expect(taken.stdout).toContain(
      "recorded as applied, without running a script: 0001_a to 0002_b (2 of 3 in the folder)\n",
    );
    expect(taken.stdout).toContain('when nothing else uses it: DROP TABLE "app"."schema_migrations";\n');
    expect((await lab.run()).log).toMatch(/applied 0003_c in/);
    expect((await lab.query("SELECT version FROM app.schema_migrations")).rows).toEqual([{ version: "2" }]);
    // All reverted: the record is empty, and right.
    expect((await lab.run({ target: "0" })).error).toBe("");
    expect((await lab.run({ target: "1" })).error).toBe("");
    expect(await lab.applied()).toEqual(["0001_a"]);
  });

  it("is not taken over where its version is dirty, or not in the folder", async () => {
    await golangMigrate(2, { dirty: true });
    const refused = await db("baseline", "--from", "golang-migrate");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatchInlineSnapshot(`
      "db: The record of golang-migrate (table "app"."schema_migrations": version 2, dirty) cannot be taken over; nothing was changed:
        - dirty means that version 2 failed or was interrupted, and may be in place in part. Look at the database, and finish it or undo it by hand; then say which: migrate force 2 (it is in place) or migrate force 1 (it is not); then run this again
      "
    `);
    expect((await db("baseline", "0002_b")).stderr).toContain("version 2, dirty) says something else");
    await lab.query("UPDATE app.schema_migrations SET dirty = false, version = 7");
    const unknown = await db("baseline", "--from", "golang-migrate");
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain("the folder has no migration of number 7");
    expect((await db("baseline", "0002_b")).stderr).toContain("version 7) says something else");
    expect(await hasRecord()).toBe(false);
  });

  it("is found in public too, and said to be out of the owner's reach where it is", async () => {
    await lab.query(
      `CREATE TABLE public.schema_migrations (version bigint not null primary key, dirty boolean not null);
       INSERT INTO public.schema_migrations VALUES (1, false)`,
    );
    expect((await db("baseline", "--from", "golang-migrate")).stderr).toContain(
      'GRANT SELECT ON "public"."schema_migrations"',
    );
    expect((await lab.run()).error).toContain("which the owner may not read");
    await lab.query(`GRANT SELECT ON public.schema_migrations TO ${lab.owner}`);
    await byHand("CREATE TABLE app.a (id int)");
    expect((await db("baseline", "--from", "golang-migrate")).code).toBe(0);
    expect(await lab.applied()).toEqual(["0001_a"]);
  });

  it("and back to nothing, or has another tool's table of that name, is like any other", async () => {
    await byHand(
      "CREATE TABLE app.schema_migrations (version bigint not null primary key, dirty boolean not null)",
    );
    await byHand("CREATE TABLE app.pgmigrations (version varchar)");
    expect((await db("baseline", "--from", "golang-migrate")).stderr).toContain(
      '"app" and "public" says that anything is applied',
    );
    expect((await lab.run()).error).toBe("");
  });
});

describe("a database that node-pg-migrate has migrated", () => {
  async function nodePgMigrate(count: number) {
    await lab.query(`GRANT CREATE ON SCHEMA public TO ${lab.owner}`);
    const client = await server.connect(lab.connection.database);
    await client.query(`SET ROLE ${lab.owner}; SET search_path TO app`);
    await runner({
      dbClient: client,
      dir: lab.folder,
      direction: "up",
      count,
      migrationsTable: "pgmigrations",
      migrationsSchema: "public",
      migrationLoaderStrategies: [{ extensions: [".sql"], loader: "sql" }],
      logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    });
    await client.end();
  }

  beforeEach(() => {
    lab.write("1700000000000_a", ...table("a"));
    lab.write("1700000001000_b", ...table("b"));
    lab.write("1700000002000_c", ...table("c"));
  });

  it("is taken over by one command, which status and up name", async () => {
    await nodePgMigrate(2);
    const told = '(table "public"."pgmigrations": 2 migrations, the last one 1700000001000_b)';
    expect((await db("status")).stdout).toContain(told);
    expect((await lab.run()).error).toContain("./db migrate baseline --from node-pg-migrate");
    expect((await db("baseline", "1700000000000_a")).stderr).toContain(`${told} says something else`);
    const taken = await db("baseline", "--from", "node-pg-migrate");
    expect(taken.stdout).toContain("1700000000000_a to 1700000001000_b (2 of 3 in the folder)\n");
    expect((await lab.run()).log).toMatch(/1 migration to apply\napplied 1700000002000_c/);
  });

  it("is not taken over where the folder has not the same migrations", async () => {
    await nodePgMigrate(2);
    lab.remove("1700000000000_a");
    lab.write("1700000000500_other", ...table("other"));
    const refused = await db("baseline", "--from", "node-pg-migrate");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatchInlineSnapshot(`
      "db: The record of node-pg-migrate (table "public"."pgmigrations": 2 migrations, the last one 1700000001000_b) cannot be taken over; nothing was changed:
        - 1700000000000_a is applied, and not in the folder: write 1700000000000_a.up.sql and 1700000000000_a.down.sql (node-pg-migrate prints a migration's SQL with --dry-run)
        - 1700000000500_other is in the folder, and not applied, but comes before the last one that is: apply it by node-pg-migrate first, or give it a number after the newest one
      "
    `);
    expect(await hasRecord()).toBe(false);
  });
});
