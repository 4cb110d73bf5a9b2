import type { Client } from "pg";
import { extensionsSchema } from "../components/names.ts";
import { type ConnectionSettings, describeServer, isConnectionLost } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";

/** The schema of the migrations' record. It is the owner's: the application's roles have no right in it. */
export const recordSchema = "migrations";
export const recordTable = "applied";

export interface SessionOptions {
  readonly connection: ConnectionSettings;
  /** The role that owns what migrations make. The connection's user must be a member of it. */
  readonly owner: string;
  /** The application's schema: where unqualified names go. */
  readonly schema: string;
}

/**
 * Also sent before each script: what one script sets (a search_path, a role) is not to reach the next.
 * client_connection_check_interval makes the server give up a statement within a second after the runner was
 * killed; otherwise it would go on to its end, with its locks.
 */
export function sessionSetup({ owner, schema }: Pick<SessionOptions, "owner" | "schema">): string {
  return [
    "RESET ALL",
    `SET ROLE ${quote(owner)}`,
    `SET search_path TO ${quote(schema)}, ${quote(extensionsSchema)}`,
    "SET client_connection_check_interval TO '1s'",
  ].join("; ");
}

/** The same as pg.escapeIdentifier, which cannot be had without loading pg. */
export function quote(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}

/** @throws MigratorError where the owner or the application's schema is not there, or not within reach. */
export async function becomeOwner(client: Client, options: SessionOptions): Promise<void> {
  const { connection, owner, schema } = options;
  await guarded(options, `the role "${owner}" must exist, and "${connection.user}" be a member of it.`, () =>
    client.query(sessionSetup(options)),
  );
  const { rowCount } = await client.query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", [schema]);
  if (rowCount === 0) {
    throw refusal(
      options,
      `the schema "${schema}" does not exist`,
      `create it, owned by "${owner}", or correct the setting that names it.`,
    );
  }
}

/**
 * Makes the record where it is not there yet.
 *
 * @returns The names of the applied migrations, in no particular order.
 */
export async function openRecord(client: Client, options: SessionOptions): Promise<string[]> {
  const { owner } = options;
  const { rows } = await client.query<{ own: boolean; made: boolean }>(
    `SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') AS own,
            EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = namespace.oid AND relname = $1) AS made
       FROM pg_catalog.pg_namespace AS namespace WHERE nspname = $2`,
    [recordTable, recordSchema],
  );
  const [found] = rows;
  if (found && !found.own) {
    throw refusal(
      options,
      `the schema "${recordSchema}", where migrations are recorded, does not belong to "${owner}"`,
      `rename that schema, or let "${owner}" have it: ALTER SCHEMA ${recordSchema} OWNER TO ${quote(owner)}.`,
    );
  }
  if (found?.made) {
    return guarded(options, `"${owner}" must own the table ${recordSchema}.${recordTable}.`, async () => {
      const names = await client.query<{ name: string }>(`SELECT name FROM ${recordSchema}.${recordTable}`);
      return names.rows.map(({ name }) => name);
    });
  }
  // Several statements in one query are one transaction.
  await guarded(options, `"${owner}" must own the database, or have CREATE on it.`, () =>
    client.query(`${found ? "" : createSchema} ${createTable}`),
  );
  return [];
}

const createSchema = `
  CREATE SCHEMA ${recordSchema};
  COMMENT ON SCHEMA ${recordSchema} IS 'Record of the applied migrations';`;

// node-pg-migrate would make a table of its own, with a time of no time zone, and without UNIQUE.
const createTable = `
  CREATE TABLE ${recordSchema}.${recordTable} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    run_on timestamptz NOT NULL
  );
  COMMENT ON TABLE ${recordSchema}.${recordTable} IS
    'One row for each migration that is in place; written by the migration runner alone';`;

async function guarded<T>(options: SessionOptions, whatToDo: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isConnectionLost(error) ? error : refusal(options, (error as Error).message, whatToDo);
  }
}

function refusal({ connection }: SessionOptions, reason: string, whatToDo: string): MigratorError {
  return new MigratorError(
    exitCodes.failed,
    `No migration was run in ${describeServer(connection)}: ${reason}.\nWhat to do: ${whatToDo}`,
  );
}
