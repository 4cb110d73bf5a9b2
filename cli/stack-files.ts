import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { settingKeys } from "../components/settings/schema.ts";
import { projectRoot } from "./project.ts";

/** Text of Pulumi.<stack>.yaml; undefined: there is none. */
export async function readStackFile(stack: string): Promise<string | undefined> {
  return await readFile(join(projectRoot, stackFileName(stack)), "utf8").catch(() => undefined);
}

/**
 * A plain setting of a stack's file, as text. Undefined where the file leaves it out or can't be read; what is wrong
 * with it is Pulumi's to say.
 */
export function textSetting(stackFile: string | undefined, project: string, key: string): string | undefined {
  const config = parseLeniently(stackFile ?? "").config;
  if (typeof config !== "object" || config === null) return undefined;
  const settings = config as Record<string, unknown>;
  // Pulumi takes a key without a namespace for the project's own.
  const value = settings[`${project}:${key}`] ?? settings[key];
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

/** Whether the file says `profile: development`, under any project's name. */
export function isForDevelopment(stackFile: string | undefined): boolean {
  const { config } = parseLeniently(stackFile ?? "");
  if (typeof config !== "object" || config === null) return false;
  const profiles = Object.entries(config).filter(([key]) => /^(?:.*:)?profile$/.test(key));
  return profiles.length > 0 && profiles.every(([, value]) => value === "development");
}

/** Names of the stacks that have a file here, sorted. */
export async function stackFileNames(): Promise<string[]> {
  const names = await readdir(projectRoot);
  return names.flatMap((name) => /^Pulumi\.(.+)\.yaml$/.exec(name)?.[1] ?? []).sort();
}

export function stackFileName(stack: string): string {
  return `Pulumi.${stack}.yaml`;
}

/** The image that a stack runs, which is wanted before Pulumi runs. */
export function imageSetting(stackFile: string | undefined, project: string): string {
  return textSetting(stackFile, project, "image") ?? settingKeys.image.declared.default;
}

/** @returns An empty map for a file that is no YAML map. */
export function parseLeniently(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
