import { relative, resolve } from "node:path";
import type { SettingName } from "../../components/settings/schema.ts";
import { type MigratorInput, readInput } from "../../migrator/input.ts";
import { type RepairOptions, repair } from "../../migrator/repair.ts";
import { migrate } from "../../migrator/run.ts";
import { formatStatus, readStatus, verify } from "../../migrator/status.ts";
import { projectRoot } from "../project.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import { readStackFile, textSetting } from "../stack-files.ts";
import { readStateBackend } from "../state-backend.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface MigrateOptions {
  readonly stack?: string;
  readonly dir?: string;
  readonly owner?: string;
  readonly schema?: string;
}

export async function status(options: MigrateOptions & { readonly json?: true }): Promise<void> {
  const found = await readStatus(await inputOf(options));
  print(options.json ? JSON.stringify(found, null, 2) : formatStatus(found));
}

export async function verifyFolder(options: MigrateOptions & { readonly json?: true }): Promise<void> {
  const found = await verify(await inputOf(options));
  const pending = found.migrations.filter(({ state }) => state === "pending").map(({ name }) => name);
  if (options.json) print(JSON.stringify({ pending }, null, 2));
  else
    print(
      [...pending.map((name) => `pending: ${name}`), `${pending.length} pending; everything fits`].join("\n"),
    );
}

/** @param target Default: that of the stack, or the newest. */
export async function up(target: string | undefined, options: MigrateOptions): Promise<void> {
  const input = await inputOf(options);
  await migrate({ ...input, target: target ?? input.target, log: print });
}

/** @param target The last one that is to stay. */
export async function down(target: string, options: MigrateOptions): Promise<void> {
  await migrate({ ...(await inputOf(options)), target, onlyDown: true, log: print });
}

export async function repairRecord(
  name: string,
  options: MigrateOptions & { readonly status: RepairOptions["status"] },
): Promise<void> {
  await repair({ ...(await inputOf(options)), name, status: options.status, log: print });
}

/**
 * Options win over the stack, or where none is named, over the environment variables of the migrator.
 *
 * @throws InputError that names what is missing or wrong.
 */
async function inputOf({ dir, owner, schema, stack }: MigrateOptions): Promise<MigratorInput> {
  const given = stack === undefined ? process.env : await stackVariables(stack);
  const folder =
    dir === undefined ? resolve(projectRoot, given.MIGRATIONS_DIR || "migrations") : resolve(dir);
  const path = relative("", folder) || ".";
  return readInput({
    ...given,
    // As a person would write it.
    MIGRATIONS_DIR: path.startsWith("..") ? folder : path,
    MIGRATIONS_OWNER: owner ?? given.MIGRATIONS_OWNER,
    MIGRATIONS_SCHEMA: (schema ?? given.MIGRATIONS_SCHEMA) || "app",
  });
}

/** The variables with which `pulumi up` runs the migrator, as far as this needs them. */
async function stackVariables(stack: string): Promise<NodeJS.ProcessEnv> {
  const { connections, lifetime, tls } = await readOutputs(
    stack,
    await pulumiCommand(stack, await toolchainVariables()),
  );
  const { project } = await readStateBackend();
  const stackFile = await readStackFile(stack);
  const setting = (key: SettingName) => textSetting(stackFile, project, key);
  const { source } = connections.migrator.host;
  return {
    DB_SOURCE: tls.ca === undefined ? source : source.replace("sslmode=require", "sslmode=verify-full"),
    DB_SSLROOTCERT_PEM: tls.ca,
    MIGRATIONS_DIR: setting("migrationsFolder"),
    MIGRATIONS_SCHEMA: setting("schemaName"),
    MIGRATIONS_TARGET: setting("migrationsTarget"),
    MIGRATIONS_LOCK_TIMEOUT: setting("migrationsLockTimeout"),
    MIGRATIONS_STATEMENT_TIMEOUT: setting("migrationsStatementTimeout"),
    MIGRATIONS_LOCK_RETRIES: setting("migrationsLockRetries"),
    MIGRATIONS_MISSING: lifetime === "ephemeral" ? "revert" : "",
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
