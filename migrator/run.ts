import type { Client, ClientBase } from "pg";
import { type ConnectionSettings, connect, describeServer, isConnectionLost } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";
import { type Migration, type MigrationScript, readMigrations, selectTarget } from "./files.ts";
import { takeLock } from "./lock.ts";
import { type Plan, planRun } from "./plan.ts";
import { advice, describeScriptError, formatDuration, type ServerError } from "./report.ts";
import { becomeOwner, openRecord, quote, recordSchema, recordTable, sessionSetup } from "./session.ts";

export interface RunOptions {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Number or name of the last migration to be in place; see `selectTarget`. Default: the newest. */
  readonly target?: string;
  /** The role that owns what migrations make. The connection's user must be a member of it. */
  readonly owner: string;
  /** The application's schema: where unqualified names go. */
  readonly schema: string;
  readonly log: (line: string) => void;
  /** How long to wait for another run to end, in milliseconds. Default: one minute. */
  readonly lockPatience?: number;
}

/** The script that is being run, and how far it got. */
interface Progress {
  migration: Migration;
  direction: "up" | "down";
  /** The script as it is sent. */
  text: string;
  begin: number;
  completed: number;
}

/**
 * Brings a database to a target: applies what is missing, or reverts what is too much. Each script is one
 * transaction together with its entry in the record, so that it is there as a whole or not at all.
 *
 * @throws MigratorError; its message never has the connection's URL or password.
 */
export async function migrate(options: RunOptions): Promise<void> {
  const { log } = options;
  const migrations = readMigrations(options.folder);
  const target = selectTarget(migrations, options.target);
  const client = await connect(options.connection);
  try {
    client.on("notice", ({ severity, message }) => log(`  ${severity}: ${message}`));
    await takeLock(client, log, options.lockPatience ?? 60_000);
    await becomeOwner(client, options);
    const plan = planRun(migrations, target, await openRecord(client, options));

    const begin = performance.now();
    const total = plan.up.length + plan.down.length;
    if (total === 0) {
      log(`nothing to apply, database is at ${nameOf(target)}`);
      return;
    }
    const kind = plan.up.length > 0 ? "to apply" : "to revert";
    log(`${describeServer(options.connection)}: ${counted(total)} ${kind}`);
    await runScripts(client, options, plan);
    const elapsed = formatDuration(performance.now() - begin);
    if (plan.up.length > 0) log(`${counted(total)} applied in ${elapsed}`);
    else log(`${counted(total)} reverted in ${elapsed}, database is at ${nameOf(target)}`);
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost(options) : error;
  } finally {
    // Ends the session, and with it the lock.
    await client.end().catch(() => {});
  }
}

function counted(count: number): string {
  return count === 1 ? "1 migration" : `${count} migrations`;
}

function nameOf(target: readonly Migration[]): string {
  return target.at(-1)?.name ?? "the beginning, with no migration";
}

async function runScripts(client: Client, options: RunOptions, plan: Plan): Promise<void> {
  // Loaded only here: a run that has nothing to do is to be quick.
  const { runner } = await import("node-pg-migrate");
  const { query, action, connectionError } = watchScripts(client, options);
  const run = async (direction: "up" | "down", migrations: readonly Migration[]) => {
    const done = await runner({
      direction,
      count: migrations.length,
      dbClient: { query } as unknown as ClientBase,
      dir: options.folder,
      // The scripts come from memory; of the folder, the runner is to see files of one kind, for which it asks the loader.
      ignorePattern: "(?!.*\\.up\\.sql$).*",
      migrationLoaderStrategies: [
        {
          extensions: [".sql"],
          loader: async () =>
            migrations.map((migration) => ({
              id: `${migration.name}.sql`,
              filePaths: [migration.up.file, migration.down.file],
              actions: { up: action(migration, "up"), down: action(migration, "down") },
            })),
        },
      ],
      ...(direction === "down" && migrations[0] ? { file: migrations[0].name } : {}),
      migrationsSchema: recordSchema,
      migrationsTable: recordTable,
      // planRun has checked the order, and the lock is taken.
      checkOrder: false,
      noLock: true,
      singleTransaction: false,
      logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    }).catch((error: unknown) => {
      // The engine wraps some errors in others, by which a lost connection is not known any more.
      throw connectionError() ?? error;
    });
    if (done.length !== migrations.length) {
      throw new Error(`the engine ran ${done.length} of ${migrations.length} migrations`);
    }
  };
  if (plan.up.length > 0) await run("up", plan.up);
  // One by one: the runner would order them by the time of their application, and clocks go back.
  for (const migration of plan.down) await run("down", [migration]);
}

/** What stands between the engine and the session, to know which script is being run, and to tell how it ended. */
function watchScripts(client: Client, options: RunOptions) {
  let progress: Progress | undefined;
  let lost: MigratorError | undefined;

  // The protocol tells how many statements of a script were completed; pg keeps it from its callers.
  const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
  connection.on("commandComplete", () => {
    if (progress) progress.completed += 1;
  });

  const action = (migration: Migration, direction: "up" | "down") => (pgm: { sql(text: string): void }) => {
    // pgm adds a semicolon where it is missing: with it in place, the text is sent as it is here.
    const text = `${migration[direction].sql}\n;`;
    progress = { migration, direction, text, begin: performance.now(), completed: 0 };
    pgm.sql(sessionSetup(options));
    pgm.sql(text);
    // The script may have set another; the engine's next statement writes the record.
    pgm.sql(`SET ROLE ${quote(options.owner)}`);
  };

  const query = async (text: string) => {
    if (progress) progress.completed = 0;
    try {
      const result = await client.query(text);
      if (progress && text === "COMMIT;") options.log(describeDone(progress));
      return result;
    } catch (error) {
      if (isConnectionLost(error)) {
        lost = connectionLost(options, progress);
        throw lost;
      }
      if (progress === undefined) throw error;
      const failure = scriptFailed(progress, error as ServerError, text === progress.text);
      await client.query("ROLLBACK");
      throw failure;
    }
  };
  return { action, query, connectionError: () => lost };
}

function describeDone({ migration, direction, begin }: Progress): string {
  const verb = direction === "up" ? "applied" : "reverted";
  return `${verb} ${migration.name} in ${formatDuration(performance.now() - begin)}`;
}

function scriptFailed(progress: Progress, error: ServerError, isScript: boolean): MigratorError {
  const { migration, direction, completed } = progress;
  const script: MigrationScript = migration[direction];
  const action = direction === "up" ? "applied" : "reverted";
  // A deferred constraint fails at COMMIT, when every statement was completed.
  const place = isScript ? describeScriptError(script, error, completed) : describeCommitError(script, error);
  const more = advice(error);
  return new MigratorError(
    exitCodes.failed,
    [
      place,
      `${migration.name} was not ${action}, not even in part; what was ${action} before it stays so.`,
      ...(more ? [`Note: ${more}`] : []),
      `What to do: correct ${script.file}, then run again: it goes on from there.`,
    ].join("\n"),
  );
}

function describeCommitError(script: MigrationScript, error: ServerError): string {
  const fields = (["detail", "hint", "code"] as const).flatMap((name) =>
    error[name] ? [`  ${name === "code" ? "SQLSTATE" : name}: ${error[name]}`] : [],
  );
  return [`${script.file}: at the end of its transaction: ${error.message}`, ...fields].join("\n");
}

function connectionLost(options: RunOptions, progress?: Progress): MigratorError {
  const server = describeServer(options.connection);
  const lines = [`The connection to ${server} was lost.`];
  if (progress) {
    const { migration, direction } = progress;
    lines[0] = `The connection to ${server} was lost while ${migration.name} was ${direction === "up" ? "applied" : "reverted"}.`;
    lines.push("That is in place as a whole or not at all; the record in the database tells which.");
  }
  lines.push("What to do: see whether the server runs, then run again: it goes on from there.");
  return new MigratorError(exitCodes.connection, lines.join("\n"));
}
