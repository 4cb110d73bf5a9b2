import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { repair } from "../../migrator/repair.ts";
import { verify } from "../../migrator/status.ts";
import { type MigrationsLab, makeLab } from "../support/migrations-lab.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

let server: ThrowawayServer;
let lab: MigrationsLab;
let other: Client;

beforeAll(async () => {
  server = await startThrowawayServer();
});
afterAll(async () => {
  await server?.remove();
});
beforeEach(async () => {
  lab = await makeLab(server);
  lab.write("0001_a", "CREATE TABLE a (id int);", "DROP TABLE a;");
  expect((await lab.run()).error).toBe("");
  other = await server.connect(lab.connection.database);
});
afterEach(async () => {
  await other.end();
  await lab.dispose();
});

const hold = () => other.query("BEGIN; LOCK TABLE app.a IN ACCESS SHARE MODE");
const waiting = async () => {
  for (
    let tries = 0;
    (await lab.query("SELECT FROM pg_locks WHERE NOT granted")).rowCount === 0;
    tries += 1
  ) {
    if (tries > 2_000) throw new Error("nobody waits for a lock");
    await sleep(50);
  }
};
const letGo = () => other.query("COMMIT");

async function settle(name: string, status: "applied" | "reverted"): Promise<string> {
  const lines: string[] = [];
  const { connection, folder } = lab;
  await repair({ connection, folder, schema: "app", name, status, log: (line) => lines.push(line) });
  return lines.join("\n");
}

describe("a migration that does not get its lock", () => {
  it("is tried again, and applied when the lock is free", async () => {
    lab.write("0002_b", "CREATE TABLE b (id int); ALTER TABLE a ADD COLUMN x int;");
    await hold();
    const lines: string[] = [];
    const log = (line: string) => {
      lines.push(line);
      if (line.includes("trying again")) void letGo();
    };
    expect((await lab.run({ lockTimeout: 100, lockRetryPause: 500, log })).error).toBe("");
    expect(lines).toContain(
      "0002_b: canceling statement due to lock timeout; trying again in 500 ms (1 of 4)",
    );
    expect(lines).toContainEqual(expect.stringMatching(/^applied 0002_b in /));
    expect(await lab.applied()).toEqual(["0001_a", "0002_b"]);
  });

  it("gives up after the last try, with nothing changed", async () => {
    lab.write("0002_b", "CREATE TABLE b (id int); ALTER TABLE a ADD COLUMN x int;");
    await hold();
    const { code, error, log } = await lab.run({ lockTimeout: 50, lockRetries: 2, lockRetryPause: 10 });
    expect(code).toBe(1);
    expect(log.match(/trying again/g)).toHaveLength(2);
    expect(log).toMatch(/in 10 ms \(1 of 2\)[\s\S]*in 20 ms \(2 of 2\)/);
    expect(error).toMatch(/^FOLDER\/0002_b\.up\.sql:1:26: canceling statement due to lock timeout\n/);
    expect(error).toContain("Note: another session was in the way: run again.");
    expect(await lab.tables()).toEqual(["a"]);
    await letGo();
  });

  it("waits as long as its header says, on the way back too", async () => {
    lab.write(
      "0002_b",
      "-- migrate: lock_timeout = 60s\nALTER TABLE a ADD COLUMN x int;",
      "-- migrate: lock_timeout = 61s\nALTER TABLE a DROP COLUMN x;",
    );
    for (const target of ["2", "1"]) {
      await hold();
      const running = lab.run({ target, lockTimeout: 50, lockRetries: 0 });
      await waiting();
      await sleep(100);
      await letGo();
      expect((await running).error).toBe("");
    }
  });
});

describe("limits", () => {
  const show = (name: string) =>
    `DO $$ BEGIN RAISE NOTICE '%', current_setting('lock_timeout') || ' ' || current_setting('statement_timeout'); END $$; CREATE TABLE ${name} ();`;

  it("come from the settings, with a lock timeout by default, and a file's header wins", async () => {
    lab.write("0002_b", show("b"));
    lab.write("0003_c", `-- migrate: lock_timeout = 7s, statement_timeout = 2min\n${show("c")}`);
    lab.write("0004_d", show("d"));
    expect((await lab.run({ target: "2" })).log).toContain("NOTICE: 5s 0\n");
    const { log } = await lab.run({ lockTimeout: 2_000, statementTimeout: 90_000 });
    expect(log.match(/NOTICE: .*/g)).toEqual(["NOTICE: 7s 2min", "NOTICE: 2s 90s"]);
  });

  it("end a statement that runs for too long", async () => {
    lab.write("0002_b", "CREATE TABLE b (id int);\nSELECT pg_sleep(60);");
    const { error } = await lab.run({ statementTimeout: 100 });
    expect(error).toMatch(/^FOLDER\/0002_b\.up\.sql:2:1: canceling statement due to statement timeout/);
    expect(await lab.tables()).toEqual(["a"]);
  });
});

describe("a script without a transaction", () => {
  const header = "-- migrate: no transaction\n";
  const twice = "INSERT INTO a VALUES (1), (1);";

  it("may build an index concurrently, and go back", async () => {
    lab.write(
      "0002_b",
      `${header}CREATE INDEX CONCURRENTLY a_id ON a (id);\nVACUUM a;`,
      `${header}DROP INDEX CONCURRENTLY a_id;`,
    );
    const { error, log } = await lab.run();
    expect(error).toBe("");
    expect(log).toMatch(/applied 0002_b in /);
    const { rows } = await lab.query(
      `SELECT up_checksum IS NOT NULL AS up, down_script, duration IS NOT NULL AS duration,
              (SELECT count(*)::int FROM migrations.in_progress) AS unfinished,
              (SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass) AS valid
         FROM migrations.applied WHERE name = '0002_b'`,
    );
    expect(rows).toEqual([
      {
        up: true,
        down_script: `${header}DROP INDEX CONCURRENTLY a_id;`,
        duration: true,
        unfinished: 0,
        valid: true,
      },
    ]);
    expect((await lab.run({ target: "1" })).error).toBe("");
    expect((await lab.query("SELECT to_regclass('a_id') AS index")).rows).toEqual([{ index: null }]);
    expect(await lab.applied()).toEqual(["0001_a"]);
  });

  it("that fails says what it left behind and how to clean it up; the next run refuses until then", async () => {
    lab.write("0002_b", `${header}-- é\nCREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);`);
    await lab.query(twice);
    const first = await lab.run();
    expect(first.code).toBe(1);
    expect(first.error).toMatchInlineSnapshot(`
      "FOLDER/0002_b.up.sql:3:1: could not create unique index "a_id"
          1 | -- migrate: no transaction
          2 | -- é
        > 3 | CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);
            | ^
        detail: Key (id)=(1) is duplicated.
        SQLSTATE: 23505
      0002_b was not applied; it runs without a transaction.
        left behind: invalid index app.a_id; clean it up by: DROP INDEX CONCURRENTLY app.a_id;
      What to do: clean up as the owner, by the statements above; then run again."
    `);
    const refused = await lab.run();
    expect(refused.code).toBe(1);
    expect(refused.error).toContain(
      "No migration was run: a part of one is in place.\n0002_b (up, without a transaction)",
    );
    expect(refused.error).toContain("clean it up by: DROP INDEX CONCURRENTLY app.a_id;");
    const { connection, folder } = lab;
    await expect(verify({ connection, folder, schema: "app" })).rejects.toThrow(
      /0002_b \(up, without a transaction\)/,
    );

    await lab.query("DROP INDEX CONCURRENTLY app.a_id");
    await lab.query("TRUNCATE a");
    const again = await lab.run();
    expect(again.error).toBe("");
    expect(again.log).toContain("0002_b failed in an earlier run, and nothing of it is left\n");
    expect(await lab.applied()).toEqual(["0001_a", "0002_b"]);
  });

  it("that fails after its first statement has to be settled by hand", async () => {
    lab.write(
      "0002_b",
      `${header}CREATE TABLE b (id int);\nCREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);\n`,
    );
    await lab.query(twice);
    const { error } = await lab.run();
    expect(error).toMatch(/^FOLDER\/0002_b\.up\.sql:3:1: could not create unique index/);
    expect(error).toContain(
      "in place in part: it runs without a transaction, and 1 of its 2 statements were completed",
    );
    await lab.query("DROP INDEX CONCURRENTLY app.a_id");
    expect((await lab.run()).error).toContain("./db migrate repair 0002_b --status reverted");
    await lab.query("TRUNCATE a; DROP TABLE b");
    expect(
      (await settle("0002_b", "reverted"))
        .replace(/on \d{4}\S+/, "on TIME")
        .replace(/.*: 0002_b is not/, "0002_b is not"),
    ).toMatchInlineSnapshot(`
      "0002_b is not recorded as applied
        begun (up) on TIME failed: could not create unique index "a_id"; statements completed for certain: 1
        there is no table b
        there is no index a_id
      recorded: 0002_b is reverted"
    `);
    expect((await lab.run()).error).toBe("");
    expect(await lab.tables()).toEqual(["a", "b"]);
  });

  it("that was interrupted is in doubt until it is settled", async () => {
    lab.write("0002_b", `${header}CREATE TABLE b (id int);\nSELECT pg_sleep(60);`);
    const running = lab.run();
    for (
      let tries = 0;
      (await lab.query("SELECT FROM migrations.in_progress WHERE statements_done = 1")).rowCount === 0;
      tries += 1
    ) {
      if (tries > 2_000) throw new Error("the first statement was not completed");
      await sleep(50);
    }
    await lab.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test' AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep(60)%'",
    );
    const { code, error } = await running;
    expect(code).toBe(3);
    expect(error).toContain("It runs without a transaction, so that a part of it may be in place");
    expect((await lab.run()).error).toContain(
      "statements completed for certain: 1; the next one may be, too",
    );
    expect(await settle("0002_b", "applied")).toContain("  there is table b\nrecorded: 0002_b is applied");
    expect((await lab.run()).log).toBe("nothing to apply, database is at 0002_b");
  });
});

describe("repair", () => {
  it("records files that were changed on purpose", async () => {
    lab.write("0001_a", "CREATE TABLE a (id int); -- the first", "DROP TABLE a; -- better");
    expect((await lab.run()).error).toContain("0001_a.down.sql was changed after 0001_a was applied");
    await settle("0001_a", "applied");
    expect((await lab.run()).error).toBe("");
    const { rows } = await lab.query("SELECT down_script, applied_by FROM migrations.applied");
    expect(rows).toEqual([{ down_script: "DROP TABLE a; -- better", applied_by: lab.connection.user }]);
  });

  it("refuses what would not fit the folder", async () => {
    lab.write("0002_b", "SELECT 1;");
    lab.write("0003_c", "SELECT 1;");
    await expect(settle("0003_c", "applied")).rejects.toThrow("0002_b comes before it, and is not applied");
    await expect(settle("0002_b", "reverted")).rejects.toThrow("it is not recorded as applied");
    await expect(settle("0009_x", "applied")).rejects.toThrow("its files are not in the folder");
    await lab.run();
    await expect(settle("0001_a", "reverted")).rejects.toThrow("0003_c comes after it, and is applied");
  });
});

describe("the way back", () => {
  it("runs the scripts of the record, in reverse order, also where all files are gone or changed", async () => {
    lab.write("0002_b", "CREATE TABLE b (id int);", "DROP TABLE b;");
    lab.write("0003_c", "CREATE VIEW c AS SELECT FROM b;", "DROP VIEW c;");
    await lab.run();
    lab.write("0002_b", "CREATE TABLE b (id int);", "SELECT no_such_function();");
    lab.remove("0003_c");
    const { error, log } = await lab.run({ target: "1" });
    expect(error).toBe("");
    expect(log).toMatch(
      /reverted 0003_c in .*\nreverted 0002_b in .*\n2 migrations reverted in .*, database is at 0001_a$/,
    );
    lab.remove("0001_a", "0002_b");
    expect((await lab.run({ target: "0" })).error).toBe("");
    expect(await lab.tables()).toEqual([]);
  });

  it("is asked for where files are gone, and taken by itself where the data is thrown away anyway", async () => {
    lab.write("0002_b", "CREATE TABLE b (id int);", "DROP TABLE b;");
    await lab.run();
    lab.remove("0002_b");
    const { code, error } = await lab.run();
    expect(code).toBe(2);
    expect(error).toContain(
      "restore them (`git log --all -- '*0002_b*'` finds them); or take the migration back: set the target to \"0001_a\"",
    );
    expect(await lab.tables()).toEqual(["a", "b"]);
    expect((await lab.run({ revertMissing: true })).error).toBe("");
    expect(await lab.tables()).toEqual(["a"]);
  });

  it("of a thousand migrations takes seconds", async () => {
    for (let number = 2; number <= 1_000; number += 1) {
      const name = `t${number}`;
      lab.write(
        `${String(number).padStart(4, "0")}_${name}`,
        `CREATE TABLE ${name} ();`,
        `DROP TABLE ${name};`,
      );
    }
    expect((await lab.run()).error).toBe("");
    const begin = performance.now();
    expect((await lab.run({ target: "0" })).error).toBe("");
    const elapsed = performance.now() - begin;
    console.log(`1,000 reverted in ${Math.round(elapsed)} ms`);
    expect(await lab.tables()).toEqual([]);
    // A few seconds on a free machine; one call of the engine for each took a minute on a busy one.
    expect(elapsed).toBeLessThan(60_000);
  });
});
