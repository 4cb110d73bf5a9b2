import * as pulumi from "@pulumi/pulumi";
import { ownCertificateMistakes } from "./certificates/own-certificate.ts";
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
  const own = "settings" in result ? ownCertificate(values, result.settings) : [];
  if ("mistakes" in result || own.length > 0) {
    const mistakes = "mistakes" in result ? result.mistakes : own;
    const count = mistakes.length === 1 ? "1 mistake" : `${mistakes.length} mistakes`;
    throw new pulumi.RunError(
      `${count} in the settings of stack ${pulumi.getStack()} (Pulumi.${pulumi.getStack()}.yaml):\n${mistakes
        .map((mistake) => `  - ${mistake}`)
        .join("\n")}\nNothing has been changed. Every setting is explained in README.md, «Settings».`,
    );
  }
  for (const warning of result.settings.warnings) pulumi.log.warn(warning);
  return result.settings;
}

/**
 * Not among the checks of the settings themselves: they ask for the time, and `./db` must be able to read the settings of
 * an environment whose certificate has expired.
 */
function ownCertificate(values: Readonly<Record<string, ConfigValue>>, settings: Settings): string[] {
  const [tlsCertificate, tlsKey, tlsCa] = ["tlsCertificate", "tlsKey", "tlsCa"].map(
    (key) => values[key]?.text,
  );
  if (tlsCertificate === undefined || tlsKey === undefined || tlsCa === undefined) return [];
  return ownCertificateMistakes({ tlsCertificate, tlsKey, tlsCa }, settings.host, new Date());
}
