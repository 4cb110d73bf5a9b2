import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { exitCode, UserError } from "../errors.ts";
import { findEnvironments } from "../stack-rows.ts";
import { readStateBackend } from "../state-backend.ts";

export interface LogsOptions {
  readonly follow?: true;
  /** As `docker logs` takes it: a time, or how long ago. */
  readonly since?: string;
  readonly tail?: string;
}

export async function logs(stack: string, options: LogsOptions): Promise<void> {
  const container = await findContainer(stack);
  const args = [
    ...["logs", ...(options.follow ? ["--follow"] : [])],
    ...(options.since === undefined ? [] : [`--since=${options.since}`]),
    ...(options.tail === undefined ? [] : [`--tail=${options.tail}`]),
    container,
  ];
  process.exitCode = await show(args);
}

async function findContainer(stack: string): Promise<string> {
  const all = (await findEnvironments(await readStateBackend())).filter((each) => each.stack === stack);
  const found =
    all.find(({ elsewhere, state }) => elsewhere === undefined && state !== "left over") ?? all[0];
  const name = found?.elsewhere === undefined ? found?.server?.container?.name : undefined;
  if (name !== undefined) return name;
  throw new UserError(
    found === undefined
      ? `there is no stack ${stack}.`
      : `stack ${stack} has no container: it is ${found.state}.`,
    { next: `./db list shows the stacks that there are; ./db start --stack ${stack} brings it up.` },
  );
}

/** PostgreSQL writes all of its log to standard error; here it is the result. */
async function show(args: readonly string[]): Promise<number> {
  const child = spawn("docker", args, { stdio: ["ignore", "pipe", "pipe"] });
  const stop = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  // `./db logs | head` ends the reader first.
  process.stdout.once("error", () => child.kill());
  const copy = async (stream: Readable) => {
    const mask = passwordMask();
    for await (const line of createInterface({ input: stream })) process.stdout.write(`${mask(line)}\n`);
  };
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(signal === null ? (code ?? 0) : exitCode.interrupted));
  });
  const [code] = await Promise.all([ended, copy(child.stdout), copy(child.stderr)]);
  return code;
}

/** {@link maskPasswords} for the lines of one log, in which a statement may go on from line to line. */
export function passwordMask(): (line: string) => string {
  /** What the line before has ended in the middle of: the word PASSWORD, or the password itself. */
  let open: "word" | "text" | undefined;
  return (line) => {
    let beginning = "";
    let rest = line;
    // The server writes further lines of a statement behind a tab; anything else is another message.
    if (open !== undefined && line.startsWith("\t")) {
      const password =
        open === "word" ? /^\s+(?:[EU]&?)?'((?:[^'\\]|''|\\.)*)('?)/i : /^((?:[^'\\]|''|\\.)*)('?)/;
      const [found, , end] = password.exec(line) ?? [];
      if (found !== undefined) {
        beginning = open === "word" ? "\t'***'" : "\t***";
        rest = line.slice(found.length);
        if (end === "") {
          open = "text";
          return beginning;
        }
      }
    }
    open = /\bPASSWORD\s*$/i.test(rest)
      ? "word"
      : /\bPASSWORD\s+(?:[EU]&?)?'(?:[^'\\]|''|\\.)*$/i.test(rest)
        ? "text"
        : undefined;
    return beginning + maskPasswords(rest);
  };
}

/**
 * The server logs a statement that fails as it was sent, with the password of a CREATE or ALTER ROLE in it. Those are
 * masked, and those of connection URLs.
 */
export function maskPasswords(line: string): string {
  return line
    .replace(/(\bPASSWORD\s+)(?:[EU]&?)?'(?:[^'\\]|''|\\.)*(?:'|$)/gi, "$1'***'")
    .replace(/(\bPASSWORD\s+)\$(\w*)\$.*?(?:\$\2\$|$)/gi, "$1'***'")
    .replace(/(\bpostgres(?:ql)?:\/\/[^\s:@/]*:)[^\s@]*@/gi, "$1***@")
    .replace(/(\bpassword=)(?:'(?:[^'\\]|\\.)*'|\S+)/gi, "$1***");
}
