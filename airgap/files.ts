import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, readFile, readlink, rename, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "./run.ts";

/** Writes a file so that whoever reads it meanwhile sees the old one or the new one, whole. */
export async function replaceFile(path: string, content: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, content, { mode });
  await rename(temporary, path);
}

/** Makes `path` a symbolic link to `target`, whatever file, link or folder it was before. */
export async function replaceLink(path: string, target: string): Promise<void> {
  if ((await readlink(path).catch(() => undefined)) === target) return;
  await mkdir(dirname(path), { recursive: true });
  // A folder can't be renamed over.
  if ((await lstat(path).catch(() => undefined))?.isDirectory()) await removeTree(path);
  const temporary = `${path}.${process.pid}`;
  await symlink(target, temporary);
  await rename(temporary, path);
}

/**
 * Removes a folder with all that is in it, but nothing that is mounted there: what an interrupted mmdebstrap left
 * behind may have the machine's own /dev and /proc in it.
 */
export async function removeTree(path: string): Promise<void> {
  await run("rm", ["-rf", "--one-file-system", path]);
}

/** A digest of the names and contents of files and, with everything below them, of folders. */
export async function digest(paths: readonly string[], salt = ""): Promise<string> {
  const hash = createHash("sha256").update(salt);
  const files = (await Promise.all(paths.map(listFiles))).flat().sort();
  const contents = await Promise.all(files.map((file) => readFile(file)));
  for (const [index, file] of files.entries()) {
    const content = contents[index] ?? "";
    hash.update(`\0${file.slice(dirname(paths[0] ?? "").length)}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex").slice(0, 16);
}

async function listFiles(path: string): Promise<string[]> {
  if (!(await lstat(path)).isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
