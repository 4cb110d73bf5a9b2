import { createHash } from "node:crypto";

/** Enough of a hash to tell that a value has changed. */
export function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16);
}
