import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** A file that the image runs on an empty data directory. */
export interface InitScript {
  readonly name: string;
  /** Base64, because compressed scripts are binary. */
  readonly contentBase64: string;
  readonly executable: boolean;
}

/** What the official image runs; it ignores every other file (docker-entrypoint.sh, docker_process_init_files). */
const endings = [".sh", ".sql", ".sql.gz", ".sql.xz", ".sql.zst"];

/** The folder cannot be used as it is; the message says what to do. */
export class InitScriptsError extends Error {
  override readonly name = "InitScriptsError";
}

/** Folder that may be missing, because no setting asked for it. */
const defaultFolder = "initdb";

/**
 * Reads the scripts of a folder, in the order in which the image runs them.
 * @param project What the folder's path is relative to. Default: the current folder.
 * @throws InitScriptsError when the folder is missing or has a file that the image would silently leave out
 */
export function readInitScripts(folder: string, project = ""): InitScript[] {
  const place = resolve(project, folder);
  if (!existsSync(place)) {
    if (folder === defaultFolder) return [];
    throw new InitScriptsError(
      `initdbFolder: the folder ${folder} does not exist. Make it, or run: pulumi config rm initdbFolder`,
    );
  }
  const files = readdirSync(place, { withFileTypes: true }).filter(
    (entry) => !entry.name.startsWith(".") && !entry.name.endsWith(".md"),
  );
  const ignored = files.filter(
    (entry) => !entry.isFile() || !endings.some((ending) => entry.name.endsWith(ending)),
  );
  if (ignored.length > 0) {
    throw new InitScriptsError(
      `initdbFolder: ${ignored.map((entry) => join(folder, entry.name)).join(", ")} would never run; the image takes files that end in ${endings.join(", ")}. Rename or remove them.`,
    );
  }
  return files
    .map((entry) => entry.name)
    .sort()
    .map((name) => {
      const path = join(place, name);
      return { name, contentBase64: readFileSync(path).toString("base64"), executable: isExecutable(path) };
    });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
