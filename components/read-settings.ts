import * as pulumi from "@pulumi/pulumi";
import { type ConfigValue, parseSettings, type Settings } from "./settings.ts";

/**
 * Reads the settings of the current stack from its configuration.
 * @throws pulumi.RunError that lists every mistake, each with its key, the value got, what is expected and the fix.
 */
export function readSettings(): Settings {
  const namespace = `${pulumi.getProject()}:`;
  // pulumi.Config has no public way to ask whether a value is encrypted; this is what it uses itself.
  const { isConfigSecret } = pulumi.runtime as unknown as { isConfigSecret(key: string): boolean };
  const values: Record<string, ConfigValue> = {};
  for (const [key, text] of Object.entries(pulumi.runtime.allConfig())) {
    if (key.startsWith(namespace)) {
      values[key.slice(namespace.length)] = { text, secret: isConfigSecret(key) };
    }
  }
  const result = parseSettings(values, pulumi.secret);
  if ("mistakes" in result) {
    const count = result.mistakes.length === 1 ? "1 mistake" : `${result.mistakes.length} mistakes`;
    throw new pulumi.RunError(
      `${count} in the settings of stack ${pulumi.getStack()} (Pulumi.${pulumi.getStack()}.yaml):\n${result.mistakes
        .map((mistake) => `  - ${mistake}`)
        .join("\n")}\nNothing has been changed. Every setting is explained in README.md, «Settings».`,
    );
  }
  return result.settings;
}
