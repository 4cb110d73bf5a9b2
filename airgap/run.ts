import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { isAlive } from "../cli/processes.ts";

export interface Run {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Given each line that the command prints, on either stream. */
  readonly onLine?: (line: string) => void;
  /** Milliseconds without a line after which the command counts as hung, and is ended. Default: none. */
  readonly silence?: number;
  /** Lowers the priority, for work that takes minutes and should leave the machine usable. */
  readonly nice?: boolean;
}

/** A command that could not be started, ended with another code than 0, or hung. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
  /** What it printed last, at most 40 lines. */
  readonly output: string;

  constructor(message: string, output: string) {
    super(output === "" ? message : `${message}\n${output}`);
    this.output = output;
  }
}

/**
 * Runs a command to its end and returns its standard output.
 *
 * The command is a process group of its own and ends with this process, whatever ends it: an interrupted set-up
 * leaves no build behind.
 *
 * @throws {CommandFailed}
 */
export async function run(command: string, args: readonly string[], options: Run = {}): Promise<string> {
  const { onLine, silence } = options;
  const child = spawn(...(options.nice ? nice(command, args) : ([command, args] as const)), {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const end = () => endGroup(child.pid);

  let hung = false;
  let timer: NodeJS.Timeout | undefined;
  const alive = () => {
    if (silence === undefined) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      hung = true;
      end();
    }, silence);
  };
  alive();
  const last: string[] = [];
  const stdout: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      if (stream === child.stdout) stdout.push(line);
      last.push(line);
      if (last.length > 40) last.shift();
      alive();
      onLine?.(line);
    });
  }

  const undo = endWithThisProcess(end);
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    const output = last.join("\n");
    if (hung) throw new CommandFailed(`${command} showed no sign of life for ${silence} ms.`, output);
    if (signal) throw new CommandFailed(`${command} was ended by ${signal}.`, output);
    if (code !== 0) throw new CommandFailed(`${command} failed with exit code ${code}.`, output);
    return stdout.join("\n");
  } catch (error) {
    if (error instanceof CommandFailed) throw error;
    throw new CommandFailed(`${command} can't be run: ${(error as Error).message}.`, "");
  } finally {
    clearTimeout(timer);
    undo();
  }
}

function nice(command: string, args: readonly string[]) {
  return ["nice", ["-n", "10", command, ...args]] as const;
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined || !isAlive(pid)) return;
  try {
    process.kill(-pid, "SIGTERM");
  } catch {
    // Gone in between.
  }
}

/** Calls `end` when a signal or `process.exit` ends this process. @returns A function that takes this back. */
function endWithThisProcess(end: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const onSignal = (signal: NodeJS.Signals) => {
    end();
    undo();
    // As if nobody had listened, unless somebody else still does.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  const undo = () => {
    for (const signal of signals) process.off(signal, onSignal);
    process.off("exit", end);
  };
  for (const signal of signals) process.on(signal, onSignal);
  process.on("exit", end);
  return undo;
}
