import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "./errors.ts";

/** Writes a file that only its owner may read: whole or not at all, whoever looks or interrupts in between. */
export async function writePrivateFile(path: string, content: string): Promise<void> {
  if ((await stat(path).catch(() => undefined))?.isDirectory()) {
    throw new UserError(`${path} is a folder.`, { next: "Name a file." });
  }
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new UserError(`${dirname(path)} is not a folder.`, {
        next: "Make it first, or name another file.",
      });
    }
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
      throw new UserError(`${dirname(path)} cannot be written to (${code}).`, {
        next: "Name a file elsewhere.",
      });
    }
    throw error;
  }
}

/** Makes the project's folder for env files and the like, closed to others. */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}
