/** Table locks from the weakest to the strongest. Source: manual, «Explicit Locking». */
export const lockModes = [
  "ACCESS SHARE",
  "ROW SHARE",
  "ROW EXCLUSIVE",
  "SHARE UPDATE EXCLUSIVE",
  "SHARE",
  "SHARE ROW EXCLUSIVE",
  "EXCLUSIVE",
  "ACCESS EXCLUSIVE",
] as const;

export type LockMode = (typeof lockModes)[number];

/** @param name As pg_locks has it: `AccessExclusiveLock`. */
export function modeOf(name: string): LockMode {
  const words = name
    .replace(/Lock$/, "")
    .replace(/(?<=[a-z])(?=[A-Z])/g, " ")
    .toUpperCase();
  const mode = lockModes.find((known) => known === words);
  if (mode === undefined) throw new Error(`unknown lock mode ${name}`);
  return mode;
}

export interface Lock {
  /** With its schema, unless that is the application's. */
  readonly table: string;
  readonly mode: LockMode;
  /** What the statement does to the table while it holds the lock; each as in «rewrites the table». */
  readonly work: readonly string[];
}

export function isStronger(mode: LockMode, than: LockMode): boolean {
  return lockModes.indexOf(mode) > lockModes.indexOf(than);
}

/** One lock for each table: the strongest, with the work of all. */
export function mergeLocks(locks: readonly Lock[]): Lock[] {
  const merged = new Map<string, Lock>();
  for (const lock of locks) {
    const other = merged.get(lock.table) ?? lock;
    merged.set(lock.table, {
      table: lock.table,
      mode: isStronger(lock.mode, other.mode) ? lock.mode : other.mode,
      work: [...new Set([...other.work, ...lock.work])],
    });
  }
  return [...merged.values()];
}

/** Who has to wait while the lock is held: those whose own locks it conflicts with. */
export function whoWaits(mode: LockMode): string | undefined {
  if (mode === "ACCESS EXCLUSIVE") return "reads and writes wait";
  if (mode === "EXCLUSIVE" || mode === "SHARE ROW EXCLUSIVE" || mode === "SHARE") return "writes wait";
  return undefined;
}
