import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { settingKeys } from "../components/settings/schema.ts";
import { projectRoot } from "./project.ts";

/** Text of Pulumi.<stack>.yaml; undefined: there is none. */
export async function readStackFile(stack: string): Promise<string | undefined> {
  return await readFile(join(projectRoot, `Pulumi.${stack}.yaml`), "utf8").catch(() => undefined);
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
