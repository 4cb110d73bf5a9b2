import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCode, UserError } from "./errors.ts";
import { developmentStack, projectRoot } from "./project.ts";

/**
 * Variables that give Pulumi the stack's passphrase.
 *
 * `development` is thrown away and rebuilt, so its secrets are open: Pulumi.development.yaml is made with the empty
 * passphrase. Every other stack gets what the caller's environment has, and nothing instead of it.
 *
 * @param stackFile Text of Pulumi.<stack>.yaml; undefined: there is none yet.
 * @throws UserError where a passphrase is needed and none is set.
 */
export function passphraseVariables(
  stack: string,
  stackFile: string | undefined,
  environment: NodeJS.ProcessEnv,
): Record<string, string> {
  if (!usesPassphrase(stackFile, environment)) return {};
  // Both names are given, because Pulumi prefers the first and the caller's may be another stack's.
  if (stack === developmentStack) return { PULUMI_CONFIG_PASSPHRASE: "", PULUMI_CONFIG_PASSPHRASE_FILE: "" };
  if (environment.PULUMI_CONFIG_PASSPHRASE || environment.PULUMI_CONFIG_PASSPHRASE_FILE) return {};
  throw new UserError(
    `stack ${stack} needs its passphrase, and neither PULUMI_CONFIG_PASSPHRASE nor PULUMI_CONFIG_PASSPHRASE_FILE is set.`,
    {
      next: [
        "Set it in this shell, with nothing in the shell's history:",
        "  IFS= read -rs PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE",
        "or name a file that holds it: export PULUMI_CONFIG_PASSPHRASE_FILE=PATH",
        "Only the stack development has an empty passphrase.",
      ].join("\n"),
      exitCode: exitCode.missing,
    },
  );
}

/** A key service (`secretsprovider:`) or Pulumi Cloud takes the passphrase's place. */
export function usesPassphrase(stackFile: string | undefined, environment: NodeJS.ProcessEnv): boolean {
  if (stackFile !== undefined) {
    const provider = /^secretsprovider:\s*["']?([^"'\s]+)/m.exec(stackFile)?.[1];
    if (provider !== undefined && provider !== "passphrase" && provider !== "default") return false;
    if (/^encryptionsalt:/m.test(stackFile)) return true;
  }
  return !/^https?:/.test(environment.PULUMI_BACKEND_URL ?? "");
}

export async function readStackFile(stack: string): Promise<string | undefined> {
  return await readFile(join(projectRoot, `Pulumi.${stack}.yaml`), "utf8").catch(() => undefined);
}
