import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { InputError } from "../../migrator/errors.ts";
import { checksum, readMigrations, selectTarget } from "../../migrator/files.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrations-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(...names: string[]): void {
  for (const name of names) writeFileSync(join(folder, name), `-- ${name}\nSELECT 1;\n`);
}

function pair(...names: string[]): void {
  write(...names.flatMap((name) => [`${name}.up.sql`, `${name}.down.sql`]));
}

function problems(): readonly string[] {
  try {
    readMigrations(folder);
  } catch (error) {
    if (error instanceof InputError) return error.problems;
    throw error;
  }
  return [];
}

describe("reading a folder", () => {
  it("orders the pairs by number, not by spelling", () => {
    pair("10_j", "0002_b", "1_a", "3_c", "4_d", "5_e", "6_f", "7_g", "8_h", "0009_i.j-k_ü");
    const names = readMigrations(folder).map(({ number, name }) => `${number}:${name}`);
    expect(names).toEqual([
      ...["1:1_a", "2:0002_b", "3:3_c", "4:4_d", "5:5_e", "6:6_f", "7:7_g", "8:8_h"],
      ...["9:0009_i.j-k_ü", "10:10_j"],
    ]);
  });

  it("gives each script its path, its text without a byte order mark, and its checksum", () => {
    writeFileSync(join(folder, "0001_a.up.sql"), "\ufeffSELECT 'ü';");
    write("0001_a.down.sql");
    const [migration] = readMigrations(folder);
    expect(migration?.up).toEqual({
      file: join(folder, "0001_a.up.sql"),
      sql: "SELECT 'ü';",
      checksum: checksum("SELECT 'ü';"),
    });
    expect(migration?.down.file).toBe(join(folder, "0001_a.down.sql"));
  });

  it("takes an empty folder for no migrations, and leaves out hidden files and notes", () => {
    write(".gitkeep", "README.md");
    expect(readMigrations(folder)).toEqual([]);
  });

  it("lets timestamps have gaps", () => {
    pair("0001_a", "20260131142500_b", "20260201080000_c");
    expect(readMigrations(folder)).toHaveLength(3);
  });

  it("finds nothing wrong with the example schema", () => {
    expect(readMigrations("migrations").length).toBeGreaterThan(4);
  });
});

describe("mistakes in a folder", () => {
  it("names a folder that is missing", () => {
    expect(() => readMigrations(join(folder, "nowhere"))).toThrow(
      /there is no folder ".*nowhere": create it/,
    );
  });

  it("names a file in the folder's place", () => {
    write("file");
    expect(() => readMigrations(join(folder, "file"))).toThrow(/file" is not a folder/);
  });

  it.each([
    [
      "a wrong file name",
      ["0001_a.sql"],
      [
        '0001_a.sql: not a migration\'s file name: rename it as in "0001_name.up.sql" and "0001_name.down.sql", or move it to another place',
      ],
    ],
    [
      "a wrong ending",
      ["0001_a.up.sql~"],
      [
        '0001_a.up.sql~: not a migration\'s file name: rename it as in "0001_name.up.sql" and "0001_name.down.sql", or move it to another place',
      ],
    ],
    [
      "capitals in the ending",
      ["0001_a.UP.sql"],
      [
        '0001_a.UP.sql: not a migration\'s file name: rename it as in "0001_name.up.sql" and "0001_name.down.sql", or move it to another place',
      ],
    ],
    [
      "no number",
      ["a.up.sql"],
      [
        'a.up.sql: not a migration\'s file name: rename it as in "0001_name.up.sql" and "0001_name.down.sql", or move it to another place',
      ],
    ],
    [
      "an empty name",
      ["0001_.up.sql", "0001_.down.sql"],
      [
        '0001_.down.sql: the name after "0001_" is empty: rename it as in "0001_name.up.sql" and "0001_name.down.sql"',
        '0001_.up.sql: the name after "0001_" is empty: rename it as in "0001_name.up.sql" and "0001_name.down.sql"',
      ],
    ],
    [
      "number zero",
      ["0000_a.up.sql", "0000_a.down.sql"],
      [
        '0000_a.down.sql: the number must be between 1 and 9007199254740991: rename it as in "0001_name.up.sql" and "0001_name.down.sql"',
        '0000_a.up.sql: the number must be between 1 and 9007199254740991: rename it as in "0001_name.up.sql" and "0001_name.down.sql"',
      ],
    ],
    [
      "a quote in the name",
      ["0001_a'b.up.sql", "0001_a'b.down.sql"],
      [
        '0001_a\'b.down.sql: the name may have letters, digits, "_", "-" and "." only: rename it',
        '0001_a\'b.up.sql: the name may have letters, digits, "_", "-" and "." only: rename it',
      ],
    ],
    [
      "up without down",
      ["0001_a.up.sql"],
      ["0001_a.up.sql has no down script: write 0001_a.down.sql, which takes back what the up script does"],
    ],
    [
      "down without up",
      ["0001_a.down.sql"],
      ["0001_a.down.sql has no up script: write 0001_a.up.sql, or remove the down script"],
    ],
    [
      "different names in a pair",
      ["0001_a.up.sql", "0001_b.down.sql"],
      ["0001_a.up.sql and 0001_b.down.sql are a pair by number, but not by name: rename one of them"],
    ],
    [
      "a duplicate number",
      ["0001_a.up.sql", "0001_a.down.sql", "1_b.up.sql", "1_b.down.sql"],
      [
        "number 1 is used twice, by 0001_a.up.sql and 1_b.up.sql, and by 0001_a.down.sql and 1_b.down.sql: give one of them a number of its own",
      ],
    ],
    [
      "two up scripts for one down script",
      ["0001_a.up.sql", "0001_b.up.sql", "0001_a.down.sql"],
      ["number 1 is used twice, by 0001_a.up.sql and 0001_b.up.sql: give one of them a number of its own"],
    ],
    [
      "a gap",
      ["0001_a.up.sql", "0001_a.down.sql", "0003_c.up.sql", "0003_c.down.sql"],
      ["number 2 is missing before number 3: restore the files, or renumber the later ones"],
    ],
    [
      "a wide gap at the beginning",
      ["0005_a.up.sql", "0005_a.down.sql"],
      ["numbers 1 to 4 are missing before number 5: restore the files, or renumber the later ones"],
    ],
  ])("says what to do about %s", (_what, files, expected) => {
    write(...files);
    expect(problems()).toEqual(expected);
  });

  it("names what is not text in UTF-8, and a folder in between", () => {
    mkdirSync(join(folder, "old"));
    write("0001_a.down.sql", "0002_b.down.sql");
    writeFileSync(join(folder, "0001_a.up.sql"), Buffer.from([0x53, 0xfc]));
    writeFileSync(join(folder, "0002_b.up.sql"), "SELECT\0 1");
    expect(problems()).toMatchInlineSnapshot(`
      [
        "old/ is a folder: move its files up, or the folder to another place",
        "0001_a.up.sql is not UTF-8 text: save it in UTF-8",
        "0002_b.up.sql has a zero byte in it: save it as UTF-8 text",
      ]
    `);
  });

  it("names the line of what cannot be run", () => {
    write("0001_a.down.sql");
    writeFileSync(
      join(folder, "0001_a.up.sql"),
      "\\set x 1\nBEGIN;\nSELECT 1;\n  COMMIT;\nCOPY t FROM STDIN;\n1\n\\.\n",
    );
    expect(problems()).toMatchInlineSnapshot(`
      [
        "0001_a.up.sql:1:1: \\set is a command of psql, which the server does not know: write it in SQL, or take it out",
        "0001_a.up.sql:2:1: BEGIN stands in the way of the transaction that is opened around each file: take it out",
        "0001_a.up.sql:4:3: COMMIT stands in the way of the transaction that is opened around each file: take it out",
        "0001_a.up.sql:5:1: COPY … FROM STDIN reads rows from psql's input, which there is not here: write INSERT instead",
      ]
    `);
  });

  it("reports all of them at once", () => {
    write("0001_a.up.sql", "0003_c.down.sql", "note.txt");
    expect(() => readMigrations(folder)).toThrow(InputError);
    expect(problems()).toHaveLength(4);
  });
});

describe("checksum", () => {
  it("does not count whitespace and line endings", () => {
    const sql = "CREATE TABLE a (\n  id int, -- the key\n  b text\n);\n";
    expect(checksum("CREATE TABLE a\r\n(id int,-- the key\r\n\r\n\tb text);")).toBe(checksum(sql));
  });

  it("counts everything else", () => {
    const sums = ["SELECT 1;", "SELECT 2;", "select 1;", "SELECT 1", "SELECT 1; -- a"].map(checksum);
    expect(new Set(sums).size).toBe(sums.length);
  });

  it("tells a statement from one that was moved into a comment", () => {
    expect(checksum("-- off:\nDELETE FROM a;")).not.toBe(checksum("-- off: DELETE FROM a;"));
  });

  it("stays the same for ever, since it is recorded in databases", () => {
    expect(checksum("CREATE TABLE a (\n  id int -- key\n);")).toMatchInlineSnapshot(
      `"ab27bed5125b53cf0f4beb3d136f3cc22e8c5d5983e39214597c626ed2bc41c2"`,
    );
  });
});

describe("target", () => {
  function select(target: string | number | undefined): string[] {
    pair("0001_a", "0002_b", "0003_c");
    return selectTarget(readMigrations(folder), target).map(({ name }) => name);
  }

  it.each([
    [undefined, ["0001_a", "0002_b", "0003_c"]],
    ["", ["0001_a", "0002_b", "0003_c"]],
    [2, ["0001_a", "0002_b"]],
    ["2", ["0001_a", "0002_b"]],
    ["0002", ["0001_a", "0002_b"]],
    ["0002_b", ["0001_a", "0002_b"]],
    ["0", []],
  ])("%j selects %j", (target, expected) => {
    expect(select(target)).toEqual(expected);
  });

  it("names the choices where there is no such migration", () => {
    expect(() => select("0004")).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migration target "0004" does not exist:
        - choose a number or a name of: 0 (none of them), 0001_a, 0002_b, 0003_c; or leave the target out for the newest]
    `);
  });
});
