import { spawn } from "node:child_process";
import { exitCode, UserError } from "./errors.ts";

export interface Finished {
  /** 128 and the signal's number where a signal ended it, as shells have it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/** Runs a program with no input and returns what it printed. A failing program is no error here. */
export function capture(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.on("error", (error) => reject(notStarted(command, error)));
    child.on("close", (code, signal) =>
      resolve({
        code: code ?? signalCode(signal),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      }),
    );
  });
}

/**
 * Runs a program on this process's terminal and returns its exit code.
 *
 * Ctrl-C reaches the program by itself; this process lives on until the program has ended in its own way. A program
 * that then fails was interrupted, whatever code it has for that.
 *
 * @param output Where its standard output goes. `stderr` keeps this process's own standard output clean.
 */
export async function attach(
  command: string,
  args: readonly string[],
  options: RunOptions & { readonly output: "stdout" | "stderr" },
): Promise<number> {
  const { output, ...spawnOptions } = options;
  const child = spawn(command, args, { ...spawnOptions, stdio: ["inherit", output === "stdout" ? 1 : 2, 2] });
  let interrupted = false;
  const forward = (signal: NodeJS.Signals) => {
    interrupted ||= signal === "SIGINT";
    // A terminal sends Ctrl-C to the whole group: sent once more, it would be «at once» instead of «in good order».
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.on("error", (error) => reject(notStarted(command, error)));
      child.on("close", (code, signal) => {
        const result = code ?? signalCode(signal);
        resolve(interrupted && result !== 0 ? exitCode.interrupted : result);
      });
    });
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}

function notStarted(command: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== "ENOENT" && error.code !== "EACCES") return error;
  return new UserError(`${command} cannot be run (${error.code}).`, {
    next: "./db doctor says what is missing.",
    exitCode: exitCode.missing,
    cause: error,
  });
}

const signalNumbers: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGKILL: 9,
  SIGTERM: 15,
};

function signalCode(signal: NodeJS.Signals | null): number {
  return 128 + ((signal && signalNumbers[signal]) ?? 0);
}

/** Whether a process of this machine is alive. One of another user's counts too. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
