import { access, constants, readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { z } from "zod";
import type { StepReporter } from "../cli/steps.ts";
import { downloadPlugins, missingPlugins, preparePlugins } from "./bundle.ts";
import { type Choice, choiceVariable, type Decision, decide, parseChoice, type Sources } from "./decision.ts";
import { prepareEngine } from "./engine.ts";
import { removeTree, replaceFile, replaceLink } from "./files.ts";
import {
  binaries,
  cliFolder,
  cliVersion,
  plugins,
  project,
  standInHome,
  unfinished,
  userHome,
  work,
} from "./folders.ts";
import { prepareImage } from "./images.ts";
import { withLock } from "./lock.ts";
import { buildCli, downloadCli, findGenuineCli } from "./pulumi-cli.ts";

/** Which Pulumi is in use. */
export interface Toolchain {
  /** `airgap`: the CLI or a plugin is a stand-in. */
  readonly mode: "genuine" | "airgap";
  /** What is in use and why, as a line for the user. */
  readonly reason: string;
  /** Set these, over the process's own, for every `pulumi` command. */
  readonly env: Readonly<Record<string, string>>;
  /** The images asked for that are stand-ins. */
  readonly standInImages: readonly string[];
}

export interface Preparation {
  readonly log: StepReporter;
  /** Whether a Docker Engine must answer. */
  readonly needDocker: boolean;
  /** Images that must be there, as in `postgres:17-trixie`. Any makes a Docker Engine needed. */
  readonly needImages: readonly string[];
  /** Look again for genuine parts that could not be had the last time. Default false. */
  readonly again?: boolean;
}

const decisionSchema = z.object({
  mode: z.enum(["genuine", "airgap"]),
  reason: z.string(),
  cli: z.object({ path: z.string(), genuine: z.boolean() }),
  /** What the decision depends on; when that changes it is made again. */
  basis: z.string(),
});

const decisionFile = join(work, "toolchain.json");

/**
 * Makes everything ready for `pulumi` commands: the CLI, the plugins, the Docker Engine and the images. Genuine parts
 * are used wherever they can be had, stand-ins elsewhere. Parts that are ready cost no more than a look, and no network.
 *
 * May be interrupted anywhere and run again, and run several times at once: one works, the others wait.
 *
 * @throws {UserError} What can't be had, and what to do about it.
 */
export async function prepareToolchain(preparation: Preparation): Promise<Toolchain> {
  const { log, needImages, again = false } = preparation;
  const wait = (pid: number) => log.note(`Waiting for process ${pid}, which is preparing the toolchain.`);
  return withLock(join(work, "lock"), wait, async () => {
    if (await exists(unfinished)) await removeTree(unfinished);
    if (preparation.needDocker || needImages.length > 0) await prepareEngine(log);
    const images = needImages.map((name) => prepareImage(log, name, { again, genuine: genuineWanted() }));
    // What takes longest is one processor's work in parts, and the other's to use.
    const [decision, ...isGenuine] = await allOrFirstProblem([preparePulumi(log, again), ...images]);
    return toolchainOf(
      decision,
      needImages.filter((_, index) => !isGenuine[index]),
    );
  });
}

/**
 * The Docker Engine and images alone, for what needs no Pulumi.
 *
 * @throws {UserError} As {@link prepareToolchain} does.
 */
export async function prepareImages(log: StepReporter, names: readonly string[]): Promise<void> {
  const wait = (pid: number) => log.note(`Waiting for process ${pid}, which is preparing the toolchain.`);
  await withLock(join(work, "lock"), wait, async () => {
    await prepareEngine(log);
    for (const name of names) await prepareImage(log, name, { again: false, genuine: genuineWanted() });
  });
}

/** The toolchain that the last {@link prepareToolchain} settled on. Undefined: there is none that is still good. */
export async function rememberedToolchain(): Promise<Toolchain | undefined> {
  const decision = await remembered();
  return decision && toolchainOf(decision, []);
}

async function preparePulumi(log: StepReporter, again: boolean): Promise<Decision> {
  const decision = (again ? undefined : await remembered()) ?? (await decide(choice(), sources(log)));
  if (decision.mode === "airgap") {
    if (decision.cli.genuine) await replaceLink(cliFolder(standInHome), dirname(decision.cli.path));
    else await buildCli(log);
    await preparePlugins(log, choice() === "airgap");
  }
  await replaceLink(join(binaries, "pulumi"), decision.cli.path);
  await replaceLink(join(binaries, "node"), process.execPath);
  await replaceFile(decisionFile, `${JSON.stringify({ ...decision, basis: basis() }, undefined, 2)}\n`);
  return decision;
}

function sources(log: StepReporter): Sources {
  return {
    findCli: findGenuineCli,
    downloadCli: () => downloadCli(log),
    downloadPlugins: (cli) => downloadPlugins(log, cli),
  };
}

function choice(): Choice {
  return parseChoice(process.env[choiceVariable]);
}

/** Whether images must be genuine; undefined: whichever can be had. */
function genuineWanted(): boolean | undefined {
  return { airgap: false, genuine: true, any: undefined }[choice() ?? "any"];
}

async function remembered(): Promise<Decision | undefined> {
  const decision = await readFile(decisionFile, "utf8")
    .then((text) => decisionSchema.parse(JSON.parse(text)))
    .catch(() => undefined);
  if (decision?.basis !== basis()) return undefined;
  // Genuine parts that were removed; one built here is simply built again.
  if (decision.cli.genuine && !(await exists(decision.cli.path, constants.X_OK))) return undefined;
  if (decision.mode === "genuine" && (await missingPlugins(userHome())).length > 0) return undefined;
  return decision;
}

function basis(): string {
  const versions = plugins.map(({ name, version }) => `${name}@${version}`);
  return [project, choice() ?? "any", `cli@${cliVersion}`, ...versions].join(" ");
}

function toolchainOf(decision: Decision, standInImages: readonly string[]): Toolchain {
  const own = [binaries, join(project, "node_modules", ".bin")];
  const others = (process.env.PATH ?? "").split(delimiter).filter((folder) => !own.includes(folder));
  const env: Record<string, string> = {
    PATH: [...own, ...others].join(delimiter),
    PULUMI_HOME: decision.mode === "airgap" ? standInHome : userHome(),
    PULUMI_SKIP_UPDATE_CHECK: "true",
    // The SDKs are large: compiling them anew takes a second of every command.
    NODE_COMPILE_CACHE: join(work, "compile-cache"),
  };
  // Otherwise a plugin that has no stand-in costs ten seconds of retries before the error that names it.
  if (decision.mode === "airgap") env.PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION = "true";
  return { mode: decision.mode, reason: decision.reason, env, standInImages };
}

/** Waits for all, so that what one has begun is not lost to another's problem. */
async function allOrFirstProblem<First, Rest>(
  work: readonly [Promise<First>, ...Promise<Rest>[]],
): Promise<[First, ...Rest[]]> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as [First, ...Rest[]];
}

async function exists(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
