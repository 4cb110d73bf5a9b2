import { exitCode, UserError } from "../cli/errors.ts";
import { parseLeniently } from "../cli/stack-files.ts";
import { type SettingKey, type SettingName, settingKeys } from "../components/settings/schema.ts";
import { type ConfigValue, parseSettings, type Settings } from "../components/settings.ts";

/** Left out: they are secrets, or belong to one, and a throwaway server has its own password and no TLS. */
const left = new Set<string>(["tlsCertificate", "tlsCa"]);

/**
 * The settings of a stack as its file and Pulumi.yaml have them, without Pulumi and without the passphrase: what is
 * encrypted is left out.
 *
 * @throws UserError that lists every mistake.
 */
export function stackSettings(stack: string, projectFile: string, stackFile: string): Settings {
  const project = parseLeniently(projectFile);
  const given = {
    ...defaultsOf(project.config),
    ...withoutNamespace(parseLeniently(stackFile).config, String(project.name)),
  };
  const values: Record<string, ConfigValue> = {};
  for (const [key, value] of Object.entries(given)) {
    const setting: SettingKey | undefined = Object.hasOwn(settingKeys, key)
      ? settingKeys[key as SettingName]
      : undefined;
    if (left.has(key) || setting?.secret || isEncrypted(value)) continue;
    values[key] = { text: typeof value === "object" ? JSON.stringify(value) : String(value), secret: false };
  }
  const result = parseSettings(values, () => {
    throw new Error("a secret among settings that have none");
  });
  if ("settings" in result) return result.settings;
  throw new UserError(`the settings of stack ${stack} cannot be used:`, {
    next: result.mistakes.map((mistake) => `- ${mistake}`).join("\n"),
    exitCode: exitCode.usage,
  });
}

/** Pulumi.yaml declares a key with a type and a default, or gives it a value for every stack. */
function defaultsOf(config: unknown): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(asMap(config)).flatMap(([key, declared]) => {
      const { value, default: byDefault } = asMap(declared);
      const chosen = value ?? byDefault;
      return chosen === undefined ? [] : [[key, chosen]];
    }),
  );
}

/** Pulumi takes a key without a namespace for the project's own; others' keys are none of this program's. */
function withoutNamespace(config: unknown, project: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(asMap(config)).flatMap(([key, value]) => {
      if (!key.includes(":")) return [[key, value]];
      return key.startsWith(`${project}:`) ? [[key.slice(project.length + 1), value]] : [];
    }),
  );
}

function isEncrypted(value: unknown): boolean {
  return Object.keys(asMap(value)).join() === "secure";
}

function asMap(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
