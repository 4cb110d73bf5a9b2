import { exitCode, UserError } from "../cli/errors.ts";
import { cliFolder, cliVersion, type PulumiPlugin, standInHome } from "./folders.ts";
import type { PulumiCli } from "./pulumi-cli.ts";

/** `genuine` or `airgap` settles what is in use; otherwise it is found out, and kept in mind. */
export const choiceVariable = "POSTGRES_ENVIRONMENTS_TOOLCHAIN";
export type Choice = "genuine" | "airgap" | undefined;

/** Which Pulumi is in use. */
export interface Decision {
  /** `airgap`: the CLI or a plugin is a stand-in. */
  readonly mode: "genuine" | "airgap";
  /** What is in use and why, as a line for the user. */
  readonly reason: string;
  readonly cli: { readonly path: string; readonly genuine: boolean };
}

/** Where genuine parts come from. Each is asked only where the ones before it leave the question open. */
export interface Sources {
  findCli(): Promise<PulumiCli | undefined>;
  downloadCli(): Promise<PulumiCli | undefined>;
  /** @returns The plugins that are out of reach. */
  downloadPlugins(cli: string): Promise<readonly PulumiPlugin[]>;
}

/** @throws {UserError} On a value other than `genuine` and `airgap`. */
export function parseChoice(value: string | undefined): Choice {
  if (value === undefined || value === "") return undefined;
  if (value === "genuine" || value === "airgap") return value;
  throw new UserError(`${choiceVariable} is «${value}».`, {
    next: "Set it to genuine or airgap, or not at all.",
  });
}

/**
 * Genuine parts wherever they can be had, stand-ins for the others.
 *
 * @throws {UserError} Where the choice is `genuine` and a part can't be had.
 */
export async function decide(choice: Choice, sources: Sources): Promise<Decision> {
  const standIns = (why: string): Decision => ({
    mode: "airgap",
    reason: `Pulumi CLI v${cliVersion} built here and stand-in plugins, as ${why}`,
    cli: { path: `${cliFolder(standInHome)}/pulumi`, genuine: false },
  });
  if (choice === "airgap") return standIns(`${choiceVariable} asks for them`);

  const found = (await sources.findCli()) ?? (await sources.downloadCli());
  if (!found) {
    if (choice === "genuine") throw notGenuine("the Pulumi CLI can't be downloaded");
    return standIns("the genuine CLI can't be downloaded");
  }
  const cli = { path: found.path, genuine: true };
  const genuine = `genuine Pulumi CLI v${found.version} (${found.path})`;
  const missing = await sources.downloadPlugins(found.path);
  if (missing.length === 0) return { mode: "genuine", reason: `${genuine} and plugins`, cli };

  const names = missing.map(({ name }) => name).join(", ");
  if (choice === "genuine") throw notGenuine(`these plugins can't be downloaded: ${names}`);
  return {
    mode: "airgap",
    reason: `${genuine}, and stand-ins for the plugins that can't be downloaded: ${names}`,
    cli,
  };
}

function notGenuine(problem: string): UserError {
  return new UserError(`${choiceVariable} is «genuine», but ${problem}.`, {
    next: `Unset ${choiceVariable} to use stand-ins where the genuine ones can't be had.`,
    exitCode: exitCode.missing,
  });
}
