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

export async function now(stack: string, options: JsonOption & { readonly full?: true }): Promise<void> {
  await work(stack, "backup", ["now", ...(options.full ? ["--full"] : [])], options, ({ backups }) =>
    newest(backups),
  );
}

export async function verify(stack: string, id: string | undefined, options: JsonOption): Promise<void> {
  await work(stack, "backup", ["verify", ...(id === undefined ? [] : [id])], options, () => ({ ok: true }));
}

export async function drill(stack: string, options: JsonOption): Promise<void> {
  await work(stack, "drill", ["drill", "--now"], options, ({ lastDrill }) => lastDrill);
}

/** What `pgbackup list --json` has, as far as it is handed on. */
interface Listing {
  readonly backups?: readonly unknown[];
  readonly lastDrill?: unknown;
}

/** Work that takes its time: its progress is shown, on standard error where the result is wanted as JSON. */
async function work(
  stack: string,
  role: "backup" | "drill",
  args: readonly string[],
  { json }: JsonOption,
  result: (listing: Listing) => unknown,
): Promise<void> {
  const container = await findBackupContainer(stack, role);
  const terminal = process.stdin.isTTY && process.stdout.isTTY ? ["--interactive", "--tty"] : [];
  const code = await attach("docker", ["exec", ...terminal, container, programCommand, ...args], {
    output: json ? "stderr" : "stdout",
  });
  if (code === exitCode.interrupted) throw new ChildFailure("docker exec", code);
  if (code !== 0) {
    process.exitCode = exitCode.failure;
    if (json) process.stdout.write(`${JSON.stringify({ ok: false }, null, 2)}\n`);
    return;
  }
  if (json) {
    process.stdout.write(`${JSON.stringify(result(await readListing(container)) ?? null, null, 2)}\n`);
  }
}

async function readListing(container: string): Promise<Listing> {
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
  return JSON.parse(stdout);
}

function newest(backups: readonly unknown[] | undefined): unknown {
  const idOf = (entry: unknown) => String((entry as { id?: unknown }).id);
  return backups?.toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : 1)).at(-1);
}
