import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { labelsOf } from "../airgap/images.ts";
import { prepareImages } from "../airgap/setup.ts";
import { type InitScript, InitScriptsError, readInitScripts } from "../components/server/init-scripts.ts";
import type { Settings } from "../components/settings.ts";
import { removeServer } from "../rehearsal/server.ts";
import { stackSettings } from "../rehearsal/stack-settings.ts";
import { describeError, exitCode, UserError } from "./errors.ts";
import { projectRoot } from "./project.ts";
import { readStackFile } from "./stack-files.ts";
import { readStateBackend } from "./state-backend.ts";
import type { StepReporter } from "./steps.ts";

export interface StackOfFiles {
  readonly stack: string;
  readonly settings: Settings;
  readonly project: string;
}

/**
 * A stack's settings by its file alone.
 *
 * @param command How to name another, as in «./db rehearse --stack NAME».
 */
export async function readSettingsOf(stack: string, command: string): Promise<StackOfFiles> {
  const stackFile = await readStackFile(stack);
  if (stackFile === undefined) {
    throw new UserError(`there is no Pulumi.${stack}.yaml, which holds the settings of stack ${stack}.`, {
      next: `Name another stack: ${command}`,
      exitCode: exitCode.missing,
    });
  }
  const projectFile = await readFile(join(projectRoot, "Pulumi.yaml"), "utf8");
  const settings = stackSettings(stack, projectFile, stackFile);
  return { stack, settings, project: (await readStateBackend()).project };
}

/** @param next What to do once they can be used. */
export function readScripts({ initdbFolder }: Settings, next: string): InitScript[] {
  try {
    return readInitScripts(initdbFolder, projectRoot);
  } catch (error) {
    if (!(error instanceof InitScriptsError)) throw error;
    throw new UserError(error.message, { next, exitCode: exitCode.usage });
  }
}

/** An image that is there is used as it is; the rest is what `./db start` does. */
export async function prepareImage(reporter: StepReporter, image: string): Promise<void> {
  const there = await labelsOf(image).catch((error: unknown) => {
    if (error instanceof UserError) return undefined;
    throw error;
  });
  if (there === undefined) await prepareImages(reporter, [image]);
}

export interface Throwaway {
  readonly container: string;
  /** Whether it stays where the work succeeds. Default: no. */
  readonly keep?: boolean;
  /** What it is for, as in «the rehearsal». */
  readonly what: string;
}

/**
 * Removes the container when the work has ended, in whatever way: also by Ctrl-C and the signals that end a process.
 * Only a killed process leaves it behind, for the next rehearsal to remove.
 */
export async function removedAtTheEnd<T>(
  { container, keep = false, what }: Throwaway,
  work: () => Promise<T>,
): Promise<T> {
  const codes = { SIGINT: exitCode.interrupted, SIGTERM: 143, SIGHUP: 129 } as const;
  const signals = Object.keys(codes) as (keyof typeof codes)[];
  let interrupted = false;
  let running: Promise<unknown> | undefined;
  const interrupt = async (signal: NodeJS.Signals) => {
    if (interrupted) return;
    interrupted = true;
    let said = `db: ${what} was interrupted; its server has been removed.`;
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
    const value = await result;
    ended = true;
    return value;
  } catch (error) {
    // How the work fails without its server is nobody's concern: the process ends above.
    if (interrupted) await new Promise(() => {});
    throw error;
  } finally {
    if (!keep || !ended) await removeServer(container);
    for (const signal of signals) process.off(signal, interrupt);
  }
}
