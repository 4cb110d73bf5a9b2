import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readMigrations } from "../../migrator/files.ts";
import { repair } from "../../migrator/repair.ts";
import { reviewPending, unexcused } from "../../review/review.ts";
import { type MigrationsLab, makeLab } from "../support/migrations-lab.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

/** The SQL blocks of a section of docs/migrations.md, by their first line. */
function examplesOf(heading: string): ReadonlyMap<string, string> {
  const text = readFileSync("docs/migrations.md", "utf8");
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  return new Map(
    [...section.matchAll(/^```sql\n-- (.*)\n([\s\S]*?)^```$/gm)].map(([, title = "", sql = ""]) => [
      title,
      sql,
    ]),
  );
}

let server: ThrowawayServer;
let lab: MigrationsLab;
let other: Client;

beforeAll(async () => {
  server = await startThrowawayServer();
});
afterAll(async () => {
  await server?.remove();
});
/** A database with the example's migrations in place. */
beforeEach(async () => {
  lab = await makeLab(server);
  await lab.query(`CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions;
    CREATE EXTENSION pg_trgm SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO ${lab.owner}, ${lab.application};
    ALTER DEFAULT PRIVILEGES FOR ROLE ${lab.owner} GRANT ALL ON SEQUENCES TO ${lab.application}`);
  const folder = "migrations";
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".up.sql"))) {
    const read = (way: string) => readFileSync(join(folder, file.replace(".up.", `.${way}.`)), "utf8");
    lab.write(file.slice(0, -".up.sql".length), read("up"), read("down"));
  }
  expect((await lab.run()).error).toBe("");
  other = await server.connect(lab.connection.database);
  // Long enough for the few rows of these tests on any machine, too short for a lock that nobody gives back.
  await other.query(
    `SET search_path TO app, extensions; SET ROLE ${lab.application}; SET lock_timeout TO '60s'`,
  );
});
afterEach(async () => {
  await other.end();
  await lab.dispose();
});

/** The examples are to be such as a review lets pass. */
async function reviewed(names: readonly string[]): Promise<string[]> {
  const folder = readMigrations(lab.folder);
  const pending = folder.filter(({ name }) => names.includes(name));
  return unexcused(await reviewPending(pending, folder, { schema: "app", majorVersion: 17 })).map(
    ({ message }) => message,
  );
}

/** @returns The examples' names, in order. */
function writeExamples(examples: ReadonlyMap<string, string>): string[] {
  const scripts = [...examples].filter(([title]) => title.endsWith(".up.sql"));
  return scripts.map(([title, up]) => {
    const name = title.slice("migrations/".length, -".up.sql".length);
    lab.write(name, up, examples.get(`migrations/${name}.down.sql`) ?? "SELECT 'no example';");
    return name;
  });
}

describe("the example of a backfill in batches", () => {
  it("holds its locks for one batch at a time, and goes on after it was ended in the middle", async () => {
    const names = writeExamples(examplesOf("Large backfills, in batches"));
    expect(names).toEqual(["0008_payment_note", "0009_payment_note_backfill"]);
    expect(await reviewed(names)).toEqual([]);
    await lab.query(`
      SET search_path TO app, extensions;
      INSERT INTO customer (email, full_name) VALUES ('a@example.com', 'A');
      INSERT INTO purchase_order (customer_id, currency) SELECT id, 'EUR' FROM customer;
      INSERT INTO payment (purchase_order_id, amount, provider, provider_reference)
        SELECT purchase_order.id, 1, 'bank', i FROM purchase_order, generate_series(1, 20000) AS i;
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';
      CREATE TRIGGER slow BEFORE UPDATE ON payment FOR EACH STATEMENT EXECUTE FUNCTION slow()`);
    expect((await lab.run({ target: "8" })).error).toBe("");

    const filled = async () =>
      Number((await lab.query("SELECT count(*) FROM payment WHERE note IS NOT NULL")).rows[0].count);
    const inTheMiddle = async () => {
      for (let tries = 0; (await filled()) === 0; tries += 1) {
        if (tries > 10_000) throw new Error("no batch is committed");
        await sleep(5);
      }
    };
    const running = lab.run();
    await inTheMiddle();
    // A row of a batch that was committed can be had at once, while the migration goes on.
    await other.query("UPDATE payment SET note = 'mine' WHERE id = 1");
    expect(await filled()).toBeLessThan(20_000);
    await lab.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${lab.connection.user}'`,
    );
    const ended = await running;
    expect(ended.code).toBe(3);
    const done = await filled();
    expect(done).toBeGreaterThan(0);
    expect(done % 1_000).toBe(0);
    expect(done).toBeLessThan(20_000);

    expect((await lab.run()).error).toContain(
      "./db migrate repair 0009_payment_note_backfill --status reverted",
    );
    const { connection, folder } = lab;
    const name = "0009_payment_note_backfill";
    await repair({ connection, folder, schema: "app", name, status: "reverted", log: () => {} });
    await lab.query("DROP TRIGGER slow ON payment");
    expect((await lab.run()).error).toBe("");
    const { rows } = await lab.query(
      `SELECT count(*) FILTER (WHERE note = 'paid by bank')::int AS paid, count(*) FILTER (WHERE note = 'mine')::int AS mine,
              count(DISTINCT xmin::text)::int AS transactions FROM payment`,
    );
    // One transaction for each batch of a thousand, and that of the other session.
    expect(rows).toEqual([{ paid: 19_999, mine: 1, transactions: 21 }]);
    expect((await lab.run({ target: "7" })).error).toBe("");
  });
});

describe("the example of expand and contract", () => {
  const examples = examplesOf("Expand and contract");
  let count = 0;

  /** What a version of the application says, for a customer of its own; what it reads is what it wrote. */
  async function use(version: "old" | "new"): Promise<void> {
    count += 1;
    const sql = examples.get(`the ${version} version`)?.replaceAll("ann@", `ann${count}@`) ?? "";
    for (const statement of sql.split(";").filter((text) => text.trim() !== "")) {
      const { command, rowCount, rows } = await other.query(statement);
      expect(rowCount, statement).toBe(1);
      if (command === "SELECT") expect(Object.values(rows[0])).toEqual(["Ann Smith"]);
    }
  }

  it("works for both versions of the application at each step, and while each runs", async () => {
    const names = writeExamples(examples);
    expect(names.map((name) => name.slice(0, 4))).toEqual(["0008", "0009", "0010", "0011", "0012"]);
    expect(await reviewed(names)).toEqual([]);
    await lab.query(
      "INSERT INTO customer (email, full_name) SELECT i || '@example.com', 'C ' || i FROM generate_series(1, 5000) AS i",
    );
    await use("old");
    await expect(use("new")).rejects.toThrow(/display_name/);

    const both = ["old", "new"] as const;
    const step = async (target: string, versions: readonly ("old" | "new")[]) => {
      const begun = count;
      let over = false;
      const running = lab.run({ target }).finally(() => {
        over = true;
      });
      // The application does not wait for the migration.
      while (!over) for (const version of versions) await use(version);
      expect((await running).error).toBe("");
      expect(count).toBeGreaterThan(begun);
    };
    const agree = async () =>
      expect(
        (await lab.query("SELECT FROM customer WHERE full_name IS DISTINCT FROM display_name")).rowCount,
      ).toBe(0);
    // Until the first step is in place there is only the old version; after the last one, only the new.
    await step("8", ["old"]);
    for (const target of ["9", "10", "11"]) {
      await step(target, both);
      for (const version of both) await use(version);
      await agree();
    }
    // A change by one version is seen by the other.
    await other.query("UPDATE customer SET full_name = 'by the old' WHERE email = '1@example.com'");
    await other.query("UPDATE customer SET display_name = 'by the new' WHERE email = '2@example.com'");
    await agree();
    await step("12", ["new"]);
    await use("new");
    await expect(use("old")).rejects.toThrow(/full_name/);
    const required =
      "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attname = 'display_name'";
    expect((await lab.query(required)).rows).toEqual([{ attnotnull: true }]);

    // The way back.
    await step("11", ["new"]);
    for (const version of both) await use(version);
    await agree();
    await step("7", ["old"]);
    expect(
      (await lab.query("SELECT FROM customer WHERE email IN ('3@example.com') AND full_name = 'C 3'"))
        .rowCount,
    ).toBe(1);
  });
});
