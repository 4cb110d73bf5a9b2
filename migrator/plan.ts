import { InputError } from "./errors.ts";
import { type Migration, numberOf, selectTarget } from "./files.ts";
import type { AppliedMigration } from "./record.ts";

/** What a run has to do. At most one of the lists has entries. */
export interface Plan {
  /** To apply, in this order. */
  readonly up: readonly Migration[];
  /** To revert, in this order: the newest first. */
  readonly down: readonly PlannedRevert[];
  /** Name of what will be the last one in place; undefined: none will be. */
  readonly end: string | undefined;
}

/** The way back comes from the record; only where an earlier version recorded none, from the file. */
export interface PlannedRevert {
  readonly name: string;
  readonly files: Migration | undefined;
}

export interface PlanOptions {
  /**
   * Number or name of the last migration to be in place, in the folder or in the record. Undefined or empty: the
   * newest of the folder. `0`: none.
   */
  readonly target?: string | undefined;
  /**
   * Whether an applied migration whose files are gone is reverted where the target is left out: for databases that
   * are thrown away anyway. Default: false.
   */
  readonly revertMissing?: boolean | undefined;
  /** Whether nothing is to be applied, where the target lies ahead. Default: false. */
  readonly onlyDown?: boolean | undefined;
}

/**
 * Compares the folder with the record. What is to be reverted is not compared: its way back is in the record.
 *
 * @throws InputError that names everything that does not fit, and what to do about each.
 */
export function planRun(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
  options: PlanOptions = {},
): Plan {
  const files = new Map(migrations.map((migration) => [migration.name, migration]));
  const recorded = new Set(applied.map(({ name }) => name));
  const stays = whatStays(migrations, applied, options);
  const kept = applied.filter(({ name }) => stays.has(name));
  const down = applied
    .filter(({ name }) => !stays.has(name))
    .toSorted((a, b) => numberOf(b.name) - numberOf(a.name));

  const problems = [
    ...describeMismatches(
      migrations.filter(({ name }) => stays.has(name)),
      kept,
      migrations,
    ),
    ...down.filter(({ name, hasDownScript }) => !hasDownScript && !files.has(name)).map(describeNoWayBack),
  ];
  if (problems.length > 0) throw new InputError("The migrations do not fit the database:", problems);
  const up = migrations.filter(({ name }) => stays.has(name) && !recorded.has(name));
  if (options.onlyDown && up.length > 0) {
    throw new InputError(`There is no way down to "${options.target}":`, [
      `${up[0]?.name} is not applied yet: choose a target that is, or go up`,
    ]);
  }
  return {
    up,
    down: down.map(({ name }) => ({ name, files: files.get(name) })),
    end: [...stays].toSorted((a, b) => numberOf(a) - numberOf(b)).at(-1),
  };
}

/** The names of all migrations that are to be in place, or are and must not go. */
function whatStays(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
  { target, revertMissing }: PlanOptions,
): ReadonlySet<string> {
  const names = new Set(migrations.map(({ name }) => name));
  const missing = applied.map(({ name }) => name).filter((name) => !names.has(name));
  if ((target ?? "").trim() === "") return new Set([...names, ...(revertMissing ? [] : missing)]);
  const all = [...migrations, ...missing.map((name) => ({ name, number: numberOf(name) }))];
  return new Set(
    selectTarget(
      all.toSorted((a, b) => a.number - b.number),
      target,
    ).map(({ name }) => name),
  );
}

/**
 * Everything in which the folder and the record differ, other than that the folder has newer migrations.
 *
 * @param wanted The migrations that are to be in place.
 * @param folder All that the folder has.
 */
export function describeMismatches(
  wanted: readonly Migration[],
  applied: readonly AppliedMigration[],
  folder: readonly Migration[] = wanted,
): string[] {
  const files = new Map(folder.map((migration) => [migration.name, migration]));
  const recorded = new Map(applied.map((entry) => [entry.name, entry]));
  const byNumber = applied.toSorted((a, b) => numberOf(a.name) - numberOf(b.name));
  const newest = byNumber.at(-1);
  const renamed = findRenamed(folder, recorded);
  const newNames = new Set(renamed.values());
  return [
    ...byNumber
      .filter(({ name }) => !files.has(name))
      .map((entry) => {
        const newName = renamed.get(entry.name);
        return newName === undefined
          ? describeMissing(entry, folder, recorded)
          : `${entry.name} is applied in the database, and its files are now called ${newName}: give them their name back`;
      }),
    ...wanted.flatMap((migration) => {
      const entry = recorded.get(migration.name);
      return entry === undefined ? [] : describeChanges(migration, entry);
    }),
    ...wanted
      .filter(
        ({ name, number }) =>
          !recorded.has(name) && !newNames.has(name) && newest && number <= numberOf(newest.name),
      )
      .map(
        ({ name }) =>
          `${name} is not applied, but comes before ${newest?.name}, which is: ` +
          "give it a number after the newest one",
      ),
  ];
}

function describeMissing(
  { name }: AppliedMigration,
  folder: readonly Migration[],
  recorded: ReadonlyMap<string, AppliedMigration>,
): string {
  const restore =
    `${name} is applied in the database, but its files are missing: restore them ` +
    `(\`git log --all -- '*${name}*'\` finds them)`;
  // To take it back would take back those after it too.
  if (folder.some((other) => other.number > numberOf(name) && recorded.has(other.name))) return restore;
  const before = folder.findLast(({ number }) => number < numberOf(name));
  return (
    `${restore}; or take the migration back: set the target to ` +
    `${before ? `"${before.name}"` : `"0"`} (setting migrationsTarget, or ./db migrate down), ` +
    "for which the down script in the record is used"
  );
}

/** The new names of applied migrations by the old ones: same up script, another name. */
function findRenamed(
  folder: readonly Migration[],
  recorded: ReadonlyMap<string, AppliedMigration>,
): ReadonlyMap<string, string> {
  const files = new Set(folder.map(({ name }) => name));
  const unknown = folder.filter(({ name }) => !recorded.has(name));
  return new Map(
    [...recorded.values()].flatMap(({ name, upChecksum }) => {
      const renamed = files.has(name) ? undefined : unknown.find(({ up }) => up.checksum === upChecksum);
      return renamed ? [[name, renamed.name] as const] : [];
    }),
  );
}

function describeChanges({ name, up, down }: Migration, entry: AppliedMigration): string[] {
  const when = entry.appliedAt.toISOString().slice(0, 16).replace("T", " ");
  const changed = (file: string, way: string) =>
    `${file} was changed after ${name} was applied (${when} UTC): restore it (\`git log -p -- ${file}\` shows the ` +
    `change), and ${way}; or record the files as they are now: ./db migrate repair ${name} --status applied`;
  return [
    ...(entry.upChecksum !== undefined && entry.upChecksum !== up.checksum
      ? [changed(up.file, "write a new migration for what is to be different")]
      : []),
    ...(entry.downChecksum !== undefined && entry.downChecksum !== down.checksum
      ? [changed(down.file, "leave it so: the way back is the script in the record")]
      : []),
  ];
}

function describeNoWayBack({ name }: AppliedMigration): string {
  return (
    `${name} cannot be reverted: its files are missing, and the version that applied it recorded no down script: ` +
    `restore the files (\`git log --all -- '*${name}*'\` finds them)`
  );
}
