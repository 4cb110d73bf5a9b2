import { describe, expect, it } from "vitest";
import { describeScriptError, formatDuration } from "../../migrator/report.ts";

const file = "migrations/0002_b.up.sql";

describe("an error in a script", () => {
  const sql = "CREATE TABLE a (id int);\n-- ü 🙂\nCREATE TABLE b (\n\tx custmer\n);\n";

  it("shows the place that the server names, and all that the server says", () => {
    const position = String([...sql.slice(0, sql.indexOf("custmer"))].length + 1);
    const error = {
      message: 'type "custmer" does not exist',
      code: "42704",
      detail: "one\ntwo",
      hint: "three",
      where: "four",
      position,
    };
    expect(describeScriptError({ file, sql }, error, 0)).toMatchInlineSnapshot(`
      "migrations/0002_b.up.sql:4:4: type "custmer" does not exist
          2 | -- ü 🙂
          3 | CREATE TABLE b (
        > 4 |  x custmer
            |    ^
          5 | );
        detail: one
          two
        hint: three
        context: four
        SQLSTATE: 42704"
    `);
  });

  it("shows the statement after the completed ones where the server names no place", () => {
    const error = { message: 'relation "b" already exists', code: "42P07" };
    expect(describeScriptError({ file, sql }, error, 1)).toMatchInlineSnapshot(`
      "migrations/0002_b.up.sql:3:1: relation "b" already exists
          1 | CREATE TABLE a (id int);
          2 | -- ü 🙂
        > 3 | CREATE TABLE b (
            | ^
          4 |  x custmer
        SQLSTATE: 42P07"
    `);
  });

  it("cuts a long line around the place", () => {
    const long = `SELECT ${"1, ".repeat(100)} oops, ${"2, ".repeat(100)} 3;`;
    const position = String(long.indexOf("oops") + 1);
    const text = describeScriptError({ file, sql: long }, { message: "no", position }, 0);
    expect(text).toMatchInlineSnapshot(`
      "migrations/0002_b.up.sql:1:309: no
        > 1 | 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  oops, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
            |                                                  ^"
    `);
  });
});

describe("durations", () => {
  it.each([
    [0.4, "0 ms"],
    [999, "999 ms"],
    [1_234, "1.2 s"],
  ])("%d ms is shown as %s", (milliseconds, expected) => {
    expect(formatDuration(milliseconds)).toBe(expected);
  });
});
