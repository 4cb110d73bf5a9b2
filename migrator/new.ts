import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "./errors.ts";
import { type Migration, numberOf, readMigrations } from "./files.ts";

const upHint = `-- What is to change: one transaction, and names without a schema. See «Writing one» in docs/migrations.md.
`;
const downHint = `-- Takes back what the up script does, and leaves the schema as it was.
`;

/**
 * Writes the next pair of files into a folder of migrations.
 *
 * @param name The name without a number, such as `product_weight`.
 * @returns Their paths: the up script's, the down script's.
 * @throws InputError where the name or the folder cannot be used.
 */
export function newMigration(folder: string, name: string, now = new Date()): readonly [string, string] {
  checkName(name);
  const migrations = readMigrations(folder);
  const stem = `${nextNumber(migrations, now)}_${name}`;
  const up = join(folder, `${stem}.up.sql`);
  const down = join(folder, `${stem}.down.sql`);
  write(up, upHint);
  try {
    write(down, downHint);
  } catch (error) {
    // A half of a pair would keep every run from starting.
    rmSync(up);
    throw error;
  }
  return [up, down];
}

function checkName(name: string): void {
  const fail = (problem: string): never => {
    throw new InputError(`"${name}" is no name for a migration; nothing was written:`, [problem]);
  };
  if (!/^[\p{L}\p{M}\p{N}_-]+$/u.test(name)) {
    fail('use letters, digits, "_" and "-" only, and at least one of them, as in product_weight');
  }
  if (/^\d+_/.test(name)) fail(`leave the number out, it is given by itself: ${name.replace(/^\d+_+/, "")}`);
  // 255 bytes is what most file systems allow for the whole name.
  if (Buffer.byteLength(name) > 200) fail("it is too long: use 200 bytes at most");
}

/**
 * One more than the newest, with as many digits; a time, where the newest number has as many digits as one:
 * 14 for 20260131142500 (UTC), 13 for the milliseconds and 10 for the seconds since 1970.
 */
function nextNumber(migrations: readonly Migration[], now: Date): string {
  const newest = migrations.at(-1);
  if (newest === undefined) return "0001";
  const digits = /^\d+/.exec(newest.name)?.[0] ?? "";
  const next = numberOf(newest.name) + 1;
  const times = [
    now.toISOString().replace(/\D/g, "").slice(0, 14),
    String(now.getTime()),
    String(Math.floor(now.getTime() / 1_000)),
  ];
  const time = Number(times.find(({ length }) => length === String(next).length) ?? 0);
  // Never before the newest one, whose author's clock may be ahead.
  return String(Math.max(next, time)).padStart(digits.length, "0");
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: "wx" });
  } catch (error) {
    throw new InputError("The migration cannot be written:", [`"${file}": ${(error as Error).message}`]);
  }
}
