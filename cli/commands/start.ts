import { join, relative } from "node:path";
import { withLock } from "../../airgap/lock.ts";
import { prepareToolchain } from "../../airgap/setup.ts";
import { copyImage } from "../../components/backups/copy-image.ts";
import { connectReport, formatConnectReport, psqlLine } from "../connect.ts";
import { checkConnection } from "../connection-check.ts";
import { mendCutOffState } from "../cut-off-state.ts";
import { type Deployment, parseDeployment } from "../deployment.ts";
import { findObjects, inspectContainer, removeObjects, stackLabels } from "../docker.ts";
import { ChildFailure, exitCode, UserError } from "../errors.ts";
import { makePrivateFolder, writePrivateFile } from "../files.ts";
import { passphraseVariables } from "../passphrase.ts";
import { formatPasswordFile } from "../password-file.ts";
import { developmentStack, environmentsFolder, findExecutable } from "../project.ts";
import { writeAuthority } from "../psql.ts";
import {
  cannotLoadState,
  isUnknownStack,
  type PulumiCommand,
  pulumiCommand,
  pulumiError,
  readOutputs,
} from "../pulumi.ts";
import { findServers, idsOfOtherCheckouts } from "../servers.ts";
import { imageSetting, readStackFile, stackFileName, textSetting } from "../stack-files.ts";
import { awaitStackLock } from "../stack-lock.ts";
import type { StackOutputs } from "../stack-outputs.ts";
import { findEnvironments } from "../stack-rows.ts";
import { readStackStates } from "../stack-states.ts";
import { readStateBackend, type StateBackend } from "../state-backend.ts";
import { consoleReporter, runStep, type StepReporter, seconds } from "../steps.ts";
import {
  defaultKeepFor,
  isThrownAway,
  keepForOf,
  makeThrowawayFile,
  newThrowawayFile,
  replaceStackFile,
  withKeepFor,
} from "../throwaway.ts";

export interface StartOptions {
  readonly stack: string;
  /** For a stack that is removed by age: how long it is kept. */
  readonly keepFor?: string;
  readonly again?: true;
  readonly yes?: true;
  readonly showPasswords?: true;
  readonly json?: true;
}

export async function start(options: StartOptions): Promise<void> {
  const began = performance.now();
  const reporter = consoleReporter();
  const { stack } = options;
  // What the user must mend comes before anything that takes long.
  const backend = await readStateBackend();
  const stackFile = await checkStack(options, backend, reporter);
  const image = imageSetting(stackFile, backend.project);
  // Not for what has no copy of its backups off the host.
  const hasCopy = textSetting(stackFile, backend.project, "backupCopyPath") !== undefined;
  const toolchain = await prepareToolchain({
    log: reporter,
    needDocker: true,
    needImages: hasCopy ? [image, copyImage] : [image],
  });
  reporter.note(`Toolchain: ${toolchain.reason}`);
  for (const standIn of toolchain.standInImages)
    reporter.note(`Image ${standIn}: a stand-in built here, as it can't be pulled`);
  const pulumi = echoing(await pulumiCommand(stack, toolchain.env), reporter);
  const thrownAway = isThrownAway(stack, stackFile, backend.project);
  const context: Context = { options, stack, backend, pulumi, reporter, thrownAway };
  // Pulumi's own lock lasts for one command, and several make a start.
  const lock = join(environmentsFolder, `${stack}.start.lock`);
  const waiting = (pid: number) => reporter.note(`Waiting for process ${pid}, which is starting ${stack}`);
  const outputs = await withLock(lock, waiting, () => bringUp(context));
  await report(context, outputs, performance.now() - began);
}

async function bringUp(context: Context): Promise<StackOutputs> {
  const { options, stack } = context;
  const before = await prepareStack(context);
  if (options.again && before.lifetime === "persistent") {
    throw new UserError(`stack ${stack} keeps its data: --again, which destroys it, is not for it.`, {
      next: `README, «Removing an environment», tells how it is removed with Pulumi's own commands.`,
    });
  }
  if (options.again && before.resources > 0) await destroy(context);
  await up(context, options.again ? [] : await settleMissingContainers(context, before));
  return await connectable(context);
}

interface Context {
  readonly options: StartOptions;
  readonly stack: string;
  readonly backend: StateBackend;
  readonly pulumi: PulumiCommand;
  readonly reporter: StepReporter;
  /** It may be changed without asking. */
  readonly thrownAway: boolean;
}

/** @returns Text of the stack's file, which is made where there is none. */
async function checkStack(
  options: StartOptions,
  backend: StateBackend,
  reporter: StepReporter,
): Promise<string> {
  const { keepFor, stack } = options;
  const given = await readStackFile(stack);
  const stackFile = given === undefined ? await makeStackFile(options, backend, reporter) : given;
  const developmentFile = await readStackFile(developmentStack);
  passphraseVariables({ stack, stackFile, developmentFile, backendUrl: backend.url }, process.env);
  if (keepFor === undefined || given === undefined) return stackFile;
  if (keepForOf(stackFile, backend.project) === undefined) {
    throw new UserError(
      `${stackFileName(stack)} has no keepFor: stack ${stack} is never removed by its age.`,
      {
        next: "Leave --keep-for out. To have ./db prune remove it, write keepFor into the file first.",
        exitCode: exitCode.usage,
      },
    );
  }
  const changed = withKeepFor(stackFile, backend.project, keepFor);
  await replaceStackFile(stack, changed);
  return changed;
}

/** A stack for a branch or a pull request needs no file of its own: it gets development's settings. */
async function makeStackFile(
  { keepFor = defaultKeepFor, stack }: StartOptions,
  backend: StateBackend,
  reporter: StepReporter,
): Promise<string> {
  if (stack === developmentStack || stack === "production") throw missingFile(stack);
  const text = await newThrowawayFile(stack, keepFor);
  const known = (await readStackStates(backend)).find((each) => each.stack === stack);
  if (known && known.resources > 0 && known.lifetime !== "ephemeral" && !(await isMarked(backend, stack))) {
    throw new UserError(
      `stack ${stack} is there already, without its ${stackFileName(stack)}: it may keep data, and is not taken for one to throw away.`,
      {
        next: "Bring its file back, such as from git, or remove the stack with Pulumi's own commands.",
        exitCode: exitCode.missing,
      },
    );
  }
  await makeThrowawayFile(stack, text);
  reporter.note(
    `${stackFileName(stack)}: made from Pulumi.${developmentStack}.yaml. ./db prune removes it, with the stack, ${keepFor} after its last use`,
  );
  return (await readStackFile(stack)) ?? text;
}

/** By its label in Docker, where the state backend does not tell what kind of stack it is. */
async function isMarked(backend: StateBackend, stack: string): Promise<boolean> {
  return (await findEnvironments(backend)).some((each) => each.stack === stack && each.keepFor !== undefined);
}

function missingFile(stack: string): UserError {
  return new UserError(`there is no ${stackFileName(stack)}, which holds the settings of stack ${stack}.`, {
    next: [
      "Make it with Pulumi's own commands, then run this again:",
      `  pulumi stack init ${stack}`,
      `  pulumi config set profile ${stack === "production" ? stack : developmentStack} --stack ${stack}`,
    ].join("\n"),
    exitCode: exitCode.missing,
  });
}

/** Shows every command that changes something, as one would type it. */
function echoing(pulumi: PulumiCommand, reporter: StepReporter): PulumiCommand {
  return {
    ...pulumi,
    attach: async (args) => {
      reporter.note(`+ ${pulumi.line(args)}`);
      const began = performance.now();
      await pulumi.attach(args);
      reporter.note(`pulumi ${args[0]}: done (${seconds(performance.now() - began)})`);
    },
  };
}

/** Where an `up` never got as far as its outputs, only a stack that is thrown away counts as ephemeral. */
function isEphemeral({ thrownAway }: Context, { lifetime }: Deployment): boolean {
  return lifetime === undefined ? thrownAway : lifetime === "ephemeral";
}

/** A person decides about the state of what keeps its data: docs/operations.md, «An interrupted run». */
async function mayMend({ backend, stack }: Context): Promise<boolean> {
  return textSetting(await readStackFile(stack), backend.project, "profile") === "development";
}

/** Ends with a stack that exists and that nobody else works on. */
async function prepareStack(context: Context): Promise<Deployment> {
  const { stack, backend, pulumi, reporter } = context;
  let deadLock = false;
  let mended: Awaited<ReturnType<typeof mendCutOffState>>;
  const deployment = await runStep(reporter, `State of stack ${stack}`, async (step) => {
    if (backend.folder !== undefined) {
      await makePrivateFolder(backend.folder);
      deadLock = await awaitStackLock(backend.folder, backend.project, stack, step.progress);
    }
    let exported = await pulumi.capture(["stack", "export"]);
    if (backend.folder !== undefined && cannotLoadState(exported.stderr)) {
      const { folder, project } = backend;
      mended = await mendCutOffState({ folder, project, stack, setBack: await mayMend(context) });
      if (mended) exported = await pulumi.capture(["stack", "export"]);
    }
    if (exported.code === 0) {
      const result = parseDeployment(exported.stdout);
      return { result, note: `${result.resources} resources` };
    }
    if (!isUnknownStack(exported.stderr)) throw pulumiError(stack, exported.stderr);
    return { result: undefined, note: "not there yet" };
  });
  if (!deployment) {
    // Not selected: which stack plain `pulumi up` means is the user's choice.
    await pulumi.attach(["stack", "init", "--no-select"]);
    return parseDeployment('{"deployment": null}');
  }
  if (mended === "set back")
    reporter.note("An earlier Pulumi command was killed while it wrote its state: the one before is used");
  if (mended === "checksum")
    reporter.note(
      "An earlier Pulumi command was killed while it wrote its state: that is whole, and what else it left is removed",
    );
  if (deadLock) {
    reporter.note("An earlier Pulumi command was killed and has left its lock behind");
    await pulumi.attach(["cancel", "--yes"]);
  }
  if (deployment.interruptedInServer && isEphemeral(context, deployment)) {
    // Pulumi would make the roles again that are there, and fail.
    reporter.note(
      "An interrupted run has left roles behind that the state does not know: the server is made anew",
    );
    await pulumi.attach(["destroy", "--yes", "--skip-preview", "--suppress-outputs"]);
    await settleInterruptedCreates(context, deployment);
    return parseDeployment('{"deployment": null}');
  }
  if (deployment.interruptedCreates.length > 0) await settleInterruptedCreates(context, deployment);
  return deployment;
}

/**
 * Pulumi was killed while it created something, which may exist without being in the state; the next `up` would
 * then fail over its name. In an environment that is thrown away anyway it is removed.
 */
async function settleInterruptedCreates(context: Context, deployment: Deployment): Promise<void> {
  const { stack, backend, pulumi, reporter } = context;
  const others = idsOfOtherCheckouts(await findServers(backend.project));
  const objects = (await findObjects(stackLabels(backend.project, stack))).filter(
    ({ kind, id }) => !deployment.ids.has(id) && !others.has(id) && kind !== "volume",
  );
  if (objects.length > 0 && !isEphemeral(context, deployment)) {
    const names = objects.map(({ kind, name, id }) => `  docker ${kind} rm ${name}  (${id.slice(0, 12)})`);
    throw new UserError(
      `an earlier «pulumi up» of ${stack} was killed, and left behind what its state does not know.`,
      {
        next: [
          "Look at it, and remove what nobody needs:",
          ...names,
          `then: pulumi up --refresh --run-program -s ${stack}`,
        ].join("\n"),
      },
    );
  }
  for (const { kind, name } of objects)
    reporter.note(`Removing ${kind} ${name}, left behind by an interrupted run`);
  await removeObjects(objects);
  await pulumi.attach([
    "refresh",
    "--yes",
    "--skip-preview",
    "--clear-pending-creates",
    "--suppress-outputs",
  ]);
}

/**
 * A container that is gone or stopped took an ephemeral environment's data with it, so that all of it is made again.
 * Nothing is lost with a persistent one: it is enough that Pulumi looks at what there really is.
 *
 * @returns Flags for the `up` that follows.
 */
async function settleMissingContainers(context: Context, deployment: Deployment): Promise<string[]> {
  const missing: string[] = [];
  for (const { id, name } of deployment.containers) {
    if (!(await inspectContainer(id))?.running) missing.push(name);
  }
  for (const name of missing) context.reporter.note(`Container ${name} is gone or stopped`);
  if (missing.length === 0) return [];
  if (isEphemeral(context, deployment)) {
    await destroy(context);
    return [];
  }
  // Without --run-program, Pulumi would first look for the roles on the server that is not there.
  return ["--refresh", "--run-program"];
}

async function up(
  { stack, options, pulumi, reporter, thrownAway }: Context,
  flags: readonly string[] = [],
): Promise<void> {
  try {
    await pulumi.attach(["up", "--suppress-outputs", ...unasked(thrownAway, options), ...flags]);
  } catch (error) {
    const failed = error instanceof ChildFailure && error.exitCode !== exitCode.interrupted;
    if (failed && thrownAway) {
      const name = stack === developmentStack ? "" : ` --stack ${stack}`;
      reporter.note(`«./db start${name} --again» throws ${stack} away first, if it is in disorder`);
    }
    throw error;
  }
}

/** Only a stack that is thrown away is changed without asking. */
function unasked(thrownAway: boolean, options: StartOptions): string[] {
  return thrownAway || options.yes ? ["--yes", "--skip-preview"] : [];
}

async function destroy({ options, pulumi, thrownAway }: Context): Promise<void> {
  await pulumi.attach(["destroy", ...unasked(thrownAway, options)]);
}

/**
 * Proves the environment by logging in as the application. A server in memory that was restarted without Pulumi has
 * lost its data, and often its port, although the state has everything in it: it is made again.
 */
async function connectable(context: Context): Promise<StackOutputs> {
  const { reporter } = context;
  const { outputs, problem } = await logIn(context);
  if (!problem) return outputs;
  if (outputs.lifetime === "persistent" || problem.kind === "other") throw problem.error;
  reporter.note("The server was restarted and has lost its data, which it keeps in memory: it is made again");
  await destroy(context);
  await up(context);
  const again = await logIn(context);
  if (again.problem) throw again.problem.error;
  return again.outputs;
}

async function logIn({ stack, pulumi, reporter }: Context) {
  return await runStep(reporter, "Logging in as the application", async () => {
    const outputs = await readOutputs(stack, pulumi);
    const problem = await checkConnection(outputs);
    return { result: { outputs, problem }, note: problem ? "does not work" : "done" };
  });
}

async function report(context: Context, outputs: StackOutputs, took: number): Promise<void> {
  const { stack, options, reporter } = context;
  const passwordFile = `${environmentsFolder}/${stack}.pgpass`;
  await makePrivateFolder(environmentsFolder);
  await writePrivateFile(passwordFile, formatPasswordFile(Object.values(outputs.connections)));
  const caFile = await writeAuthority(stack, outputs);
  const shown = (path: string) => shortest(path, relative(process.cwd(), path));
  const psql = (await findExecutable("psql"))
    ? psqlLine(outputs, {
        passwordFile: shown(passwordFile),
        caFile: caFile === undefined ? undefined : shown(caFile),
      })
    : `./db psql ${stack}`;
  const result = connectReport(stack, outputs, { psql, showPasswords: options.showPasswords ?? false });
  reporter.note(`${stack} is up: ${outputs.image}, ${outputs.lifetime} (${seconds(took)})`);
  process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : formatConnectReport(result));
}

function shortest(a: string, b: string): string {
  return b.length < a.length ? b : a;
}
