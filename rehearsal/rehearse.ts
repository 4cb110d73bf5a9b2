import type { Client } from "pg";
import { compareCatalogues, type Difference } from "../catalogue/compare.ts";
import { type Catalogue, readCatalogue } from "../catalogue/read.ts";
import { roleNames } from "../components/names.ts";
import { parseDuration } from "../components/settings/units.ts";
import type { Settings } from "../components/settings.ts";
import type { ConnectionSettings } from "../migrator/connection.ts";
import { MigratorError } from "../migrator/errors.ts";
import type { Migration } from "../migrator/files.ts";
import { readHeader } from "../migrator/header.ts";
import { migrate } from "../migrator/run.ts";
import type { FinishedScript } from "../migrator/run-options.ts";
import { recordSchema } from "../migrator/session.ts";
import { readLocks, readTables, type TakenLock } from "./locks.ts";

export type Step = "up" | "down" | "up again";

/** What came of the round trip of one migration. */
export interface RoundTrip {
  readonly name: string;
  /** How long each script ran, in milliseconds; those that were not run, or failed, are left out. */
  readonly durations: Readonly<Partial<Record<Step, number>>>;
  /** Of the up script. Undefined: it runs without a transaction, so that its locks are gone at its end. */
  readonly locks: readonly TakenLock[] | undefined;
  /** Between before and after up and down. */
  readonly afterDown: readonly Difference[];
  /** Between after the first up and after the second. */
  readonly afterSecondUp: readonly Difference[];
  readonly failure: { readonly step: Step; readonly message: string } | undefined;
}

export interface RehearsalRun {
  readonly migrator: ConnectionSettings;
  /** A session in the same database that sees everything. */
  readonly superuser: Client;
  readonly settings: Pick<
    Settings,
    "appName" | "schemaName" | "migrationsLockTimeout" | "migrationsStatementTimeout"
  >;
  readonly folder: string;
  /** Role that may read how the last run went. Default: nobody, and nothing is kept. */
  readonly monitor?: string | undefined;
}

/** Applies migrations as `pulumi up` does. @throws MigratorError */
export async function applyAll(run: RehearsalRun, migrations: readonly Migration[]): Promise<void> {
  const last = migrations.at(-1);
  if (last) await migrateTo(run, last.name);
}

/**
 * Runs each migration up, down and up again, and compares the catalogue. Goes on with the next after a difference, and
 * after a down script that failed as a whole; ends where the next has nothing to stand on.
 *
 * @param applied What is in place already.
 */
export async function* rehearse(
  run: RehearsalRun,
  applied: readonly Migration[],
  pending: readonly Migration[],
): AsyncGenerator<RoundTrip> {
  let before = await catalogueOf(run);
  let previous = applied.at(-1)?.name ?? "0";
  for (const migration of pending) {
    const { result, catalogue } = await roundTrip(run, migration, previous, before);
    yield result;
    if (catalogue === undefined) return;
    before = catalogue;
    previous = migration.name;
  }
}

/** @returns The catalogue with the migration in place; undefined where it is not, or not for certain. */
async function roundTrip(
  run: RehearsalRun,
  migration: Migration,
  previous: string,
  before: Catalogue,
): Promise<{ result: RoundTrip; catalogue: Catalogue | undefined }> {
  const { name } = migration;
  const result = {
    name,
    durations: {} as Partial<Record<Step, number>>,
    locks: undefined as readonly TakenLock[] | undefined,
    afterDown: [] as Difference[],
    afterSecondUp: [] as Difference[],
    failure: undefined as RoundTrip["failure"],
  };
  const tables = await readTables(run.superuser);
  /** @returns Whether it worked. */
  const go = async (step: Step, target: string) => {
    try {
      await migrateTo(run, target, async ({ client, duration, transaction }) => {
        result.durations[step] = duration;
        if (step === "up" && transaction) result.locks = await readLocks(client, tables);
      });
      return true;
    } catch (error) {
      if (!(error instanceof MigratorError)) throw error;
      delete result.durations[step];
      result.failure = { step, message: adaptMessage(error.message, migration, step) };
      return false;
    }
  };

  if (!(await go("up", name))) return { result, catalogue: undefined };
  const afterUp = await catalogueOf(run);
  if (!(await go("down", previous))) {
    // Without a transaction, a part of it may be gone.
    return { result, catalogue: readHeader(migration.down.sql).transaction ? afterUp : undefined };
  }
  result.afterDown = compareCatalogues(before, await catalogueOf(run));
  if (!(await go("up again", name))) return { result, catalogue: undefined };
  const catalogue = await catalogueOf(run);
  result.afterSecondUp = compareCatalogues(afterUp, catalogue);
  return { result, catalogue };
}

async function migrateTo(
  { folder, migrator, monitor, settings }: RehearsalRun,
  target: string,
  inspect?: (script: FinishedScript) => Promise<void>,
): Promise<void> {
  await migrate({
    connection: migrator,
    folder,
    target,
    owner: roleNames(settings.appName).owner,
    schema: settings.schemaName,
    monitor,
    lockTimeout: parseDuration(settings.migrationsLockTimeout ?? ""),
    statementTimeout: parseDuration(settings.migrationsStatementTimeout ?? ""),
    // There is none in a throwaway server but what the migrations made.
    allowDataLoss: true,
    log: () => {},
    inspect,
  });
}

function catalogueOf({ superuser }: RehearsalRun): Promise<Catalogue> {
  return readCatalogue(superuser, { without: [recordSchema] });
}

/** Leaves out what is said of a database that stays. */
function adaptMessage(message: string, { name, up, down }: Migration, step: Step): string {
  const lines = message
    .split("\n")
    .filter((line) => !line.startsWith("What to do:") && !line.startsWith(`${name} was not `));
  const { file } = step === "down" ? down : up;
  const what =
    step === "up again" ? `${up.file} or ${down.file}: what one makes, the other must take away` : file;
  return [...lines, `What to do: correct ${what}; then rehearse again.`].join("\n");
}
