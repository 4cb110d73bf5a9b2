import type pg from "pg";
import { type ConnectionSettings, connect, isConnectionLost } from "../migrator/connection.ts";
import { exitCodes, MigratorError } from "../migrator/errors.ts";
import { migrate } from "../migrator/run.ts";
import { connectionLost } from "../migrator/scripts.ts";
import { recordSchema } from "../migrator/session.ts";
import { lookAtInputs } from "./inputs.ts";
import { type InputsMark, parseMark } from "./mark.ts";
import { maintenance, ownDatabases } from "./names.ts";
import type { DatabaseProperties } from "./properties.ts";
import { SeedError } from "./seeds.ts";
import {
  close,
  commentStatement,
  dropStatement,
  type Found,
  findDatabases,
  lockAndFind,
  openStatement,
  renameStatement,
  replaceDatabase,
  type ServerAccess,
  transaction,
} from "./server.ts";
import { buildTemplate, fits, keepBase, type Wanted } from "./templates.ts";

const { base, building, migrated, ready } = ownDatabases;

export interface UpOptions {
  readonly access: ServerAccess;
  readonly stack: string;
  readonly wanted: Wanted;
  /** See `inputsOf`. */
  readonly inputs: readonly string[];
  /** A new database begins with another stack's data, and the migrations that it has. */
  readonly restored: boolean;
  readonly log: (line: string) => void;
}

/**
 * The migrations and seed data of an ephemeral environment, and the template that it is reset from.
 *
 * A new database gets both in the template first, where nobody can put anything else, and is then a clone of it. One
 * that is in use keeps its rows, and gets new migrations only; new seed data is for the template.
 */
export async function bringUp({ access, stack, wanted, inputs, restored, log }: UpOptions): Promise<void> {
  const { input, folder } = wanted;
  const { database } = input.connection;
  const connection: ConnectionSettings = {
    ...access,
    database: maintenance,
    sslMode: "disable",
    sslRootCert: undefined,
    applicationName: "postgresql-environments up",
  };
  const client = await connect(connection);
  try {
    let found = await lockAndFind(client, database);
    const application = found.get(database);
    if (!application) {
      throw new MigratorError(
        exitCodes.failed,
        `There is no database "${database}" in the server: somebody has dropped it.\nWhat to do: ./db reset ${stack}`,
      );
    }
    // Killed while it was closed.
    await client.query(openStatement(database, true));
    const mark = { ...lookAtInputs(folder, inputs), recorded: true };
    if (!found.has(base)) {
      if (!restored && (await hasRecord(wanted))) {
        await migrate({ ...input, log });
        log(
          "There is no template to reset from, since an earlier version of the program made this database.",
        );
        log("What to do, when its rows are not needed any more: pulumi destroy, then pulumi up.");
        return;
      }
      await keepBase(client, database, application);
      found = await findDatabases(client, database);
    }
    if (!found.has(ready)) {
      await makeNew(client, found, application, { database, wanted, mark, log });
      return;
    }
    await migrate({ ...input, log });
    if (fits(found, wanted)) {
      await rewriteMark(client, found, mark);
    } else {
      await buildTemplate(client, found, wanted, { properties: application, mark, log: prefixed(log) });
      log("the template of ./db reset is up to date");
    }
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost({ connection }) : error;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Lines about the template, so that nobody takes them for what happens in the application's database. */
function prefixed(log: (line: string) => void): (line: string) => void {
  return (line) => log(`template of ./db reset: ${line}`);
}

async function makeNew(
  client: pg.Client,
  found: Found,
  properties: DatabaseProperties,
  options: {
    readonly database: string;
    readonly wanted: Wanted;
    readonly mark: InputsMark;
    readonly log: (line: string) => void;
  },
): Promise<void> {
  const { database, wanted, mark, log } = options;
  try {
    await buildTemplate(client, found, wanted, { properties, mark, log });
  } catch (error) {
    // As everywhere: what came before the one that failed is in place.
    if (error instanceof SeedError) {
      const now = await findDatabases(client, database);
      await replaceDatabase(client, now, { database, template: migrated, properties });
    } else if (error instanceof MigratorError && error.exitCode === exitCodes.failed) {
      await handOver(client, database);
    }
    throw error;
  }
  const now = await findDatabases(client, database);
  await replaceDatabase(client, now, {
    database,
    template: ready,
    properties: withSettings(properties, now.get(ready)),
  });
}

/** Lets the database that was being built take the application's place. */
async function handOver(client: pg.Client, database: string): Promise<void> {
  const found = await findDatabases(client, database);
  if (!found.has(building)) return;
  await close(client, building);
  await close(client, database);
  const { old } = ownDatabases;
  await client.query(dropStatement(old));
  await transaction(client, [
    renameStatement(database, old),
    openStatement(building, true),
    renameStatement(building, database),
  ]);
  await client.query(dropStatement(old));
}

/** A migration may have set parameters of the database that it ran in. */
function withSettings(
  properties: DatabaseProperties,
  template: DatabaseProperties | undefined,
): DatabaseProperties {
  const own = new Set(properties.settings.map(({ role }) => role));
  const added = (template?.settings ?? []).filter(({ role }) => !own.has(role));
  return { ...properties, settings: [...properties.settings, ...added] };
}

/** Notes that nothing that matters differs, and that Pulumi knows it. */
export async function rewriteMark(client: pg.Client, found: Found, changes: InputsMark): Promise<void> {
  const mark = parseMark(found.get(ready)?.comment);
  if (mark) await client.query(commentStatement(ready, JSON.stringify({ ...mark, ...changes })));
}

async function hasRecord({ input }: Wanted): Promise<boolean> {
  const client = await connect(input.connection);
  try {
    const { rowCount } = await client.query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", [
      recordSchema,
    ]);
    return (rowCount ?? 0) > 0;
  } finally {
    await client.end().catch(() => {});
  }
}
