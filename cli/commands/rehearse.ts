import { relative, resolve } from "node:path";
import type { Settings } from "../../components/settings.ts";
import { MigratorError } from "../../migrator/errors.ts";
import { type Migration, readMigrations } from "../../migrator/files.ts";
import { type Base, findBase, splitByBase } from "../../rehearsal/base.ts";
import { applyAll, type RehearsalRun, type RoundTrip, rehearse } from "../../rehearsal/rehearse.ts";
import { describeFindings, formatRoundTrip, isGood, summarize } from "../../rehearsal/report.ts";
import { containerName, removeLeftOvers, startServer } from "../../rehearsal/server.ts";
import { exitCode } from "../errors.ts";
import { developmentStack, projectRoot } from "../project.ts";
import { readStackFile } from "../stack-files.ts";
import { consoleReporter, runStep, type StepReporter, seconds } from "../steps.ts";
import {
  prepareImage,
  readScripts,
  readSettingsOf,
  removedAtTheEnd,
  type StackOfFiles,
} from "../throwaway-server.ts";

export interface RehearseOptions {
  readonly stack?: string;
  readonly base?: string;
  readonly all?: true;
  readonly dir?: string;
  readonly json?: true;
  readonly keep?: true;
}

export async function rehearseMigrations(options: RehearseOptions): Promise<void> {
  const began = performance.now();
  const reporter = consoleReporter();
  const { stack, settings, project } = await stackOf(options.stack);
  const folder = migrationsFolder(options, settings);
  const work = await findWork(folder, options);
  if (work.pending.length === 0) {
    if (options.json) print(JSON.stringify(reportOf({ stack, settings, folder, work }, []), undefined, 2));
    else print(nothingToDo(folder, work));
    return;
  }

  const initScripts = readScripts(settings, "Then rehearse again.");
  await prepareImage(reporter, settings.image);
  for (const name of await removeLeftOvers())
    reporter.note(`Removed ${name}, left behind by a killed rehearsal`);
  const container = containerName(project);
  const trips: RoundTrip[] = [];
  const keep = options.keep ?? false;
  await removedAtTheEnd({ container, keep, what: "the rehearsal" }, async () => {
    const server = await runStep(reporter, `Throwaway server as stack ${stack} has it`, async () => ({
      result: await startServer({ container, settings, initScripts, keep }),
      note: settings.image,
    }));
    try {
      const run = { migrator: server.migrator, superuser: server.superuser, settings, folder };
      await applyBase(run, work, reporter);
      for await (const trip of rehearse(run, work.applied, work.pending)) {
        trips.push(trip);
        if (!options.json) print(formatRoundTrip(trip));
      }
    } finally {
      await server.superuser.end().catch(() => {});
    }
  });
  const took = seconds(performance.now() - began);
  if (keep) reporter.note(describeKept(container, settings));
  if (options.json) print(JSON.stringify(reportOf({ stack, settings, folder, work }, trips), undefined, 2));
  else print(summarize(trips, work.pending.length - trips.length, took));
  if (!trips.every(isGood)) process.exitCode = exitCode.failure;
}

function stackOf(given: string | undefined): Promise<StackOfFiles> {
  return given === undefined ? likeProduction() : readSettingsOf(given, "./db rehearse --stack NAME");
}

/** Where no stack is named: production, or development where there is no production. */
async function likeProduction(): Promise<StackOfFiles> {
  const production = "production";
  const stack = (await readStackFile(production)) === undefined ? developmentStack : production;
  return await readSettingsOf(stack, "./db rehearse --stack NAME");
}

/** As a person would write it. */
function migrationsFolder({ dir }: RehearseOptions, { migrationsFolder: setting }: Settings): string {
  const folder = dir === undefined ? resolve(projectRoot, setting) : resolve(dir);
  const path = relative("", folder) || ".";
  return path.startsWith("..") ? folder : path;
}

/** What is applied first, and what is rehearsed. */
interface Work {
  /** Undefined: every migration is rehearsed. */
  readonly base: Base | undefined;
  readonly applied: readonly Migration[];
  readonly pending: readonly Migration[];
}

async function findWork(folder: string, { all, base: ref }: RehearseOptions): Promise<Work> {
  const migrations = readMigrations(folder);
  if (all) return { base: undefined, applied: [], pending: migrations };
  const base = await findBase(folder, ref);
  return { base, ...(await splitByBase(folder, migrations, base)) };
}

function nothingToDo(folder: string, { applied, base }: Work): string {
  if (base === undefined) return `Nothing to rehearse: there is no migration in ${folder}`;
  return (
    `Nothing to rehearse: ${base.ref} has every migration in ${folder} (${applied.length}). ` +
    "--all rehearses them all."
  );
}

async function applyBase(run: RehearsalRun, { applied, base }: Work, reporter: StepReporter): Promise<void> {
  if (applied.length === 0) return;
  await runStep(reporter, `What ${base?.ref} has`, async () => {
    await applyAll(run, applied).catch((error: unknown) => {
      if (!(error instanceof MigratorError)) throw error;
      throw new MigratorError(
        error.exitCode,
        `The migrations that ${base?.ref} has cannot be applied to a new server.\n${error.message}`,
      );
    });
    return {
      result: undefined,
      note: applied.length === 1 ? "1 migration" : `${applied.length} migrations`,
    };
  });
}

function describeKept(container: string, { databaseName, superuserName }: Settings): string {
  return [
    `The server stays: ${container}`,
    `  psql:      docker exec -it ${container} psql -U ${superuserName} -d ${databaseName}`,
    `  remove it: docker rm --force --volumes ${container}`,
  ].join("\n");
}

/** For programs: `--json`. */
function reportOf(
  { stack, settings, folder, work }: { stack: string; settings: Settings; folder: string; work: Work },
  trips: readonly RoundTrip[],
) {
  const base = work.base && { ...work.base, migrations: work.applied.map(({ name }) => name) };
  return {
    stack,
    image: settings.image,
    folder,
    base: base ?? null,
    good: trips.every(isGood) && trips.length === work.pending.length,
    migrations: trips.map((trip) => ({
      name: trip.name,
      good: isGood(trip),
      milliseconds: Object.fromEntries(
        Object.entries(trip.durations).map(([step, duration]) => [step, Math.round(duration)]),
      ),
      locks: trip.locks ?? null,
      differences: describeFindings(trip).faults,
      notes: describeFindings(trip).notes,
      failure: trip.failure ?? null,
    })),
    notRehearsed: work.pending.slice(trips.length).map(({ name }) => name),
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
