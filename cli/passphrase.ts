import { exitCode, UserError } from "./errors.ts";
import { developmentStack } from "./project.ts";
import { isForDevelopment, parseLeniently } from "./stack-files.ts";

export interface PassphraseUse {
  readonly stack: string;
  /** Text of Pulumi.<stack>.yaml; undefined: there is none yet. */
  readonly stackFile: string | undefined;
  /** Text of development's file, whose empty passphrase a stack made from it has. */
  readonly developmentFile?: string | undefined;
  /** Where the state is; empty: wherever `pulumi login` says. */
  readonly backendUrl: string;
}

/**
 * Variables that give Pulumi the stack's passphrase.
 *
 * `development` is thrown away and rebuilt, so its secrets are open: Pulumi.development.yaml is made with the empty
 * passphrase. So are those of a stack whose file was made from it, with its salt (cli/throwaway.ts). Every other stack
 * gets what the caller's environment has, and nothing instead of it.
 *
 * @throws UserError where a passphrase is needed and none is set.
 */
export function passphraseVariables(
  use: PassphraseUse,
  environment: NodeJS.ProcessEnv,
): Record<string, string> {
  const { stack } = use;
  if (!usesPassphrase(use)) return {};
  // Both names are given, because Pulumi prefers the first and the caller's may be another stack's.
  if (hasEmptyPassphrase(use)) return { PULUMI_CONFIG_PASSPHRASE: "", PULUMI_CONFIG_PASSPHRASE_FILE: "" };
  if (environment.PULUMI_CONFIG_PASSPHRASE || environment.PULUMI_CONFIG_PASSPHRASE_FILE) return {};
  throw new UserError(
    `stack ${stack} needs its passphrase, and neither PULUMI_CONFIG_PASSPHRASE nor PULUMI_CONFIG_PASSPHRASE_FILE is set.`,
    {
      next: [
        "Set it in this shell, with nothing in the shell's history:",
        "  IFS= read -rs PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE",
        "or name a file that holds it: export PULUMI_CONFIG_PASSPHRASE_FILE=PATH",
        "Only the stack development has an empty passphrase, and what ./db start makes from it.",
      ].join("\n"),
      exitCode: exitCode.missing,
    },
  );
}

/** The same salt checks the same passphrase. One that guards data that stays is never tried. */
export function hasEmptyPassphrase({ stack, stackFile, developmentFile }: PassphraseUse): boolean {
  if (stack === developmentStack) return true;
  const { encryptionsalt } = parseLeniently(stackFile ?? "");
  return (
    typeof encryptionsalt === "string" &&
    encryptionsalt === parseLeniently(developmentFile ?? "").encryptionsalt &&
    isForDevelopment(stackFile)
  );
}

/** A key service (`secretsprovider:`) or Pulumi Cloud takes the passphrase's place. */
export function usesPassphrase({ stackFile, backendUrl }: PassphraseUse): boolean {
  const { secretsprovider, encryptionsalt } = parseLeniently(stackFile ?? "");
  const isOther = typeof secretsprovider === "string" && !["passphrase", "default"].includes(secretsprovider);
  if (isOther) return false;
  if (encryptionsalt !== undefined || secretsprovider === "passphrase") return true;
  return backendUrl !== "" && !/^https?:/.test(backendUrl);
}
