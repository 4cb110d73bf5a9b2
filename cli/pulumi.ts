import { ChildFailure, UserError } from "./errors.ts";
import { passphraseVariables, usesPassphrase } from "./passphrase.ts";
import { attach, capture, type Finished } from "./processes.ts";
import { developmentStack, projectRoot } from "./project.ts";
import { readStackFile } from "./stack-files.ts";
import { parseStackOutputs, type StackOutputs } from "./stack-outputs.ts";
import { readStateBackend } from "./state-backend.ts";

/** Runs Pulumi's own command line on one stack, in the project's folder. */
export interface PulumiCommand {
  /** @returns What the command printed, whether it worked or not. */
  capture(args: readonly string[]): Promise<Finished>;
  /**
   * Runs a command on the terminal, its output on standard error: standard output is for results.
   * @throws ChildFailure where it fails: it has already said why.
   */
  attach(args: readonly string[]): Promise<void>;
  /** The command as one would type it. */
  line(args: readonly string[]): string;
}

/**
 * @param toolchain Variables that say which Pulumi and which plugins are in use.
 * @throws UserError where the stack needs a passphrase that is not set.
 */
export async function pulumiCommand(
  stack: string,
  toolchain: Readonly<Record<string, string>>,
): Promise<PulumiCommand> {
  const [stackFile, developmentFile, backend] = await Promise.all([
    readStackFile(stack),
    readStackFile(developmentStack),
    readStateBackend(),
  ]);
  const use = { stack, stackFile, developmentFile, backendUrl: backend.url };
  if (use.stackFile === undefined && usesPassphrase(use)) throw unknownStack(stack);
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...toolchain,
    ...passphraseVariables(use, process.env),
  };
  const onStack = (args: readonly string[]) => [...args, "--stack", stack];
  return {
    capture: (args) => capture("pulumi", [...onStack(args), "--non-interactive"], { env, cwd: projectRoot }),
    async attach(args) {
      const code = await attach("pulumi", onStack(args), { env, cwd: projectRoot, output: "stderr" });
      if (code !== 0) throw new ChildFailure(`pulumi ${args.join(" ")}`, code);
    },
    line: (args) => `pulumi ${onStack(args).join(" ")}`,
  };
}

/** @throws UserError where the stack does not exist or is not up, or its passphrase is wrong. */
export async function readOutputs(stack: string, pulumi: PulumiCommand): Promise<StackOutputs> {
  const { code, stdout, stderr } = await pulumi.capture(["stack", "output", "--json", "--show-secrets"]);
  if (code !== 0) throw pulumiError(stack, stderr);
  return parseStackOutputs(stdout, stack);
}

/** Adds to Pulumi's own words what to do about them. */
export function pulumiError(stack: string, stderr: string): UserError {
  const words = stderr
    .trim()
    .replace(/^error: /, "")
    .trim();
  if (isUnknownStack(stderr)) return unknownStack(stack);
  if (/incorrect passphrase/.test(stderr)) {
    return new UserError(`the passphrase does not open stack ${stack}.`, {
      next: `Set the one it was made with: PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE.`,
    });
  }
  if (cannotLoadState(stderr)) {
    return new UserError(`the state of stack ${stack} can't be read: ${words}`, {
      next: "docs/operations.md, «An interrupted run», says how it is mended.",
    });
  }
  return new UserError(`pulumi failed on stack ${stack}: ${words}`, {
    next: "./db doctor says what is missing.",
  });
}

function unknownStack(stack: string): UserError {
  return new UserError(`there is no stack ${stack}.`, {
    next: `pulumi stack ls shows those that there are; pulumi stack init ${stack} makes it.`,
  });
}

/** What Pulumi says of a state in a folder that breaks off, or whose checksum does. */
export function cannotLoadState(stderr: string): boolean {
  return /failed to load (?:checkpoint|stack tags)/.test(stderr);
}

export function isUnknownStack(stderr: string): boolean {
  return /no stack named|stack '[^']*' not found|no previous deployment/i.test(stderr);
}
