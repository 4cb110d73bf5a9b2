import { access, constants, readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { z } from "zod";
import { exitCode, UserError } from "../cli/errors.ts";
import type { StepReporter } from "../cli/steps.ts";
import { downloadPlugins, preparePlugins } from "./bundle.ts";
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

/** `genuine` or `airgap` settles what is in use; otherwise it is found out, and kept in mind. */
const choiceVariable = "POSTGRES_ENVIRONMENTS_TOOLCHAIN";

const decisionSchema = z.object({
  mode: z.enum(["genuine", "airgap"]),
  reason: z.string(),
  cli: z.object({ path: z.string(), genuine: z.boolean() }),
  /** What it depends on; with another value it is made again. */
  basis: z.string(),
});
type Decision = z.output<typeof decisionSchema>;

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
    const genuine = { airgap: false, genuine: true, any: undefined }[choice() ?? "any"];
    const images = needImages.map((name) => prepareImage(log, name, { again, genuine }));
    // What takes longest is one processor's work in parts, and the other's to use.
    const [decision, ...isGenuine] = await allOrFirstProblem([preparePulumi(log, again), ...images]);
    return toolchainOf(
      decision,
      needImages.filter((_, index) => !isGenuine[index]),
    );
  });
}

/** The toolchain that the last {@link prepareToolchain} settled on. Undefined: there is none that is still good. */
export async function rememberedToolchain(): Promise<Toolchain | undefined> {
  const decision = await remembered();
  return decision && toolchainOf(decision, []);
}

async function preparePulumi(log: StepReporter, again: boolean): Promise<Decision> {
  const decision = (again ? undefined : await remembered()) ?? (await decide(log));
  if (decision.mode === "airgap") {
    if (decision.cli.genuine) await replaceLink(cliFolder(standInHome), dirname(decision.cli.path));
    else await buildCli(log);
    await preparePlugins(log, choice() === "airgap");
  }
  await replaceLink(join(binaries, "pulumi"), decision.cli.path);
  await replaceLink(join(binaries, "node"), process.execPath);
  await replaceFile(decisionFile, `${JSON.stringify(decision, undefined, 2)}\n`);
  return decision;
}

async function decide(log: StepReporter): Promise<Decision> {
  const wanted = choice();
  const built = { path: join(cliFolder(standInHome), "pulumi"), genuine: false };
  const standIns = "stand-in plugins";
  if (wanted === "airgap") {
    const reason = `Pulumi CLI v${cliVersion} built here, ${standIns}: ${choiceVariable} asks for them`;
    return { mode: "airgap", reason, cli: built, basis: basis() };
  }
  const found = (await findGenuineCli()) ?? (await downloadCli(log));
  if (!found) {
    if (wanted === "genuine") throw notGenuine("the Pulumi CLI can't be downloaded");
    const reason = `Pulumi CLI v${cliVersion} built here, ${standIns}: the genuine CLI can't be downloaded`;
    return { mode: "airgap", reason, cli: built, basis: basis() };
  }
  const cli = { path: found.path, genuine: true };
  const missing = await downloadPlugins(log, found.path);
  const name = `genuine Pulumi CLI v${found.version} (${found.path})`;
  if (missing.length === 0) {
    return { mode: "genuine", reason: `${name} and plugins`, cli, basis: basis() };
  }
  const names = missing.map((plugin) => plugin.name).join(", ");
  if (wanted === "genuine") throw notGenuine(`these plugins can't be downloaded: ${names}`);
  const reason = `${name}, ${standIns} for ${names}: they can't be downloaded`;
  return { mode: "airgap", reason, cli, basis: basis() };
}

function notGenuine(problem: string): UserError {
  return new UserError(`${choiceVariable} is «genuine», but ${problem}.`, {
    next: `Unset ${choiceVariable} to use stand-ins where the genuine ones can't be had.`,
    exitCode: exitCode.missing,
  });
}

async function remembered(): Promise<Decision | undefined> {
  const text = await readFile(decisionFile, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const decision = decisionSchema.safeParse(JSON.parse(text)).data;
  if (decision?.basis !== basis()) return undefined;
  // A genuine CLI that was removed; one built here is simply built again.
  return !decision.cli.genuine || (await exists(decision.cli.path, constants.X_OK)) ? decision : undefined;
}

function basis(): string {
  const versions = plugins.map(({ name, version }) => `${name}@${version}`);
  return [project, userHome(), choice() ?? "any", `cli@${cliVersion}`, ...versions].join(" ");
}

function choice(): "genuine" | "airgap" | undefined {
  const value = process.env[choiceVariable];
  if (value === undefined || value === "" || value === "genuine" || value === "airgap")
    return value || undefined;
  throw new UserError(`${choiceVariable} is «${value}».`, {
    next: "Set it to genuine or airgap, or not at all.",
  });
}

function toolchainOf(decision: Decision, standInImages: readonly string[]): Toolchain {
  const own = [binaries, join(project, "node_modules", ".bin")];
  const others = (process.env.PATH ?? "").split(delimiter).filter((folder) => !own.includes(folder));
  const env: Record<string, string> = {
    PATH: [...own, ...others].join(delimiter),
    PULUMI_HOME: decision.mode === "airgap" ? standInHome : userHome(),
    PULUMI_SKIP_UPDATE_CHECK: "true",
  };
  // Otherwise a plugin that has no stand-in costs ten seconds of retries before the error that names it.
  if (decision.mode === "airgap") env.PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION = "true";
  return { mode: decision.mode, reason: decision.reason, env, standInImages };
}

/** Waits for all, so that what one has begun is not lost to another's problem. */
async function allOrFirstProblem<T extends readonly unknown[]>(
  work: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  await Promise.allSettled(work);
  return Promise.all(work) as unknown as Promise<T>;
}

async function exists(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
