import type { Client } from "pg";
import { extensionsSchema } from "../components/names.ts";
import { type ConnectionSettings, describeServer, isConnectionLost } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";

/** The schema of the migrations' record. It is the owner's: the application's roles have no right in it. */
export const recordSchema = "migrations";

export interface SessionOptions {
  readonly connection: ConnectionSettings;
  /** The role that owns what migrations make. The connection's user must be a member of it. */
  readonly owner: string;
  /** The application's schema: where unqualified names go. */
  readonly schema: string;
}

/** In milliseconds; 0: no limit. See the manual, «Statement Behavior». */
export interface SessionLimits {
  /**
   * How long a statement waits for a lock. While it waits, all who want the same table after it wait too: so it must
   * give up soon. Default: 5 seconds.
   */
  readonly lockTimeout: number;
  /** How long a statement may run. Default: no limit. */
  readonly statementTimeout: number;
}

type SomeLimits = { readonly [Limit in keyof SessionLimits]?: number | undefined };

const defaultLimits: SessionLimits = { lockTimeout: 5_000, statementTimeout: 0 };

/**
 * Also sent before each script: what one script sets (a search_path, a role) is not to reach the next.
 * client_connection_check_interval makes the server give up a statement within a second after the runner was
 * killed; otherwise it would go on to its end, with its locks.
 */
export function sessionSetup(
  options: Pick<SessionOptions, "owner" | "schema"> & SomeLimits,
  header: SomeLimits = {},
): string {
  const { owner, schema } = options;
  const lockTimeout = header.lockTimeout ?? options.lockTimeout ?? defaultLimits.lockTimeout;
  const statementTimeout =
    header.statementTimeout ?? options.statementTimeout ?? defaultLimits.statementTimeout;
  return [
    "RESET ALL",
    `SET ROLE ${quote(owner)}`,
    `SET search_path TO ${quote(schema)}, ${quote(extensionsSchema)}`,
    "SET client_connection_check_interval TO '1s'",
    `SET lock_timeout TO ${lockTimeout}`,
    `SET statement_timeout TO ${statementTimeout}`,
  ].join("; ");
}

/** The same as pg.escapeIdentifier, which cannot be had without loading pg. */
export function quote(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}

/**
 * The role that owns what migrations make, where it is not given: the owner of the record's schema, or before there
 * is one, the owner of the database.
 */
export async function findOwner(client: Client, { owner }: { owner?: string | undefined }): Promise<string> {
  if (owner) return owner;
  const { rows } = await client.query<{ owner: string }>(
    `SELECT pg_catalog.pg_get_userbyid(coalesce(
              (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = $1),
              (SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()))) AS owner`,
    [recordSchema],
  );
  return rows[0]?.owner ?? "";
}

/** @throws MigratorError where the owner is not there, or not within reach. */
export async function actAsOwner(client: Client, options: SessionOptions): Promise<void> {
  const { connection, owner } = options;
  await guarded(options, `the role "${owner}" must exist, and "${connection.user}" be a member of it.`, () =>
    client.query(sessionSetup(options)),
  );
}

/** @throws MigratorError where the application's schema is not there. */
export async function checkSchema(client: Client, options: SessionOptions): Promise<void> {
  const { owner, schema } = options;
  const { rowCount } = await client.query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", [schema]);
  if (rowCount === 0) {
    throw refusal(
      options,
      `the schema "${schema}" does not exist`,
      `create it, owned by "${owner}", or correct the setting that names it.`,
    );
  }
}

/** Does what every run needs; where the server refuses it, says what must be given. */
export async function guarded<T>(
  options: SessionOptions,
  whatToDo: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isConnectionLost(error) ? error : refusal(options, (error as Error).message, whatToDo);
  }
}

/** Why no migration was run, and what to do. */
export function refusal({ connection }: SessionOptions, reason: string, whatToDo: string): MigratorError {
  return new MigratorError(
    exitCodes.failed,
    `No migration was run in ${describeServer(connection)}: ${reason}.\nWhat to do: ${whatToDo}`,
  );
}
