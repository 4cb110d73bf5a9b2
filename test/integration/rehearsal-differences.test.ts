import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareCatalogues, describeDifference } from "../../catalogue/compare.ts";
import { readCatalogue } from "../../catalogue/read.ts";
import { connect } from "../../migrator/connection.ts";
import { readMigrations } from "../../migrator/files.ts";
import { applyAll, type RehearsalRun, type RoundTrip, rehearse } from "../../rehearsal/rehearse.ts";
import { describeFindings, describeLock, formatRoundTrip, isGood } from "../../rehearsal/report.ts";
import { containerName, removeServer, startServer, type ThrowawayServer } from "../../rehearsal/server.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";
import { testLabel, testRun } from "../support/docker.ts";

const settings = stackSettings(
  "test",
  "name: rehearsal",
  `config: {profile: development, appName: shop, schemaName: shop, extensions: [citext], labels: {${testLabel}: "${testRun}"}}`,
);
const container = containerName("test");
let server: ThrowawayServer;
let maintenance: Client;
let asSuperuser: (database: string) => Promise<Client>;
let databases = 0;

beforeAll(async () => {
  server = await startServer({ container, settings, initScripts: [], keep: false });
  // A database that is copied may have no sessions.
  const { password } = server.superuser;
  await server.superuser.end();
  asSuperuser = (database) =>
    connect({ ...server.migrator, user: "postgres", password: password ?? undefined, database });
  maintenance = await asSuperuser("postgres");
  await inCopy("shop", async (run) => {
    writeMigration(run.folder, 1, base);
    await applyAll(run, readMigrations(run.folder));
    await run.superuser.end();
    await maintenance.query(`CREATE DATABASE base TEMPLATE ${run.migrator.database} OWNER shop_owner`);
  });
});
afterAll(async () => {
  await maintenance?.end();
  await removeServer(container);
});

type Scripts = readonly [up: string, down: string];

/** Runs `work` in a copy of a database, which goes with it. */
async function inCopy<T>(template: string, work: (run: RehearsalRun) => Promise<T>): Promise<T> {
  databases += 1;
  const database = `case${databases}`;
  await maintenance.query(`CREATE DATABASE ${database} TEMPLATE ${template} OWNER shop_owner`);
  const folder = mkdtempSync(join(tmpdir(), "rehearsal-"));
  const superuser = await asSuperuser(database);
  try {
    return await work({ migrator: { ...server.migrator, database }, superuser, settings, folder });
  } finally {
    await superuser.end();
    await maintenance.query(`DROP DATABASE ${database} WITH (FORCE)`);
    rmSync(folder, { recursive: true });
  }
}

function writeMigration(folder: string, number: number, [up, down]: Scripts): void {
  writeFileSync(join(folder, `000${number}_m.up.sql`), up);
  writeFileSync(join(folder, `000${number}_m.down.sql`), down);
}

/** What comes of migrations after the one that the base has. */
async function rehearseScripts(...migrations: readonly Scripts[]): Promise<RoundTrip[]> {
  return inCopy("base", async (run) => {
    for (const [index, scripts] of [base, ...migrations].entries())
      writeMigration(run.folder, index + 1, scripts);
    const [first, ...rest] = readMigrations(run.folder);
    if (!first) throw new Error("no migrations");
    const trips: RoundTrip[] = [];
    for await (const trip of rehearse(run, [first], rest)) trips.push(trip);
    return trips;
  });
}

const orders = `
  CREATE TYPE status AS ENUM ('open', 'paid');
  CREATE DOMAIN amount AS integer CONSTRAINT positive CHECK (VALUE > 0);
  CREATE TYPE address AS (street text, town text);
  CREATE TABLE customer (id integer PRIMARY KEY, name text);
  CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer CONSTRAINT orders_customer REFERENCES customer,
    total integer DEFAULT 5 CONSTRAINT orders_total CHECK (total > 0),
    note text NOT NULL
  );
  ALTER TABLE orders ADD CONSTRAINT orders_limit CHECK (total < 99);
  CREATE TABLE doomed (id integer PRIMARY KEY, name text);
  CREATE INDEX orders_note ON orders (note);
  CREATE INDEX orders_other ON orders (note);
  CREATE SEQUENCE numbers;
  CREATE VIEW open_orders AS SELECT id FROM orders;
  CREATE VIEW all_orders AS SELECT id FROM orders;
  CREATE MATERIALIZED VIEW totals AS SELECT sum(total) AS total FROM orders;
  CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n';
  CREATE FUNCTION thrice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 3 * n';
  CREATE PROCEDURE nothing() LANGUAGE sql AS '';
  CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
  CREATE TRIGGER stamped BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
  CREATE TRIGGER marked BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
  CREATE RULE quiet AS ON DELETE TO customer DO INSTEAD NOTHING;
  CREATE POLICY mine ON orders USING (total > 1);
  CREATE POLICY yours ON orders USING (total > 2);
  CREATE STATISTICS pairs ON customer_id, total FROM orders;
  CREATE PUBLICATION changes FOR TABLE orders;
  COMMENT ON TABLE orders IS 'what was ordered';`;
const base: Scripts = [orders, "SELECT 1;"];

/** The way up and down of many migrations that leave something, and what is to be said of each. */
const badScripts: readonly (readonly [what: string, up: string, down: string, difference: string])[] = [
  [
    "leaves a table",
    "CREATE TABLE t (a int PRIMARY KEY, b int)",
    "SELECT 1",
    "table shop.t is there after down, and was not before (with 2 columns, 1 constraint and 1 index)",
  ],
  [
    "drops a table that was there",
    "SELECT 1",
    "DROP TABLE doomed",
    "table shop.doomed is missing after down (with 2 columns, 1 constraint and 1 index)",
  ],
  [
    "leaves a column",
    "ALTER TABLE orders ADD COLUMN extra int",
    "SELECT 1",
    "column extra of shop.orders is there after down, and was not before",
  ],
  [
    "brings a column back with another type",
    "ALTER TABLE customer ALTER name TYPE varchar(9)",
    "ALTER TABLE customer ALTER name TYPE varchar(99)",
    "column name of shop.customer, after down: type was text, is character varying(99)",
  ],
  [
    "forgets NOT NULL and a default",
    "ALTER TABLE orders ALTER note DROP NOT NULL, ALTER total DROP DEFAULT",
    "SELECT 1",
    "column note of shop.orders, after down: NOT NULL was yes, is none | column total of shop.orders, after down: default was 5, is none",
  ],
  [
    "forgets an identity",
    "ALTER TABLE orders ALTER id DROP IDENTITY",
    "SELECT 1",
    "column id of shop.orders, after down: identity was always, is none | sequence shop.orders_id_seq is missing after down",
  ],
  [
    "leaves another statistics target",
    "ALTER TABLE orders ALTER note SET STATISTICS 500",
    "ALTER TABLE orders ALTER note SET STATISTICS 100",
    "column note of shop.orders, after down: statistics target was none, is 100",
  ],
  [
    "forgets a constraint",
    "ALTER TABLE orders DROP CONSTRAINT orders_total",
    "SELECT 1",
    "constraint orders_total on shop.orders is missing after down",
  ],
  [
    "brings a constraint back that does not count for old rows",
    "ALTER TABLE orders DROP CONSTRAINT orders_limit",
    "ALTER TABLE orders ADD CONSTRAINT orders_limit CHECK (total < 99) NOT VALID",
    "constraint orders_limit on shop.orders, after down: definition was CHECK ((total < 99)), is CHECK ((total < 99)) NOT VALID",
  ],
  [
    "brings a foreign key back with another action",
    "ALTER TABLE orders DROP CONSTRAINT orders_customer",
    "ALTER TABLE orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customer ON DELETE CASCADE",
    "constraint orders_customer on shop.orders, after down: definition was FOREIGN KEY (customer_id) REFERENCES shop.customer(id), is FOREIGN KEY (customer_id) REFERENCES shop.customer(id) ON DELETE CASCADE",
  ],
  [
    "forgets an index",
    "DROP INDEX orders_note",
    "SELECT 1",
    "index orders_note on shop.orders is missing after down",
  ],
  [
    "brings an index back on another column",
    "DROP INDEX orders_other",
    "CREATE INDEX orders_other ON orders (total)",
    "index orders_other on shop.orders, after down: definition was CREATE INDEX orders_other ON shop.orders USING btree (note), is CREATE INDEX orders_other ON shop.orders USING btree (total)",
  ],
  [
    "forgets a view",
    "DROP VIEW open_orders",
    "SELECT 1",
    "view shop.open_orders is missing after down (with 1 column)",
  ],
  [
    "brings a view back with another query",
    "DROP VIEW all_orders",
    "CREATE VIEW all_orders AS SELECT id FROM orders WHERE total > 3",
    "view shop.all_orders, after down: definition differs in line 3: was nothing, is «WHERE (total > 3)»",
  ],
  [
    "leaves a materialized view empty",
    "REFRESH MATERIALIZED VIEW totals WITH NO DATA",
    "SELECT 1",
    "materialized view shop.totals, after down: populated was yes, is no",
  ],
  [
    "leaves a sequence otherwise",
    "ALTER SEQUENCE numbers INCREMENT 10",
    "ALTER SEQUENCE numbers INCREMENT 2",
    "sequence shop.numbers, after down: increment was 1, is 2",
  ],
  [
    "leaves a function",
    "CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT 1",
    "function shop.f(integer, text) is there after down, and was not before",
  ],
  [
    "brings a function back with another body",
    "DROP FUNCTION twice",
    "CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n + n'",
    "function shop.twice(integer), after down: definition differs in line 4: was «AS $function$SELECT 2 * n$function$», is «AS $function$SELECT n + n$function$»",
  ],
  [
    "forgets a procedure",
    "DROP PROCEDURE nothing",
    "SELECT 1",
    "procedure shop.nothing() is missing after down",
  ],
  [
    "forgets a trigger",
    "DROP TRIGGER stamped ON orders",
    "SELECT 1",
    "trigger stamped on shop.orders is missing after down",
  ],
  [
    "leaves a trigger off",
    "ALTER TABLE orders DISABLE TRIGGER marked",
    "SELECT 1",
    "trigger marked on shop.orders, after down: enabled was yes, is no",
  ],
  [
    "forgets a rule",
    "DROP RULE quiet ON customer",
    "SELECT 1",
    "rule quiet on shop.customer is missing after down",
  ],
  [
    "forgets a policy",
    "DROP POLICY mine ON orders",
    "SELECT 1",
    "policy mine on shop.orders is missing after down",
  ],
  [
    "leaves a policy for other roles",
    "ALTER POLICY yours ON orders TO shop_readonly",
    "SELECT 1",
    "policy yours on shop.orders, after down: roles were PUBLIC, are shop_readonly",
  ],
  [
    "leaves row level security on",
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
    "SELECT 1",
    "table shop.orders, after down: row level security was none, is enabled",
  ],
  [
    "leaves a value of an enum",
    "ALTER TYPE status ADD VALUE 'lost'",
    "SELECT 1",
    "type shop.status, after down: values were 'open', 'paid', are 'open', 'paid', 'lost'",
  ],
  [
    "leaves a domain otherwise",
    "ALTER DOMAIN amount SET NOT NULL",
    "SELECT 1",
    "domain shop.amount, after down: NOT NULL was none, is yes",
  ],
  [
    "forgets a domain's constraint",
    "ALTER DOMAIN amount DROP CONSTRAINT positive",
    "SELECT 1",
    "constraint positive on domain shop.amount is missing after down",
  ],
  [
    "leaves an attribute of a composite type otherwise",
    "ALTER TYPE address ALTER ATTRIBUTE town TYPE varchar(9)",
    "SELECT 1",
    "attribute town of shop.address, after down: type was text, is character varying(9)",
  ],
  [
    "forgets a range type",
    "CREATE TYPE span AS RANGE (subtype = integer)",
    "ALTER TYPE span RENAME TO older",
    "type shop.older is there after down, and was not before",
  ],
  [
    "leaves rights",
    "GRANT SELECT, DELETE ON orders TO shop_monitor",
    "REVOKE DELETE ON orders FROM shop_monitor",
    "table shop.orders, after down: privileges of shop_monitor were none, are SELECT",
  ],
  [
    "forgets rights that default privileges had given",
    "REVOKE SELECT ON orders FROM shop_readonly",
    "SELECT 1",
    "table shop.orders, after down: privileges of shop_readonly were SELECT, are none",
  ],
  [
    "leaves rights on a column",
    "GRANT UPDATE (note) ON orders TO shop_reader",
    "SELECT 1",
    "column note of shop.orders, after down: privileges of shop_reader were none, are UPDATE",
  ],
  [
    "leaves rights on a function",
    "GRANT EXECUTE ON FUNCTION thrice TO PUBLIC",
    "SELECT 1",
    "function shop.thrice(integer), after down: privileges of PUBLIC were none, are EXECUTE",
  ],
  [
    "leaves rights on the schema",
    "GRANT USAGE ON SCHEMA shop TO shop_monitor",
    "SELECT 1",
    "schema shop, after down: privileges of shop_monitor were none, are USAGE",
  ],
  [
    "leaves default privileges otherwise",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT INSERT ON TABLES TO shop_readonly",
    "SELECT 1",
    "default privileges of shop_owner for tables in schema shop, after down: privileges of shop_readonly were SELECT, are INSERT, SELECT",
  ],
  [
    "leaves a comment",
    "COMMENT ON TABLE orders IS 'orders'; COMMENT ON COLUMN orders.note IS 'x'",
    "COMMENT ON COLUMN orders.note IS NULL",
    "table shop.orders, after down: comment was «what was ordered», is «orders»",
  ],
  [
    "leaves options of storage",
    "ALTER TABLE orders SET (fillfactor = 70, toast.autovacuum_enabled = off)",
    "SELECT 1",
    "table shop.orders, after down: TOAST options were none, are autovacuum_enabled=off | table shop.orders, after down: options were none, are fillfactor=70",
  ],
  [
    "forgets a statistics object",
    "DROP STATISTICS pairs",
    "SELECT 1",
    "statistics shop.pairs is missing after down",
  ],
  [
    "leaves an extension",
    "CREATE EXTENSION pg_trgm SCHEMA shop",
    "SELECT 1",
    "extension pg_trgm is there after down, and was not before",
  ],
  [
    "leaves a schema",
    "CREATE SCHEMA archive; CREATE TABLE archive.t (a int)",
    "SELECT 1",
    "schema archive is there after down, and was not before (with 1 column and 1 table)",
  ],
  [
    "leaves a publication otherwise",
    "ALTER PUBLICATION changes ADD TABLE customer",
    "ALTER PUBLICATION changes DROP TABLE orders",
    "publication changes, after down: tables were shop.orders, are shop.customer",
  ],
  [
    "leaves a setting of the database",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem TO ''9MB''', current_database()); END $$",
    "SELECT 1",
    "settings of the database are there after down, and were not before",
  ],
  [
    "leaves an operator",
    "CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
    "SELECT 1",
    "operator shop.===(integer, integer) is there after down, and was not before",
  ],
  [
    "leaves a collation",
    `CREATE COLLATION c (LOCALE = 'C')`,
    "SELECT 1",
    "collation shop.c is there after down, and was not before",
  ],
  [
    "leaves a text search configuration",
    "CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple)",
    "SELECT 1",
    "text search configuration shop.words is there after down, and was not before",
  ],
  [
    "leaves an aggregate",
    "CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer)",
    "SELECT 1",
    "aggregate shop.total(integer) is there after down, and was not before",
  ],
];

describe("a down script is found out that", () => {
  let faults: readonly string[];
  beforeAll(async () => {
    // All in one, since they have nothing to do with each other.
    const all = (index: 1 | 2) => badScripts.map((bad) => `${bad[index]};`).join("\n");
    const [trip] = await rehearseScripts([all(1), all(2)]);
    if (trip?.durations.down === undefined) throw new Error(trip?.failure?.message);
    faults = describeFindings(trip).faults.filter((text) => text.includes("after down"));
  });

  it.each(badScripts)("%s", (_what, _up, _down, difference) => {
    for (const text of difference.split(" | ")) {
      const [object, change] = text.split(", after down: ");
      const said = faults.filter((fault) => fault.startsWith(change ? `${object}, after down: ` : text));
      expect(said).toEqual([expect.stringContaining(change ?? text)]);
    }
  });

  it("for everything that it has left, and nothing else", () => {
    const objects = badScripts.flatMap(([, , , difference]) =>
      difference.split(" | ").map((text) => text.split(/, after down| is | are /)[0]),
    );
    expect(faults.map((fault) => fault.split(/, after down| is | are /)[0])).toEqual(
      [...new Set([...objects, "column note of shop.orders"])].toSorted(),
    );
  });
});

describe("the catalogue of a database", () => {
  it.each<[what: string, before: string, change: string, difference: string]>([
    [
      "an owner",
      "",
      "ALTER TABLE shop.orders OWNER TO postgres",
      "table shop.orders, later: owner was shop_owner, is postgres; privileges of postgres were none, are",
    ],
    [
      "an extension's version",
      "CREATE EXTENSION hstore VERSION '1.7'",
      "ALTER EXTENSION hstore UPDATE TO '1.8'",
      "extension hstore, later: version was 1.7, is 1.8",
    ],
    [
      "an event trigger",
      "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION e()",
      "ALTER EVENT TRIGGER e DISABLE",
      "event trigger e, later: enabled was yes, is no",
    ],
    [
      "a foreign server and its users",
      "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'a')",
      "ALTER SERVER s OPTIONS (SET host 'b'); CREATE USER MAPPING FOR shop_reader SERVER s OPTIONS (password 'hunter2')",
      "foreign server s, later: options were host=a, are host=b | user mapping of shop_reader on server s is there later",
    ],
    [
      "a foreign table",
      "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (a int) SERVER s",
      "DROP FOREIGN TABLE f",
      "foreign table public.f is missing later (with 1 column)",
    ],
    [
      "an operator class",
      "",
      "CREATE OPERATOR CLASS c FOR TYPE int4 USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int4)",
      "operator class public.c for hash is there later, and was not before | operator family public.c for hash is there later",
    ],
    [
      "a cast",
      "CREATE TYPE c AS (a int)",
      "CREATE CAST (c AS text) WITH INOUT",
      "cast from public.c to text is there later",
    ],
    [
      "a conversion",
      "",
      "CREATE CONVERSION u FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
      "conversion public.u is there later",
    ],
    [
      "a text search dictionary",
      "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = pg_catalog.simple)",
      "ALTER TEXT SEARCH DICTIONARY d (accept = false)",
      "text search dictionary public.d, later: options were none, are accept = 'false'",
    ],
    [
      "a language's rights",
      "",
      "REVOKE USAGE ON LANGUAGE sql FROM PUBLIC",
      "language sql, later: privileges of PUBLIC were USAGE, are none",
    ],
    [
      "a role's settings",
      "",
      "ALTER ROLE shop_reader IN DATABASE CURRENT SET work_mem TO '7MB'",
      "settings of role shop_reader in the database are there later",
    ],
    [
      "the database's rights",
      "",
      "GRANT TEMPORARY ON DATABASE CURRENT TO shop_reader WITH GRANT OPTION",
      "privileges of shop_reader were none, are TEMPORARY WITH GRANT OPTION",
    ],
    [
      "a partition",
      "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
      "ALTER TABLE p DETACH PARTITION p1",
      "table public.p1, later: partition of was public.p FOR VALUES IN (1), is none",
    ],
    [
      "an unlogged table",
      "CREATE TABLE t (a int)",
      "ALTER TABLE t SET UNLOGGED",
      "table public.t, later: persistence was none, is unlogged",
    ],
    [
      "a generated column",
      "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a + 1) STORED)",
      "ALTER TABLE t ALTER b DROP EXPRESSION",
      "column b of public.t, later: generated was (a + 1) STORED, is none",
    ],
    [
      "an index that failed",
      "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1); CREATE INDEX i ON t (a)",
      "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass",
      "index i on public.t, later: valid was none, is no",
    ],
  ])("shows a change of %s", async (_, before, change, difference) => {
    await inCopy("base", async ({ superuser, migrator: { database } }) => {
      const run = (sql: string) =>
        superuser.query(sql.replaceAll("DATABASE CURRENT", `DATABASE ${database}`));
      await run(before);
      const was = await readCatalogue(superuser);
      await run(change);
      const text = compareCatalogues(was, await readCatalogue(superuser))
        .map((found) => describeDifference(found, "later"))
        .join(" | ");
      expect(text).toContain(difference);
      expect(text).not.toContain("hunter2");
    });
  });

  it("is the same at two times, whatever the rows and sequences have come to", async () => {
    await inCopy("base", async ({ superuser }) => {
      const was = await readCatalogue(superuser);
      await superuser.query(
        "INSERT INTO shop.customer VALUES (1); SELECT nextval('shop.numbers'); ANALYZE; CREATE TEMPORARY TABLE t ()",
      );
      expect(compareCatalogues(was, await readCatalogue(superuser))).toEqual([]);
    });
  });

  it("leaves out the schemas that it is told to, and what extensions have made", async () => {
    const { rows, names } = await inCopy("base", async ({ superuser }) => ({
      names: [...(await readCatalogue(superuser, { without: ["shop", "migrations"] })).keys()],
      rows: (await superuser.query("SELECT FROM pg_type WHERE typname = 'citext'")).rowCount,
    }));
    expect(rows).toBe(1);
    expect(names).toContain("extension citext");
    expect(names.filter((name) => /(?<!extension )citext|shop\.|migrations/.test(name))).toEqual([]);
  });

  it("can be read by a role without rights", async () => {
    await inCopy("base", async ({ migrator, superuser }) => {
      const client = await connect(migrator);
      expect([...(await readCatalogue(client)).keys()]).toEqual([...(await readCatalogue(superuser)).keys()]);
      await client.end();
    });
  });
});

describe("a round trip", () => {
  it("that takes everything back is good, and tells the locks on tables that were there", async () => {
    const [trip] = await rehearseScripts([
      `CREATE TABLE payment (id int PRIMARY KEY, order_id int REFERENCES orders);
       ALTER TABLE customer ADD COLUMN age int, ALTER name TYPE varchar(20);
       UPDATE shop.orders SET total = 6 WHERE false`,
      "ALTER TABLE customer DROP COLUMN age, ALTER name TYPE text; DROP TABLE payment",
    ]);
    expect(trip && isGood(trip)).toBe(true);
    expect(trip?.locks?.map(describeLock)).toEqual([
      "ACCESS EXCLUSIVE on shop.customer (reads and writes wait, writes the table anew)",
      "SHARE ROW EXCLUSIVE on shop.orders (writes wait)",
    ]);
    expect(Object.keys(trip?.durations ?? {})).toEqual(["up", "down", "up again"]);
  });

  it("that brings a column back at the end of its table is good, with a note", async () => {
    const [trip] = await rehearseScripts([
      "ALTER TABLE customer DROP COLUMN id CASCADE",
      "ALTER TABLE customer ADD COLUMN id integer PRIMARY KEY; ALTER TABLE orders ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customer",
    ]);
    expect(trip && describeFindings(trip)).toEqual({
      faults: [],
      notes: ["table shop.customer: the order of the columns was id, name, is name, id after down"],
    });
    expect(trip && isGood(trip)).toBe(true);
  });

  it("of which the second up makes something else is not good", async () => {
    const [trip] = await rehearseScripts([
      "DO $$ BEGIN EXECUTE 'CREATE TABLE t' || nextval('numbers') || ' (id int)'; END $$",
      "DROP TABLE IF EXISTS t1; DROP TABLE IF EXISTS t2",
    ]);
    expect(trip && describeFindings(trip).faults).toEqual([
      "table shop.t1 is missing after the second up (with 1 column)",
      "table shop.t2 is there after the second up, and was not before (with 1 column)",
    ]);
  });

  it("whose down script fails is told with the place, and the next migration has its turn", async () => {
    const [failing, good] = await rehearseScripts(
      ["CREATE TABLE t (id int)", "DROP TABLE t;\nDROP TABLE tt;"],
      ["ALTER TABLE t ADD COLUMN a int", "ALTER TABLE t DROP COLUMN a"],
    );
    expect(failing?.failure?.step).toBe("down");
    expect(formatRoundTrip(failing as RoundTrip)).toMatch(/^0002_m: up \d+ ms, down failed\n/);
    expect(failing?.failure?.message.replaceAll(/\/.*?\/(?=0002)/g, "FOLDER/")).toMatchInlineSnapshot(`
      "FOLDER/0002_m.down.sql:2:1: table "tt" does not exist
          1 | DROP TABLE t;
        > 2 | DROP TABLE tt;
            | ^
        SQLSTATE: 42P01
      What to do: correct FOLDER/0002_m.down.sql; then rehearse again."
    `);
    expect(good && isGood(good)).toBe(true);
  });

  it("whose second up fails ends the rehearsal", async () => {
    const trips = await rehearseScripts(
      ["CREATE TABLE t (id int)", "SELECT 1"],
      ["ALTER TABLE t ADD COLUMN a int", "ALTER TABLE t DROP COLUMN a"],
    );
    expect(trips).toHaveLength(1);
    expect(trips[0]?.failure).toEqual({
      step: "up again",
      message: expect.stringMatching(
        /relation "t" already exists[\s\S]*what one makes, the other must take away/,
      ),
    });
    expect(trips[0] && describeFindings(trips[0]).faults).toEqual([
      "table shop.t is there after down, and was not before (with 1 column)",
    ]);
  });

  it("works without a transaction", async () => {
    const [trip] = await rehearseScripts([
      "-- migrate: no transaction\nCREATE INDEX CONCURRENTLY orders_total_index ON orders (total);",
      "-- migrate: no transaction\nDROP INDEX CONCURRENTLY orders_total_index;",
    ]);
    expect(trip && isGood(trip)).toBe(true);
    expect(trip?.locks).toBeUndefined();
    expect(formatRoundTrip(trip as RoundTrip)).toContain("not known: it runs without a transaction");
  });
});
