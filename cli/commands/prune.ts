import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { withLock } from "../../airgap/lock.ts";
import { parseAge } from "../../components/settings/units.ts";
import { formatAge, formatTable } from "../amounts.ts";
import { mendCutOffState } from "../cut-off-state.ts";
import { type DockerObject, removeObjects } from "../docker.ts";
import { describeError, exitCode, UserError } from "../errors.ts";
import { environmentsFolder } from "../project.ts";
import { isUnknownStack, pulumiCommand, pulumiError } from "../pulumi.ts";
import { readStackFile } from "../stack-files.ts";
import { readStackLocks } from "../stack-lock.ts";
import { type Environment, findEnvironments, timeLeft } from "../stack-rows.ts";
import { readStateBackend, type StateBackend } from "../state-backend.ts";
import { consoleReporter, runStep, type StepReporter } from "../steps.ts";
import {
  defaultKeepFor,
  makeThrowawayFile,
  newThrowawayFile,
  removeThrowawayFiles,
  replaceStackFile,
  withKeepFor,
} from "../throwaway.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface PruneOptions {
  /** An age, instead of each stack's own. */
  readonly olderThan?: string;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

/** What is removed, and why. */
interface Candidate {
  readonly environment: Environment;
  readonly reason: string;
}

type Outcome = "removed" | "would be removed" | "in use" | "failed";

export async function prune(options: PruneOptions): Promise<void> {
  const backend = await readStateBackend();
  const reporter = consoleReporter();
  const found = candidates(await findEnvironments(backend), options.olderThan, Date.now());
  if (!options.json || !options.yes) tell(found, options, reporter);
  if (found.length > 0 && !options.dryRun && !options.yes) await ask(found.length);
  const outcomes: { stack: string; reason: string; outcome: Outcome }[] = [];
  for (const candidate of found) {
    const { reason } = candidate;
    const { stack } = candidate.environment;
    const outcome = options.dryRun ? "would be removed" : await remove(candidate, options, backend, reporter);
    outcomes.push({ stack, reason, outcome });
  }
  if (options.json) process.stdout.write(`${JSON.stringify(outcomes, null, 2)}\n`);
  if (outcomes.some(({ outcome }) => outcome === "failed")) process.exitCode = exitCode.failure;
}

/** @param now In milliseconds since 1970. */
export function candidates(
  environments: readonly Environment[],
  olderThan: string | undefined,
  now: number,
): Candidate[] {
  const found = environments.flatMap((environment) => {
    if (environment.state === "left over") return [{ environment, reason: "its state is gone" }];
    if (environment.keepFor === undefined) return [];
    // What an interrupted prune has begun to remove has the age 0 itself.
    const limit = parseAge(environment.keepFor) === 0 ? "0" : (olderThan ?? environment.keepFor);
    const left = timeLeft({ ...environment, keepFor: limit }, now) ?? 0;
    if (left > 0) return [];
    const age = environment.used
      ? `last used ${formatAge(now - environment.used.getTime())} ago`
      : "never used";
    return [{ environment, reason: `${age}, kept for ${limit}` }];
  });
  // What a stack has left over goes with it.
  return found.filter(
    ({ environment: { stack, state } }) =>
      state !== "left over" ||
      !found.some(({ environment: other }) => other.stack === stack && other.state !== "left over"),
  );
}

function tell(found: readonly Candidate[], { dryRun }: PruneOptions, reporter: StepReporter): void {
  if (found.length === 0) {
    reporter.note("Nothing to remove");
    return;
  }
  reporter.note(dryRun ? "Would be removed:" : "To be removed:");
  const rows = found.map(({ environment: { server, stack, state }, reason }) => [
    `  ${stack}`,
    state,
    server?.container?.name ?? server?.network?.name ?? "",
    reason,
  ]);
  for (const line of formatTable(rows)) reporter.note(line);
}

async function ask(count: number): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new UserError("nobody can be asked here, and nothing was removed.", {
      next: "Remove without asking: ./db prune --yes",
      exitCode: exitCode.usage,
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const what = count === 1 ? "it" : `all ${count}`;
    const answer = await terminal.question(`Remove ${what}, with the data? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) {
      throw new UserError("nothing was removed.", { next: "Only y or yes removes." });
    }
  } finally {
    terminal.close();
  }
}

/** One that fails keeps none of the others from being removed. */
async function remove(
  { environment }: Candidate,
  options: PruneOptions,
  backend: StateBackend,
  reporter: StepReporter,
): Promise<Outcome> {
  const { stack, state } = environment;
  try {
    return await runStep(reporter, `Removing ${stack}`, async () => {
      const result =
        state === "left over"
          ? await removeLeftOver(environment, backend)
          : await removeStack(stack, options, backend);
      return { result, note: result };
    });
  } catch (error) {
    reporter.note(describeError(error, Boolean(process.env.DEBUG)));
    return "failed";
  }
}

async function removeLeftOver(environment: Environment, backend: StateBackend): Promise<Outcome> {
  // An `up` of another terminal that is at work right now has not written down yet what it has made.
  if (await isAtWork(environment.stack, backend)) return "in use";
  await removeObjects(objectsOf(environment));
  return "removed";
}

/** Never a volume: an ephemeral environment has none but the anonymous ones, which go with their container. */
function objectsOf({ server }: Environment): DockerObject[] {
  const { container, network } = server ?? {};
  return [
    ...(container ? [{ kind: "container" as const, id: container.id, name: container.name }] : []),
    ...(network ? [network] : []),
  ];
}

async function isAtWork(stack: string, { folder, project }: StateBackend): Promise<boolean> {
  if (folder === undefined) return false;
  const { begun, held } = await readStackLocks(folder, project, stack);
  return held.length + begun > 0;
}

async function removeStack(stack: string, options: PruneOptions, backend: StateBackend): Promise<Outcome> {
  const lock = join(environmentsFolder, `${stack}.start.lock`);
  return await withLock(
    lock,
    () => {},
    async () => {
      if (await isAtWork(stack, backend)) return "in use";
      // Somebody may have started it since.
      const now = (await findEnvironments(backend)).filter((environment) => environment.stack === stack);
      const [still] = candidates(now, options.olderThan, Date.now());
      if (!still || still.environment.state === "left over") return "in use";
      await markForRemoval(stack, backend);
      if (still.environment.pulumi !== undefined) await removeFromPulumi(stack, backend);
      await removeThrowawayFiles(stack);
      for (const environment of await findEnvironments(backend)) {
        if (environment.stack === stack && environment.state === "left over") {
          await removeObjects(objectsOf(environment));
        }
      }
      return "removed";
    },
  );
}

/** So that the next prune goes on with it, should this one be killed: what it does counts as use otherwise. */
async function markForRemoval(stack: string, { project }: StateBackend): Promise<void> {
  // Another checkout made it: Pulumi needs the file all the same.
  if ((await readStackFile(stack)) === undefined) {
    await makeThrowawayFile(stack, await newThrowawayFile(stack, defaultKeepFor));
  }
  const text = (await readStackFile(stack)) ?? "";
  await replaceStackFile(stack, withKeepFor(text, project, "0s"));
}

async function removeFromPulumi(stack: string, backend: StateBackend): Promise<void> {
  const pulumi = await pulumiCommand(stack, await toolchainVariables());
  const run = async (...args: string[]) => {
    const { code, stderr, stdout } = await pulumi.capture(args);
    if (code !== 0 && !isUnknownStack(stderr)) throw pulumiError(stack, stderr.trim() || stdout.trim());
  };
  const { folder, project } = backend;
  if (folder !== undefined) {
    await mendCutOffState({ folder, project, stack, setBack: true });
    if ((await readStackLocks(folder, project, stack)).dead > 0) await run("cancel", "--yes");
  }
  await run("destroy", "--yes", "--skip-preview", "--suppress-outputs");
  // Even with what Pulumi was making when it was killed: that is found by its labels.
  await run("stack", "rm", "--yes", "--force");
}
