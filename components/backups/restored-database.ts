import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { compileCache } from "../compile-cache.ts";
import { roleLabel } from "../labels.ts";
import { roleNames } from "../names.ts";
import { remadeWith } from "../remade-with.ts";
import type { RestoreSetting, Settings } from "../settings.ts";
import { formatRestore } from "./data-generation.ts";

export interface RestoredDatabaseArgs {
  readonly settings: Settings;
  readonly restore: RestoreSetting;
  readonly containerName: pulumi.Input<string>;
  readonly labels: { label: string; value: string }[];
  readonly livesWith: pulumi.Resource | undefined;
  /** Must be done before. */
  readonly after: readonly pulumi.Resource[];
}

/** Another stack's data in an ephemeral environment's database, before its own migrations run. */
export class RestoredDatabase extends pulumi.ComponentResource {
  readonly copied: command.local.Command;

  constructor(name: string, args: RestoredDatabaseArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:RestoredDatabase", name, {}, opts);
    const { settings } = args;
    const labels = Object.fromEntries(args.labels.map(({ label, value }) => [label, value]));
    this.copied = new command.local.Command(
      `${name}-copied`,
      {
        create: "node backup/copy-database.ts",
        // Another setting makes a new container, and with it all of this again; what is in use is left alone.
        update: "true",
        environment: {
          ...compileCache,
          PROJECT: pulumi.getProject(),
          IMAGE: settings.image,
          CONTAINER: args.containerName,
          DATABASE: settings.databaseName,
          SUPERUSER: settings.superuserName,
          OWNER: roleNames(settings.appName).owner,
          RESTORE: formatRestore(args.restore),
          LABELS: JSON.stringify({ ...labels, [roleLabel]: "restore" }),
        },
      },
      { parent: this, dependsOn: [...args.after], ...remadeWith(args.livesWith) },
    );
    this.registerOutputs();
  }
}
