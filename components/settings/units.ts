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
