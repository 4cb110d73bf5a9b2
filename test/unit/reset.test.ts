import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { formatList } from "../../cli/commands/testdb.ts";
import { InputError } from "../../migrator/errors.ts";
import { hashInputs, inputsOf } from "../../reset/inputs.ts";
import { parseMark } from "../../reset/mark.ts";
import { type DatabaseProperties, propertyStatements } from "../../reset/properties.ts";
import { listSeeds, readSeeds } from "../../reset/seed-files.ts";
import { madeAt, outdated, testDatabaseName } from "../../reset/test-databases.ts";

const plain: DatabaseProperties = {
  owner: "shop_owner",
  connectionLimit: -1,
  comment: null,
  acl: null,
  settings: [],
};

describe("the statements that give a clone its original's properties", () => {
  it("are none where it has none", () => {
    expect(propertyStatements("shop", plain)).toEqual([]);
  });

  it("take away the default privileges and grant those that there were, the owner's first", () => {
    const entry = { grantor: "shop_owner", privilege: "CONNECT", grantable: false };
    const acl = [
      { grantor: "r 1", grantee: "r2", privilege: "CREATE", grantable: false },
      { ...entry, grantee: "r 1", privilege: "CREATE", grantable: true },
      { ...entry, grantee: null },
    ];
    expect(propertyStatements('my "shop"', { ...plain, acl })).toEqual([
      'REVOKE ALL ON DATABASE "my ""shop""" FROM PUBLIC, "shop_owner"',
      'GRANT CREATE ON DATABASE "my ""shop""" TO "r 1" WITH GRANT OPTION',
      'GRANT CONNECT ON DATABASE "my ""shop""" TO PUBLIC',
      'SET LOCAL ROLE "r 1"',
      'GRANT CREATE ON DATABASE "my ""shop""" TO "r2"',
      "RESET ROLE",
    ]);
  });

  it("keep nobody out or in where nobody has any privilege", () => {
    expect(propertyStatements("shop", { ...plain, acl: [] })).toEqual([
      'REVOKE ALL ON DATABASE "shop" FROM PUBLIC, "shop_owner"',
    ]);
  });

  it.each([
    ["work_mem=7MB", `"work_mem" TO '7MB'`],
    ["auto_explain.log_min_duration=3s", `"auto_explain"."log_min_duration" TO '3s'`],
    ["application_name=it's = \\ me", `"application_name" TO  E'it''s = \\\\ me'`],
    ['search_path="$user", "A ""b"", c", app', `"search_path" TO '$user', 'A "b", c', 'app'`],
    ['search_path=""', `"search_path" TO ''`],
  ])("quote a parameter's value as the server keeps it: %s", (setting, expected) => {
    const of = (role: string | null) =>
      propertyStatements("shop", { ...plain, settings: [{ role, settings: [setting] }] });
    expect(of(null)).toEqual([`ALTER DATABASE "shop" SET ${expected}`]);
    expect(of("r")).toEqual([`ALTER ROLE "r" IN DATABASE "shop" SET ${expected}`]);
  });

  it("quote the comment", () => {
    expect(propertyStatements("shop", { ...plain, comment: "it's" })).toEqual([
      `COMMENT ON DATABASE "shop" IS 'it''s'`,
    ]);
  });
});

describe("a template's mark", () => {
  it.each([null, undefined, "", "a comment", "null", '{"version": 2}'])("is not read from %j", (comment) => {
    expect(parseMark(comment)).toBeUndefined();
  });
});

describe("in a folder", () => {
  const before = process.cwd();
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "reset-"));
    process.chdir(folder);
    mkdirSync("seeds/demo", { recursive: true });
  });

  afterEach(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  });

  const problems = () => {
    try {
      readSeeds("demo");
    } catch (error) {
      if (error instanceof InputError) return error.message;
      throw error;
    }
    throw new Error("nothing was wrong");
  };

  it("seed data is read in the order of the names, without hidden files and explanations", () => {
    for (const name of ["20_b.sql", "10_a.ts", "README.md", ".hidden"]) {
      writeFileSync(join("seeds/demo", name), "SELECT 1;");
    }
    writeFileSync("seeds/demo/30_c", "#!/bin/sh\n");
    chmodSync("seeds/demo/30_c", 0o755);
    const files = readSeeds("demo");
    expect(files.map(({ file, kind }) => [file, kind])).toEqual([
      ["seeds/demo/10_a.ts", "node"],
      ["seeds/demo/20_b.sql", "sql"],
      ["seeds/demo/30_c", "program"],
    ]);
    const lines = listSeeds(files);
    expect(lines[0]?.slice(-12)).toBe(lines[1]?.slice(-12));
    expect(readSeeds(undefined)).toEqual([]);
  });

  it("mistakes in seed data are told all at once, with file, line and what to do", () => {
    writeFileSync("seeds/demo/10_a.sql", "SELECT 1;\n  COMMIT;\n\\i other.sql\n");
    writeFileSync("seeds/demo/20_b.txt", "");
    writeFileSync("seeds/demo/30_c.sql", Buffer.from([0xff]));
    mkdirSync("seeds/demo/more");
    expect(problems()).toMatchInlineSnapshot(`
      "The seed data in "seeds/demo" cannot be used:
        - seeds/demo/10_a.sql:2:3: COMMIT stands in the way of the transaction that is opened around each file: take it out
        - seeds/demo/10_a.sql:3:1: \\i is a command of psql, which the server does not know: write it in SQL, or take it out
        - seeds/demo/20_b.txt is neither SQL (.sql), nor a program for Node.js (.ts, .js), nor executable: rename it, or chmod +x seeds/demo/20_b.txt
        - seeds/demo/30_c.sql is not UTF-8 text: save it in UTF-8
        - seeds/demo/more is a folder: move its files up, or make it a set of its own in seeds/"
    `);
  });

  it("a set that is empty, or not there, is a mistake", () => {
    expect(problems()).toMatch(/there is no file in it: add one, or take the setting out/);
    rmSync("seeds/demo", { recursive: true });
    expect(problems()).toMatch(/create the folder "seeds\/demo", or correct the setting seeds/);
  });

  it("the inputs of a template have another hash when a file is changed, renamed, added or gone", () => {
    writeFileSync("seeds/demo/10_a.sql", "SELECT 1;");
    writeFileSync("Pulumi.yaml", "name: x\n");
    const inputs = inputsOf({
      stack: "development",
      migrationsFolder: "migrations",
      initdbFolder: "initdb",
      seedsFolder: "seeds/demo",
    });
    expect(inputs).toEqual(["Pulumi.yaml", "Pulumi.development.yaml", "initdb", "migrations", "seeds/demo"]);
    const hashes = [hashInputs(folder, inputs)];
    expect(hashInputs(folder, inputs)).toBe(hashes[0]);
    const change = (work: () => void) => {
      work();
      hashes.push(hashInputs(folder, inputs));
    };
    change(() => writeFileSync("seeds/demo/10_a.sql", "SELECT 2;"));
    change(() => writeFileSync("seeds/demo/20_b.sql", "SELECT 2;"));
    change(() => rmSync("seeds/demo/10_a.sql"));
    change(() => writeFileSync("Pulumi.development.yaml", ""));
    change(() => mkdirSync("migrations"));
    expect(new Set(hashes.slice(0, 5)).size).toBe(5);
    writeFileSync("elsewhere.sql", "SELECT 1;");
    expect(hashInputs(folder, inputs)).toBe(hashes.at(-1));
  });
});

describe("databases for tests", () => {
  const now = Date.UTC(2026, 10, 23, 12, 0, 0);
  const info = (minutes: number, more: { kept?: string; sessions?: number } = {}) => ({
    name: `testdb_${minutes}`,
    made: new Date(now - minutes * 60_000).toISOString(),
    kept: null,
    sessions: 0,
    size: 8_500_000,
    ...more,
  });

  it("tell by their name that they are, and since when", () => {
    const name = testDatabaseName(new Date(now));
    expect(name).toMatch(/^testdb_20261123_120000_[0-9a-f]{8}$/);
    expect(madeAt(name)).toBe(now);
    for (const other of ["shop", "testdb_1", "testdb_20261123_120000_x", `${name}_more`, `my_${name}`]) {
      expect(madeAt(other)).toBeUndefined();
    }
  });

  it("are left over after an hour, or a day where they were kept, unless somebody is in them", () => {
    const all = [
      info(59),
      info(61),
      info(62, { sessions: 1 }),
      info(63, { kept: "why" }),
      info(24 * 60 + 1, { kept: "why" }),
      info(24 * 60 + 2, { kept: "why", sessions: 1 }),
    ];
    expect(outdated(all, now)).toEqual(["testdb_61", "testdb_1441"]);
  });

  it("are listed with age, size, sessions and why they were kept", () => {
    expect(
      formatList([info(5), info(90, { kept: "a test failed", sessions: 1 })], now),
    ).toMatchInlineSnapshot(`
      "testdb_5     5 min    8.1 MB  0 sessions
      testdb_90    90 min    8.1 MB   1 session   a test failed"
    `);
  });
});
