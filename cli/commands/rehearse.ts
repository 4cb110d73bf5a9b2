import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { labelsOf } from "../../airgap/images.ts";
import { prepareImages } from "../../airgap/setup.ts";
import { InitScriptsError, readInitScripts } from "../../components/server/init-scripts.ts";
import type { Settings } from "../../components/settings.ts";
import { MigratorError } from "../../migrator/errors.ts";
import { type Migration, readMigrations } from "../../migrator/files.ts";
import { type Base, findBase, splitByBase } from "../../rehearsal/base.ts";
import { applyAll, type RehearsalRun, type RoundTrip, rehearse } from "../../rehearsal/rehearse.ts";
import { describeFindings, formatRoundTrip, isGood, summarize } from "../../rehearsal/report.ts";
import { containerName, removeLeftOvers, removeServer, startServer } from "../../rehearsal/server.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";
import { describeError, exitCode, UserError } from "../errors.ts";
import { developmentStack, projectRoot } from "../project.ts";
import { readStackFile } from "../stack-files.ts";
import { readStateBackend } from "../state-backend.ts";
import { consoleReporter, runStep, type StepReporter, seconds } from "../steps.ts";

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
  const { stack, settings, project } = await readSettingsOf(options.stack);
  const folder = migrationsFolder(options, settings);
  const work = await findWork(folder, options);
  if (work.pending.length === 0) {
    if (options.json) print(JSON.stringify(reportOf({ stack, settings, folder, work }, []), undefined, 2));
    else print(nothingToDo(folder, work));
    return;
  }

  const initScripts = readScripts(settings);
  await prepareImage(reporter, settings.image);
  for (const name of await removeLeftOvers())
    reporter.note(`Removed ${name}, left behind by a killed rehearsal`);
  const container = containerName(project);
  const trips: RoundTrip[] = [];
  const keep = options.keep ?? false;
  await removedAtTheEnd(container, keep, async () => {
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

async function readSettingsOf(
  given: string | undefined,
): Promise<{ stack: string; settings: Settings; project: string }> {
  const production = "production";
  const stack = given ?? ((await readStackFile(production)) === undefined ? developmentStack : production);
  const stackFile = await readStackFile(stack);
  if (stackFile === undefined) {
    throw new UserError(`there is no Pulumi.${stack}.yaml, which holds the settings of stack ${stack}.`, {
      next: "Name another stack: ./db rehearse --stack NAME",
      exitCode: exitCode.missing,
    });
  }
  const projectFile = await readFile(join(projectRoot, "Pulumi.yaml"), "utf8");
  const settings = stackSettings(stack, projectFile, stackFile);
  return { stack, settings, project: (await readStateBackend()).project };
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

function readScripts({ initdbFolder }: Settings) {
  try {
    return readInitScripts(initdbFolder, projectRoot);
  } catch (error) {
    if (!(error instanceof InitScriptsError)) throw error;
    throw new UserError(error.message, { next: "Then rehearse again.", exitCode: exitCode.usage });
  }
}

/** An image that is there is used as it is; the rest is what `./db start` does. */
async function prepareImage(reporter: StepReporter, image: string): Promise<void> {
  const there = await labelsOf(image).catch((error: unknown) => {
    if (error instanceof UserError) return undefined;
    throw error;
  });
  if (there === undefined) await prepareImages(reporter, [image]);
}

/**
 * Removes the container when the work has ended, in whatever way: also by Ctrl-C and the signals that end a process.
 * Only a killed process leaves it behind, for the next rehearsal to remove.
 */
async function removedAtTheEnd(container: string, keep: boolean, work: () => Promise<void>): Promise<void> {
  const codes = { SIGINT: exitCode.interrupted, SIGTERM: 143, SIGHUP: 129 } as const;
  const signals = Object.keys(codes) as (keyof typeof codes)[];
  let interrupted = false;
  let running: Promise<unknown> | undefined;
  const interrupt = async (signal: NodeJS.Signals) => {
    if (interrupted) return;
    interrupted = true;
    let said = "db: the rehearsal was interrupted; its server has been removed.";
    try {
      await removeServer(container);
      // What was under way fails at once; but a container that Docker was just about to make is there only now.
      await Promise.race([running, sleep(3_000)]);
      await removeServer(container);
    } catch (error) {
      said = describeError(error, false);
    }
    process.stderr.write(`${said}\n`);
    process.exit(codes[signal as keyof typeof codes]);
  };
  for (const signal of signals) process.on(signal, interrupt);
  let ended = false;
  try {
    const result = work();
    running = result.catch(() => {});
    await result;
    ended = true;
  } catch (error) {
    // How the work fails without its server is nobody's concern: the process ends above.
    if (interrupted) await new Promise(() => {});
    throw error;
  } finally {
    if (!keep || !ended) await removeServer(container);
    for (const signal of signals) process.off(signal, interrupt);
  }
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
