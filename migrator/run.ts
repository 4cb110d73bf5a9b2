import type { Client, ClientBase } from "pg";
import { type ConnectionSettings, connect, describeServer, isConnectionLost } from "./connection.ts";
import { type Migration, type MigrationScript, numberOf, readMigrations } from "./files.ts";
import { takeLock } from "./lock.ts";
import { type Plan, type PlanOptions, planRun } from "./plan.ts";
import { prepareRecord, readDownScripts, readRecord, recordTable } from "./record.ts";
import { formatDuration } from "./report.ts";
import { connectionLost, type Direction, ScriptRunner } from "./scripts.ts";
import { actAsOwner, checkSchema, findOwner, recordSchema, type SessionLimits } from "./session.ts";
import { checkUnfinished } from "./unfinished.ts";

type Optional<T> = { readonly [Key in keyof T]?: T[Key] | undefined };

/** What keeps a migration from standing in the application's way. */
interface RunLimits extends Optional<SessionLimits> {
  /** How often a migration is tried again that did not get a lock within `lockTimeout`. Default: 4. */
  readonly lockRetries?: number | undefined;
  /** The pause before the first of these, in milliseconds; each is twice the one before. Default: one second. */
  readonly lockRetryPause?: number | undefined;
}

export interface RunOptions extends PlanOptions, RunLimits {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** The role that owns what migrations make. The connection's user must be a member of it. Default: `findOwner`. */
  readonly owner?: string | undefined;
  /** The application's schema: where unqualified names go. */
  readonly schema: string;
  readonly log: (line: string) => void;
  /** How long to wait for another run to end, in milliseconds. Default: one minute. */
  readonly lockPatience?: number | undefined;
}

/** A run whose owner is known. */
export type OwnedRun = RunOptions & { readonly owner: string };

/**
 * Brings a database to a target: applies what is missing, or reverts what is too much. Each script is one
 * transaction together with its entry in the record, so that it is there as a whole or not at all; unless its header
 * says `no transaction`.
 *
 * @throws MigratorError; its message never has the connection's URL or password.
 */
export async function migrate(given: RunOptions): Promise<void> {
  const { log } = given;
  const migrations = readMigrations(given.folder);
  const client = await connect(given.connection);
  try {
    client.on("notice", ({ severity, message }) => log(`  ${severity}: ${message}`));
    await takeLock(client, log, given.lockPatience ?? 60_000);
    const options = { ...given, owner: await findOwner(client, given) };
    await actAsOwner(client, options);
    await checkSchema(client, options);
    const record = await readRecord(client, options);
    await checkUnfinished(client, record.unfinished, log);
    const plan = planRun(migrations, record.applied, options);
    const completed = await prepareRecord(client, options, record, migrations);
    if (completed > 0) {
      log(`recorded the checksums and the way back of ${counted(completed)}, from the files`);
    }

    const begin = performance.now();
    const total = plan.up.length + plan.down.length;
    if (total === 0) {
      log(`nothing to apply, database is at ${nameOf(plan)}`);
      return;
    }
    const kind = plan.up.length > 0 ? "to apply" : "to revert";
    log(`${describeServer(options.connection)}: ${counted(total)} ${kind}`);
    await runPlan(client, options, plan);
    const elapsed = formatDuration(performance.now() - begin);
    if (plan.up.length > 0) log(`${counted(total)} applied in ${elapsed}`);
    else log(`${counted(total)} reverted in ${elapsed}, database is at ${nameOf(plan)}`);
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost(given) : error;
  } finally {
    // Ends the session, and with it the lock.
    await client.end().catch(() => {});
  }
}

function counted(count: number): string {
  return count === 1 ? "1 migration" : `${count} migrations`;
}

function nameOf({ end }: Plan): string {
  return end ?? "the beginning, with no migration";
}

async function runPlan(client: Client, options: OwnedRun, plan: Plan): Promise<void> {
  // First down: where files of an ephemeral environment changed branch, there may be both.
  if (plan.down.length > 0) {
    await runScripts(client, options, "down", await waysBack(client, options, plan));
  }
  if (plan.up.length > 0) await runScripts(client, options, "up", plan.up);
}

/** The migrations to revert with their down scripts as recorded. */
async function waysBack(client: Client, options: OwnedRun, plan: Plan): Promise<Migration[]> {
  const scripts = await readDownScripts(
    client,
    plan.down.map(({ name }) => name),
  );
  return plan.down.map(({ name, files }) => {
    const script = (direction: Direction): MigrationScript =>
      files?.[direction] ?? { file: `${options.folder}/${name}.${direction}.sql`, sql: "", checksum: "" };
    const down = script("down");
    return {
      name,
      number: numberOf(name),
      up: script("up"),
      down: { ...down, sql: scripts.get(name) ?? down.sql },
    };
  });
}

async function runScripts(
  client: Client,
  options: OwnedRun,
  direction: Direction,
  migrations: readonly Migration[],
): Promise<void> {
  // Loaded only here: a run that has nothing to do is to be quick.
  const { runner } = await import("node-pg-migrate");
  const scripts = await ScriptRunner.create(client, options, direction, migrations);
  const done = await runner({
    direction,
    count: migrations.length,
    dbClient: { query: (text: string) => scripts.query(text) } as unknown as ClientBase,
    // The scripts come from memory, and their files may be gone; but the engine asks a loader only about files that it
    // finds: this very one.
    dir: import.meta.dirname,
    ignorePattern: "(?!run\\.ts$).*",
    migrationLoaderStrategies: [
      {
        extensions: [".ts"],
        loader: async () =>
          migrations.map((migration) => ({
            id: `${migration.name}.sql`,
            filePaths: [migration.up.file, migration.down.file],
            actions: { up: scripts.action(migration), down: scripts.action(migration) },
          })),
      },
    ],
    migrationsSchema: recordSchema,
    migrationsTable: recordTable,
    // planRun has checked the order, and the lock is taken.
    checkOrder: false,
    noLock: true,
    singleTransaction: false,
    logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  }).catch((error: unknown) => {
    // The engine wraps some errors in others, by which a lost connection is not known any more.
    throw scripts.lostConnection ?? error;
  });
  if (done.length !== migrations.length) {
    throw new Error(`the engine ran ${done.length} of ${migrations.length} migrations`);
  }
}
