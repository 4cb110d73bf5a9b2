import type { Client, ClientBase } from "pg";
import { connect, describeServer, isConnectionLost } from "./connection.ts";
import { InputError } from "./errors.ts";
import { type Migration, type MigrationScript, numberOf, readMigrations } from "./files.ts";
import { takeLock } from "./lock.ts";
import { checkLosses } from "./losses.ts";
import { describeOtherTool } from "./other-tools.ts";
import { type Plan, planRun } from "./plan.ts";
import { type MigrationsRecord, prepareRecord, readDownScripts, readRecord, recordTable } from "./record.ts";
import { formatDuration } from "./report.ts";
import { RestorePoints } from "./restore-points.ts";
import type { OwnedRun, RunOptions } from "./run-options.ts";
import { RunRecord } from "./run-record.ts";
import { connectionLost, type Direction, ScriptRunner } from "./scripts.ts";
import { actAsOwner, checkSchema, findOwner, recordSchema } from "./session.ts";
import { checkUnfinished } from "./unfinished.ts";

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
  let run: RunRecord | undefined;
  try {
    client.on("notice", ({ severity, message }) => log(`  ${severity}: ${message}`));
    await takeLock(client, log, given.lockPatience ?? 60_000);
    const options = { ...given, owner: await findOwner(client, given) };
    await actAsOwner(client, options);
    await checkSchema(client, options);
    const record = await readRecord(client, options);
    await checkUnfinished(client, record.unfinished, log);
    await checkOtherTool(client, record, options);
    const plan = planRun(migrations, record.applied, options);
    const total = plan.up.length + plan.down.length;
    // Loaded while the server works; a run that has nothing to do is quick without it.
    if (total > 0) void import("node-pg-migrate");
    const completed = await prepareRecord(client, options, record, migrations);
    if (completed > 0) {
      log(`recorded the checksums and the way back of ${counted(completed)}, from the files`);
    }
    const names = (some: readonly { readonly name: string }[]) => some.map(({ name }) => name);
    run = await RunRecord.begin(client, options, names(plan.up), names(plan.down));

    const down = plan.down.length > 0 ? await waysBack(client, options, plan) : [];
    if (down.length > 0) await checkLosses(client, options, down, plan.end);
    const begin = performance.now();
    if (total === 0) {
      log(`nothing to apply, database is at ${nameOf(plan)}`);
      return;
    }
    const kind = plan.up.length > 0 ? "to apply" : "to revert";
    log(`${describeServer(options.connection)}: ${counted(total)} ${kind}`);
    // First down: where files of an ephemeral environment changed branch, there may be both.
    if (down.length > 0) await runScripts(client, options, "down", down);
    if (plan.up.length > 0) await runScripts(client, options, "up", plan.up);
    const elapsed = formatDuration(performance.now() - begin);
    if (plan.up.length > 0) log(`${counted(total)} applied in ${elapsed}`);
    else log(`${counted(total)} reverted in ${elapsed}, database is at ${nameOf(plan)}`);
    await run?.succeeded();
  } catch (error) {
    await run?.failed();
    throw isConnectionLost(error) ? connectionLost(given) : error;
  } finally {
    // Ends the session, and with it the lock.
    await client.end().catch(() => {});
  }
}

async function checkOtherTool(client: Client, record: MigrationsRecord, options: OwnedRun): Promise<void> {
  const problem = await describeOtherTool(client, record, options.schema);
  if (problem !== undefined) {
    throw new InputError(`No migration was run in ${describeServer(options.connection)}:`, [problem]);
  }
}

function counted(count: number): string {
  return count === 1 ? "1 migration" : `${count} migrations`;
}

function nameOf({ end }: Plan): string {
  return end ?? "the beginning, with no migration";
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
  const { runner } = await import("node-pg-migrate");
  const points = options.restorePoints && (await RestorePoints.open(options.restorePoints));
  const scripts = await ScriptRunner.create(client, options, direction, migrations, points);
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
  })
    .catch((error: unknown) => {
      // The engine wraps some errors in others, by which a lost connection is not known any more.
      throw scripts.lostConnection ?? error;
    })
    .finally(() => points?.end());
  if (done.length !== migrations.length) {
    throw new Error(`the engine ran ${done.length} of ${migrations.length} migrations`);
  }
}
