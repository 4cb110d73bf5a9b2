import type { SettingName } from "../components/settings/schema.ts";
import { readStackFile, textSetting } from "./stack-files.ts";
import type { StackOutputs } from "./stack-outputs.ts";
import { readStateBackend } from "./state-backend.ts";

/** The variables with which `pulumi up` runs the migrator, as far as the command line needs them. */
export async function migratorVariables(
  stack: string,
  {
    backupConnection,
    connections,
    lifetime,
    tls,
  }: Pick<StackOutputs, "connections" | "lifetime" | "tls"> & Partial<Pick<StackOutputs, "backupConnection">>,
): Promise<Record<string, string | undefined>> {
  const setting = await stackSettings(stack);
  const verified = (source: string) =>
    tls.ca === undefined ? source : source.replace("sslmode=require", "sslmode=verify-full");
  return {
    DB_SOURCE: verified(connections.migrator.host.source),
    RESTORE_POINT_SOURCE: backupConnection && verified(backupConnection.host.source),
    DB_SSLROOTCERT_PEM: tls.ca,
    MIGRATIONS_DIR: setting("migrationsFolder"),
    MIGRATIONS_SCHEMA: setting("schemaName"),
    MIGRATIONS_TARGET: setting("migrationsTarget"),
    MIGRATIONS_LOCK_TIMEOUT: setting("migrationsLockTimeout"),
    MIGRATIONS_STATEMENT_TIMEOUT: setting("migrationsStatementTimeout"),
    MIGRATIONS_LOCK_RETRIES: setting("migrationsLockRetries"),
    MIGRATIONS_MISSING: lifetime === "ephemeral" ? "revert" : "",
    // The setting allowDataLoss is for pulumi up, and for its target.
    MIGRATIONS_DATA_LOSS: lifetime === "ephemeral" ? "allow" : "",
  };
}

/** Reads settings from the stack's file; undefined: left out there. */
export async function stackSettings(stack: string): Promise<(key: SettingName) => string | undefined> {
  const { project } = await readStateBackend();
  const stackFile = await readStackFile(stack);
  return (key) => textSetting(stackFile, project, key);
}
