import { InputError } from "./errors.ts";
import type { Migration } from "./files.ts";

/** What a run has to do. At most one of the lists has entries. */
export interface Plan {
  /** To apply, in this order. */
  readonly up: readonly Migration[];
  /** To revert, in this order: the newest first. */
  readonly down: readonly Migration[];
}

/**
 * Compares the folder with the names recorded in the database.
 *
 * @param target What is to be in place in the end: a beginning of `migrations` (see `selectTarget`).
 * @throws InputError where an applied migration is missing from the folder, or where one that is not applied
 * comes before one that is.
 */
export function planRun(
  migrations: readonly Migration[],
  target: readonly Migration[],
  applied: readonly string[],
): Plan {
  const recorded = new Set(applied);
  const names = new Set(migrations.map(({ name }) => name));
  const problems = applied
    .filter((name) => !names.has(name))
    .toSorted()
    .map(
      (name) =>
        `${name} is applied in the database, but its files are missing: restore them ` +
        `(\`git log --all -- '*${name}*'\` finds them); to take the migration back, set the target to the one before it ` +
        "while the files are there",
    );
  const lastApplied = migrations.findLastIndex(({ name }) => recorded.has(name));
  for (const { name } of migrations.slice(0, lastApplied + 1)) {
    if (recorded.has(name)) continue;
    problems.push(
      `${name} is not applied, but comes before ${migrations[lastApplied]?.name}, which is: ` +
        "give it a number after the newest one",
    );
  }
  if (problems.length > 0) throw new InputError("The migrations do not fit the database:", problems);

  return {
    up: target.filter(({ name }) => !recorded.has(name)),
    down: migrations
      .slice(target.length)
      .filter(({ name }) => recorded.has(name))
      .toReversed(),
  };
}
