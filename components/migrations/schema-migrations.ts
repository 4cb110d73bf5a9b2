import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { listSeeds, type SeedFile } from "../../reset/seed-files.ts";
import { compileCache } from "../compile-cache.ts";
import { remadeWith } from "../remade-with.ts";
import { formatRecorded, type PlannedMigrations } from "./planned-migrations.ts";

export interface SchemaMigrationsArgs {
  readonly migrations: PlannedMigrations;
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
  /** Role that reads, for monitoring, how the last run went; undefined: nobody. */
  readonly monitor: string | undefined;
  /** Environment by which the runner connects as the migrator. */
  readonly migratorEnvironment: Readonly<Record<string, pulumi.Input<string>>>;
  /** Restored data may have fewer migrations: another generation makes the command run again. */
  readonly dataGeneration: number;
  /** Connection URL of the backup role, who notes a moment to go back to before each migration; undefined: no backups. */
  readonly restorePoints: pulumi.Input<string> | undefined;
  /** The container of an ephemeral environment: a new one gets every migration again. */
  readonly livesWith: pulumi.Resource | undefined;
  /** What an ephemeral environment has beside migrations: seed data, and a template that it is reset from. */
  readonly ephemeral: EphemeralArgs | undefined;
  /** Must be done before the first migration. */
  readonly after: readonly pulumi.Resource[];
}

export interface EphemeralArgs {
  /** By login, as the stack's output; the superuser's too, who alone can copy a database. */
  readonly connections: pulumi.Input<Readonly<Record<string, unknown>>>;
  readonly initdbFolder: string;
  /** Name of the set of seed data; undefined: none. */
  readonly seeds: string | undefined;
  readonly seedFiles: readonly SeedFile[];
  /** The database began with another stack's data. */
  readonly restored: boolean;
}

/** Brings the database to the wanted migration; a new one that is ephemeral gets its seed data too. */
export class SchemaMigrations extends pulumi.ComponentResource {
  /** Names of the migrations that are in place; as a stack output, it names new ones in every preview. */
  readonly applied: pulumi.Output<readonly string[]>;
  /** For the next preview: see `formatRecorded`; null in an ephemeral environment. */
  readonly recorded: pulumi.Output<string | null>;

  constructor(name: string, args: SchemaMigrationsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:SchemaMigrations", name, {}, opts);
    const { ephemeral } = args;
    const run = new command.local.Command(
      `${name}-run`,
      {
        // An update runs `create` too. Not a replacement (`triggers`): protection would refuse that.
        create: ephemeral ? "node reset/main.ts" : "node migrator/main.ts",
        environment: {
          ...compileCache,
          ...args.migratorEnvironment,
          MIGRATIONS_DIR: args.folder,
          MIGRATIONS_OWNER: args.owner,
          MIGRATIONS_SCHEMA: args.schemaName,
          ...defined({
            MIGRATIONS_LOCK_TIMEOUT: args.limits.lockTimeout,
            MIGRATIONS_LOCK_RETRIES: args.limits.lockRetries?.toString(),
            MIGRATIONS_STATEMENT_TIMEOUT: args.limits.statementTimeout,
            MIGRATIONS_TARGET: args.target,
            MIGRATIONS_MONITOR: args.monitor,
            MIGRATIONS_DATA_LOSS: args.migrations.allowDataLoss ? "allow" : undefined,
          }),
          ...(args.dataGeneration === 0 ? {} : { DATA_GENERATION: String(args.dataGeneration) }),
          ...(args.restorePoints === undefined ? {} : { RESTORE_POINT_SOURCE: args.restorePoints }),
          // Data that is thrown away anyway goes with a migration whose files are gone.
          ...(args.livesWith === undefined ? {} : { MIGRATIONS_MISSING: "revert" }),
          ...(ephemeral === undefined ? {} : ephemeralEnvironment(ephemeral)),
        },
        // Not read by the runner: it is what makes a new or changed file a difference. Not in the environment, which
        // preview hides as a whole for the password in it.
        stdin:
          args.migrations.refusal === undefined
            ? [args.migrations.list, ...listSeeds(ephemeral?.seedFiles ?? [])].join("\n")
            : refused(args.migrations.refusal),
      },
      {
        parent: this,
        dependsOn: [...args.after],
        ...remadeWith(args.livesWith),
      },
    );
    this.applied = run.id.apply(() => args.migrations.names);
    const { recorded } = args.migrations;
    this.recorded = run.id.apply(() => (recorded === undefined ? null : formatRecorded(recorded)));
    this.registerOutputs();
  }
}

function ephemeralEnvironment(args: EphemeralArgs): Record<string, pulumi.Input<string>> {
  return {
    DB_CONNECTIONS: pulumi.jsonStringify(args.connections),
    STACK: pulumi.getStack(),
    INITDB_DIR: args.initdbFolder,
    ...defined({ SEEDS: args.seeds, RESTORED: args.restored ? "on" : undefined }),
  };
}

function defined(variables: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** A value that makes the program fail at its end, with this message and no stack trace. */
function refused(message: string): pulumi.Output<string> {
  return pulumi.output(Promise.reject(new pulumi.RunError(message)));
}
