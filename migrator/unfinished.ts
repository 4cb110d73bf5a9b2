import type { Client } from "pg";
import { exitCodes, MigratorError } from "./errors.ts";
import { findLeftovers, type Leftover } from "./leftovers.ts";
import type { UnfinishedMigration } from "./record.ts";

/** What was not there before the migration began. */
export function newLeftovers(found: readonly Leftover[], before: readonly string[]): Leftover[] {
  return found.filter(({ cleanUp }) => !before.includes(cleanUp));
}

/**
 * What is known of a migration without a transaction that was not completed; undefined where it left nothing behind,
 * and can simply be run again: its first statement failed, and the catalogue has no trace of it.
 */
export async function describeUnfinished(
  client: Client,
  unfinished: UnfinishedMigration | undefined,
): Promise<string | undefined> {
  if (unfinished === undefined) return undefined;
  const { direction, error, name, startedAt, startedBy, startedFrom, statementsDone } = unfinished;
  const left = newLeftovers(await findLeftovers(client), unfinished.leftoversBefore);
  if (error !== undefined && statementsDone === 0 && left.length === 0) return undefined;
  const end = error === undefined ? "was interrupted" : `failed: ${error}`;
  return [
    `${name} (${direction}, without a transaction) was begun on ${startedAt.toISOString()} by ${startedBy} from ${startedFrom}, and ${end}.`,
    `  statements completed for certain: ${statementsDone}${error === undefined ? "; the next one may be, too" : ""}`,
    ...describeLeftovers(left),
    `What to do: ${stepsOf({ direction, name, left, mayGoOn: error !== undefined && statementsDone === 0 })}`,
  ].join("\n");
}

/** @throws MigratorError where the database holds a part of a migration. */
export async function checkUnfinished(
  client: Client,
  unfinished: UnfinishedMigration | undefined,
  log: (line: string) => void,
): Promise<void> {
  const text = await describeUnfinished(client, unfinished);
  if (text !== undefined) {
    throw new MigratorError(exitCodes.failed, `No migration was run: a part of one is in place.\n${text}`);
  }
  if (unfinished) log(`${unfinished.name} failed in an earlier run, and nothing of it is left`);
}

/** How things stand after a statement of a script without a transaction failed. */
export function afterFailure(failure: {
  readonly name: string;
  readonly direction: "up" | "down";
  readonly file: string;
  readonly done: number;
  readonly total: number;
  readonly left: readonly Leftover[];
}): string {
  const { direction, done, file, left, name, total } = failure;
  const mayGoOn = done === 0;
  return [
    mayGoOn
      ? `${name} was not ${direction === "up" ? "applied" : "reverted"}; it runs without a transaction.`
      : `${name} is in place in part: it runs without a transaction, and ${done} of its ${total} statements were completed.`,
    ...describeLeftovers(left),
    mayGoOn && left.length === 0
      ? `What to do: correct ${file}, then run again.`
      : `What to do: ${stepsOf({ direction, name, left, mayGoOn })}`,
  ].join("\n");
}

function describeLeftovers(left: readonly Leftover[]): string[] {
  return left.map(({ cleanUp, what }) => `  left behind: ${what}; clean it up by: ${cleanUp}`);
}

function stepsOf(state: {
  readonly direction: "up" | "down";
  readonly name: string;
  readonly left: readonly Leftover[];
  readonly mayGoOn: boolean;
}): string {
  const { direction, left, mayGoOn, name } = state;
  const cleanUp = left.length > 0 ? "clean up as the owner, by the statements above; then " : "";
  if (mayGoOn) return `${cleanUp}run again.`;
  const [undone, completed] = direction === "up" ? ["reverted", "applied"] : ["applied", "reverted"];
  return (
    `${cleanUp}undo by hand what is in place of it, and settle the record by ` +
    `./db migrate repair ${name} --status ${undone}; or do the rest of it by hand, and settle the record by ` +
    `./db migrate repair ${name} --status ${completed}; then run again.`
  );
}
