import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { RotatedKey } from "../settings.ts";
import { generationOfPair } from "./rotation.ts";
import { scramSalt, scramVerifier } from "./scram.ts";

/** Logins that have a password. */
export type LoginKey = "superuser" | "migrator" | "appA" | "appB" | "reader" | "monitor" | "backup";

export interface CredentialsArgs {
  /** Password of the bootstrap superuser; generated where undefined. */
  readonly superuserPassword: pulumi.Output<string> | undefined;
  /** How often each was rotated, counted from 1. */
  readonly rotation: Readonly<Record<RotatedKey, number>>;
  /** Whether there may be a copy of its backups. */
  readonly backedUp: boolean;
  /** Key of that copy; generated where undefined. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;
}

/** By login; the second of the application's pair has none before the first rotation. */
export type LoginTexts = Readonly<Record<Exclude<LoginKey, "appB">, pulumi.Output<string>>> & {
  readonly appB: pulumi.Output<string> | undefined;
};

/** One password for each login: generated, unless the settings give it. All are secrets. */
export class Credentials extends pulumi.ComponentResource {
  readonly passwords: LoginTexts;
  /** What the server gets in their place; secrets too. */
  readonly verifiers: LoginTexts;
  /** Key of the backups' encrypted copy; undefined: there are no backups. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;

  constructor(name: string, args: CredentialsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:Credentials", name, {}, opts);
    const generate = (key: string, generation = 1, first = 1) =>
      new random.RandomPassword(
        `${name}-${key}`,
        {
          // Letters and digits alone: 40 of them are 238 bits, and the password stands as it is in every URL, env file and shell.
          length: 40,
          special: false,
          // Another value makes another password. The first one has none.
          ...(generation > first ? { keepers: { generation: String(generation) } } : {}),
        },
        { parent: this },
      ).result;
    const { rotation } = args;
    const pair = generationOfPair(rotation.app);
    this.passwords = {
      superuser: args.superuserPassword ?? generate("superuser", rotation.superuser),
      migrator: generate("migrator", rotation.migrator),
      appA: generate("appA", pair.appA),
      appB: pair.appB === undefined ? undefined : generate("appB", pair.appB, 2),
      reader: generate("reader", rotation.readonly),
      monitor: generate("monitor", rotation.monitor),
      backup: generate("backup", rotation.backup),
    };
    const saltSecret = generate("salt");
    this.verifiers = Object.fromEntries(
      Object.entries(this.passwords).map(([key, password]: [string, pulumi.Output<string> | undefined]) => [
        key,
        password &&
          pulumi
            .all([saltSecret, password])
            .apply(([secret, text]) => scramVerifier(text, scramSalt(secret, key, text))),
      ]),
    ) as unknown as LoginTexts;
    if (args.backedUp) {
      // Generated even where there is no copy, or another key: a copy that is given up and taken up again must find
      // its key, which would have gone with the setting.
      const generated = generate("backup-copy");
      this.backupCopyKey = args.backupCopyKey ?? generated;
    }
    this.registerOutputs();
  }
}
