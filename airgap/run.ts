import { type SpawnOptions, spawn } from "node:child_process";
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
  /** Where the first command of a pipe gets its standard input from: another command's standard output. */
  readonly from?: { readonly command: string; readonly args: readonly string[] };
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
  const { onLine, silence, from } = options;
  const settings: SpawnOptions = {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    detached: true,
  };
  const prefixed = (name: string, rest: readonly string[]) =>
    options.nice ? spawnNice(name, rest) : ([name, rest] as const);
  const source =
    from && spawn(...prefixed(from.command, from.args), { ...settings, stdio: ["ignore", "pipe", "pipe"] });
  const child = spawn(...prefixed(command, args), {
    ...settings,
    stdio: [source?.stdout ?? "ignore", "pipe", "pipe"],
  });
  // The child has its own copy; with ours open, the source would never learn that the child is gone.
  source?.stdout?.destroy();
  const running = source ? [source, child] : [child];

  let hung = false;
  let timer: NodeJS.Timeout | undefined;
  const end = () => {
    for (const each of running) endGroup(each.pid);
  };
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
  for (const [stream, keep] of [
    [child.stdout, stdout],
    [child.stderr, undefined],
    [source?.stderr, undefined],
  ] as const) {
    if (!stream) continue;
    createInterface({ input: stream }).on("line", (line) => {
      keep?.push(line);
      last.push(line);
      if (last.length > 40) last.shift();
      alive();
      onLine?.(line);
    });
  }

  const ended = endWithThisProcess(end);
  try {
    const codes = await Promise.all(
      running.map(
        (each) =>
          new Promise<string | undefined>((resolve, reject) => {
            each.on("error", reject);
            each.on("close", (code, signal) =>
              resolve(
                code === 0 ? undefined : signal ? `was ended by ${signal}` : `failed with exit code ${code}`,
              ),
            );
          }),
      ),
    );
    const names = [from?.command, command].slice(source ? 0 : 1);
    const failed = codes.findIndex((problem) => problem !== undefined);
    if (hung)
      throw new CommandFailed(`${command} showed no sign of life for ${silence} ms.`, last.join("\n"));
    if (failed >= 0) throw new CommandFailed(`${names[failed]} ${codes[failed]}.`, last.join("\n"));
    return stdout.join("\n");
  } catch (error) {
    end();
    if (error instanceof CommandFailed) throw error;
    throw new CommandFailed(`${command} can't be run: ${(error as Error).message}.`, "");
  } finally {
    clearTimeout(timer);
    ended();
  }
}

function spawnNice(command: string, args: readonly string[]) {
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
