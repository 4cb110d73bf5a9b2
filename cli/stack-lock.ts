import { readdir, readFile, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { UserError } from "./errors.ts";
import { isAlive } from "./processes.ts";

const lockFile = z.object({
  pid: z.int().positive(),
  username: z.string(),
  hostname: z.string(),
  timestamp: z.string(),
});

/** Who works on a stack, as Pulumi's file backend writes it down (pkg/backend/diy/lock.go). */
export type StackLock = z.output<typeof lockFile>;

/** @returns Undefined for a file that is cut off: Pulumi was killed while it wrote it. */
export function parseStackLock(text: string): StackLock | undefined {
  try {
    return lockFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * Whether the process that took the lock is still there.
 *
 * @param isRunning Asked only about a process of this machine: one of another machine always counts as alive.
 */
export async function isHeld(
  lock: StackLock,
  machine: string,
  isRunning: (pid: number) => Promise<boolean>,
): Promise<boolean> {
  return lock.hostname !== machine || (await isRunning(lock.pid));
}

export interface StackLocks {
  readonly held: readonly StackLock[];
  /** How many killed commands have left behind: Pulumi works on the stack only after `pulumi cancel`. */
  readonly dead: number;
  /** How many are being written at this moment, as far as can be seen. */
  readonly begun: number;
}

/** How long writing a lock may take, in milliseconds, until it counts as broken off. */
const writingTime = 5000;

/**
 * The locks on a stack in a file backend.
 *
 * @param folder The backend's folder, which has `.pulumi` in it.
 */
export async function readStackLocks(folder: string, project: string, stack: string): Promise<StackLocks> {
  const locks = join(folder, ".pulumi", "locks", "organization", project, stack);
  const names = await readdir(locks).catch(() => []);
  const held: StackLock[] = [];
  let dead = 0;
  let begun = 0;
  // Beside each lock is a file of the storage library's own, with the ending .attrs.
  for (const name of names.filter((each) => !each.endsWith(".attrs"))) {
    if (!name.endsWith(".json")) {
      // Written under another name (.tmp) and then renamed. Pulumi takes what was not for a lock too, which it can't read.
      const changed = (await stat(join(locks, name)).catch(() => undefined))?.mtimeMs;
      if (changed === undefined) continue;
      if (Date.now() - changed < writingTime) begun += 1;
      else dead += 1;
      continue;
    }
    const text = await readFile(join(locks, name), "utf8").catch(() => undefined);
    // Gone since the folder was read: its command ended.
    if (text === undefined) continue;
    const lock = parseStackLock(text);
    if (lock && (await isHeld(lock, hostname(), isPulumi))) held.push(lock);
    else dead += 1;
  }
  return { held, dead, begun };
}

/** How long another command on the stack is waited for, in milliseconds: a first `up` that pulls an image included. */
const patience = 15 * 60_000;

/**
 * Waits until no command works on the stack any more.
 *
 * @param waiting Told who is waited for.
 * @returns Whether killed commands have left locks behind, which `pulumi cancel` removes.
 * @throws UserError for a lock of another machine, whose end can't be seen from here, or after a quarter of an hour.
 */
export async function awaitStackLock(
  folder: string,
  project: string,
  stack: string,
  waiting: (text: string) => void,
): Promise<boolean> {
  const deadline = performance.now() + patience;
  for (;;) {
    const { held, dead, begun } = await readStackLocks(folder, project, stack);
    const [lock] = held;
    if (!lock && begun === 0) return dead > 0;
    if (!lock) {
      await sleep(200);
      continue;
    }
    const who = `process ${lock.pid} of ${lock.username}@${lock.hostname}`;
    if (lock.hostname !== hostname() || performance.now() > deadline) {
      throw new UserError(`${who} has been working on stack ${stack} since ${lock.timestamp}.`, {
        next: `Wait for it to end. If it is certain that it is gone: pulumi cancel ${stack}`,
      });
    }
    waiting(`waiting for ${who}`);
    await sleep(500);
  }
}

/** A process number is given out again after a crash, so that being alive is not enough. */
async function isPulumi(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  // Linux tells name and state; elsewhere a number in use counts as Pulumi's.
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "(pulumi) R");
  // One that has ended stays in the table (Z) until its parent asks for it, which may be long after it was killed.
  return /\(pulumi.*\) [^Z]/s.test(text);
}
