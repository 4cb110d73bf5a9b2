import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ConnectionSettings, connect, parseConnection } from "../../migrator/connection.ts";
import { migrate } from "../../migrator/run.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

/** A database as DatabaseAccess makes it, with names of its own. */
interface TestDatabase {
  readonly name: string;
  readonly schema: string;
  readonly owner: string;
  readonly application: string;
  readonly password: string;
  readonly environment: Record<string, string>;
  query(sql: string, as?: string): Promise<pg.QueryResult>;
}

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

// The certificate is for 127.0.0.1 alone, so that "localhost" has the wrong name.
const tlsScript = `
set -e
cd "$PGDATA"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt 2>&1
openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr 2>&1
echo 'subjectAltName = IP:127.0.0.1' > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt 2>&1
chmod 600 server.key
echo "ssl = on" >> postgresql.conf
`;

let server: ThrowawayServer;
let superuser: pg.Client;
let folder: string;
let count = 0;
const started: ChildProcess[] = [];

beforeAll(async () => {
  const initScript = "00_no_large_objects.sql";
  server = await startThrowawayServer({
    initScripts: { [initScript]: readFileSync(`initdb/${initScript}`, "utf8"), "90_tls.sh": tlsScript },
  });
  superuser = await server.connect("postgres");
});

afterAll(async () => {
  await superuser?.end();
  await server?.remove();
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrations-"));
});

afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function makeDatabase(names: { prefix?: string; schema?: string } = {}): Promise<TestDatabase> {
  count += 1;
  const prefix = names.prefix ?? `test${count}`;
  const schema = names.schema ?? "app";
  const name = `${prefix} db`;
  const owner = `${prefix}_owner`;
  const migrator = `${prefix}_migrator`;
  const application = `${prefix}_app`;
  const password = `p'${randomBytes(6).toString("hex")}"%$ ü`;
  const id = pg.escapeIdentifier;
  for (const sql of [
    `CREATE ROLE ${id(owner)}`,
    `CREATE ROLE ${id(migrator)} LOGIN PASSWORD ${pg.escapeLiteral(password)}`,
    `GRANT ${id(owner)} TO ${id(migrator)}`,
    `CREATE ROLE ${id(application)}`,
    `CREATE DATABASE ${id(name)} OWNER ${id(owner)} TEMPLATE template1`,
  ]) {
    await superuser.query(sql);
  }
  const query = async (sql: string, as = "postgres") => {
    const client = await server.connect(name);
    try {
      await client.query(`SET ROLE ${id(as)}; SET search_path TO ${id(schema)}, extensions`);
      return await client.query(sql);
    } finally {
      await client.end();
    }
  };
  await query(`
    CREATE SCHEMA ${id(schema)} AUTHORIZATION ${id(owner)};
    CREATE SCHEMA extensions;
    CREATE EXTENSION citext SCHEMA extensions;
    CREATE EXTENSION pg_trgm SCHEMA extensions;
    GRANT USAGE ON SCHEMA extensions TO ${id(owner)}, ${id(application)};
    GRANT USAGE ON SCHEMA ${id(schema)} TO ${id(application)};
    ALTER DEFAULT PRIVILEGES FOR ROLE ${id(owner)} GRANT ALL ON TABLES TO ${id(application)};
    ALTER DEFAULT PRIVILEGES FOR ROLE ${id(owner)} GRANT ALL ON SEQUENCES TO ${id(application)}`);
  const [user, secret, database] = [migrator, password, name].map(encodeURIComponent);
  return {
    name,
    schema,
    owner,
    application,
    password,
    query,
    environment: {
      DB_SOURCE: `postgres://${user}:${secret}@127.0.0.1:${server.port}/${database}?sslmode=disable`,
      MIGRATIONS_DIR: folder,
      MIGRATIONS_OWNER: owner,
      MIGRATIONS_SCHEMA: schema,
      MIGRATIONS_DATA_LOSS: "allow",
    },
  };
}

function start(script: string, environment: Record<string, string>) {
  const child = spawn(process.execPath, [script], {
    env: { PATH: process.env.PATH ?? "", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const ended = new Promise<Run>((resolve) => {
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
  const waitFor = async (text: string) => {
    for (let tries = 0; !stdout.includes(text); tries += 1) {
      if (tries > 4_000) throw new Error(`no "${text}" in: ${stdout}${stderr}`);
      await sleep(50);
    }
  };
  return { child, ended, waitFor };
}

/** Runs the migrator as the command resource does. No output may ever have the password, in either spelling. */
async function runMigrator(database: TestDatabase, environment: Record<string, string> = {}): Promise<Run> {
  const result = await start("migrator/main.ts", { ...database.environment, ...environment }).ended;
  const output = result.stdout + result.stderr;
  expect(output).not.toContain(database.password);
  expect(output).not.toContain(encodeURIComponent(database.password));
  expect(output).not.toContain("    at ");
  return result;
}

function write(name: string, up: string, down = "SELECT 1;"): void {
  writeFileSync(join(folder, `${name}.up.sql`), up);
  writeFileSync(join(folder, `${name}.down.sql`), down);
}

/** Output without what differs from run to run. */
function stable(text: string): string {
  return text
    .replaceAll(folder, "FOLDER")
    .replaceAll(String(server.port), "PORT")
    .replaceAll(/\b[\d.]+ m?s\b/g, "N ms")
    .replaceAll(/test\d+/g, "test");
}

async function recorded(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.query("SELECT name FROM migrations.applied ORDER BY name");
  return rows.map(({ name }) => name);
}

async function tables(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.query(
    `SELECT tablename FROM pg_tables WHERE schemaname = ${pg.escapeLiteral(database.schema)} ORDER BY 1`,
  );
  return rows.map(({ tablename }) => tablename);
}

/** The definition of everything in the application's schema. */
async function catalogue({ name, schema }: TestDatabase): Promise<string> {
  const dump = await server.exec(
    ...["pg_dump", "--username=postgres", "--schema-only", `--schema="${schema}"`, name],
  );
  // Newer releases put a random word into these two lines.
  return dump.replaceAll(/^\\(un)?restrict .*$/gm, "");
}

describe("the example schema", () => {
  it("is applied once, and owned by the owner", async () => {
    const database = await makeDatabase();
    const example = { MIGRATIONS_DIR: "migrations" };
    const first = await runMigrator(database, example);
    expect(first.stderr).toBe("");
    expect(first.code).toBe(0);
    expect(stable(first.stdout)).toMatchInlineSnapshot(`
      "database "test db" at 127.0.0.1:PORT as "test_migrator": 7 migrations to apply
      applied 0001_customer in N ms
      applied 0002_product in N ms
      applied 0003_purchase_order in N ms
      applied 0004_payment in N ms
      applied 0005_order_number in N ms
      applied 0006_order_number_backfill in N ms
      applied 0007_order_number_required in N ms
      7 migrations applied in N ms
      "
    `);
    const again = await runMigrator(database, example);
    expect(again.stdout).toBe("nothing to apply, database is at 0007_order_number_required\n");

    const { rows } = await database.query(
      `SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class
        WHERE relnamespace IN ('app'::regnamespace, 'migrations'::regnamespace)`,
    );
    expect(rows).toEqual([{ owner: database.owner }]);
  });

  it("goes all the way down without a trace, and up again to the same", async () => {
    const database = await makeDatabase();
    const states = [await catalogue(database)];
    for (let target = 1; target <= 7; target += 1) {
      await runMigrator(database, { MIGRATIONS_DIR: "migrations", MIGRATIONS_TARGET: String(target) });
      states.push(await catalogue(database));
    }
    expect(new Set(states).size).toBe(8);
    for (let target = 6; target >= 0; target -= 1) {
      const run = await runMigrator(database, {
        MIGRATIONS_DIR: "migrations",
        MIGRATIONS_TARGET: String(target),
      });
      expect(run.stderr).toBe("");
      expect(await catalogue(database), `after the way down to ${target}`).toBe(states[target]);
    }
    expect(await recorded(database)).toEqual([]);
    await runMigrator(database, { MIGRATIONS_DIR: "migrations" });
    expect(await catalogue(database)).toBe(states[7]);
  });

  it("has a comment on every table", async () => {
    const database = await makeDatabase();
    await runMigrator(database, { MIGRATIONS_DIR: "migrations" });
    const { rows } = await database.query(
      "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND obj_description(oid) IS NULL",
    );
    expect(rows).toEqual([]);
    expect(await tables(database)).toEqual([
      "customer",
      "order_line",
      "payment",
      "product",
      "purchase_order",
    ]);
  });

  it("keeps its promises to the application's role", async () => {
    const database = await makeDatabase();
    await runMigrator(database, { MIGRATIONS_DIR: "migrations" });
    const run = (sql: string) => database.query(sql, database.application);
    await run("INSERT INTO customer (email, full_name) VALUES ('Ann@Example.com', 'Ann')");
    await run("INSERT INTO product (sku, name, price, currency) VALUES ('CUP-1', 'Coffee cup', 9.99, 'EUR')");
    await run("INSERT INTO purchase_order (customer_id, currency) SELECT id, 'EUR' FROM customer");
    await run(
      "INSERT INTO order_line SELECT purchase_order.id, 1, product.id, 3, price FROM purchase_order, product",
    );
    const { rows } = await run(
      "SELECT order_number, line_total FROM purchase_order JOIN order_line ON purchase_order_id = purchase_order.id",
    );
    expect(rows).toEqual([{ order_number: "PO-00000001", line_total: "29.97" }]);

    await expect(
      run("INSERT INTO customer (email, full_name) VALUES ('ANN@example.COM', 'x')"),
    ).rejects.toThrow(/customer_email_key/);
    await expect(run("DELETE FROM product")).rejects.toThrow(/order_line_product_id_fkey/);
    await expect(run("UPDATE purchase_order SET status = 'shipped'")).rejects.toThrow(/shipped_has_time/);
    await expect(run("UPDATE order_line SET quantity = 0")).rejects.toThrow(/quantity_check/);
    await run("DELETE FROM purchase_order");
    expect((await run("SELECT * FROM order_line")).rows).toEqual([]);
    const plan = await run(
      "SET enable_seqscan = off; EXPLAIN SELECT * FROM product WHERE name ILIKE '%cofee%'",
    );
    expect(JSON.stringify(plan)).toContain("product_name_search");
  });

  it("gives the rows of a table in use their new column's value", async () => {
    const database = await makeDatabase();
    const to = (target: string) =>
      runMigrator(database, { MIGRATIONS_DIR: "migrations", MIGRATIONS_TARGET: target });
    const numbers = async () =>
      (await database.query("SELECT order_number FROM purchase_order ORDER BY id")).rows.map(
        (row) => row.order_number,
      );
    await to("4");
    await database.query(`INSERT INTO customer (email, full_name) VALUES ('a@b.c', 'A');
      INSERT INTO purchase_order (customer_id, currency) SELECT id, 'EUR' FROM customer`);
    await to("5");
    await database.query("INSERT INTO purchase_order (customer_id, currency) SELECT id, 'EUR' FROM customer");
    expect(await numbers()).toEqual([null, "PO-00000001"]);
    await to("7");
    expect(await numbers()).toEqual(["PO-00000002", "PO-00000001"]);
    await expect(database.query("UPDATE purchase_order SET order_number = NULL")).rejects.toThrow(/not-null/);
    await to("4");
    await to("7");
    expect((await numbers()).toSorted()).toEqual(["PO-00000001", "PO-00000002"]);
  });
});

describe("the record", () => {
  it("is out of reach of the application's role, also where default privileges would give it", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    await runMigrator(database);
    for (const sql of ["SELECT * FROM migrations.applied", "DELETE FROM migrations.applied"]) {
      await expect(database.query(sql, database.application)).rejects.toThrow(/permission denied for schema/);
    }
    expect(await recorded(database)).toEqual(["0001_a"]);
  });

  it("is not put into a schema that belongs to another role", async () => {
    const database = await makeDatabase();
    await database.query("CREATE SCHEMA migrations");
    write("0001_a", "CREATE TABLE a (id int);");
    const run = await runMigrator(database);
    expect(run.code).toBe(1);
    expect(stable(run.stderr)).toMatchInlineSnapshot(`
      "No migration was run in database "test db" at 127.0.0.1:PORT as "test_migrator": the schema "migrations", where migrations are recorded, does not belong to "test_owner".
      What to do: rename that schema, or let "test_owner" have it: ALTER SCHEMA migrations OWNER TO "test_owner".
      "
    `);
    expect(await tables(database)).toEqual([]);
  });
});

describe("a script that fails", () => {
  it("leaves those before it applied and itself not at all, says where and why; the next run goes on", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int PRIMARY KEY);");
    write(
      "0002_b",
      "-- Büro 🙂\nCREATE TABLE b (id int PRIMARY KEY);\n\nCREATE TABLE b_part (\n\tb_id int REFERENCES bb (id)\n);\n",
    );
    write("0003_c", "CREATE TABLE c (id int, b int REFERENCES b (id), e int REFERENCES a (idd));");
    const broken = await runMigrator(database);
    expect(broken.code).toBe(1);
    expect(stable(broken.stdout)).toMatchInlineSnapshot(`
      "database "test db" at 127.0.0.1:PORT as "test_migrator": 3 migrations to apply
      applied 0001_a in N ms
      "
    `);
    expect(stable(broken.stderr)).toMatchInlineSnapshot(`
      "FOLDER/0002_b.up.sql:4:1: relation "bb" does not exist
          2 | CREATE TABLE b (id int PRIMARY KEY);
          3 |
        > 4 | CREATE TABLE b_part (
            | ^
          5 |  b_id int REFERENCES bb (id)
        SQLSTATE: 42P01
      0002_b was not applied, not even in part; what was applied before it stays so.
      What to do: correct FOLDER/0002_b.up.sql, then run again: it goes on from there.
      "
    `);
    expect(await recorded(database)).toEqual(["0001_a"]);
    expect(await tables(database)).toEqual(["a"]);

    write("0002_b", "CREATE TABLE b (id int PRIMARY KEY);");
    write("0003_c", "CREATE TABLE c (id int);");
    const repaired = await runMigrator(database);
    expect(repaired.code).toBe(0);
    expect(stable(repaired.stdout)).toContain(
      "applied 0002_b in N ms\napplied 0003_c in N ms\n2 migrations applied",
    );
    expect(await tables(database)).toEqual(["a", "b", "c"]);
  });

  it.each([
    [
      "a syntax error",
      "SELECT 1;\nCREATE TABEL x (id int);\nSELECT 2;",
      /up\.sql:2:8: syntax error at or near "TABEL"\n[^^]*\^\n[^^]*SQLSTATE: 42601/,
    ],
    [
      "an error without a position",
      "CREATE TABLE x (id int UNIQUE);\n;;\nINSERT INTO x VALUES (1);\n-- ;\nINSERT INTO x\n  VALUES (1);",
      /up\.sql:5:1: duplicate key[^^]*> 5 \| INSERT INTO x\n[^^]*\^\n[^^]*detail: Key \(id\)=\(1\) already exists\.\n[^^]*23505/,
    ],
    [
      "an error inside a function",
      "SELECT 1;\nDO $$\nBEGIN\n  RAISE EXCEPTION 'no' USING HINT = 'because';\nEND $$;",
      /up\.sql:2:1: no\n[^^]*\^\n[^^]*hint: because\n {2}context: PL\/pgSQL function inline_code_block line 3/,
    ],
    ["an open quote", "SELECT 1;\nSELECT 'oops;\n", /up\.sql:2:8: unterminated quoted string/],
    [
      "a constraint that is checked at the end",
      "CREATE TABLE x (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO x VALUES (1), (1);",
      /up\.sql: at the end of its transaction: duplicate key.*\n {2}detail: Key/,
    ],
    [
      "an index that cannot be built in a transaction",
      "CREATE TABLE x (id int);\nCREATE INDEX CONCURRENTLY ON x (id);",
      /up\.sql:2:1: CREATE INDEX CONCURRENTLY cannot run[\s\S]*Note: each file runs in one transaction/,
    ],
    [
      "an extension's type without the extension",
      "CREATE TABLE x (id hstore);",
      /type "hstore" does not exist[\s\S]*Note: if this comes from an extension/,
    ],
    [
      "a right that the owner does not have",
      "CREATE ROLE someone;",
      /permission denied to create role[\s\S]*Note: migrations run as the owner/,
    ],
  ])("shows the place and the server's message: %s", async (_what, sql, expected) => {
    const database = await makeDatabase();
    write("0001_x", sql);
    const { code, stderr } = await runMigrator(database);
    expect(code).toBe(1);
    expect(stderr).toMatch(expected);
    expect(await recorded(database)).toEqual([]);
    expect(await tables(database)).toEqual([]);
  });

  it("stops the way down before itself", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
    write("0002_b", "CREATE TABLE b (id int);", "SELECT 1;\nDROP TABLE bb;");
    write("0003_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    await runMigrator(database);
    const { code, stdout, stderr } = await runMigrator(database, { MIGRATIONS_TARGET: "0" });
    expect(code).toBe(1);
    expect(stdout).toContain("reverted 0003_c in ");
    expect(stderr).toMatch(/0002_b\.down\.sql:2:1: table "bb" does not exist/);
    expect(stderr).toContain("0002_b was not reverted, not even in part");
    expect(await tables(database)).toEqual(["a", "b"]);
    expect(await recorded(database)).toEqual(["0001_a", "0002_b"]);
  });
});

describe("scripts", () => {
  it("may have any number of statements, none too, and any line endings", async () => {
    const database = await makeDatabase();
    write("0001_a", "\ufeffCREATE TABLE a (id int);\r\nCREATE TABLE b (id int);\r\n-- the end");
    write("0002_b", "");
    write("0003_c", "CREATE FUNCTION one() RETURNS int BEGIN ATOMIC SELECT 0; SELECT 1; END;");
    const { code, stderr } = await runMigrator(database);
    expect([code, stderr]).toEqual([0, ""]);
    expect(await tables(database)).toEqual(["a", "b"]);
    expect((await database.query("SELECT one()")).rows).toEqual([{ one: 1 }]);
  });

  it("show the server's notices and warnings", async () => {
    const database = await makeDatabase();
    write("0001_a", "DROP TABLE IF EXISTS a; DO $$ BEGIN RAISE WARNING 'mind the gap'; END $$;");
    const { stdout } = await runMigrator(database);
    expect(stdout).toContain('  NOTICE: table "a" does not exist, skipping\n  WARNING: mind the gap\n');
  });

  it("begin with the same session, whatever the one before has set", async () => {
    const database = await makeDatabase();
    write(
      "0001_a",
      "SELECT set_config('search_path', '', false); SET statement_timeout TO '100ms'; RESET ROLE;",
    );
    write("0002_b", "SELECT pg_sleep(0.3); CREATE TABLE b (email citext);");
    const { code, stderr } = await runMigrator(database);
    expect([code, stderr]).toEqual([0, ""]);
    const { rows } = await database.query(
      "SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'b'",
    );
    expect(rows).toEqual([{ schemaname: "app", tableowner: database.owner }]);
  });

  it("that would end their transaction are refused before anything runs", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    write("0002_b", "CREATE TABLE b (id int);\nCOMMIT;\nSELECT 1/0;");
    const { code, stderr } = await runMigrator(database);
    expect(code).toBe(2);
    expect(stderr).toContain("0002_b.up.sql:2:1: COMMIT ");
    expect(await tables(database)).toEqual([]);
  });
});

describe("names with quotes, spaces, percent, dollar and letters of any alphabet", () => {
  it.each([`O'Brien "x" %s $1`, `'; DROP SCHEMA app; --`, "größe 表 🙂", `${"n".repeat(45)}`])(
    "%s",
    async (prefix) => {
      const schema = `${prefix} schema`;
      const database = await makeDatabase({ prefix, schema });
      write("0001_größe", "CREATE TABLE a (email citext);", "DROP TABLE a;");
      const up = await runMigrator(database);
      expect([up.code, up.stderr]).toEqual([0, ""]);
      expect(up.stdout).toContain("applied 0001_größe in ");
      const { rows } = await database.query(
        "SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'a'",
      );
      expect(rows).toEqual([{ schemaname: schema, tableowner: database.owner }]);
      expect(await recorded(database)).toEqual(["0001_größe"]);
      const down = await runMigrator(database, { MIGRATIONS_TARGET: "0" });
      expect([down.code, down.stderr]).toEqual([0, ""]);
      expect(await tables(database)).toEqual([]);
    },
  );
});

describe("target", () => {
  it("is reached from below and from above", async () => {
    const database = await makeDatabase();
    for (const name of ["0001_a", "0002_b", "0003_c"]) {
      write(name, `CREATE TABLE ${name.slice(5)} (id int);`, `DROP TABLE ${name.slice(5)};`);
    }
    expect(stable((await runMigrator(database, { MIGRATIONS_TARGET: "0002_b" })).stdout)).toContain(
      "\n2 migrations applied in N ms\n",
    );
    expect((await runMigrator(database, { MIGRATIONS_TARGET: "2" })).stdout).toBe(
      "nothing to apply, database is at 0002_b\n",
    );
    expect(stable((await runMigrator(database, { MIGRATIONS_TARGET: "1" })).stdout)).toContain(
      "reverted 0002_b in N ms\n1 migration reverted in N ms, database is at 0001_a\n",
    );
    expect(await tables(database)).toEqual(["a"]);
    await runMigrator(database);
    expect(await tables(database)).toEqual(["a", "b", "c"]);
  });

  it("that does not exist is refused", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    const { code, stderr } = await runMigrator(database, { MIGRATIONS_TARGET: "0001_b" });
    expect(code).toBe(2);
    expect(stderr).toContain("choose a number or a name of: 0 (none of them), 0001_a;");
  });

  it("is reverted in the order of the numbers, also where the server's clock was set back in between", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int PRIMARY KEY);", "DROP TABLE a;");
    write("0002_b", "CREATE TABLE b (id int REFERENCES a);", "DROP TABLE b;");
    await runMigrator(database);
    await database.query(
      "UPDATE migrations.applied SET run_on = run_on - interval '1 h' WHERE name = '0002_b'",
    );
    const { code, stderr } = await runMigrator(database, { MIGRATIONS_TARGET: "0" });
    expect([code, stderr]).toEqual([0, ""]);
  });
});

describe("a folder that does not fit the database", () => {
  it("is refused with nothing changed", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    write("0002_b", "CREATE TABLE b (id int);");
    await runMigrator(database);
    rmSync(join(folder, "0002_b.up.sql"));
    rmSync(join(folder, "0002_b.down.sql"));
    write("0002_other", "CREATE TABLE c (id int);");
    const { code, stderr } = await runMigrator(database);
    expect(code).toBe(2);
    expect(stderr).toContain("0002_b is applied in the database, but its files are missing: restore them");
    expect(await tables(database)).toEqual(["a", "b"]);
  });
});

describe("two runs at once", () => {
  it("work one after the other, and the second says whom it waits for", async () => {
    const database = await makeDatabase();
    const holder = await server.connect(database.name);
    await holder.query("SELECT pg_advisory_lock(7)");
    write(
      "0001_a",
      "-- migrate: lock_timeout = 0\nCREATE TABLE a (id int); SELECT pg_advisory_xact_lock(7);",
    );
    const first = start("migrator/main.ts", database.environment);
    await first.waitFor("1 migration to apply");
    const waiting = start("migrator/main.ts", database.environment);
    await waiting.waitFor("waiting for another run");
    await holder.end();
    const second = await waiting.ended;
    const { code, stdout } = await first.ended;
    expect(code).toBe(0);
    expect(stdout).toContain("applied 0001_a in ");
    expect(second.code).toBe(0);
    expect(second.stdout).toMatch(
      /^waiting for another run of migrations: "postgresql-environments migrator", pid \d+, connected since \d{4}-.*Z\nnothing to apply, database is at 0001_a\n$/,
    );
  });

  it("do not wait for ever", async () => {
    const database = await makeDatabase();
    write("0001_a", "SELECT pg_sleep(60);");
    await start("migrator/main.ts", database.environment).waitFor("1 migration to apply");
    const failure = migrate({
      connection: settingsOf(database),
      folder,
      owner: database.owner,
      schema: database.schema,
      log: () => {},
      lockPatience: 500,
    });
    await expect(failure).rejects.toMatchObject({
      exitCode: 4,
      message: expect.stringMatching(
        /^Waited \d s for another run .*pid (\d+).*\nWhat to do: .*terminate_backend\(\1\)/,
      ),
    });
  });

  it("in different databases do not wait for each other", async () => {
    const [one, two] = [await makeDatabase(), await makeDatabase()];
    write("0001_a", "SELECT pg_sleep(60);");
    await start("migrator/main.ts", one.environment).waitFor("1 migration to apply");
    write("0001_a", "SELECT 1;");
    expect((await runMigrator(two)).stdout).not.toContain("waiting");
  });
});

async function untilSleeping({ name }: TestDatabase): Promise<void> {
  const sleeping = "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'";
  while ((await superuser.query(sleeping, [name])).rowCount === 0) await sleep(20);
}

describe("interrupted in the middle of a statement", () => {
  it("by SIGKILL: the server gives it up, and the next run applies it once", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    write("0002_b", "CREATE TABLE b (id int); INSERT INTO a VALUES (1); SELECT pg_sleep(600);");
    const { child, ended, waitFor } = start("migrator/main.ts", database.environment);
    await waitFor("applied 0001_a");
    await untilSleeping(database);
    child.kill("SIGKILL");
    await ended;
    expect(await recorded(database)).toEqual(["0001_a"]);

    write("0002_b", "CREATE TABLE b (id int); INSERT INTO a VALUES (1);");
    const again = await runMigrator(database);
    expect([again.code, again.stderr]).toEqual([0, ""]);
    expect(await recorded(database)).toEqual(["0001_a", "0002_b"]);
    expect((await database.query("SELECT count(*)::int FROM a")).rows).toEqual([{ count: 1 }]);
  });

  it("by the end of the session: says so, and the next run goes on", async () => {
    const database = await makeDatabase();
    write("0001_a", "CREATE TABLE a (id int);");
    write("0002_b", "CREATE TABLE b (id int); SELECT pg_sleep(600);");
    const { ended, waitFor } = start("migrator/main.ts", database.environment);
    await waitFor("applied 0001_a");
    await untilSleeping(database);
    await superuser.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [
      database.name,
    ]);
    const { code, stderr } = await ended;
    expect(code).toBe(3);
    expect(stable(stderr)).toMatchInlineSnapshot(`
      "The connection to database "test db" at 127.0.0.1:PORT as "test_migrator" was lost while 0002_b was applied.
      That is in place as a whole or not at all; the record in the database tells which.
      What to do: see whether the server runs, then run again: it goes on from there.
      "
    `);
    write("0002_b", "CREATE TABLE b (id int);");
    expect((await runMigrator(database)).code).toBe(0);
    expect(await tables(database)).toEqual(["a", "b"]);
  });
});

describe("no way in", () => {
  function withSource(database: TestDatabase, edit: (url: URL) => void): Record<string, string> {
    const url = new URL(database.environment.DB_SOURCE ?? "");
    edit(url);
    return { DB_SOURCE: url.href };
  }

  it("tells a wrong password, database, role and schema apart", async () => {
    const database = await makeDatabase();
    write("0001_a", "SELECT 1;");
    const runs = [
      await runMigrator(
        database,
        withSource(database, (url) => {
          url.password = "wrong-password";
        }),
      ),
      await runMigrator(
        database,
        withSource(database, (url) => {
          url.pathname = "/nowhere";
        }),
      ),
      await runMigrator(database, { MIGRATIONS_OWNER: "nobody" }),
      await runMigrator(database, { MIGRATIONS_OWNER: "postgres" }),
      await runMigrator(database, { MIGRATIONS_SCHEMA: "nowhere" }),
    ];
    expect(runs.map(({ code }) => code)).toEqual([3, 3, 1, 1, 1]);
    expect(runs.map(({ stdout }) => stdout)).toEqual(["", "", "", "", ""]);
    const text = runs.map(({ stderr }) => stable(stderr)).join("\n");
    expect(text).not.toContain("wrong-password");
    expect(text).toMatchInlineSnapshot(`
      "Cannot connect to database "test db" at 127.0.0.1:PORT as "test_migrator", sslmode disable:
        password authentication failed for user "test_migrator"
      What to do: check the user and the password; \`pulumi up\` sets the password that the stack has.

      Cannot connect to database "nowhere" at 127.0.0.1:PORT as "test_migrator", sslmode disable:
        database "nowhere" does not exist
      What to do: check the database's name, or create the database first.

      No migration was run in database "test db" at 127.0.0.1:PORT as "test_migrator": role "nobody" does not exist.
      What to do: the role "nobody" must exist, and "test_migrator" be a member of it.

      No migration was run in database "test db" at 127.0.0.1:PORT as "test_migrator": permission denied to set role "postgres".
      What to do: the role "postgres" must exist, and "test_migrator" be a member of it.

      No migration was run in database "test db" at 127.0.0.1:PORT as "test_migrator": the schema "nowhere" does not exist.
      What to do: create it, owned by "test_owner", or correct the setting that names it.
      "
    `);
  });

  it("says everything that is missing in the environment", async () => {
    const { code, stderr } = await start("migrator/main.ts", { MIGRATIONS_DIR: "migrations" }).ended;
    expect(code).toBe(2);
    expect(stderr).toContain("DB_SOURCE is missing");
    expect(stderr).toContain("MIGRATIONS_SCHEMA is missing");
  });
});

describe("TLS", () => {
  let ca: string;

  beforeAll(async () => {
    ca = await server.exec("cat", "/var/lib/postgresql/data/ca.crt");
  });

  async function encrypted(database: TestDatabase, host: string, mode: string, sslRootCert?: string) {
    const source = (database.environment.DB_SOURCE ?? "")
      .replace("127.0.0.1", host)
      .replace("sslmode=disable", `sslmode=${mode}`);
    const client = await connect(parseConnection(source, { applicationName: "test", sslRootCert }));
    try {
      const { rows } = await client.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
      return rows[0]?.ssl;
    } finally {
      await client.end();
    }
  }

  it("does what sslmode says", async () => {
    const database = await makeDatabase();
    const otherCa = await server.exec("cat", "/var/lib/postgresql/data/server.crt");
    expect(await encrypted(database, "127.0.0.1", "disable")).toBe(false);
    expect(await encrypted(database, "127.0.0.1", "require")).toBe(true);
    expect(await encrypted(database, "localhost", "require", ca)).toBe(true);
    expect(await encrypted(database, "localhost", "verify-ca", ca)).toBe(true);
    expect(await encrypted(database, "127.0.0.1", "verify-full", ca)).toBe(true);
    const unverified = {
      exitCode: 3,
      message: expect.stringContaining("not signed by the CA that was given"),
    };
    await expect(encrypted(database, "127.0.0.1", "require", otherCa)).rejects.toMatchObject(unverified);
    await expect(encrypted(database, "127.0.0.1", "verify-ca", otherCa)).rejects.toMatchObject(unverified);
    await expect(encrypted(database, "localhost", "verify-full", ca)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining("connect by a name or address that is in the server's certificate"),
    });
  });

  it("takes the CA from the environment", async () => {
    const database = await makeDatabase();
    write("0001_a", "SELECT 1;");
    const DB_SOURCE = (database.environment.DB_SOURCE ?? "").replace("=disable", "=verify-full");
    for (const DB_SSLROOTCERT of [
      { DB_SSLROOTCERT_PEM: ca },
      { DB_SSLROOTCERT_BASE64: Buffer.from(ca).toString("base64") },
    ]) {
      const { code, stderr } = await runMigrator(database, { DB_SOURCE, ...DB_SSLROOTCERT });
      expect([code, stderr]).toEqual([0, ""]);
    }
  });
});

describe("the check of extensions", () => {
  it("is content with what the image has, and names what it has not", async () => {
    const { DB_SOURCE = "" } = (await makeDatabase()).environment;
    const check = (extensions: object[]) =>
      start("migrator/check-extensions.ts", { DB_SOURCE, EXTENSIONS: JSON.stringify(extensions) }).ended;
    const good = await check([{ name: "citext" }, { name: "pg_trgm", version: "1.6" }]);
    expect([good.code, good.stderr]).toEqual([0, ""]);
    expect(good.stdout).toMatch(/^database .*: the server has citext, pg_trgm\n$/);
    const bad = await check([{ name: "citext", version: "0.1" }, { name: "no-such'one" }]);
    expect(bad.code).toBe(1);
    expect(bad.stderr).toContain('extension "no-such\'one" is not in the image.\nIt has:\n  ');
    expect(bad.stderr).toMatch(/\bcitext, /);
    expect(bad.stderr).toMatch(
      /extension "citext" is in the image, but not in version 0\.1\. It has: 1\.4, /,
    );
  });
});

describe("the example init script", () => {
  it("keeps roles from making large objects, in databases made later too", async () => {
    const database = await makeDatabase();
    for (const sql of ["SELECT lo_creat(-1)", "SELECT lo_create(0)", "SELECT lo_from_bytea(0, 'x')"]) {
      await expect(database.query(sql, database.application)).rejects.toThrow(
        /permission denied for function/,
      );
    }
    await database.query("SELECT lo_unlink(lo_creat(-1))");
  });
});

function settingsOf(database: TestDatabase): ConnectionSettings {
  return parseConnection(database.environment.DB_SOURCE ?? "", { applicationName: "test" });
}

describe("how the last run went", () => {
  const runOf = async (database: TestDatabase, as?: string) =>
    (await database.query("SELECT pending, failed FROM migrations.run", as)).rows;

  it("can be read by the role that is named for it, and nothing else of the record can", async () => {
    const database = await makeDatabase();
    const monitor = { MIGRATIONS_MONITOR: database.application };
    write("0001_one", "SELECT 1;");
    write("0002_two", "SELECT 1 / 0;");
    write("0003_three", "SELECT 1;");
    expect((await runMigrator(database, monitor)).code).toBe(1);
    expect(await runOf(database, database.application)).toEqual([{ pending: 2, failed: true }]);
    await expect(database.query("SELECT FROM migrations.applied", database.application)).rejects.toThrow(
      /permission denied/,
    );

    write("0002_two", "SELECT 1;");
    expect((await runMigrator(database, monitor)).code).toBe(0);
    expect(await runOf(database, database.application)).toEqual([{ pending: 0, failed: false }]);

    // A run by hand is known too.
    write("0004_four", "SELECT 1 / 0;");
    expect((await runMigrator(database)).code).toBe(1);
    expect(await runOf(database)).toEqual([{ pending: 1, failed: true }]);
    expect((await runMigrator(database, { MIGRATIONS_TARGET: "3" })).code).toBe(0);
    expect(await runOf(database)).toEqual([{ pending: 0, failed: false }]);
  });

  it("is not kept where no role is named", async () => {
    const database = await makeDatabase();
    write("0001_one", "SELECT 1;");
    expect((await runMigrator(database)).code).toBe(0);
    await expect(runOf(database)).rejects.toThrow(/does not exist/);
  });

  it("fails with what is missing where the role is not there", async () => {
    const database = await makeDatabase();
    write("0001_one", "SELECT 1;");
    const { code, stderr } = await runMigrator(database, { MIGRATIONS_MONITOR: "nobody_here" });
    expect(code).toBe(1);
    expect(stderr).toContain('the role "nobody_here" must exist');
  });
});
