import { describe, expect, it } from "vitest";
import { checksum, type Migration, numberOf } from "../../migrator/files.ts";
import { formatMarkdown, formatReview } from "../../review/format.ts";
import { describeLosses } from "../../review/losses.ts";
import { reviewPending, unexcused } from "../../review/review.ts";

function migration(name: string, up: string, down = ""): Migration {
  const script = (direction: string, sql: string) => ({
    file: `migrations/${name}.${direction}.sql`,
    sql,
    checksum: checksum(sql),
  });
  return { name, number: numberOf(name), up: script("up", up), down: script("down", down) };
}

const options = { schema: "app", majorVersion: 17 };
const review = (...pending: Migration[]) => reviewPending(pending, pending, options);

async function findings(sql: string) {
  const [reviewed] = await review(migration("0001_a", sql));
  return reviewed?.findings ?? [];
}

describe("the review of pending migrations", () => {
  it("is told in a few lines: kinds of statement, locks, work under them, findings", async () => {
    const pending = [
      migration(
        "0008_coupon",
        `CREATE TABLE coupon (code text PRIMARY KEY, customer_id bigint REFERENCES customer);
         CREATE INDEX ON coupon (customer_id);
         COMMENT ON TABLE coupon IS 'x'; COMMENT ON COLUMN coupon.code IS 'y';
         ALTER TABLE purchase_order ADD COLUMN coupon_code text;`,
      ),
      migration(
        "0009_search",
        "-- migrate: no transaction\nCREATE INDEX CONCURRENTLY ON purchase_order (placed_at);",
      ),
      migration(
        "0010_slow",
        "CREATE INDEX ON purchase_order (status);\nUPDATE purchase_order SET currency = 'EUR';",
      ),
    ];
    expect(formatReview(await review(...pending))).toMatchInlineSnapshot(`
      "  0008_coupon
            CREATE TABLE: SHARE ROW EXCLUSIVE on customer (writes wait)
            CREATE INDEX
            COMMENT (2 times)
            ALTER TABLE … ADD COLUMN: ACCESS EXCLUSIVE on purchase_order (reads and writes wait)
        0009_search, without a transaction
            CREATE INDEX CONCURRENTLY: SHARE UPDATE EXCLUSIVE on purchase_order, reads the whole table twice, waits for every transaction that uses it
        0010_slow
            CREATE INDEX: SHARE on purchase_order (writes wait), reads the whole table
            UPDATE: ROW EXCLUSIVE on purchase_order, changes every row
            error in line 1: During normal index creation, table updates are blocked, but reads are still allowed. Use \`concurrently\` to avoid blocking writes. [require-concurrent-index-creation]"
    `);
  });

  it("leaves out what is about tables that are not in use yet, by whichever pending migration they are made", async () => {
    const reviewed = await review(
      migration("0001_a", "CREATE TABLE a (id bigint); CREATE TABLE b AS SELECT 1 AS id;"),
      migration(
        "0002_b",
        "CREATE INDEX a_id ON a (id); ALTER TABLE a RENAME TO c; ALTER TABLE b DROP COLUMN id;",
      ),
      migration("0003_c", "DROP INDEX a_id; ALTER TABLE c ADD COLUMN x integer NOT NULL; DROP TABLE b;"),
    );
    expect(reviewed.flatMap(({ statements }) => statements.flatMap(({ locks }) => locks))).toEqual([]);
    expect(reviewed.flatMap(({ findings }) => findings)).toEqual([]);
  });

  it.each([
    ["ALTER TABLE a ADD COLUMN b text DEFAULT random()::text;", "adding-field-with-default"],
    ["ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c;", "adding-foreign-key-constraint"],
    ["ALTER TABLE a ALTER COLUMN b SET NOT NULL;", "adding-not-nullable-field"],
    ["ALTER TABLE a ADD COLUMN b text NOT NULL;", "adding-required-field"],
    ["ALTER TABLE a ADD COLUMN b bigserial PRIMARY KEY;", "adding-serial-primary-key-field"],
    ["ALTER DOMAIN d ADD CHECK (value > 0);", "ban-alter-domain-with-add-constraint"],
    ["ALTER TABLE a DROP COLUMN b;", "ban-drop-column"],
    ["DROP TABLE a;", "ban-drop-table"],
    ["TRUNCATE a CASCADE;", "ban-truncate-cascade"],
    ["ALTER TABLE a ALTER COLUMN b TYPE bigint;", "changing-column-type"],
    ["ALTER TABLE a ADD CHECK (b > 0);", "constraint-missing-not-valid"],
    ["ALTER TABLE a ADD UNIQUE (b);", "disallowed-unique-constraint"],
    ["ALTER TABLE a RENAME COLUMN b TO c;", "renaming-column"],
    ["ALTER TABLE a RENAME TO c;", "renaming-table"],
    ["CREATE INDEX ON a (b);", "require-concurrent-index-creation"],
    ["DROP INDEX b;", "require-concurrent-index-deletion"],
    ["CREATE INDEX CONCURRENTLY ON a (b);", "cannot-run-in-transaction"],
    ["ALTER TABLE a DETACH PARTITION b CONCURRENTLY;", "cannot-run-in-transaction"],
    ["VACUUM a;", "cannot-run-in-transaction"],
    ["ALTER TABLE a DETACH PARTITION b;", "require-concurrent-partition-detach"],
    ["REINDEX TABLE a;", "require-concurrent-reindex"],
  ])("%s stops the update, by the rule %s", async (sql, rule) => {
    const found = await findings(sql);
    expect(found.filter(({ level }) => level === "error").map((finding) => finding.rule)).toContain(rule);
  });

  it.each([
    ["DROP TABLE a; CREATE TABLE a (id bigint);", "ban-drop-table"],
    ["CREATE TABLE b AS SELECT * FROM a; DROP TABLE a; ALTER TABLE b RENAME TO a;", "ban-drop-table"],
    ["ALTER TABLE a RENAME TO b; CREATE TABLE a (id bigint);", "renaming-table"],
    ["CREATE TABLE IF NOT EXISTS a (id bigint); ALTER TABLE a DROP COLUMN id;", "ban-drop-column"],
    ["CREATE TABLE b (id bigint); DROP TABLE b; ALTER TABLE a RENAME TO b; DROP TABLE b;", "ban-drop-table"],
  ])("takes a table that is in use for that, though another gets its name: %s", async (sql, rule) => {
    const before = migration("0001_a", "CREATE TABLE a (id bigint);");
    const pending = migration("0002_b", sql);
    const reviewed = await reviewPending([pending], [before, pending], options);
    expect(unexcused(reviewed).map((finding) => finding.rule)).toContain(rule);
    const [{ statements } = { statements: [] }] = reviewed;
    expect(statements.flatMap(({ locks }) => locks.map(({ mode }) => mode))).toContain("ACCESS EXCLUSIVE");
  });

  it.each([
    ["DELETE FROM a;", "all rows of a"],
    ["WITH gone AS (DELETE FROM a RETURNING *) SELECT count(*) FROM gone;", "all rows of a"],
    ["TRUNCATE a;", "all rows of a"],
    ["DO $$ BEGIN DROP TABLE a; END $$;", "table a"],
    ["DO $$ BEGIN ALTER TABLE a DROP COLUMN b; END $$;", "column b of a"],
    ["DROP SCHEMA app CASCADE;", "schema app with all that is in it"],
    ["DROP OWNED BY shop_owner;", "everything that shop_owner owns"],
  ])("stops what loses data although squawk lets it pass: %s", async (sql, what) => {
    expect(unexcused(await review(migration("0001_a", sql)))).toEqual([
      expect.objectContaining({ rule: "loses-data", message: `This would be lost: ${what}.` }),
    ]);
    const allowed = migration("0001_a", `-- migrate: allow loses-data: nobody needs it\n${sql}`);
    expect(unexcused(await review(allowed))).toEqual([]);
  });

  it("lets rows go by their condition, and with a table that is new", async () => {
    const sql = "DELETE FROM a WHERE id = 1; CREATE TEMP TABLE b (id bigint); DELETE FROM b; DROP TABLE b;";
    expect(unexcused(await review(migration("0001_a", sql)))).toEqual([]);
  });

  it("says of functions and procedures that are called that it does not know what they do", async () => {
    const [reviewed] = await review(
      migration(
        "0001_a",
        "SELECT f(1), setval('s', 1); CALL app.p(); DO $$ BEGIN PERFORM g(); END $$; SELECT count(*) FROM a;",
      ),
    );
    expect(reviewed?.statements.map(({ kind, untold }) => [kind, untold])).toEqual([
      ["SELECT", "calls f(): what that does is not known here"],
      ["CALL", "calls p(): what that does is not known here"],
      ["DO", "calls g(): what that does is not known here"],
      ["SELECT", undefined],
    ]);
  });

  it("stops nothing for matters of taste, and for what the runner sees to", async () => {
    const found = await findings("ALTER TABLE a ADD COLUMN b varchar(10), ADD COLUMN c timestamp;");
    expect(found.map(({ level, rule }) => `${level} ${rule}`)).toEqual([
      "warning prefer-text-field",
      "warning prefer-timestamp-tz",
    ]);
  });

  it("knows concurrent statements without a transaction for safe", async () => {
    expect(
      await findings(
        "-- migrate: no transaction\nCREATE INDEX CONCURRENTLY b ON a (b);\nDROP INDEX CONCURRENTLY c;",
      ),
    ).toEqual([]);
  });

  it("lets pass what the file gives a reason for, and only that", async () => {
    const sql = `-- migrate: allow ban-drop-column: release 7, which read it, is gone
      ALTER TABLE a DROP COLUMN b;
      ALTER TABLE a RENAME TO c;`;
    const reviewed = await review(migration("0001_a", sql));
    expect(unexcused(reviewed).map(({ rule }) => rule)).toEqual(["renaming-table"]);
    expect(formatReview(reviewed)).toContain("The file says why: release 7, which read it, is gone");
  });

  it("tells of a reason that nothing needs", async () => {
    const found = await findings("-- migrate: allow ban-drop-column: gone\nALTER TABLE a ADD COLUMN b text;");
    expect(found).toEqual([
      {
        rule: "ban-drop-column",
        message: "The header allows ban-drop-column, which was not found: take that line out.",
        line: 1,
        level: "warning",
        excusable: true,
      },
    ]);
  });

  it("is not silenced by squawk's own comments, which give no reason", async () => {
    expect(await findings("-- squawk-ignore ban-drop-table\nDROP TABLE a;")).toHaveLength(1);
    expect(await findings("-- squawk-ignore-file\nDROP TABLE a;")).toHaveLength(1);
  });

  it("finds a syntax error without a server, at its place, for which there is no reason", async () => {
    const sql = "-- migrate: allow syntax-error: so be it\nSELECT 1;\nALTER TABLE ä ADD COLUM b text;";
    const reviewed = await review(migration("0001_a", sql));
    expect(unexcused(reviewed)).toEqual([
      {
        file: "migrations/0001_a.up.sql",
        rule: "syntax-error",
        message: 'syntax error at or near "text"',
        line: 3,
        level: "error",
        excusable: false,
      },
    ]);
  });

  it("places findings by line, also behind characters of several bytes", async () => {
    const found = await findings("SELECT 'ääää'; DROP TABLE a;\n\nDROP TABLE b;");
    expect(found.map(({ line }) => line)).toEqual([1, 3]);
  });

  it("knows the table of an index from the folder's other migrations", async () => {
    const before = migration("0001_a", 'CREATE INDEX a_b ON a (b); CREATE INDEX "A c" ON "My Table" (c);');
    const pending = migration("0002_b", 'DROP INDEX a_b; DROP INDEX "A c"; DROP INDEX d;');
    const [reviewed] = await reviewPending([pending], [before, pending], options);
    expect(reviewed?.statements.flatMap(({ locks }) => locks.map(({ table }) => table))).toEqual([
      "a",
      '"My Table"',
      "the table of index d",
    ]);
  });

  it("looks into DO blocks, and says where it cannot", async () => {
    const [reviewed] = await review(
      migration(
        "0001_a",
        `DO $$ BEGIN UPDATE a SET b = 1; IF true THEN ALTER TABLE c ADD COLUMN d text; END IF; END $$;
         DO $$ BEGIN EXECUTE format('DROP TABLE %I', 'x'); END $$;
         DO LANGUAGE plpython3u $$ pass $$;`,
      ),
    );
    expect(
      reviewed?.statements.map(({ kind, locks, untold }) => [kind, locks.map(({ table }) => table), untold]),
    ).toEqual([
      ["DO, UPDATE, ALTER TABLE … ADD COLUMN", ["a", "c"], undefined],
      ["DO", [], "runs SQL that it puts together itself: what that does is not known here"],
      ["DO", [], "is not PL/pgSQL: what it does is not known here"],
    ]);
  });

  it("is written for a pull request too, where nothing in the SQL can break out of its place", async () => {
    const pending = migration(
      "0008_note",
      "-- ```\n-- </details> | x\nALTER TABLE a ADD COLUMN b text; DROP TABLE c;",
    );
    expect(formatMarkdown(await review(pending), "Migrations: 1 to apply")).toMatchInlineSnapshot(`
      "### Migrations: 1 to apply

      **One finding stops the update.**

      #### 0008_note

      | line | statement | locks on tables in use |
      |---:|---|---|
      | 3 | ALTER TABLE … ADD COLUMN | ACCESS EXCLUSIVE on a (reads and writes wait) |
      | 3 | DROP TABLE | ACCESS EXCLUSIVE on c (reads and writes wait) |

      - 🛑 error in line 3: Dropping a table may break existing clients. [ban-drop-table]

      <details><summary>SQL</summary>

      \`\`\`\`sql
      -- \`\`\`
      -- </details> | x
      ALTER TABLE a ADD COLUMN b text; DROP TABLE c;
      \`\`\`\`

      </details>
      "
    `);
  });
});

describe("what a way back loses", () => {
  it("is told by table and column, and of a table that goes, once", async () => {
    const down = [
      "ALTER TABLE b DROP COLUMN x; DELETE FROM a; UPDATE d SET y = 1;",
      "DROP TABLE a; DROP TABLE other.e; DROP INDEX i;",
    ];
    expect(await describeLosses(down, "app")).toEqual([
      "column x of b",
      "values in d (UPDATE)",
      "table a",
      "table other.e",
    ]);
  });

  it("is told of whole schemas, of what a role owns, and of rows that an INSERT replaces", async () => {
    const down = [
      "DROP SCHEMA archive CASCADE; DROP OWNED BY shop_reader; SELECT restore_all();",
      "INSERT INTO a (id, b) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET b = 2;",
    ];
    expect(await describeLosses(down, "app")).toEqual([
      "schema archive with all that is in it",
      "everything that shop_reader owns",
      "values in a (UPDATE)",
      "DROP SCHEMA drops everything that depends on it, too (CASCADE)",
      "SELECT calls restore_all(): what that does is not known here",
    ]);
  });

  it("is not known of SQL that is put together, or that cannot be read", async () => {
    const down = ["DO $$ BEGIN EXECUTE 'DROP TABLE a'; END $$; DROP TABL b; DROP TYPE t CASCADE;"];
    expect(await describeLosses(down, "app")).toMatchInlineSnapshot(`
      [
        "DO runs SQL that it puts together itself: what that does is not known here",
        "DROP TABL cannot be read (syntax error at or near "TABL"): what it does is not known here",
        "DROP TYPE drops everything that depends on it, too (CASCADE)",
      ]
    `);
  });

  it("is nothing where only indexes, constraints, functions and views go", async () => {
    expect(
      await describeLosses(
        ["DROP INDEX a; ALTER TABLE b DROP CONSTRAINT c; DROP FUNCTION d(); DROP VIEW e;"],
        "app",
      ),
    ).toEqual([]);
  });
});
