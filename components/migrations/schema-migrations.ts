import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { Migration } from "../../migrator/files.ts";
import { remadeWith } from "../remade-with.ts";

export interface SchemaMigrationsArgs {
  readonly migrations: readonly Migration[];
  readonly folder: string;
  /** Name or number of the migration to end at; undefined: the newest. */
  readonly target: string | undefined;
  /** Times with their unit. Undefined: the migrator's defaults. */
  readonly limits: {
    readonly lockTimeout: string | undefined;
    readonly lockRetries: number | undefined;
    readonly statementTimeout: string | undefined;
  };
  /** Role that owns what the migrations make. */
  readonly owner: string;
  readonly schemaName: string;
  /** Environment by which the runner connects as the migrator. */
  readonly migratorEnvironment: Readonly<Record<string, pulumi.Input<string>>>;
  /** The container of an ephemeral environment: a new one gets every migration again. */
  readonly livesWith: pulumi.Resource | undefined;
  /** Must be done before the first migration. */
  readonly after: readonly pulumi.Resource[];
}

/** Brings the database to the wanted migration. */
export class SchemaMigrations extends pulumi.ComponentResource {
  /** Names of the migrations that are in place; as a stack output, it names new ones in every preview. */
  readonly applied: pulumi.Output<string[]>;

  constructor(name: string, args: SchemaMigrationsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:SchemaMigrations", name, {}, opts);
    const run = new command.local.Command(
      `${name}-run`,
      {
        // An update runs `create` too. Not a replacement (`triggers`): protection would refuse that.
        create: "node migrator/main.ts",
        environment: {
          ...args.migratorEnvironment,
          MIGRATIONS_DIR: args.folder,
          MIGRATIONS_OWNER: args.owner,
          MIGRATIONS_SCHEMA: args.schemaName,
          ...defined({
            MIGRATIONS_LOCK_TIMEOUT: args.limits.lockTimeout,
            MIGRATIONS_LOCK_RETRIES: args.limits.lockRetries?.toString(),
            MIGRATIONS_STATEMENT_TIMEOUT: args.limits.statementTimeout,
            MIGRATIONS_TARGET: args.target,
          }),
          // Data that is thrown away anyway goes with a migration whose files are gone.
          ...(args.livesWith === undefined ? {} : { MIGRATIONS_MISSING: "revert" }),
        },
        // Not read by the runner: it is what makes a new or changed file a difference. Not in the environment, which
        // preview hides as a whole for the password in it.
        stdin: listMigrations(args.migrations),
      },
      {
        parent: this,
        dependsOn: [...args.after],
        ...remadeWith(args.livesWith),
      },
    );
    this.applied = run.id.apply(() => args.migrations.map((migration) => migration.name));
    this.registerOutputs();
  }
}

function defined(variables: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** One line a migration: its name, and enough of both checksums to tell that a file changed. */
export function listMigrations(migrations: readonly Migration[]): string {
  return migrations
    .map(({ name, up, down }) => `${name} ${up.checksum.slice(0, 12)} ${down.checksum.slice(0, 12)}`)
    .join("\n");
}
