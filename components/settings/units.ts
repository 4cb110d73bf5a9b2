/** Bytes in one of PostgreSQL's memory units, which count in steps of 1024 (manual, «Parameter Names and Values»). */
const bytesPerUnit = { kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 } as const;

/**
 * Bytes that a size such as `512MB` or `2GB` stands for, in PostgreSQL's own notation.
 * Returns undefined for anything else, a bare number included: a size without its unit is a guess.
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+)\s*(kB|MB|GB|TB)$/.exec(text.trim());
  if (!match) return undefined;
  const bytes = Number(match[1]) * bytesPerUnit[match[2] as keyof typeof bytesPerUnit];
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}

/** Whole mebibytes, rounded down: the unit of Docker's `memory`, `memorySwap` and `shmSize`. */
export function toMebibytes(bytes: number): number {
  return Math.floor(bytes / bytesPerUnit.MB);
}

/** A size in the form that PostgreSQL's settings take, in the largest unit that loses nothing. */
export function formatSize(bytes: number): string {
  for (const unit of ["GB", "MB"] as const) {
    if (bytes % bytesPerUnit[unit] === 0) return `${bytes / bytesPerUnit[unit]}${unit}`;
  }
  return `${Math.floor(bytes / bytesPerUnit.kB)}kB`;
}

/** Milliseconds in one of PostgreSQL's units of time. */
const millisecondsPerUnit = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000 } as const;

/** Completes «expected …» where a time is wanted. */
export const durationExample = "a time with its unit (ms, s, min, h), such as 500ms or 5s, or 0 for no limit";

/**
 * Milliseconds that an age such as `12h` or `7d` stands for; `0` is 0, `d` is PostgreSQL's unit of days.
 * Returns undefined for anything else, any other bare number included.
 */
export function parseAge(text: string): number | undefined {
  const match = /^(\d{1,6})\s*(s|min|h|d)$/.exec(text.trim());
  if (!match) return text.trim() === "0" ? 0 : undefined;
  const unit = match[2] as "s" | "min" | "h" | "d";
  return Number(match[1]) * (unit === "d" ? 24 * millisecondsPerUnit.h : millisecondsPerUnit[unit]);
}

/** Completes «expected …» where an age is wanted. */
export const ageExample = "a time with its unit (s, min, h, d), such as 12h or 7d";

/**
 * Milliseconds that a time such as `500ms` or `5s` stands for, in PostgreSQL's own notation; `0` is 0.
 * Returns undefined for anything else, any other bare number included, and for more than PostgreSQL takes (2^31 - 1 ms).
 */
export function parseDuration(text: string): number | undefined {
  if (text.trim() === "0") return 0;
  const match = /^(\d+)\s*(ms|s|min|h)$/.exec(text.trim());
  if (!match) return undefined;
  const milliseconds = Number(match[1]) * millisecondsPerUnit[match[2] as keyof typeof millisecondsPerUnit];
  return milliseconds < 2 ** 31 ? milliseconds : undefined;
}
