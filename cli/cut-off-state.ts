import { copyFile, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";

/** Endings of a stack's state in a folder: as it is, or compressed (PULUMI_DIY_BACKEND_GZIP, …_ZSTD). */
const endings = [".json", ".json.gz", ".json.zst"];

/** @param file Name of a file in the backend's folder of states. @returns Undefined for what is no state. */
export function stackOfStateFile(file: string): string | undefined {
  const ending = endings.find((each) => file.endsWith(each) && file.length > each.length);
  return ending && file.slice(0, -ending.length);
}

/** @returns Undefined where there is no such file. */
export async function readStateFile(file: string): Promise<string | undefined> {
  const content = await readFile(file).catch(() => undefined);
  if (content === undefined) return undefined;
  try {
    if (file.replace(/\.bak$/, "").endsWith(".gz")) return String(await promisify(gunzip)(content));
    if (file.replace(/\.bak$/, "").endsWith(".zst")) return String(await promisify(zstdDecompress)(content));
  } catch {
    // Breaks off: not a state that anybody could read.
    return "";
  }
  return content.toString();
}

export interface MendOptions {
  /** The file backend's. */
  readonly folder: string;
  readonly project: string;
  readonly stack: string;
  /** Whether the state may be set back by one step, where it breaks off itself. */
  readonly setBack: boolean;
}

/**
 * Mends what keeps Pulumi from reading a stack's state in a folder.
 *
 * - A killed Pulumi leaves the state whole, since it is put in place by a rename. Not so the checksum beside it, in a
 *   file of the storage library's own (`.attrs`, gocloud.dev/blob/fileblob), which is written in place just before:
 *   cut off, every command fails with «failed to load checkpoint: EOF». It is not needed, and removed.
 * - A machine that stopped can leave a state that breaks off. The one before lies beside it (`.bak`).
 *
 * To be called only while no command works on the stack.
 *
 * @returns What it did: `checksum` loses nothing, `set back` the last step of the command that was at work.
 */
export async function mendCutOffState({
  folder,
  project,
  setBack,
  stack,
}: MendOptions): Promise<"checksum" | "set back" | undefined> {
  const states = join(folder, ".pulumi", "stacks", project);
  const names = await readdir(states).catch(() => []);
  let done: "checksum" | "set back" | undefined;
  for (const name of names) {
    const described = name.endsWith(".attrs") ? name.slice(0, -".attrs".length) : undefined;
    if (described === undefined || !belongsTo(described, stack)) continue;
    if ((await isWhole(join(states, name))) !== false) continue;
    await rm(join(states, name));
    done = "checksum";
  }
  for (const ending of setBack ? endings : []) {
    const file = join(states, `${stack}${ending}`);
    if ((await isWhole(file)) !== false || !(await isWhole(`${file}.bak`))) continue;
    await copyFile(`${file}.bak`, file);
    // The checksum of the state that broke off.
    await rm(`${file}.attrs`, { force: true });
    done = "set back";
  }
  return done;
}

/** A stack's name may hold dots itself: `a.json` is one, beside the stack `a`. */
function belongsTo(file: string, stack: string): boolean {
  return [...endings.flatMap((ending) => [ending, `${ending}.bak`]), ".pulumi-tags"].some(
    (ending) => file === `${stack}${ending}`,
  );
}

/** @returns Undefined where there is no such file. */
async function isWhole(file: string): Promise<boolean | undefined> {
  const text = await readStateFile(file);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}
