import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeLoss } from "../../review/effects.ts";
import { isStronger, type LockMode, modeOf } from "../../review/locks.ts";
import { loadParser, reviewScript } from "../../review/script.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

let server: ThrowawayServer;
let client: pg.Client;
const messages: string[] = [];

beforeAll(async () => {
  await loadParser();
  server = await startThrowawayServer();
  client = await server.connect("postgres");
  client.on("notice", ({ message }) => messages.push(message ?? ""));
  await client.query(`
    CREATE SCHEMA app; CREATE SCHEMA other; SET search_path TO app;
    CREATE TABLE customer (id integer PRIMARY KEY, email varchar(20), age integer, born text);
    CREATE TABLE purchase (id integer PRIMARY KEY, customer_id integer, amount integer CHECK (amount > 0));
    ALTER TABLE purchase ADD CONSTRAINT late FOREIGN KEY (customer_id) REFERENCES customer NOT VALID;
    CREATE TABLE other.audit (id integer PRIMARY KEY, note text);
    CREATE TABLE event (id integer, day integer) PARTITION BY LIST (day);
    CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1);
    CREATE TABLE event_2 (id integer, day integer);
    CREATE INDEX customer_email ON customer (email);
    CREATE UNIQUE INDEX customer_age ON customer (age);
    CREATE VIEW adult AS SELECT * FROM purchase;
    CREATE MATERIALIZED VIEW total AS SELECT 1 AS one;
    CREATE UNIQUE INDEX total_one ON total (one);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER touch BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE POLICY own ON customer;
    CREATE DOMAIN positive AS integer;
    INSERT INTO customer SELECT i, 'a' || i, i, 'x' FROM generate_series(1, 100) AS i;
    INSERT INTO purchase SELECT i, i, i FROM generate_series(1, 100) AS i;
    CLUSTER customer USING customer_pkey;
    SET client_min_messages TO debug1`);
});
afterAll(async () => {
  await client?.end();
  await server?.remove();
});

const tableOfIndex = (index: string) =>
  ({ customer_email: "customer", customer_age: "customer", customer_pkey: "customer" })[index];

/** What the server does: its locks on tables that were there, other than for reading, and what it tells of its work. */
async function observe(sql: string): Promise<{ locks: Record<string, string>; work: string }> {
  await client.query("BEGIN");
  try {
    const before = await client.query<{ oid: number; name: string }>(
      `SELECT pg_class.oid, CASE nspname WHEN 'app' THEN '' ELSE nspname || '.' END || relname AS name
         FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname IN ('app', 'other') AND relkind IN ('r', 'p', 'v', 'm')`,
    );
    const names = new Map(before.rows.map(({ name, oid }) => [oid, name]));
    messages.length = 0;
    await client.query(sql);
    const work = messages.filter((message) => !message.includes("pg_toast")).join("\n");
    const { rows } = await client.query<{ relation: number; mode: string }>(
      "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL",
    );
    const locks: Record<string, LockMode> = {};
    for (const { mode, relation } of rows) {
      const table = names.get(relation);
      const known = modeOf(mode);
      if (table === undefined || !isStronger(known, "ROW SHARE")) continue;
      const other = locks[table];
      if (other === undefined || isStronger(known, other)) locks[table] = known;
    }
    return { locks, work };
  } finally {
    await client.query("ROLLBACK");
  }
}

/**
 * Of each: the statement, and whether it rewrites or reads the table, or builds an index of it. `silent`: makes its
 * relation anew, without the server telling more than that it builds the indexes.
 */
const statements: readonly (readonly [
  sql: string,
  work: readonly ("rewrites" | "reads" | "index" | "silent")[],
])[] = [
  ["ALTER TABLE customer ADD COLUMN note text", []],
  ["ALTER TABLE customer ADD COLUMN note text NOT NULL DEFAULT 'none'", []],
  ["ALTER TABLE customer ADD COLUMN at timestamptz DEFAULT now()", []],
  ["ALTER TABLE customer ADD COLUMN at timestamptz DEFAULT current_timestamp + interval '1 day'", []],
  ["ALTER TABLE customer ADD COLUMN at timestamptz DEFAULT clock_timestamp()", ["rewrites"]],
  ["ALTER TABLE customer ADD COLUMN key uuid DEFAULT gen_random_uuid()", ["rewrites"]],
  ["ALTER TABLE customer ADD COLUMN number bigserial", ["rewrites"]],
  ["ALTER TABLE customer ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY", ["rewrites"]],
  ["ALTER TABLE customer ADD COLUMN twice integer GENERATED ALWAYS AS (age * 2) STORED", ["rewrites"]],
  ["ALTER TABLE customer ADD COLUMN code text UNIQUE", ["index"]],
  ["ALTER TABLE customer ADD COLUMN code text CHECK (code <> '')", ["reads"]],
  ["ALTER TABLE customer ADD COLUMN audit integer REFERENCES other.audit", []],
  ["ALTER TABLE customer ALTER COLUMN age SET DEFAULT 1", []],
  ["ALTER TABLE customer ALTER COLUMN age DROP DEFAULT", []],
  ["ALTER TABLE customer ALTER COLUMN age SET NOT NULL", ["reads"]],
  ["ALTER TABLE customer ALTER COLUMN age DROP NOT NULL", []],
  ["ALTER TABLE customer ALTER COLUMN age TYPE bigint", ["rewrites"]],
  ["ALTER TABLE customer ALTER COLUMN age SET STATISTICS 500", []],
  ["ALTER TABLE customer ALTER COLUMN age SET (n_distinct = 5)", []],
  ["ALTER TABLE customer ALTER COLUMN born SET STORAGE EXTERNAL", []],
  ["ALTER TABLE customer ALTER COLUMN born SET COMPRESSION pglz", []],
  ["ALTER TABLE customer ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY", []],
  ["ALTER TABLE customer DROP COLUMN age", []],
  ["ALTER TABLE customer ADD CONSTRAINT grown CHECK (age > 0)", ["reads"]],
  ["ALTER TABLE customer ADD CONSTRAINT grown CHECK (age > 0) NOT VALID", []],
  ["ALTER TABLE customer ADD CONSTRAINT email_key UNIQUE (email)", ["index"]],
  ["ALTER TABLE customer ADD CONSTRAINT age_key UNIQUE USING INDEX customer_age", []],
  ["ALTER TABLE customer ADD CONSTRAINT apart EXCLUDE USING btree (email WITH =)", ["index"]],
  ["ALTER TABLE purchase ADD FOREIGN KEY (customer_id) REFERENCES customer", ["reads"]],
  ["ALTER TABLE purchase ADD FOREIGN KEY (customer_id) REFERENCES customer NOT VALID", []],
  ["ALTER TABLE purchase VALIDATE CONSTRAINT late", ["reads"]],
  ["ALTER TABLE purchase DROP CONSTRAINT purchase_amount_check", []],
  ["ALTER TABLE customer SET (fillfactor = 50)", []],
  ["ALTER TABLE customer SET (autovacuum_enabled = false)", []],
  ["ALTER TABLE customer SET (user_catalog_table = true)", []],
  ["ALTER TABLE customer RESET (fillfactor)", []],
  ["ALTER TABLE customer DISABLE TRIGGER touch", []],
  ["ALTER TABLE customer ENABLE TRIGGER touch", []],
  ["ALTER TABLE customer ENABLE ROW LEVEL SECURITY", []],
  ["ALTER TABLE customer REPLICA IDENTITY FULL", []],
  ["ALTER TABLE customer CLUSTER ON customer_pkey", []],
  ["ALTER TABLE customer SET WITHOUT CLUSTER", []],
  ["ALTER TABLE purchase SET UNLOGGED", ["rewrites"]],
  ["ALTER TABLE customer OWNER TO postgres", []],
  ["ALTER TABLE customer SET SCHEMA other", []],
  ["ALTER TABLE customer RENAME TO person", []],
  ["ALTER TABLE customer RENAME COLUMN age TO years", []],
  ["ALTER TABLE purchase RENAME CONSTRAINT purchase_amount_check TO amount_check", []],
  ["ALTER INDEX customer_email RENAME TO customer_mail", []],
  ["ALTER TABLE event ATTACH PARTITION event_2 FOR VALUES IN (2)", ["reads"]],
  ["ALTER TABLE event DETACH PARTITION event_1", []],
  ["ALTER TABLE event_2 ADD COLUMN a integer, ALTER COLUMN day SET STATISTICS 5", []],
  ["CREATE TABLE event_3 PARTITION OF event FOR VALUES IN (3)", []],
  ["CREATE TABLE line (purchase_id integer REFERENCES purchase)", []],
  ["CREATE TABLE child () INHERITS (customer)", []],
  ["CREATE TABLE fresh AS SELECT * FROM customer", []],
  ["CREATE INDEX ON customer (born)", ["index"]],
  ["CREATE UNIQUE INDEX ON other.audit (note)", ["index"]],
  ["DROP INDEX customer_email", []],
  ["REINDEX TABLE purchase", ["index"]],
  ["REINDEX INDEX customer_email", ["index"]],
  ["CREATE TRIGGER again BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION touch()", []],
  ["DROP TRIGGER touch ON customer", []],
  ["CREATE POLICY more ON customer", []],
  ["ALTER POLICY own ON customer USING (true)", []],
  ["DROP POLICY own ON customer", []],
  ["CREATE RULE nothing AS ON INSERT TO customer DO ALSO NOTHING", []],
  ["CREATE STATISTICS both_columns ON age, email FROM customer", []],
  ["COMMENT ON TABLE customer IS 'x'", []],
  ["COMMENT ON COLUMN customer.age IS 'x'", []],
  ["COMMENT ON SCHEMA app IS 'x'", []],
  ["CREATE OR REPLACE VIEW adult AS SELECT * FROM purchase", []],
  ["CREATE VIEW tall AS SELECT * FROM customer", []],
  ["DROP VIEW adult", []],
  ["REFRESH MATERIALIZED VIEW total", ["silent"]],
  ["REFRESH MATERIALIZED VIEW CONCURRENTLY total", []],
  ["DROP MATERIALIZED VIEW total", []],
  ["DROP TABLE other.audit, event_2", []],
  ["TRUNCATE other.audit", ["silent"]],
  ["CLUSTER customer USING customer_pkey", ["rewrites", "silent"]],
  ["ANALYZE customer", []],
  ["LOCK TABLE customer IN SHARE ROW EXCLUSIVE MODE", []],
  ["INSERT INTO other.audit VALUES (1)", []],
  ["UPDATE other.audit SET note = ''", []],
  ["DELETE FROM other.audit", []],
  ["WITH gone AS (DELETE FROM event_2 RETURNING id) INSERT INTO other.audit SELECT id FROM gone", []],
  [
    "MERGE INTO other.audit AS a USING customer AS c ON a.id = c.id WHEN NOT MATCHED THEN INSERT VALUES (c.id)",
    [],
  ],
  ["DO $$ BEGIN UPDATE other.audit SET note = ''; ALTER TABLE event_2 ADD COLUMN b integer; END $$", []],
  ["CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'", []],
  ["CREATE TYPE mood AS ENUM ('good')", []],
  ["CREATE SEQUENCE numbers", []],
  ["GRANT SELECT ON customer TO PUBLIC", []],
];

describe("what is told of a statement is what the server does", () => {
  test.each(statements)("%s", async (sql, work) => {
    const [told] = reviewScript(sql, "app", tableOfIndex);
    const seen = await observe(sql);
    const locks = Object.fromEntries(told?.locks.map(({ mode, table }) => [table, mode]) ?? []);
    expect(locks).toEqual(seen.locks);
    // The server's own words at this level of detail, and ours.
    const expected = {
      rewrites: {
        seen: /^(rewriting|clustering) table|rewriting table|clustering "/m,
        told: /rewrites the table/,
      },
      reads: { seen: /verifying table|validating foreign key/, told: /reads the whole table/ },
      index: { seen: /building index/, told: /reads the whole table/ },
    };
    const text = told?.locks.flatMap((lock) => lock.work).join("; ") ?? "";
    for (const kind of ["rewrites", "reads", "index"] as const) {
      if (work.includes("silent") || (kind === "index" && work.includes("rewrites"))) continue;
      expect(expected[kind].seen.test(seen.work), `${kind}: ${seen.work}`).toBe(work.includes(kind));
    }
    expect(/rewrites the table/.test(text), text).toBe(work.includes("rewrites"));
    expect(/reads the whole table/.test(text), text).toBe(work.includes("reads") || work.includes("index"));
  });

  test("a change of type that keeps the stored values rewrites nothing, and is told to be the exception", async () => {
    const sql = "ALTER TABLE customer ALTER COLUMN email TYPE varchar(40)";
    expect((await observe(sql)).work).not.toContain("rewriting");
    expect(reviewScript(sql, "app")[0]?.locks[0]?.work.join()).toContain(
      "unless the new type takes the old values as they are stored",
    );
  });

  test("a required column fails where the table has rows, as told", async () => {
    const sql = "ALTER TABLE customer ADD COLUMN code text NOT NULL";
    await expect(observe(sql)).rejects.toThrow("contains null values");
    expect(reviewScript(sql, "app")[0]?.locks[0]?.work).toEqual(["fails where the table has rows"]);
  });
});

test("what is told to be lost is lost, and nothing else", async () => {
  const lossy = [
    "DROP TABLE other.audit",
    "ALTER TABLE customer DROP COLUMN age",
    "TRUNCATE purchase",
    "DELETE FROM purchase WHERE id = 1",
    "DELETE FROM purchase",
    "UPDATE customer SET born = NULL",
    "ALTER TABLE purchase ALTER COLUMN amount TYPE smallint",
    "DROP SCHEMA other CASCADE",
  ].flatMap((sql) => reviewScript(sql, "app").flatMap(({ losses = [] }) => losses.map(describeLoss)));
  expect(lossy).toEqual([
    "table other.audit",
    "column age of customer",
    "all rows of purchase",
    "rows of purchase (DELETE)",
    "all rows of purchase",
    "values in customer (UPDATE)",
    "values of column amount of purchase, where another type cannot hold them",
    "schema other with all that is in it",
  ]);
  const harmless = [
    "DROP INDEX customer_email",
    "DROP VIEW adult",
    "ALTER TABLE purchase DROP CONSTRAINT late",
  ];
  expect(harmless.flatMap((sql) => reviewScript(sql, "app").flatMap(({ losses = [] }) => losses))).toEqual(
    [],
  );
});
