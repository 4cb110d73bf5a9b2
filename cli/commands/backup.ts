import { programCommand } from "../../components/backups/program.ts";
import { findBackupContainer } from "../backup-container.ts";
import { ChildFailure, exitCode, UserError } from "../errors.ts";
import { attach, capture } from "../processes.ts";

interface JsonOption {
  readonly json?: true;
}

/** `./db backup list` and `check`, which the program in the container prints itself, in either form. */
export async function show(command: "check" | "list", stack: string, options: JsonOption): Promise<void> {
  const container = await findBackupContainer(stack, "backup");
  const args = ["exec", container, programCommand, command, ...(options.json ? ["--json"] : [])];
  process.exitCode = await attach("docker", args, { output: "stdout" });
}

/** The JSON is the new backup's entry in the list. */
export async function now(stack: string, options: JsonOption & { readonly full?: true }): Promise<void> {
  const container = await findBackupContainer(stack, "backup");
  const args = ["now", ...(options.full ? ["--full"] : [])];
  if (!options.json) return await work(container, args);
  await work(container, args, "stderr");
  if (process.exitCode) return;
  const made = (await readBackups(container)).toSorted((a, b) => (a.id < b.id ? -1 : 1)).at(-1);
  process.stdout.write(`${JSON.stringify(made ?? null, null, 2)}\n`);
}

export async function verify(stack: string, id: string | undefined, options: JsonOption): Promise<void> {
  const container = await findBackupContainer(stack, "backup");
  await work(container, ["verify", ...(id === undefined ? [] : [id]), ...jsonArgument(options)]);
}

export async function drill(stack: string, options: JsonOption): Promise<void> {
  const container = await findBackupContainer(stack, "drill");
  await work(container, ["drill", "--now", ...jsonArgument(options)]);
}

function jsonArgument({ json }: JsonOption): string[] {
  return json ? ["--json"] : [];
}

/**
 * Work that takes its time, and shows its progress. Asked for JSON, the program in the container prints that alone to
 * its standard output.
 */
async function work(
  container: string,
  args: readonly string[],
  output: "stderr" | "stdout" = "stdout",
): Promise<void> {
  // A terminal would make one stream of the two.
  const wantsTerminal = process.stdin.isTTY && process.stdout.isTTY && !args.includes("--json");
  const terminal = wantsTerminal ? ["--interactive", "--tty"] : [];
  const code = await attach("docker", ["exec", ...terminal, container, programCommand, ...args], { output });
  if (code === exitCode.interrupted) throw new ChildFailure("docker exec", code);
  if (code !== 0) process.exitCode = exitCode.failure;
}

async function readBackups(container: string): Promise<readonly { readonly id: string }[]> {
  const { code, stderr, stdout } = await capture("docker", [
    "exec",
    container,
    programCommand,
    "list",
    "--json",
  ]);
  if (code !== 0) {
    throw new UserError(`${container} does not tell what it has: ${stderr.trim()}`, {
      next: `docker logs ${container}`,
    });
  }
  return JSON.parse(stdout).backups;
}
