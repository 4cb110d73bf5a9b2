import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { projectRoot } from "./project.ts";
import { parseLeniently } from "./stack-files.ts";

/** Where Pulumi keeps this project's state. */
export interface StateBackend {
  readonly url: string;
  /** Of a file backend; undefined: the state is elsewhere, and so are its locks. */
  readonly folder: string | undefined;
  readonly project: string;
}

/**
 * @param projectFile Text of Pulumi.yaml.
 * @param environment PULUMI_BACKEND_URL wins over Pulumi.yaml, as it does for Pulumi.
 */
export function stateBackend(projectFile: string, environment: NodeJS.ProcessEnv): StateBackend {
  const { name, backend } = parseLeniently(projectFile);
  const project = typeof name === "string" ? name : "";
  const inFile = (backend as { url?: unknown } | null | undefined)?.url;
  const url = environment.PULUMI_BACKEND_URL || (typeof inFile === "string" ? inFile : "");
  return { url, folder: url.startsWith("file://") ? fileFolder(url) : undefined, project };
}

/** Pulumi takes `file://./x` and `file://~/x` too, relative to where it runs: the project's folder. */
function fileFolder(url: string): string {
  const path = url.slice("file://".length).replace(/\?.*$/, "");
  if (path === "~" || path.startsWith("~/")) return join(homedir(), path.slice(1));
  return isAbsolute(path) ? fileURLToPath(`file://${path}`) : join(projectRoot, path);
}

export async function readStateBackend(): Promise<StateBackend> {
  return stateBackend(await readFile(join(projectRoot, "Pulumi.yaml"), "utf8"), process.env);
}
