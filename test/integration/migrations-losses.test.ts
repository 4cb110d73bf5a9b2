import { afterAll, beforeAll, expect, test } from "vitest";
import { type MigrationsLab, makeLab } from "../support/migrations-lab.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

let server: ThrowawayServer;
let lab: MigrationsLab;

beforeAll(async () => {
  server = await startThrowawayServer();
  lab = await makeLab(server);
  lab.write("0001_order", 'CREATE TABLE "Order" (id integer PRIMARY KEY, note text);', 'DROP TABLE "Order";');
  lab.write(
    "0002_price",
    'ALTER TABLE "Order" ADD COLUMN "Net Price" numeric;',
    'ALTER TABLE "Order" DROP COLUMN "Net Price";',
  );
  lab.write("0003_index", 'CREATE INDEX note ON "Order" (note);', "DROP INDEX note;");
  lab.write(
    "0004_other",
    "CREATE SCHEMA archive; CREATE TABLE archive.old AS SELECT generate_series(1, 10) AS id;",
    "DROP SCHEMA archive CASCADE;",
  );
  lab.write(
    "0005_block",
    "SELECT 1;",
    `DELETE FROM "Order" WHERE id = 1; DO $$ BEGIN EXECUTE 'SELECT 1'; END $$;`,
  );
  expect((await lab.run()).code).toBe(0);
  await lab.query(`INSERT INTO "Order" SELECT i, 'n', nullif(i, 3) FROM generate_series(1, 5) AS i`);
});
afterAll(async () => {
  await lab?.dispose();
  await server?.remove();
});

test("a way back that loses data is refused with what, how much, and how to allow it; nothing is changed", async () => {
  const before = await lab.applied();
  const { code, error, log } = await lab.run({ target: "0", allowDataLoss: false });
  expect(code).toBe(2);
  expect(error).toMatchInlineSnapshot(`
    "To go back to the beginning would lose data; nothing was changed:
      - schema archive with all that is in it: 1 table, 8192 bytes
      - table "Order": 5 rows, 48 kB
      - DO runs SQL that it puts together itself: what that does is not known here
      - DROP SCHEMA drops everything that depends on it, too (CASCADE)
    What to do: where that is meant, name this target: pulumi config set allowDataLoss 0, then pulumi up.
    Without Pulumi: ./db migrate down 0 --allow-data-loss"
  `);
  expect(log).toBe("");
  expect(await lab.applied()).toEqual(before);
  expect((await lab.query('SELECT count(*)::int AS n FROM "Order"')).rows).toEqual([{ n: 5 }]);
});

test("one column is counted by its values", async () => {
  const { error } = await lab.run({ target: "1", allowDataLoss: false });
  expect(error).toContain('column Net Price of "Order": 4 values, ');
  expect(error).toContain("pulumi config set allowDataLoss 0001_order");
});

test("what loses nothing needs no permission", async () => {
  lab.write("0006_view", 'CREATE VIEW orders AS SELECT * FROM "Order";', "DROP VIEW orders;");
  expect((await lab.run({ allowDataLoss: false })).code).toBe(0);
  const { code, log } = await lab.run({ target: "5", allowDataLoss: false });
  expect({ code, log }).toEqual({ code: 0, log: expect.stringContaining("1 migration reverted") });
  lab.remove("0006_view");
});

test("where it is allowed, the log tells what goes before it goes", async () => {
  const { code, log } = await lab.run({ target: "2" });
  expect(code).toBe(0);
  expect(log.replace(/in [\d.]+ m?s/g, "in N ms").replace(/127.0.0.1:\d+/, "SERVER")).toMatchInlineSnapshot(`
    "this will be lost:
      rows of "Order" (DELETE): 5 rows, 48 kB
      schema archive with all that is in it: 1 table, 8192 bytes
      DO runs SQL that it puts together itself: what that does is not known here
      DROP SCHEMA drops everything that depends on it, too (CASCADE)
    database "lab1" at SERVER as "lab1_migrator": 3 migrations to revert
    reverted 0005_block in N ms
      NOTICE: drop cascades to table archive.old
    reverted 0004_other in N ms
    reverted 0003_index in N ms
    3 migrations reverted in N ms, database is at 0002_price"
  `);
  expect(await lab.applied()).toEqual(["0001_order", "0002_price"]);
});

test("a table that is too large to be counted in time is estimated", async () => {
  await lab.query('ANALYZE "Order"; ALTER TABLE "Order" RENAME TO "Order base"');
  // A view of the name stands in for rows that take their time.
  await lab.query(`CREATE VIEW "Order" AS SELECT "Order base".* FROM "Order base", pg_sleep(60)`);
  await lab.query(`ALTER VIEW "Order" OWNER TO ${lab.owner}`);
  try {
    const { error } = await lab.run({ target: "1", allowDataLoss: false });
    expect(error).toContain('column Net Price of "Order": at most about 0 values (not counted in 5.0 s)');
  } finally {
    await lab.query('DROP VIEW "Order"; ALTER TABLE "Order base" RENAME TO "Order"');
  }
});
