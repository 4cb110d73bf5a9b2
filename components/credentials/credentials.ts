import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

/** Logins that have a password. */
export const loginKeys = ["superuser", "migrator", "appA", "reader", "monitor", "backup"] as const;
export type LoginKey = (typeof loginKeys)[number];

export interface CredentialsArgs {
  /** Password of the bootstrap superuser; generated where undefined. */
  readonly superuserPassword: pulumi.Output<string> | undefined;
  /** Whether there may be a copy of its backups. */
  readonly backedUp: boolean;
  /** Key of that copy; generated where undefined. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;
}

/** One password for each login: generated, unless the settings give it. All are secrets. */
export class Credentials extends pulumi.ComponentResource {
  readonly passwords: Readonly<Record<LoginKey, pulumi.Output<string>>>;
  /** Key of the backups' encrypted copy; undefined: there are no backups. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;

  constructor(name: string, args: CredentialsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:Credentials", name, {}, opts);
    const generate = (key: LoginKey | "backup-copy") =>
      // Letters and digits alone: 40 of them are 238 bits, and the password stands as it is in every URL, env file and shell.
      new random.RandomPassword(`${name}-${key}`, { length: 40, special: false }, { parent: this }).result;
    this.passwords = Object.fromEntries(
      loginKeys.map((key) => [
        key,
        (key === "superuser" ? args.superuserPassword : undefined) ?? generate(key),
      ]),
    ) as Record<LoginKey, pulumi.Output<string>>;
    if (args.backedUp) {
      // Generated even where there is no copy, or another key: a copy that is given up and taken up again must find
      // its key, which would have gone with the setting.
      const generated = generate("backup-copy");
      this.backupCopyKey = args.backupCopyKey ?? generated;
    }
    this.registerOutputs();
  }
}
