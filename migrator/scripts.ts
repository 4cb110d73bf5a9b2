import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { describeServer, isConnectionLost } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";
import type { Migration, MigrationScript } from "./files.ts";
import { readHeader, type ScriptHeader } from "./header.ts";
import { findLeftovers, type Leftover } from "./leftovers.ts";
import { completeEntry, forgetUnfinished, recordError, recordProgress, recordStart } from "./record.ts";
import { advice, describeScriptError, formatDuration, type ServerError } from "./report.ts";
import type { RestorePoints } from "./restore-points.ts";
import type { OwnedRun, RunOptions } from "./run-options.ts";
import { quote, sessionSetup } from "./session.ts";
import { readScript, type Statement } from "./sql.ts";
import { afterFailure, newLeftovers } from "./unfinished.ts";

export type Direction = "up" | "down";

const defaultLockRetries = 4;
const defaultLockRetryPause = 1_000;

/** The script that is being run, and how far it got. */
interface Progress {
  readonly migration: Migration;
  readonly header: ScriptHeader;
  /** The script as the engine sends it. */
  readonly text: string;
  begin: number;
  duration: number;
  completed: number;
  /** What completes the transaction before its COMMIT: the entry in the record. */
  entry: readonly string[];
}

/** Sent before each script, in one message with it. */
const opening = "BEGIN; ";

/**
 * Stands between the engine and the session. The engine decides what comes when, and writes the entries of the record;
 * what the engine has no word for is added here: limits, further tries, scripts without a transaction, the rest of
 * the record's columns, and what to tell a person about an error.
 */
export class ScriptRunner {
  readonly #client: Client;
  readonly #options: OwnedRun;
  readonly #direction: Direction;
  readonly #migrations: readonly Migration[];
  readonly #escapeLiteral: (text: string) => string;
  readonly #restorePoints: RestorePoints | undefined;
  #progress: Progress | undefined;
  /** The settings that the session has. */
  #session: string;
  /** The error by which the connection was lost before the first script. */
  lostConnection: unknown;

  private constructor(
    client: Client,
    options: OwnedRun,
    direction: Direction,
    migrations: readonly Migration[],
    escapeLiteral: (text: string) => string,
    restorePoints: RestorePoints | undefined,
  ) {
    this.#client = client;
    this.#options = options;
    this.#direction = direction;
    this.#migrations = migrations;
    this.#escapeLiteral = escapeLiteral;
    this.#restorePoints = restorePoints;
    this.#session = sessionSetup(options);
    // The protocol tells how many statements of a script were completed; pg keeps it from its callers.
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.on("commandComplete", () => {
      if (this.#progress) this.#progress.completed += 1;
    });
  }

  static async create(
    client: Client,
    options: OwnedRun,
    direction: Direction,
    migrations: readonly Migration[],
    restorePoints?: RestorePoints,
  ): Promise<ScriptRunner> {
    const { escapeLiteral } = (await import("pg")).default;
    return new ScriptRunner(client, options, direction, migrations, escapeLiteral, restorePoints);
  }

  /** What the engine calls for a migration. Each call returns another function: that tells up from down to it. */
  action(migration: Migration) {
    return (pgm: { sql(text: string): void; noTransaction(): void }) => {
      const { sql } = migration[this.#direction];
      const header = readHeader(sql);
      if (!header.transaction) pgm.noTransaction();
      // pgm adds a semicolon where it is missing: with it in place, the text is sent as it is here.
      const text = `${sql}\n;`;
      const begin = performance.now();
      this.#progress = { migration, header, text, begin, duration: 0, completed: 0, entry: [] };
      pgm.sql(text);
    };
  }

  /** What the engine takes for the database. */
  async query(text: string): Promise<{ rows: unknown[] }> {
    const progress = this.#progress;
    if (progress === undefined) {
      return this.#answer(text).catch((error: unknown) => {
        if (isConnectionLost(error)) this.lostConnection = error;
        throw error;
      });
    }
    try {
      // Opened together with the script, which may be tried again.
      if (text === "BEGIN;") return { rows: [] };
      if (text === progress.text) {
        await this.#markRestorePoint(progress.migration);
        await (progress.header.transaction ? this.#runScript(progress) : this.#runStatements(progress));
        progress.duration = performance.now() - progress.begin;
        const { duration, header } = progress;
        await this.#options.inspect?.({ client: this.#client, transaction: header.transaction, duration });
      } else if (text === "COMMIT;") {
        await this.#client.query([...progress.entry, "COMMIT", this.#reset()].join("; "));
        this.#logDone(progress);
      } else {
        await this.#record(progress, text);
      }
      return { rows: [] };
    } catch (error) {
      if (isConnectionLost(error)) throw connectionLost(this.#options, progress, this.#direction);
      if (error instanceof MigratorError) throw error;
      await this.#client.query("ROLLBACK");
      const place = describeCommitError(progress.migration[this.#direction], error as ServerError);
      throw this.#failed(progress, error as ServerError, place);
    }
  }

  async #markRestorePoint({ name }: Migration): Promise<void> {
    const action = this.#direction === "up" ? "before" : "before reverting";
    const made = await this.#restorePoints?.make(`${action} ${name}`);
    if (made !== undefined) this.#options.log(`restore point: ${made}`);
  }

  /** Before the first script, the engine asks for its table, and for the names in it in the order of their time. */
  async #answer(text: string): Promise<{ rows: unknown[] }> {
    if (this.#direction === "down" && text.startsWith("SELECT name FROM ")) {
      // In the order of the numbers instead: clocks go back.
      return { rows: this.#migrations.toReversed().map(({ name }) => ({ name })) };
    }
    return this.#client.query(text);
  }

  async #runScript(progress: Progress): Promise<void> {
    const client = this.#client;
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#setUp(progress);
        progress.begin = performance.now();
        progress.completed = 0;
        // One message, since each costs a round trip.
        await client.query(opening + progress.text);
        return;
      } catch (error) {
        if (isConnectionLost(error)) throw error;
        const { completed } = progress;
        // The server reads a message as a whole before it begins: after a mistake in its syntax, nothing was opened.
        if (completed > 0) await client.query("ROLLBACK");
        const failure = error as ServerError;
        if (!isLockFailure(error) || !(await this.#pause(progress, failure, tries))) {
          const script = progress.migration[this.#direction];
          const position = failure.position && String(Number(failure.position) - opening.length);
          const inScript = { ...failure, message: failure.message, position };
          const place = describeScriptError(script, inScript, Math.max(0, completed - 1));
          throw this.#failed(progress, failure, place);
        }
      }
    }
  }

  async #runStatements(progress: Progress): Promise<void> {
    const { migration } = progress;
    const { sql } = migration[this.#direction];
    const { statements } = readScript(sql);
    await this.#setUp(progress);
    const before = await findLeftovers(this.#client);
    await recordStart(this.#client, {
      name: migration.name,
      direction: this.#direction,
      leftoversBefore: before.map(({ cleanUp }) => cleanUp),
    });
    progress.begin = performance.now();
    for (const [index, statement] of statements.entries()) {
      await this.#runStatement(progress, statement, index, statements.length, before);
      await recordProgress(this.#client, index + 1);
    }
  }

  async #runStatement(
    progress: Progress,
    statement: Statement,
    done: number,
    total: number,
    before: readonly Leftover[],
  ): Promise<void> {
    const script = progress.migration[this.#direction];
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#client.query(script.sql.slice(statement.start, statement.end));
        return;
      } catch (error) {
        if (isConnectionLost(error)) throw error;
        const failure = error as ServerError;
        const left = newLeftovers(
          await findLeftovers(this.#client),
          before.map(({ cleanUp }) => cleanUp),
        );
        if (left.length === 0 && isLockFailure(error) && (await this.#pause(progress, failure, tries))) {
          continue;
        }
        await recordError(this.#client, failure.message);
        const charactersBefore = [...script.sql.slice(0, statement.start)].length;
        const position = failure.position ? String(charactersBefore + Number(failure.position)) : undefined;
        const place = describeScriptError(script, { ...failure, message: failure.message, position }, done);
        const { name } = progress.migration;
        const rest = { name, direction: this.#direction, file: script.file, done, total, left };
        throw new MigratorError(
          exitCodes.failed,
          [place, ...this.#note(failure), afterFailure(rest)].join("\n"),
        );
      }
    }
  }

  /** The engine's entry in the record, and ours. */
  async #record(progress: Progress, text: string): Promise<void> {
    const { owner } = this.#options;
    const { migration, header, duration, begin } = progress;
    const statements = [
      // The script may have set another role.
      `SET ROLE ${quote(owner)}`,
      text.replace(/;\s*$/, ""),
      ...(this.#direction === "up" ? [completeEntry(migration, duration, this.#escapeLiteral)] : []),
    ];
    if (header.transaction) {
      progress.entry = statements;
    } else {
      await this.#client.query(
        ["BEGIN", ...statements, forgetUnfinished, "COMMIT", this.#reset()].join("; "),
      );
      this.#logDone({ migration, begin });
    }
  }

  /** Gives the session what a script's header says, where it has not that already. */
  async #setUp({ header }: Progress): Promise<void> {
    const setup = sessionSetup(this.#options, header);
    if (setup === this.#session) return;
    await this.#client.query(setup);
    this.#session = setup;
  }

  /** What one script set is not to reach the next. In one message with the COMMIT, so that it needs no round trip. */
  #reset(): string {
    this.#session = sessionSetup(this.#options);
    return this.#session;
  }

  #logDone({ migration, begin }: Pick<Progress, "migration" | "begin">): void {
    const verb = this.#direction === "up" ? "applied" : "reverted";
    this.#options.log(`${verb} ${migration.name} in ${formatDuration(performance.now() - begin)}`);
  }

  /** @returns false where it was the last try. */
  async #pause({ migration }: Progress, { message }: ServerError, tries: number): Promise<boolean> {
    const { lockRetries = defaultLockRetries, lockRetryPause = defaultLockRetryPause, log } = this.#options;
    if (tries > lockRetries) return false;
    const pause = lockRetryPause * 2 ** (tries - 1);
    log(
      `${migration.name}: ${message}; trying again in ${formatDuration(pause)} (${tries} of ${lockRetries})`,
    );
    await sleep(pause);
    return true;
  }

  #note(error: ServerError): string[] {
    const more = advice(error);
    return more ? [`Note: ${more}`] : [];
  }

  #failed({ migration }: Progress, error: ServerError, place: string): MigratorError {
    const { name, down, up } = migration;
    const action = this.#direction === "up" ? "applied" : "reverted";
    return new MigratorError(
      exitCodes.failed,
      [
        place,
        `${name} was not ${action}, not even in part; what was ${action} before it stays so.`,
        ...this.#note(error),
        this.#direction === "up"
          ? `What to do: correct ${up.file}, then run again: it goes on from there.`
          : `What to do: that is the down script in the record; where it is wrong, correct ${down.file}, record it by ` +
            `./db migrate repair ${name} --status applied, then run again: it goes on from there.`,
      ].join("\n"),
    );
  }
}

/** lock_not_available (lock_timeout) and deadlock_detected: the session that was in the way may be gone next time. */
function isLockFailure(error: unknown): boolean {
  const { code } = error as ServerError;
  return code === "55P03" || code === "40P01";
}

// A deferred constraint fails at COMMIT, when every statement was completed.
function describeCommitError(script: MigrationScript, error: ServerError): string {
  const fields = (["detail", "hint", "code"] as const).flatMap((name) =>
    error[name] ? [`  ${name === "code" ? "SQLSTATE" : name}: ${error[name]}`] : [],
  );
  return [`${script.file}: at the end of its transaction: ${error.message}`, ...fields].join("\n");
}

export function connectionLost(
  options: Pick<RunOptions, "connection">,
  progress?: Pick<Progress, "migration" | "header">,
  direction?: Direction,
): MigratorError {
  const server = describeServer(options.connection);
  const lines = [`The connection to ${server} was lost.`];
  if (progress) {
    const { migration, header } = progress;
    lines[0] = `The connection to ${server} was lost while ${migration.name} was ${direction === "up" ? "applied" : "reverted"}.`;
    lines.push(
      header.transaction
        ? "That is in place as a whole or not at all; the record in the database tells which."
        : "It runs without a transaction, so that a part of it may be in place: the next run tells what is known.",
    );
  }
  lines.push("What to do: see whether the server runs, then run again: it goes on from there.");
  return new MigratorError(exitCodes.connection, lines.join("\n"));
}
