import { createHash } from "node:crypto";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { InputError } from "../migrator/errors.ts";
import { objections, placeOf } from "../migrator/sql.ts";

// The Pulumi program reads the folder too, in each preview: this module must not load pg.

/** Folder of the sets of seed data, a folder each. */
export const seedsFolder = "seeds";

export interface SeedFile {
  /** Path from the project's folder. */
  readonly file: string;
  /** - `sql`: run in one transaction. - `node`: a program for Node.js. - `program`: one that the system can run. */
  readonly kind: "sql" | "node" | "program";
  /** Of a `sql` file; empty for others. */
  readonly sql: string;
  /** SHA-256 in hexadecimal digits. */
  readonly checksum: string;
}

/** @param set Undefined: no seed data. */
export function seedFolder(set: string | undefined): string | undefined {
  return set === undefined ? undefined : join(seedsFolder, set);
}

/**
 * The files of a set, in the order of their names. Hidden files and `*.md` are left out.
 *
 * @param set Undefined: no seed data.
 * @throws InputError that names every mistake in the folder, the file of each, and what to do.
 */
export function readSeeds(set: string | undefined): SeedFile[] {
  if (set === undefined) return [];
  const folder = join(seedsFolder, set);
  const problems: string[] = [];
  const files: SeedFile[] = [];
  for (const entry of list(folder, set)) {
    const file = join(folder, entry.name);
    if (!entry.isFile() && !entry.isSymbolicLink()) {
      problems.push(`${file} is a folder: move its files up, or make it a set of its own in ${seedsFolder}/`);
      continue;
    }
    const content = readFileSync(file);
    const checksum = createHash("sha256").update(content).digest("hex");
    const extension = extname(file);
    if (extension === ".sql") {
      const sql = decode(content);
      if (sql === undefined) {
        problems.push(`${file} is not UTF-8 text: save it in UTF-8`);
        continue;
      }
      for (const { offset, reason } of objections(sql)) {
        const { line, column } = placeOf(sql, offset);
        problems.push(`${file}:${line}:${column}: ${reason}`);
      }
      files.push({ file, kind: "sql", sql, checksum });
    } else if ([".ts", ".mts", ".js", ".mjs", ".cjs"].includes(extension)) {
      files.push({ file, kind: "node", sql: "", checksum });
    } else if (isExecutable(file)) {
      files.push({ file, kind: "program", sql: "", checksum });
    } else {
      problems.push(
        `${file} is neither SQL (.sql), nor a program for Node.js (.ts, .js), nor executable: rename it, or chmod +x ${file}`,
      );
    }
  }
  if (problems.length === 0 && files.length === 0) {
    problems.push(`there is no file in it: add one, or take the setting out`);
  }
  if (problems.length > 0) throw new InputError(`The seed data in "${folder}" cannot be used:`, problems);
  return files;
}

function list(folder: string, set: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(({ name }) => !name.startsWith(".") && !name.endsWith(".md"))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw new InputError(`The seed data "${set}" cannot be read:`, [
      `${(error as Error).message}: create the folder "${folder}", or correct the setting seeds`,
    ]);
  }
}

function decode(content: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** One line a file: its path, and enough of its checksum to tell that it changed. */
export function listSeeds(files: readonly SeedFile[]): string[] {
  return files.map(({ file, checksum }) => `${file} ${checksum.slice(0, 12)}`);
}
