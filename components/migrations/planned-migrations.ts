import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { InputError } from "../../migrator/errors.ts";
import {
  listMigrations,
  type Migration,
  numberOf,
  readMigrations,
  selectTarget,
} from "../../migrator/files.ts";
import { type Plan, planRun } from "../../migrator/plan.ts";
import type { AppliedMigration } from "../../migrator/record.ts";
import { previousOutputs } from "../previous-outputs.ts";
import type { Settings } from "../settings.ts";

/**
 * What is in place, as the last update left it, by name. It is a stack output, because a preview must know it
 * without a connection to the database.
 */
export type RecordedMigrations = Readonly<Record<string, RecordedMigration>>;

interface RecordedMigration {
  /** Enough of the checksums of both files to tell that one changed. */
  readonly up: string;
  readonly down: string;
  /** What its down script loses, in words: the file may be gone when that is wanted. */
  readonly revertLoses: readonly string[];
}

/** What an update is to bring the database to. */
export interface PlannedMigrations {
  /** Names of the migrations that will be in place. */
  readonly names: readonly string[];
  /** One line a migration: what makes a new or changed file a difference. */
  readonly list: string;
  /** Undefined in an ephemeral environment, which forgets everything. */
  readonly recorded: RecordedMigrations | undefined;
  /** Whether data may be lost on the way back. */
  readonly allowDataLoss: boolean;
  /** Why an update would be refused: a preview goes on, so that all else can be seen, and fails at the end. */
  readonly refusal: string | undefined;
}

/**
 * Compares the folder with what the last update left. In a persistent environment, a preview tells what would run, with
 * its locks and what is dangerous about it, and what would be lost; needs no connection.
 *
 * @param options.restoring The update restores data first.
 * @throws pulumi.RunError when the folder or the target is not as it must be, and in an update, when something is so
 * dangerous that a reason is asked for. Nothing has been changed then.
 */
export async function planMigrations(
  settings: Settings,
  options: { readonly restoring?: boolean } = {},
): Promise<PlannedMigrations> {
  try {
    return await plan(settings, options.restoring ?? false);
  } catch (error) {
    if (error instanceof InputError) throw new pulumi.RunError(error.message);
    throw error;
  }
}

async function plan(settings: Settings, restoring: boolean): Promise<PlannedMigrations> {
  const folder = readMigrations(settings.migrationsFolder);
  const target = settings.migrationsTarget;
  if (settings.lifetime === "ephemeral") {
    const migrations = selectTarget(folder, target);
    return {
      names: migrations.map(({ name }) => name),
      list: listMigrations(migrations),
      recorded: undefined,
      allowDataLoss: true,
      refusal: undefined,
    };
  }
  const recorded = await readRecorded();
  const files = new Map(folder.map((migration) => [migration.name, migration]));
  const missing = Object.keys(recorded)
    .filter((name) => !files.has(name))
    .map((name) => ({ name, number: numberOf(name) }));
  const all = [...folder, ...missing].toSorted((a, b) => a.number - b.number);
  // Without a target, what has no files any more stops the run: it is not what is wanted.
  const names = selectTarget(target === undefined ? folder : all, target).map(({ name }) => name);
  const allowDataLoss =
    settings.allowDataLoss !== undefined && namesSame(all, settings.allowDataLoss, names.at(-1));

  const known = planOf(folder, recorded, target);
  const refusal = known && (await reviewUp(settings, folder, known));
  if (refusal !== undefined && !pulumi.runtime.isDryRun()) throw new pulumi.RunError(refusal);
  // What restored data has to revert, nobody knows before it is there.
  if (known && pulumi.runtime.isDryRun() && !restoring) tellLosses(recorded, known, allowDataLoss);
  const wanted = await recordOf(names, files, recorded, settings.schemaName);
  return {
    names,
    list: names.map((name) => listed(name, wanted[name])).join("\n"),
    recorded: wanted,
    allowDataLoss,
    refusal,
  };
}

/** Whether a setting names the migration that is to be the last one; undefined: none is to be left. */
function namesSame(all: Parameters<typeof selectTarget>[0], text: string, end: string | undefined): boolean {
  try {
    return selectTarget(all, text).at(-1)?.name === end;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`The setting allowDataLoss is "${text}":`, error.problems);
  }
}

function listed(name: string, entry: Pick<RecordedMigration, "up" | "down"> | undefined): string {
  return [name, entry?.up, entry?.down].filter(Boolean).join(" ");
}

function shortened(checksum: string): string {
  return checksum.slice(0, 12);
}

const outputs = z.object({
  migrations: z.array(z.string()).optional(),
  migrationsRecord: z.string().nullish(),
});
const losses = z.array(z.string());

/**
 * As a stack output: a line for each migration. Not JSON, which Pulumi would unfold to pages after each update.
 */
export function formatRecorded(recorded: RecordedMigrations): string {
  return Object.entries(recorded)
    .map(([name, { down, revertLoses, up }]) => [name, up, down, JSON.stringify(revertLoses)].join(" "))
    .join("\n");
}

export function parseRecorded(text: string): RecordedMigrations {
  const entries = text.split("\n").flatMap((line): [string, RecordedMigration][] => {
    const [, name, up, down, list] = /^(\S+) (\w*) (\w*) (.*)$/.exec(line) ?? [];
    if (name === undefined || up === undefined || down === undefined) return [];
    return [[name, { up, down, revertLoses: losses.parse(JSON.parse(list ?? "[]")) }]];
  });
  return Object.fromEntries(entries);
}

/** What the last update left. Empty before the first one. */
async function readRecorded(): Promise<RecordedMigrations> {
  const { migrations = [], migrationsRecord } = outputs.parse(await previousOutputs());
  const known = parseRecorded(migrationsRecord ?? "");
  // Stacks of an earlier version tell names only.
  const unknown = { up: "", down: "", revertLoses: [] };
  return Object.fromEntries(migrations.map((entry) => [entry, known[entry] ?? unknown]));
}

/** @returns Undefined where the folder does not fit: the runner is the judge, who knows what is true by now. */
function planOf(
  folder: readonly Migration[],
  recorded: RecordedMigrations,
  target: string | undefined,
): Plan | undefined {
  const files = new Map(folder.map((migration) => [migration.name, migration]));
  const applied = Object.entries(recorded).map(([name, { down, up }]): AppliedMigration => {
    const checksum = (short: string, whole = "") => (short === "" || whole.startsWith(short) ? whole : short);
    return {
      name,
      appliedAt: new Date(0),
      upChecksum: checksum(up, files.get(name)?.up.checksum) || undefined,
      downChecksum: checksum(down, files.get(name)?.down.checksum) || undefined,
      hasDownScript: true,
      appliedBy: undefined,
      appliedFrom: undefined,
      duration: undefined,
      toolVersion: undefined,
    };
  });
  try {
    return planRun(folder, applied, { target });
  } catch (error) {
    // An unknown target is a mistake in the settings.
    if (!(error instanceof InputError) || error.message.startsWith("The migration target")) throw error;
    if (pulumi.runtime.isDryRun()) {
      void pulumi.log.warn(`As the last update left it, the database will refuse this. ${error.message}`);
    }
    return undefined;
  }
}

/** @returns Why an update is to be refused; undefined: it is not. */
async function reviewUp(
  { majorVersion, schemaName: schema }: Settings,
  folder: readonly Migration[],
  { up }: Plan,
): Promise<string | undefined> {
  if (up.length === 0) return undefined;
  // Loaded only here: a preview with nothing to apply is to be quick.
  const [{ formatReview }, { reviewPending, unexcused }] = await Promise.all([
    import("../../review/format.ts"),
    import("../../review/review.ts"),
  ]);
  const reviewed = await reviewPending(up, folder, { majorVersion, schema });
  if (pulumi.runtime.isDryRun()) {
    void pulumi.log.info(`${counted(up.length)} to apply:\n${formatReview(reviewed)}`);
  }
  const stopping = unexcused(reviewed);
  if (stopping.length === 0) return undefined;
  const excusable = stopping.find((finding) => finding.excusable);
  return [
    "The migrations hold what fails, can stop the application or loses data; nothing will be changed:",
    ...stopping.map(({ file, line, message, rule }) => `  - ${file}:${line}: ${message} [${rule}]`),
    "What to do: correct it, or write it the safe way, which docs/migrations.md shows.",
    ...(excusable
      ? [
          `Where it may pass, say why at the top of the file: -- migrate: allow ${excusable.rule}: why it may pass`,
        ]
      : []),
  ].join("\n");
}

function tellLosses(recorded: RecordedMigrations, { down, end }: Plan, allowed: boolean): void {
  if (down.length === 0) return;
  const names = down.map(({ name }) => name);
  void pulumi.log.info(`${counted(down.length)} to revert: ${names.join(", ")}`);
  const losses = names.flatMap((name) =>
    (recorded[name]?.revertLoses ?? []).map((loss) => `  ${name}: ${loss}`),
  );
  if (losses.length === 0) return;
  const permission = allowed
    ? "The setting allowDataLoss permits it."
    : `The update refuses it until the setting allowDataLoss names the target: pulumi config set allowDataLoss ${end ?? "0"}`;
  void pulumi.log.warn(
    ["This will be lost; how much that is, the update tells before it begins:", ...losses, permission].join(
      "\n",
    ),
  );
}

function counted(count: number): string {
  return count === 1 ? "1 migration" : `${count} migrations`;
}

async function recordOf(
  names: readonly string[],
  files: ReadonlyMap<string, Migration>,
  recorded: RecordedMigrations,
  schema: string,
): Promise<RecordedMigrations> {
  const result: Record<string, RecordedMigration> = {};
  for (const name of names) {
    const migration = files.get(name);
    const before = recorded[name];
    const down = migration && shortened(migration.down.checksum);
    if (before && (down === undefined || before.down === down)) result[name] = before;
    else if (migration && down !== undefined) {
      const { describeLosses } = await import("../../review/losses.ts");
      const revertLoses = await describeLosses([migration.down.sql], schema);
      result[name] = { up: shortened(migration.up.checksum), down, revertLoses };
    }
  }
  return result;
}
