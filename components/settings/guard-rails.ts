import type { RoleNames } from "../names.ts";

/**
 * What a production environment is not to have. Each can be had with a reason, in the setting `exceptions`; an error
 * keeps `pulumi preview` from going on, a warning does not.
 */
export const risks = {
  noBackup: "error",
  noProtection: "warning",
  unpinnedImage: "warning",
  plainTextSecret: "error",
  weakTls: "error",
  unsafeServerSetting: "error",
} as const satisfies Record<string, "error" | "warning">;
export type Risk = keyof typeof risks;

export const riskNames = Object.keys(risks) as Risk[];

/** One thing that is risky in the settings at hand. */
export interface Finding {
  readonly risk: Risk;
  /** Begins with the setting's name. */
  readonly text: string;
  readonly fix: string;
}

export interface Guarded {
  readonly image: string;
  readonly deletionProtection: boolean;
  readonly backedUp: boolean;
  readonly serverSettings: Readonly<Record<string, string>>;
  /** Text of every setting that is not encrypted. */
  readonly plainTexts: Readonly<Record<string, string>>;
}

export function findRisks(guarded: Guarded): Finding[] {
  const { backedUp, deletionProtection, image, plainTexts, serverSettings } = guarded;
  return [
    ...(backedUp
      ? []
      : [
          {
            risk: "noBackup" as const,
            text: "backups: is false, so that a lost disk or a wrong DELETE is final",
            fix: "pulumi config rm backups",
          },
        ]),
    ...(deletionProtection
      ? []
      : [
          {
            risk: "noProtection" as const,
            text: "deletionProtection: is false, so that `pulumi destroy` is not refused",
            fix: "pulumi config rm deletionProtection",
          },
        ]),
    ...(image.includes("@sha256:")
      ? []
      : [
          {
            risk: "unpinnedImage" as const,
            text: `image: ${image} is a tag: this environment stays with the image that it has, by its digest, but made anew or on another host it may get another one`,
            fix: `pin it: pulumi config set image ${image}@sha256:… with the digest that docker buildx imagetools inspect ${image} prints`,
          },
        ]),
    ...Object.entries(plainTexts)
      .filter(([, text]) => hasSecret(text))
      .map(([setting]) => ({
        risk: "plainTextSecret" as const,
        text: `${setting}: has a password in plain text`,
        fix: `take it out of the file and of git's history, and choose another password`,
      })),
    ...serverRisks(serverSettings),
  ];
}

/** `password=…` of a connection string, or the user and password of a URL. */
function hasSecret(text: string): boolean {
  return (
    /(?:^|[^\w])(?:password|passwd|pwd)\s*=\s*[^\s'"$\\{,}]/i.test(text) ||
    /\w:\/\/[^/\s:@"]*:[^@\s"]+@/.test(text)
  );
}

const off = /^(?:off|of|false|fals|fal|fa|f|no|n|0)$/i;

/** Parameters whose value ends what a production environment promises; the manual warns of each. */
function serverRisks(parameters: Guarded["serverSettings"]): Finding[] {
  const finding = (risk: Risk, name: string, why: string): Finding[] =>
    parameters[name] === undefined
      ? []
      : [
          {
            risk,
            text: `serverSettings: ${name} is ${parameters[name]}, ${why}`,
            fix: "remove it from serverSettings",
          },
        ];
  const isOff = (name: string) => off.test(parameters[name] ?? "");
  const isOn = (name: string) => parameters[name] !== undefined && !isOff(name);
  const unsafe = (name: string, why: string, there: boolean) =>
    there ? finding("unsafeServerSetting", name, why) : [];
  const oldTls = /^TLSv1(?:\.1)?$/i.test(parameters.ssl_min_protocol_version ?? "");
  return [
    ...(oldTls || parameters.ssl_min_protocol_version === ""
      ? finding("weakTls", "ssl_min_protocol_version", "which lets clients in with broken versions of TLS")
      : []),
    ...unsafe("autovacuum", "which ends in a server that takes no more writes", isOff("autovacuum")),
    ...unsafe("zero_damaged_pages", "which throws damaged rows away", isOn("zero_damaged_pages")),
    ...unsafe("ignore_checksum_failure", "which hands damaged rows out", isOn("ignore_checksum_failure")),
    ...unsafe(
      "allow_system_table_mods",
      "which lets a slip ruin the whole cluster",
      isOn("allow_system_table_mods"),
    ),
  ];
}

/** The superuser under another login's name would make that login a superuser. @returns A mistake. */
export function superuserMistake(superuserName: string, roles: RoleNames): string | undefined {
  return Object.values(roles).includes(superuserName)
    ? `superuserName: ${superuserName} is a role of the application, which would be a superuser. Fix: pulumi config set superuserName postgres`
    : undefined;
}

/**
 * Sorts what was found by what the exceptions say.
 *
 * @returns Mistakes, which stop everything, and warnings, which are shown.
 */
export function applyExceptions(
  found: readonly Finding[],
  exceptions: Readonly<Record<string, string>>,
): { mistakes: string[]; warnings: string[] } {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  for (const { fix, risk, text } of found) {
    const reason = exceptions[risk];
    if (reason !== undefined) warnings.push(`${text}. Accepted (exceptions, ${risk}): ${reason}`);
    else if (risks[risk] === "warning") warnings.push(`${text}. Fix: ${fix}`);
    else {
      mistakes.push(
        `${text}. Fix: ${fix}; or give the reason for it in the stack's file, as in exceptions: {${risk}: why it must be}`,
      );
    }
  }
  for (const [risk] of Object.entries(exceptions)) {
    if (!riskNames.some((each) => each === risk)) {
      mistakes.push(
        `exceptions: ${risk} is none that there is, expected ${riskNames.join(", ")}. Fix: correct it in the stack's file`,
      );
    } else if (!found.some((finding) => finding.risk === risk)) {
      mistakes.push(
        `exceptions: ${risk} excuses nothing any more. Fix: pulumi config rm --path exceptions.${risk}`,
      );
    }
  }
  return { mistakes, warnings };
}
