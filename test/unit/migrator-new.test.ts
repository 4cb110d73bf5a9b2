import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "../../cli/program.ts";
import { readMigrations } from "../../migrator/files.ts";
import { newMigration } from "../../migrator/new.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrations-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const pair = (name: string) => {
  for (const way of ["up", "down"]) writeFileSync(join(folder, `${name}.${way}.sql`), "SELECT 1;");
};
const noon = new Date("2026-01-31T12:00:00.500Z");
const made = (name: string) => newMigration(folder, name, noon).map((file) => file.slice(folder.length + 1));

describe("newMigration", () => {
  it("writes a pair that can be used, with a hint in each, and begins at 0001", () => {
    expect(made("customer")).toEqual(["0001_customer.up.sql", "0001_customer.down.sql"]);
    expect(readMigrations(folder).map(({ name }) => name)).toEqual(["0001_customer"]);
    for (const file of readdirSync(folder)) {
      expect(readFileSync(join(folder, file), "utf8")).toMatch(/^-- .*\n$/);
    }
  });

  it.each([
    ["0001_a", "0002_b"],
    ["01_a", "02_b"],
    ["1_a", "2_b"],
    // A time in UTC, in milliseconds, in seconds.
    ["20251231235959_a", "20260131120000_b"],
    ["1700000000000_a", "1769860800500_b"],
    ["1700000000_a", "1769860800_b"],
    // Never before the newest one.
    ["20260201000000_a", "20260201000001_b"],
  ])("after %s comes %s", (before, after) => {
    pair(before);
    expect(made("b")[0]).toBe(`${after}.up.sql`);
  });

  it("goes on with one digit more where the width is used up", () => {
    for (let number = 1; number <= 9; number += 1) pair(`${number}_a`);
    expect(made("b")[0]).toBe("10_b.up.sql");
    expect(made("c")[0]).toBe("11_c.up.sql");
  });

  it.each(["", "two words", "a/b", "../a", "a.sql", "0007_a", "x".repeat(201)])(
    "refuses the name «%s», and writes nothing",
    (name) => {
      expect(() => made(name)).toThrow(/is no name for a migration; nothing was written/);
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("refuses a folder that cannot be used, and writes nothing into it", () => {
    expect(() => newMigration(join(folder, "none"), "a")).toThrow(/there is no folder/);
    writeFileSync(join(folder, "0001_a.up.sql"), "SELECT 1;");
    expect(() => made("b")).toThrow(/0001_a\.up\.sql has no down script/);
    writeFileSync(join(folder, "0001_a.down.sql"), "SELECT 1;");
    mkdirSync(join(folder, "sub"));
    expect(() => made("b")).toThrow(/sub\/ is a folder/);
    expect(readdirSync(folder).sort()).toEqual(["0001_a.down.sql", "0001_a.up.sql", "sub"]);
  });
});

describe("./db migrate new", () => {
  it("prints the paths of what it wrote", async () => {
    const printed: string[] = [];
    const write = process.stdout.write;
    process.stdout.write = (text: string | Uint8Array) => printed.push(String(text)) > 0;
    const code = await run(["migrate", "new", "customer", "--dir", folder]).finally(() => {
      process.stdout.write = write;
    });
    expect(code).toBe(0);
    expect(printed.join("")).toBe(
      `${join(folder, "0001_customer.up.sql")}\n${join(folder, "0001_customer.down.sql")}\n`,
    );
  });
});
