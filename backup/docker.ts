import { spawn } from "node:child_process";

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a person must mend; printed without a stack trace. */
export class BackupError extends Error {
  override readonly name = "BackupError";
}

/**
 * Runs the docker command, which reaches the Engine as it does in a shell.
 * @param options.input What it reads from standard input.
 * @param options.show Passes on what it prints as it comes, all of it to standard error if so wished, and returns
 * nothing of it.
 * @throws BackupError where there is no docker command.
 */
export function docker(
  args: readonly string[],
  options: { readonly input?: string; readonly show?: "stderr" | true } = {},
): Promise<Finished> {
  const out = options.show === "stderr" ? 2 : options.show ? "inherit" : "pipe";
  return new Promise((resolve, reject) => {
    const child = spawn("docker", args, { stdio: ["pipe", out, options.show ? "inherit" : "pipe"] });
    const texts = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name]?.setEncoding("utf8").on("data", (chunk: string) => {
        texts[name] += chunk;
      });
    }
    child.on("error", (error) =>
      reject(
        new BackupError(
          `The docker command could not be run (${error.message}). Install Docker's client, or put it on the PATH.`,
        ),
      ),
    );
    child.on("close", (code) => resolve({ code: code ?? 1, ...texts }));
    // It may end before it has read all.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
  });
}

/** What the docker command prints. @throws BackupError with its own words where it fails. */
export async function ask(args: readonly string[], input?: string): Promise<string> {
  const { code, stderr, stdout } = await docker(args, input === undefined ? {} : { input });
  if (code !== 0) {
    throw new BackupError(
      `docker ${args[0]} ${args[1] ?? ""} failed: ${stderr.trim()}\nSee that Docker runs and answers (docker info), then run this again.`,
    );
  }
  return stdout.trimEnd();
}

/** Runs a program of this folder, and tells what a person must mend. */
export async function runProgram(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

/** @throws Error where it is not set, which is a mistake of this program. */
export function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set.`);
  return value;
}
