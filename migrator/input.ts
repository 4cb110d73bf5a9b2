import { type ConnectionSettings, parseConnection } from "./connection.ts";
import { InputError } from "./errors.ts";
import { recordSchema } from "./session.ts";

export interface MigratorInput {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Empty for the newest. */
  readonly target: string;
  readonly owner: string;
  readonly schema: string;
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
  const owner = required("MIGRATIONS_OWNER", "the role that owns what migrations make");
  const schema = required("MIGRATIONS_SCHEMA", "the application's schema");
  if (schema === recordSchema) {
    problems.push(
      `MIGRATIONS_SCHEMA is "${recordSchema}", which is the schema of the migrations' own record: choose another`,
    );
  }
  if (problems.length > 0) throw new InputError("The environment of the migrator is not complete:", problems);
  return {
    connection: readConnection(env, source),
    folder,
    target: env.MIGRATIONS_TARGET ?? "",
    owner,
    schema,
  };
}

/** The connection of DB_SOURCE, with the CA of DB_SSLROOTCERT_PEM or (the same in base64) DB_SSLROOTCERT_BASE64. */
export function readConnection(env: NodeJS.ProcessEnv, source: string): ConnectionSettings {
  const base64 = env.DB_SSLROOTCERT_BASE64;
  const sslRootCert =
    env.DB_SSLROOTCERT_PEM || (base64 ? Buffer.from(base64, "base64").toString("utf8") : undefined);
  return parseConnection(source, { applicationName: "postgresql-environments migrator", sslRootCert });
}
