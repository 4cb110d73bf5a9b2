import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";

/** A file that the image runs on an empty data directory. */
export interface InitScript {
  readonly name: string;
  /** Base64, because compressed scripts are binary. */
  readonly contentBase64: string;
  readonly executable: boolean;
}

/** What the official image runs; it ignores every other file (docker-entrypoint.sh, docker_process_init_files). */
const endings = [".sh", ".sql", ".sql.gz", ".sql.xz", ".sql.zst"];

/** Folder that may be missing, because no setting asked for it. */
const defaultFolder = "initdb";

/**
 * Reads the scripts of a folder, in the order in which the image runs them.
 * @throws pulumi.RunError when the folder is missing or has a file that the image would silently leave out
 */
export function readInitScripts(folder: string): InitScript[] {
  if (!existsSync(folder)) {
    if (folder === defaultFolder) return [];
    throw new pulumi.RunError(
      `initdbFolder: the folder ${folder} does not exist. Make it, or run: pulumi config rm initdbFolder`,
    );
  }
  const files = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => !entry.name.startsWith(".") && !entry.name.endsWith(".md"),
  );
  const ignored = files.filter(
    (entry) => !entry.isFile() || !endings.some((ending) => entry.name.endsWith(ending)),
  );
  if (ignored.length > 0) {
    throw new pulumi.RunError(
      `initdbFolder: ${ignored.map((entry) => join(folder, entry.name)).join(", ")} would never run; the image takes files that end in ${endings.join(", ")}. Rename or remove them.`,
    );
  }
  return files
    .map((entry) => entry.name)
    .sort()
    .map((name) => {
      const path = join(folder, name);
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
