import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

export interface CommandRun {
  command: string;
  /** Program and arguments before the command. */
  interpreter: string[];
  directory: string;
  env: NodeJS.ProcessEnv;
  /** Empty: the command gets no input. */
  stdin: string;
  /** Kills the command, and all that it started in its process group. */
  signal: AbortSignal;
  /** Called for each line as it comes, without its end. */
  onLine(stream: "stdout" | "stderr", line: string): void;
}

/**
 * Runs a command to its end.
 *
 * @returns What it wrote, each without one last line end.
 * @throws An error with the reason, the command and all that it wrote.
 */
export async function runCommand(run: CommandRun): Promise<{ stdout: string; stderr: string }> {
  const written: string[] = [];
  const failed = (reason: string) =>
    new Error(`${reason}: running ${JSON.stringify(run.command)}:\n${written.join("")}`);
  const [program = "", ...args] = run.interpreter;
  if (run.signal.aborted) throw failed(run.signal.reason.message);
  // Node reports a missing directory as a missing program.
  const directory = statSync(run.directory, { throwIfNoEntry: false });
  if (!directory) throw failed(`chdir ${run.directory}: no such file or directory`);
  if (!directory.isDirectory()) throw failed(`chdir ${run.directory}: not a directory`);
  const child = spawn(program, [...args, run.command], {
    cwd: run.directory,
    env: run.env,
    detached: true,
    stdio: [run.stdin === "" ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const kill = () => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // All of the group have ended already.
    }
  };
  run.signal.addEventListener("abort", kill);
  if (child.stdin !== null) {
    // A command need not read its input.
    child.stdin.on("error", () => {});
    child.stdin.end(run.stdin);
  }
  const collect = (stream: Readable | null, name: "stdout" | "stderr"): string[] => {
    const parts: string[] = [];
    const decoder = new StringDecoder("utf8");
    let line = "";
    const take = (text: string) => {
      parts.push(text);
      written.push(text);
      const lines = (line + text).split("\n");
      line = lines.pop() ?? "";
      for (const complete of lines) run.onLine(name, complete.replace(/\r$/, ""));
    };
    stream?.on("data", (chunk: Buffer) => take(decoder.write(chunk)));
    stream?.on("end", () => {
      take(decoder.end());
      if (line !== "") run.onLine(name, line);
    });
    return parts;
  };
  const stdout = collect(child.stdout, "stdout");
  const stderr = collect(child.stderr, "stderr");
  try {
    // `close` comes after the last output, also of what the command left running in the background.
    const reason = await new Promise<string | undefined>((resolve) => {
      child.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") resolve(error.message);
        else if (program.includes("/")) resolve(`fork/exec ${program}: no such file or directory`);
        else resolve(`exec: ${JSON.stringify(program)}: executable file not found in $PATH`);
      });
      child.on("close", (code, signal) => {
        if (signal !== null) resolve(`signal: ${signalTexts[signal] ?? signal}`);
        else resolve(code === 0 ? undefined : `exit status ${code}`);
      });
    });
    if (reason !== undefined) throw failed(reason);
  } finally {
    run.signal.removeEventListener("abort", kill);
  }
  const text = (parts: string[]) => parts.join("").replace(/\n$/, "");
  return { stdout: text(stdout), stderr: text(stderr) };
}

const signalTexts: Partial<Record<NodeJS.Signals, string>> = {
  SIGHUP: "hangup",
  SIGINT: "interrupt",
  SIGKILL: "killed",
  SIGTERM: "terminated",
};
