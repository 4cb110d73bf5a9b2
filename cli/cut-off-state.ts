import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * Pulumi writes a stack's state to a folder in place: killed meanwhile, it leaves a file that breaks off. The state
 * before that lies beside it, and is put in its place.
 *
 * @param folder The file backend's.
 * @returns Whether there was something to mend.
 */
export async function mendCutOffState(folder: string, project: string, stack: string): Promise<boolean> {
  const file = join(folder, ".pulumi", "stacks", project, `${stack}.json`);
  const before = `${file}.bak`;
  if ((await isWhole(file)) !== false || !(await isWhole(before))) return false;
  await copyFile(before, file);
  return true;
}

/** @returns Undefined where there is no such file. */
async function isWhole(file: string): Promise<boolean | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}
