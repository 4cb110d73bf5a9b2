import { durationExample, parseDuration } from "../components/settings/units.ts";
import { type ConnectionSettings, parseConnection } from "./connection.ts";
import { InputError } from "./errors.ts";
import { recordSchema } from "./session.ts";

export interface MigratorInput {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Empty for the newest. */
  readonly target: string;
  /** Undefined: see `findOwner`. */
  readonly owner: string | undefined;
  readonly schema: string;
  /** In milliseconds; undefined: the default of `SessionLimits`. */
  readonly lockTimeout: number | undefined;
  readonly statementTimeout: number | undefined;
  /** Undefined: the default of `migrate`. */
  readonly lockRetries: number | undefined;
  readonly revertMissing: boolean;
  readonly allowDataLoss: boolean;
  /** Undefined: no restore points are made. */
  readonly restorePoints: ConnectionSettings | undefined;
  /** Role that may read how the last run went; undefined: nobody. */
  readonly monitor: string | undefined;
}

/**
 * Everything comes by the environment, nothing by arguments: those are in every user's process list.
 *
 * @throws InputError that names every variable that is missing or wrong.
 */
export function readInput(env: NodeJS.ProcessEnv): MigratorInput {
  const problems: string[] = [];
  const required = (name: string, meaning: string) => {
    const value = env[name] ?? "";
    if (value === "") problems.push(`${name} is missing: ${meaning}`);
    return value;
  };
  const source = required("DB_SOURCE", "the migrator's connection URL");
  const folder = required("MIGRATIONS_DIR", "the folder of the migrations");
  const schema = required("MIGRATIONS_SCHEMA", "the application's schema");
  if (schema === recordSchema) {
    problems.push(
      `MIGRATIONS_SCHEMA is "${recordSchema}", which is the schema of the migrations' own record: choose another`,
    );
  }
  const duration = (name: string) => {
    const text = env[name];
    if (!text) return undefined;
    const milliseconds = parseDuration(text);
    if (milliseconds === undefined) problems.push(`${name} is "${text}": expected ${durationExample}`);
    return milliseconds;
  };
  const lockTimeout = duration("MIGRATIONS_LOCK_TIMEOUT");
  const statementTimeout = duration("MIGRATIONS_STATEMENT_TIMEOUT");
  const retries = env.MIGRATIONS_LOCK_RETRIES ?? "";
  if (!/^\d{0,2}$/.test(retries)) {
    problems.push(`MIGRATIONS_LOCK_RETRIES is "${retries}": expected a number from 0 to 99`);
  }
  const missing = env.MIGRATIONS_MISSING ?? "";
  if (missing !== "" && missing !== "revert") {
    problems.push(`MIGRATIONS_MISSING is "${missing}": expected "revert", or nothing`);
  }
  const dataLoss = env.MIGRATIONS_DATA_LOSS ?? "";
  if (dataLoss !== "" && dataLoss !== "allow") {
    problems.push(`MIGRATIONS_DATA_LOSS is "${dataLoss}": expected "allow", or nothing`);
  }
  if (problems.length > 0) throw new InputError("The environment of the migrator is not complete:", problems);
  return {
    connection: readConnection(env, source),
    folder,
    target: env.MIGRATIONS_TARGET ?? "",
    owner: env.MIGRATIONS_OWNER || undefined,
    schema,
    lockTimeout,
    statementTimeout,
    lockRetries: retries === "" ? undefined : Number(retries),
    revertMissing: missing === "revert",
    allowDataLoss: dataLoss === "allow",
    restorePoints: env.RESTORE_POINT_SOURCE ? readConnection(env, env.RESTORE_POINT_SOURCE) : undefined,
    monitor: env.MIGRATIONS_MONITOR || undefined,
  };
}

/** The connection of DB_SOURCE, with the CA of DB_SSLROOTCERT_PEM or (the same in base64) DB_SSLROOTCERT_BASE64. */
export function readConnection(env: NodeJS.ProcessEnv, source: string): ConnectionSettings {
  const base64 = env.DB_SSLROOTCERT_BASE64;
  const sslRootCert =
    env.DB_SSLROOTCERT_PEM || (base64 ? Buffer.from(base64, "base64").toString("utf8") : undefined);
  return parseConnection(source, { applicationName: "postgresql-environments migrator", sslRootCert });
}
