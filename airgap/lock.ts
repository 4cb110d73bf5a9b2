import { mkdir, readFile, readlink, rename, rm, symlink } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../cli/errors.ts";
import { isAlive } from "../cli/processes.ts";

/**
 * Runs `work` while no other process holds the same lock. A lock whose process is gone is taken over.
 *
 * The lock is a symbolic link whose target names its process: made in one step, it is never half written.
 *
 * @param waiting Called once, with the process that holds the lock, where this one has to wait.
 */
export async function withLock<T>(
  path: string,
  waiting: (pid: number) => void,
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const own = await ownMark();
  let told = false;
  while (!(await take(path, own))) {
    const holder = await readlink(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw new UserError(`${path} is no lock of this program, and in its place.`, {
        next: "Look at it, and remove it.",
        cause: error,
      });
    });
    if (holder === undefined) continue;
    const pid = Number(holder.split(" ")[0]);
    if (!(await isHolding(holder))) {
      await release(path, holder);
      continue;
    }
    if (!told) waiting(pid);
    told = true;
    await sleep(200);
  }
  try {
    return await work();
  } finally {
    await release(path, own);
  }
}

async function take(path: string, own: string): Promise<boolean> {
  try {
    await symlink(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Of several that find the same dead lock, a rename lets one alone remove it. */
async function release(path: string, holder: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readlink(aside)) === holder) return rm(aside);
  // Somebody else's, taken since we looked: give it back.
  await rename(aside, path);
}

/** What tells this process from every other of this machine, earlier and later ones included. */
export async function ownMark(): Promise<string> {
  return `${process.pid} ${await startOf(process.pid)}`;
}

/** @param holder The `ownMark` of a process. @returns Whether it is still alive. */
export async function isHolding(holder: string): Promise<boolean> {
  const [pid, start] = holder.split(" ");
  return isAlive(Number(pid)) && (await startOf(Number(pid))) === start;
}

/**
 * Tells a process from a later one that was given the same number; constant where /proc is missing. A process that has
 * ended, but is kept in the table by a parent that does not ask for it, has none.
 */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // The name in parentheses may hold anything: fields are counted from behind it.
  const [state, ...fields] = text?.slice(text.lastIndexOf(")") + 2).split(" ") ?? [];
  return state === "Z" ? "ended" : (fields[18] ?? "-");
}
