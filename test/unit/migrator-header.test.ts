import { describe, expect, it } from "vitest";
import { readHeader } from "../../migrator/header.ts";
import { objections } from "../../migrator/sql.ts";

describe("a script's header", () => {
  it("says nothing where there is none", () => {
    expect(readHeader("-- Adds a table.\nCREATE TABLE a (id int);")).toEqual({
      transaction: true,
      lockTimeout: undefined,
      statementTimeout: undefined,
      allowed: new Map(),
      mistakes: [],
    });
  });

  it("may have several lines, between other comments and blank lines, with any line endings", () => {
    const sql =
      "\r\n-- An index.\r\n\r\n  --migrate:  no   transaction , lock_timeout=10s\r\n-- migrate: statement_timeout = 0\r\nSELECT 1;";
    expect(readHeader(sql)).toEqual({
      transaction: false,
      lockTimeout: 10_000,
      statementTimeout: 0,
      allowed: new Map(),
      mistakes: [],
    });
  });

  it("ends at the first statement", () => {
    expect(readHeader("SELECT 1; -- migrate: no transaction\n-- migrate: nonsense").transaction).toBe(true);
  });

  it("that is not understood is a mistake, with its place", () => {
    const sql = "-- migrate: no transactions, lock_timeout = 5\n-- migrate: statement_timeout";
    expect(readHeader(sql).mistakes).toMatchInlineSnapshot(`
      [
        {
          "offset": 0,
          "reason": ""no transactions" is not known in a header, which can say: no transaction; lock_timeout = 10s; statement_timeout = 5min; allow RULE: why it may pass",
        },
        {
          "offset": 0,
          "reason": "lock_timeout is "5", which is no time: expected a time with its unit (ms, s, min, h), such as 500ms or 5s, or 0 for no limit",
        },
        {
          "offset": 46,
          "reason": "statement_timeout is "", which is no time: expected a time with its unit (ms, s, min, h), such as 500ms or 5s, or 0 for no limit",
        },
      ]
    `);
  });

  it("says which rules a script may break, with a reason that may have commas and colons", () => {
    const sql = [
      "-- migrate: no transaction",
      "-- migrate: allow ban-drop-column: release 7, which read it, is gone: see the log",
      "--migrate: allow renaming-table the table has 12 rows",
      "SELECT 1;",
    ].join("\n");
    const { allowed, mistakes, transaction } = readHeader(sql);
    expect([...allowed]).toEqual([
      ["ban-drop-column", "release 7, which read it, is gone: see the log"],
      ["renaming-table", "the table has 12 rows"],
    ]);
    expect(mistakes).toEqual([]);
    expect(transaction).toBe(false);
  });

  it.each(["allow", "allow ban-drop-column", "allow ban-drop-column:  "])(
    "refuses «%s», which gives no reason",
    (text) => {
      expect(readHeader(`-- migrate: ${text}`).mistakes).toEqual([
        { offset: 0, reason: expect.stringContaining('write "allow RULE: why it may pass"') },
      ]);
    },
  );

  it("does not make BEGIN and COMMIT welcome: the runner must know what is done", () => {
    expect(objections("BEGIN;\nSELECT 1;\nCOMMIT;", false)).toHaveLength(2);
    expect(objections("BEGIN;", false)[0]?.reason).toMatch(/^BEGIN hides from the runner/);
  });
});
