import { describe, expect, it } from "vitest";
import { objections, offsetOfPosition, placeOf, readScript } from "../../migrator/sql.ts";

function statements(sql: string): string[] {
  return readScript(sql).statements.map(({ start, end }) => sql.slice(start, end));
}

describe("finding statements", () => {
  it.each([
    ["two on a line", "SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]],
    ["the last without a semicolon", "SELECT 1;\nSELECT 2\n", ["SELECT 1", "SELECT 2"]],
    ["empty statements between semicolons", ";; SELECT 1;;", ["SELECT 1"]],
    ["a semicolon in a string", "SELECT 'a;b'; SELECT 2", ["SELECT 'a;b'", "SELECT 2"]],
    ["a doubled quote in a string", "SELECT 'it''s;'; SELECT 2", ["SELECT 'it''s;'", "SELECT 2"]],
    ["a backslash in a plain string", "SELECT 'a\\'; SELECT 2", ["SELECT 'a\\'", "SELECT 2"]],
    ["a backslash in an E string", "SELECT E'a\\';'''; SELECT 2", ["SELECT E'a\\';'''", "SELECT 2"]],
    ["a semicolon in a quoted name", 'SELECT 1 AS "a;""b"; SELECT 2', ['SELECT 1 AS "a;""b"', "SELECT 2"]],
    ["comments", "-- a;\n/* b; /* c; */ d; */ SELECT 1; -- e;", ["SELECT 1"]],
    ["a comment inside a statement", "SELECT -- ;\n1", ["SELECT -- ;\n1"]],
    [
      "dollar quotes",
      "DO $$ x; y; $$; DO $a$ $$; $a$; SELECT 3",
      ["DO $$ x; y; $$", "DO $a$ $$; $a$", "SELECT 3"],
    ],
    ["dollars that quote nothing", "SELECT $1, a$b$c; SELECT 2", ["SELECT $1, a$b$c", "SELECT 2"]],
    [
      "parentheses",
      "CREATE RULE r AS ON INSERT TO t DO (a; b); SELECT 2",
      ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "SELECT 2"],
    ],
    [
      "a routine's BEGIN ATOMIC",
      "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN b END; SELECT 1; END; SELECT 2",
      ["CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN b END; SELECT 1; END", "SELECT 2"],
    ],
    ["an open quote", "SELECT 1; SELECT 'a; b", ["SELECT 1", "SELECT 'a; b"]],
    ["an open comment", "SELECT 1; /* a; b", ["SELECT 1"]],
    ["nothing", " \n-- only a comment", []],
  ])("is not misled by %s", (_what, sql, expected) => {
    expect(statements(sql)).toEqual(expected);
  });

  it("is quick with a megabyte in one string", () => {
    const sql = `INSERT INTO t VALUES (E'${"x\\'y''".repeat(200_000)}'); SELECT 2`;
    expect(statements(sql)).toHaveLength(2);
  });
});

describe("what a script may not hold", () => {
  it.each([
    ["\\d customer", ["\\d"]],
    ["SELECT 1 \\gexec", ["\\gexec"]],
    ["BEGIN; SELECT 1; COMMIT;", ["BEGIN", "COMMIT"]],
    ["start transaction; end", ["START TRANSACTION", "END"]],
    ["ROLLBACK; ABORT", ["ROLLBACK", "ABORT"]],
    ["COMMIT AND CHAIN", ["COMMIT AND"]],
    ["PREPARE TRANSACTION 'a'", ["PREPARE TRANSACTION"]],
    ["copy t (a) from stdin;\n1\n2\\\n\\.\nCOMMIT;", ["COPY … FROM STDIN", "COMMIT"]],
  ])("finds it in %j", (sql, expected) => {
    const reasons = objections(sql).map(({ reason }) => reason);
    expect(reasons).toHaveLength(expected.length);
    for (const [index, beginning] of expected.entries()) {
      expect(reasons[index]?.startsWith(`${beginning} `)).toBe(true);
    }
  });

  it.each([
    "SELECT '\\d', E'\\\\d', $$ \\d $$ -- \\d",
    "SAVEPOINT a; ROLLBACK TO a; ROLLBACK TRANSACTION TO SAVEPOINT a; RELEASE a;",
    "DO $$ BEGIN COMMIT; END $$;",
    "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC DELETE FROM t; END;",
    'CREATE TABLE "begin" ("commit" int); COPY t TO STDOUT; PREPARE q AS SELECT 1;',
  ])("finds nothing in %j", (sql) => {
    expect(objections(sql)).toEqual([]);
  });
});

describe("places in a text", () => {
  it("counts lines with any line ending, and columns in characters", () => {
    const sql = "a\r\nb\rc\n🙂 ü!";
    expect(placeOf(sql, 0)).toEqual({ line: 1, column: 1 });
    expect(placeOf(sql, sql.indexOf("b"))).toEqual({ line: 2, column: 1 });
    expect(placeOf(sql, sql.indexOf("c"))).toEqual({ line: 3, column: 1 });
    expect(placeOf(sql, sql.indexOf("!"))).toEqual({ line: 4, column: 4 });
  });

  it("turns a position of the server, in characters, into an offset", () => {
    const sql = "🙂🙂 x";
    expect(sql[offsetOfPosition(sql, 4)]).toBe("x");
    expect(offsetOfPosition(sql, 99)).toBe(sql.length);
  });
});
