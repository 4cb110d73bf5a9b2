import type pg from "pg";
import { listMigrations, type Migration } from "../migrator/files.ts";
import type { MigratorInput } from "../migrator/input.ts";
import { migrate } from "../migrator/run.ts";
import { type InputsMark, isPrefix, parseMark, sameList, type TemplateMark } from "./mark.ts";
import { ownDatabases } from "./names.ts";
import { type DatabaseProperties, propertyStatements } from "./properties.ts";
import { listSeeds, type SeedFile } from "./seed-files.ts";
import { actAsOwnerStatement, runSeeds } from "./seeds.ts";
import { clone, close, dropStatement, type Found, openStatement, seal, transaction } from "./server.ts";

const { base, building, migrated, ready } = ownDatabases;

export interface Wanted {
  /** The migrator's variables, for the application's database. */
  readonly input: MigratorInput;
  /** All that are to be in place. */
  readonly migrations: readonly Migration[];
  readonly seeds: readonly SeedFile[];
  /** Folder that programs among the seed data run in. */
  readonly folder: string;
}

/** What a database is like that fits these files. */
export function contentsOf({ migrations, seeds }: Pick<Wanted, "migrations" | "seeds">) {
  return { migrations: listMigrations(migrations).split("\n").filter(Boolean), seeds: listSeeds(seeds) };
}

/** Whether the template is what these files make. */
export function fits(found: Found, wanted: Pick<Wanted, "migrations" | "seeds">): boolean {
  const mark = parseMark(found.get(ready)?.comment);
  if (!mark) return false;
  const contents = contentsOf(wanted);
  return sameList(mark.migrations, contents.migrations) && sameList(mark.seeds, contents.seeds);
}

/**
 * What is needed to make the template: nobody works in it, so that nothing gets into it but migrations and seed data.
 * With no new file, or only new migrations, what is there already is the beginning.
 *
 * @param properties The application's database's.
 * @throws MigratorError of a migration or of seed data, or where there is no room. The template is as it was.
 */
export async function buildTemplate(
  client: pg.Client,
  found: Found,
  wanted: Wanted,
  options: {
    readonly properties: DatabaseProperties;
    readonly mark: InputsMark;
    readonly log: (line: string) => void;
  },
): Promise<void> {
  const { input, seeds } = wanted;
  const { properties, log } = options;
  const contents = contentsOf(wanted);
  const mark: TemplateMark = { version: 1, comment: properties.comment, ...contents, ...options.mark };
  const connection = { ...input.connection, database: building };
  const owner = input.owner ?? properties.owner;
  const start = async (from: string) => {
    await client.query(dropStatement(building));
    await clone(client, from, building, properties, { open: true });
    await transaction(client, propertyStatements(building, { ...properties, comment: null }));
  };
  await client.query(dropStatement(building));

  const beginning = beginningOf(found, contents.migrations);
  await start(beginning.from);
  if (!beginning.complete) {
    await migrate({ ...input, connection, log });
  }
  if (seeds.length > 0) {
    if (!beginning.complete || beginning.from !== migrated) {
      // Kept for the day when only seed data or later migrations are new.
      await seal(client, building, migrated, JSON.stringify({ ...mark, seeds: [] }));
      await start(migrated);
    }
    await client.query(actAsOwnerStatement(building, connection.user, owner));
    await runSeeds(seeds, { connection, owner, schema: input.schema, folder: wanted.folder, log });
    await client.query(actAsOwnerStatement(building, connection.user, undefined));
  } else if (found.has(migrated)) {
    await client.query(dropStatement(migrated));
  }
  await seal(client, building, ready, JSON.stringify(mark));
}

/** The template that is nearest to these migrations and has no other. */
function beginningOf(found: Found, migrations: readonly string[]): { from: string; complete: boolean } {
  for (const name of [migrated, ready]) {
    const mark = parseMark(found.get(name)?.comment);
    if (mark && mark.seeds.length === 0 && isPrefix(mark.migrations, migrations)) {
      return { from: name, complete: mark.migrations.length === migrations.length };
    }
  }
  return { from: base, complete: migrations.length === 0 };
}

/** Keeps the application's database as it was before the first migration. Ends the sessions in it. */
export async function keepBase(
  client: pg.Client,
  database: string,
  properties: DatabaseProperties,
): Promise<void> {
  await client.query(dropStatement(building));
  await close(client, database);
  try {
    await clone(client, database, building, properties, { open: false });
  } finally {
    await client.query(openStatement(database, true));
  }
  await seal(client, building, base, "The application's database before the first migration");
}
