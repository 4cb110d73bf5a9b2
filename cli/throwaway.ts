import { link, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseDocument, stringify } from "yaml";
import { parseAge } from "../components/settings/units.ts";
import { exitCode, UserError } from "./errors.ts";
import { makePrivateFolder } from "./files.ts";
import { excludeFromGit, includeInGit } from "./git-exclude.ts";
import { developmentStack, environmentsFolder, projectRoot } from "./project.ts";
import {
  isForDevelopment,
  parseLeniently,
  readStackFile,
  stackFileName,
  textSetting,
} from "./stack-files.ts";

/** How long `./db prune` leaves a stack alone that `./db start` made by itself, where nothing else is said. */
export const defaultKeepFor = "7d";

/** What a stack of its own must have of its own: a port for each. */
const notCopied = ["port", "keepFor"];

const heading = `# Made by ./db start from Pulumi.development.yaml, whose empty passphrase it has. Yours to edit; git ignores it.
# «./db prune» removes the stack and this file when the last update is longer ago than keepFor.
`;

/** A stack that may be changed and removed without asking: development, and what has an age in its settings. */
export function isThrownAway(stack: string, stackFile: string | undefined, project: string): boolean {
  return stack === developmentStack || keepForOf(stackFile, project) !== undefined;
}

/** @returns The setting `keepFor` of an ephemeral stack's file, as it stands there. */
export function keepForOf(stackFile: string | undefined, project: string): string | undefined {
  const keepFor = textSetting(stackFile, project, "keepFor");
  return keepFor !== undefined && isForDevelopment(stackFile) && parseAge(keepFor) !== undefined
    ? keepFor
    : undefined;
}

/**
 * Text of a stack file with development's settings.
 *
 * It keeps development's salt: the passphrase is the same, the empty one, and what is encrypted in the file stays
 * readable.
 *
 * @throws UserError where development's own file is missing or is not for development.
 */
export function throwawayFile(stack: string, developmentFile: string | undefined, keepFor: string): string {
  if (developmentFile === undefined || !isForDevelopment(developmentFile)) {
    const found =
      developmentFile === undefined ? "there is none" : "that one does not have profile: development";
    throw new UserError(
      `there is no ${stackFileName(stack)}, and it can't be made from Pulumi.${developmentStack}.yaml: ${found}.`,
      {
        next: `Write it: README, «A third environment». Or: pulumi config set profile development --stack ${stack}`,
        exitCode: exitCode.missing,
      },
    );
  }
  const { config, ...rest } = parseLeniently(developmentFile);
  const settings = Object.entries(config as Record<string, unknown>).filter(
    ([key]) => !notCopied.includes(key.slice(key.lastIndexOf(":") + 1)),
  );
  return heading + stringify({ ...rest, config: { ...Object.fromEntries(settings), keepFor } });
}

/** Writes the file, out of git's sight. One that is there already, from another start of this moment, is left. */
export async function makeThrowawayFile(stack: string, text: string): Promise<void> {
  const path = join(projectRoot, stackFileName(stack));
  await excludeFromGit(stackFileName(stack));
  const temporary = join(environmentsFolder, `${stackFileName(stack)}.${process.pid}`);
  await makePrivateFolder(environmentsFolder);
  await writeFile(temporary, text);
  try {
    // Whole or not at all, and never over another.
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** @returns The file's text with another `keepFor`, and everything else as it was, comments included. */
export function withKeepFor(stackFile: string, project: string, keepFor: string): string {
  const document = parseDocument(stackFile);
  const own = ["config", `${project}:keepFor`];
  document.setIn(document.hasIn(own) ? own : ["config", "keepFor"], keepFor);
  return document.toString({ lineWidth: 0 });
}

/** Replaces the file: whole or not at all. */
export async function replaceStackFile(stack: string, text: string): Promise<void> {
  const temporary = join(environmentsFolder, `${stackFileName(stack)}.${process.pid}`);
  await makePrivateFolder(environmentsFolder);
  await writeFile(temporary, text);
  await rename(temporary, join(projectRoot, stackFileName(stack)));
}

/** What commands have written for a stack, beside its settings. Names with a stack's name before a dot are no pattern: a stack may be called `a.env`. */
const writtenFiles = [".pgpass", ".env", ".env.ca.pem", ".ca.pem", ".server.json"];

/** Removes a stack's file and what commands have written for it. */
export async function removeThrowawayFiles(stack: string): Promise<void> {
  await rm(join(projectRoot, stackFileName(stack)), { force: true });
  await includeInGit(stackFileName(stack));
  for (const ending of writtenFiles) await rm(join(environmentsFolder, `${stack}${ending}`), { force: true });
}

/** Reads development's file for {@link throwawayFile}. */
export async function newThrowawayFile(stack: string, keepFor: string): Promise<string> {
  return throwawayFile(stack, await readStackFile(developmentStack), keepFor);
}
