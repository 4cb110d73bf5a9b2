import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** The project's folder, wherever `./db` is called from. */
export const projectRoot = join(import.meta.dirname, "..");

/** Env files, password files and certificates that commands write. Git-ignored. */
export const environmentsFolder = join(projectRoot, ".environments");

/** The stack that `start` brings up when none is named: the only one that has the empty passphrase. */
export const developmentStack = "development";

/** @returns Path of a program on the PATH; undefined: there is none. */
export async function findExecutable(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(folder, name);
    const executable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== "" && executable) return path;
  }
  return undefined;
}
