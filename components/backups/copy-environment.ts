import { uploadFolder } from "../server/files.ts";
import type { CopySettings } from "../settings.ts";
import { repositoryMount } from "./program.ts";

/** Where the program that copies is in its container; its scripts know it too. */
export const copyFolder = `${uploadFolder}/copy`;
export const copyCommand = `${copyFolder}/copy`;

/** Where the copy's container keeps how far it is. */
export const copyStateFolder = "/state";

/** What the program must know. Nothing in here is secret: `docker inspect` shows it. */
export function copyEnvironment(
  { encryption, every, path }: CopySettings,
  project: string,
  stack: string,
): Record<string, string> {
  return {
    REPOSITORY: repositoryMount,
    COPY_PATH: path,
    COPY_EVERY: String(every),
    COPY_ENCRYPTION: encryption ? "on" : "off",
    // Two stacks may come from one backup, with the same system identifier.
    COPY_STACK: `${project}/${stack}`,
    COPY_STATE: copyStateFolder,
  };
}
