import type { Client } from "pg";
import { settingKeys } from "../components/settings/schema.ts";
import { exitCodes, MigratorError } from "../migrator/errors.ts";
import { readMigrations, selectTarget } from "../migrator/files.ts";
import { readInput } from "../migrator/input.ts";
import { inputsOf, lookAtInputs } from "../reset/inputs.ts";
import { type InputsMark, parseMark } from "../reset/mark.ts";
import { ownDatabases } from "../reset/names.ts";
import type { DatabaseProperties } from "../reset/properties.ts";
import { readSeeds, seedFolder } from "../reset/seed-files.ts";
import { type Found, lockAndFind } from "../reset/server.ts";
import { buildTemplate, fits, type Wanted } from "../reset/templates.ts";
import { rewriteMark } from "../reset/up.ts";
import { migratorVariables, stackSettings } from "./migrator-variables.ts";
import { projectRoot } from "./project.ts";
import { type PulumiCommand, pulumiCommand } from "./pulumi.ts";
import { openServer } from "./server-access.ts";
import type { StackOutputs } from "./stack-outputs.ts";
import { toolchainVariables } from "./toolchain.ts";

/** What a reset has to do when a file or a setting has changed since the last one. */
export class Rebuild {
  readonly #stack: string;
  readonly #pulumi: PulumiCommand;
  readonly #wanted: Wanted;
  readonly #inputs: Omit<InputsMark, "recorded">;

  private constructor(
    stack: string,
    pulumi: PulumiCommand,
    wanted: Wanted,
    inputs: Omit<InputsMark, "recorded">,
  ) {
    this.#stack = stack;
    this.#pulumi = pulumi;
    this.#wanted = wanted;
    this.#inputs = inputs;
  }

  /**
   * Reads the files as they are now.
   *
   * @throws UserError where the stack's passphrase is missing, MigratorError where a file is not as it must be.
   */
  static async prepare(stack: string, connections: StackOutputs["connections"]): Promise<Rebuild> {
    const pulumi = await pulumiCommand(stack, await toolchainVariables());
    // The files' paths count from the project's folder, as in `pulumi up`.
    process.chdir(projectRoot);
    const setting = await stackSettings(stack);
    const migrationsFolder = setting("migrationsFolder") ?? settingKeys.migrationsFolder.declared.default;
    const seeds = setting("seeds");
    // Before the files are read: what is changed in between makes a difference the next time.
    const inputs = lookAtInputs(
      projectRoot,
      inputsOf({
        stack,
        migrationsFolder,
        initdbFolder: setting("initdbFolder") ?? settingKeys.initdbFolder.declared.default,
        seedsFolder: seedFolder(seeds),
      }),
    );
    const variables = await migratorVariables(stack, {
      connections,
      lifetime: "ephemeral",
      tls: { mode: "disable", ca: undefined },
    });
    const input = readInput({
      ...variables,
      MIGRATIONS_DIR: migrationsFolder,
      MIGRATIONS_SCHEMA: variables.MIGRATIONS_SCHEMA ?? settingKeys.schemaName.declared.default,
    });
    const wanted: Wanted = {
      input,
      migrations: selectTarget(readMigrations(input.folder), input.target),
      seeds: readSeeds(seeds),
      folder: projectRoot,
    };
    return new Rebuild(stack, pulumi, wanted, inputs);
  }

  /** @returns Whether a new template had to be built. */
  async template(client: Client, found: Found, properties: DatabaseProperties): Promise<boolean> {
    if (fits(found, this.#wanted)) return false;
    note("Migrations or seed data have changed: building a new template");
    try {
      await buildTemplate(client, found, this.#wanted, {
        properties,
        mark: { ...this.#inputs, recorded: false },
        log: (line) => note(`  ${line}`),
      });
    } catch (error) {
      throw this.#mayNeedSettings(found, error) ?? error;
    }
    return true;
  }

  /** The server still has the settings of the last `up`: without a new extension, for example. */
  #mayNeedSettings(found: Found, error: unknown): MigratorError | undefined {
    const before = parseMark(found.get(ownDatabases.ready)?.comment)?.settingsHash;
    const failed = error instanceof MigratorError && error.exitCode === exitCodes.failed;
    if (!failed || before === this.#inputs.settingsHash) return undefined;
    return new MigratorError(
      error.exitCode,
      `${error.message}\nSettings have changed too, which the server has not got yet. If it lacks one of them: pulumi up -s ${this.#stack}, then run again.`,
    );
  }

  /** Lets Pulumi know of what has changed. The caller holds no lock in the server any more. */
  async record(): Promise<void> {
    const args = ["up", "--suppress-outputs", "--yes", "--skip-preview"];
    note(`+ ${this.#pulumi.line(args)}`);
    await this.#pulumi.attach(args);
    const { client, connections } = await openServer(this.#stack);
    try {
      const found = await lockAndFind(client, connections.app.database);
      if (fits(found, this.#wanted)) await rewriteMark(client, found, { ...this.#inputs, recorded: true });
    } finally {
      await client.end().catch(() => {});
    }
  }
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}
