import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "./errors.ts";
import { readHeader } from "./header.ts";
import { objections, placeOf } from "./sql.ts";

// The Pulumi program reads the folder too, in each preview: this module must not load pg or node-pg-migrate.

export interface MigrationScript {
  /** The file's path: the folder as given, and the file's name. */
  readonly file: string;
  /** The file's text without a byte order mark. */
  readonly sql: string;
  /** SHA-256 in hexadecimal digits; see `checksum`. */
  readonly checksum: string;
}

export interface Migration {
  readonly number: number;
  /** What is recorded in the database: the file's name up to `.up.sql`, for example `0001_customer`. */
  readonly name: string;
  readonly up: MigrationScript;
  readonly down: MigrationScript;
}

const filePattern = /^(\d+)_(.*)\.(up|down)\.sql$/u;
const namePattern = /^[\p{L}\p{M}\p{N}_.-]+$/u;
/** From here on a number is a time (golang-migrate's other naming, 20260131142500), where gaps mean nothing. */
const firstTimestamp = 1_000_000_000;

interface Candidate {
  readonly file: string;
  readonly number: number;
  readonly name: string;
  readonly direction: "up" | "down";
}

/**
 * Reads a folder of `0001_name.up.sql` and `0001_name.down.sql` pairs (golang-migrate's naming), ordered by
 * number. Numbers run from 1 without a gap, unless they are timestamps. Hidden files and `*.md` are left out.
 *
 * @throws InputError that names every mistake in the folder, the file of each, and what to do.
 */
export function readMigrations(folder: string): Migration[] {
  const problems: string[] = [];
  const candidates: Candidate[] = [];
  for (const entry of listFolder(folder)) {
    const parsed = parseFileName(entry);
    if (typeof parsed === "string") problems.push(parsed);
    else candidates.push(parsed);
  }

  const migrations: Migration[] = [];
  for (const group of groupByNumber(candidates)) {
    problems.push(...pairingProblems(group));
    const scripts = group.map(({ file, direction }) => ({ direction, ...readScriptFile(folder, file) }));
    problems.push(...scripts.flatMap((script) => script.problems));
    const up = scripts.find(({ direction }) => direction === "up")?.script;
    const down = scripts.find(({ direction }) => direction === "down")?.script;
    const [first] = group;
    if (first && up && down) migrations.push({ number: first.number, name: first.name, up, down });
  }
  problems.push(...gapProblems([...new Set(candidates.map(({ number }) => number))]));

  if (problems.length > 0) throw new InputError(`The migrations in "${folder}" cannot be used:`, problems);
  return migrations;
}

/** The same, for those who can do something without the files: what is wrong with them is told, not thrown. */
export function readFolder(folder: string): {
  readonly migrations: readonly Migration[];
  readonly problems: readonly string[];
} {
  try {
    return { migrations: readMigrations(folder), problems: [] };
  } catch (error) {
    if (error instanceof InputError) return { migrations: [], problems: error.problems };
    throw error;
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(({ name }) => !name.startsWith(".") && !name.endsWith(".md"))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
      .sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw new InputError("The migrations cannot be read:", [
        `there is no folder "${folder}": create it, or correct the setting that names it`,
      ]);
    }
    if (code === "ENOTDIR") {
      throw new InputError("The migrations cannot be read:", [`"${folder}" is not a folder`]);
    }
    throw new InputError("The migrations cannot be read:", [`"${folder}": ${(error as Error).message}`]);
  }
}

function parseFileName(file: string): Candidate | string {
  const expected = 'as in "0001_name.up.sql" and "0001_name.down.sql"';
  if (file.endsWith("/")) return `${file} is a folder: move its files up, or the folder to another place`;
  const [, digits, name, direction] = filePattern.exec(file) ?? [];
  if (digits === undefined || name === undefined || (direction !== "up" && direction !== "down")) {
    return `${file}: not a migration's file name: rename it ${expected}, or move it to another place`;
  }
  if (name === "") return `${file}: the name after "${digits}_" is empty: rename it ${expected}`;
  if (!namePattern.test(name)) {
    return `${file}: the name may have letters, digits, "_", "-" and "." only: rename it`;
  }
  const number = Number(digits);
  if (number < 1 || !Number.isSafeInteger(number)) {
    return `${file}: the number must be between 1 and ${Number.MAX_SAFE_INTEGER}: rename it ${expected}`;
  }
  return { file, number, name: `${digits}_${name}`, direction };
}

/** The number in a migration's name. */
export function numberOf(name: string): number {
  return Number(/^\d+/.exec(name)?.[0]);
}

function groupByNumber(candidates: readonly Candidate[]): Candidate[][] {
  return [...Map.groupBy(candidates, ({ number }) => number)]
    .sort(([a], [b]) => a - b)
    .map(([, group]) => group);
}

function pairingProblems(group: readonly Candidate[]): string[] {
  const ups = group.filter(({ direction }) => direction === "up");
  const downs = group.filter(({ direction }) => direction === "down");
  const [up] = ups;
  const [down] = downs;
  const number = group[0]?.number;
  const files = (list: readonly Candidate[]) => list.map(({ file }) => file).join(" and ");
  if (ups.length > 1 || downs.length > 1) {
    const twice = [ups, downs].filter((list) => list.length > 1).map(files);
    return [
      `number ${number} is used twice, by ${twice.join(", and by ")}: give one of them a number of its own`,
    ];
  }
  if (up && !down) {
    return [
      `${up.file} has no down script: write ${up.name}.down.sql, which takes back what the up script does`,
    ];
  }
  if (down && !up) {
    return [`${down.file} has no up script: write ${down.name}.up.sql, or remove the down script`];
  }
  if (up && down && up.name !== down.name) {
    return [`${up.file} and ${down.file} are a pair by number, but not by name: rename one of them`];
  }
  return [];
}

function gapProblems(numbers: readonly number[]): string[] {
  const sorted = numbers.toSorted((a, b) => a - b);
  const problems: string[] = [];
  let previous = 0;
  for (const number of sorted) {
    if (number > previous + 1 && number < firstTimestamp) {
      const missing =
        number === previous + 2
          ? `number ${previous + 1} is`
          : `numbers ${previous + 1} to ${number - 1} are`;
      problems.push(
        `${missing} missing before number ${number}: restore the files, or renumber the later ones`,
      );
    }
    previous = number;
  }
  return problems;
}

function readScriptFile(folder: string, name: string): { script?: MigrationScript; problems: string[] } {
  const file = join(folder, name);
  let sql: string;
  try {
    // The decoder drops a byte order mark, which the server would take for a syntax error.
    sql = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_ENCODING_INVALID_ENCODED_DATA") {
      return { problems: [`${name} is not UTF-8 text: save it in UTF-8`] };
    }
    return { problems: [`${name} cannot be read: ${(error as Error).message}`] };
  }
  if (sql.includes("\0")) return { problems: [`${name} has a zero byte in it: save it as UTF-8 text`] };
  const { transaction, mistakes } = readHeader(sql);
  const problems = [...mistakes, ...objections(sql, transaction)].map(({ offset, reason }) => {
    const { line, column } = placeOf(sql, offset);
    return `${name}:${line}:${column}: ${reason}`;
  });
  return { script: { file, sql, checksum: checksum(sql) }, problems };
}

/**
 * Checksum of a script in which whitespace and line endings don't count: all whitespace is taken out, except
 * for the end of a line that has `--` in it, since there it ends a comment.
 * Recorded in databases: a change of this rule makes every applied file look changed.
 */
export function checksum(sql: string): string {
  const compact = sql
    .split(/\r\n|\n|\r/)
    .map((line) => line.replace(/\s+/gu, "") + (line.includes("--") ? "\n" : ""))
    .join("");
  return createHash("sha256").update(compact).digest("hex");
}

/**
 * The migrations that are to be in place for `target`: all up to and including the one it names.
 *
 * @param target A migration's number or name; `0` for none of them; undefined or empty for all (the default).
 * @throws InputError that names the choices.
 */
export function selectTarget<T extends Pick<Migration, "name" | "number">>(
  migrations: readonly T[],
  target: string | number | undefined,
): readonly T[] {
  const wanted = String(target ?? "").trim();
  if (wanted === "") return migrations;
  if (/^0+$/.test(wanted)) return [];
  const index = migrations.findIndex(
    ({ name, number }) => name === wanted || (/^\d+$/.test(wanted) && number === Number(wanted)),
  );
  if (index < 0) {
    const choices = ["0 (none of them)", ...migrations.map(({ name }) => name)].join(", ");
    throw new InputError(`The migration target "${wanted}" does not exist:`, [
      `choose a number or a name of: ${choices}; or leave the target out for the newest`,
    ]);
  }
  return migrations.slice(0, index + 1);
}

/** One line a migration: its name, and enough of both checksums to tell that a file changed. */
export function listMigrations(migrations: readonly Migration[]): string {
  return migrations
    .map(({ name, up, down }) => `${name} ${up.checksum.slice(0, 12)} ${down.checksum.slice(0, 12)}`)
    .join("\n");
}
