import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import pg from "pg";
import { connectionUrl } from "../components/connection-url.ts";
import { type ConnectionSettings, connect } from "../migrator/connection.ts";
import { exitCodes, MigratorError } from "../migrator/errors.ts";
import { advice, describeScriptError, formatDuration, type ServerError } from "../migrator/report.ts";
import { sessionSetup } from "../migrator/session.ts";
import type { SeedFile } from "./seed-files.ts";

export interface SeedRun {
  /** The migrator's, who is a member of the owner. */
  readonly connection: ConnectionSettings;
  /** Whom the rows' tables belong to: SQL runs as this role. */
  readonly owner: string;
  /** Where unqualified names go. */
  readonly schema: string;
  /** Folder that programs run in: the project's. */
  readonly folder: string;
  readonly log: (line: string) => void;
}

/** Seed data failed, after the migrations were done. */
export class SeedError extends MigratorError {}

/**
 * Runs the files of a set, one after the other.
 *
 * @throws MigratorError that says which file failed, where, and what to do.
 */
export async function runSeeds(files: readonly SeedFile[], run: SeedRun): Promise<void> {
  for (const seed of files) {
    const begin = performance.now();
    await (seed.kind === "sql" ? runSql(seed, run) : runProgram(seed, run));
    run.log(`seed data ${seed.file} in ${formatDuration(performance.now() - begin)}`);
  }
}

async function runSql({ file, sql }: SeedFile, run: SeedRun): Promise<void> {
  const client = await connect(run.connection);
  try {
    client.on("notice", ({ severity, message }) => run.log(`  ${severity}: ${message}`));
    await client.query(`BEGIN; ${sessionSetup(run)}; SET LOCAL lock_timeout TO 0`);
    let completed = 0;
    // The protocol tells how many statements were completed; pg keeps it from its callers.
    (client as unknown as { connection: NodeJS.EventEmitter }).connection.on("commandComplete", () => {
      completed += 1;
    });
    try {
      await client.query(sql);
      await client.query("COMMIT");
    } catch (error) {
      const what = advice(error as ServerError);
      throw failure(describeScriptError({ file, sql }, error as ServerError, completed), file, what);
    }
  } finally {
    await client.end().catch(() => {});
  }
}

async function runProgram({ file, kind }: SeedFile, run: SeedRun): Promise<void> {
  const { connection, owner } = run;
  const [command, args] = kind === "node" ? [process.execPath, [file]] : [`./${file}`, []];
  const source = connectionUrl({
    username: connection.user,
    password: connection.password ?? "",
    host: connection.host,
    port: connection.port,
    database: connection.database,
    sslMode: "disable",
  });
  const superuserLeft = Object.entries(process.env).filter(([name]) => name !== "DB_CONNECTIONS");
  const child = spawn(command, args, {
    cwd: run.folder,
    env: { ...Object.fromEntries(superuserLeft), DB_SOURCE: source, DB_DRIVER: "postgres", DB_OWNER: owner },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on("line", (line) => run.log(`  ${line}`));
  }
  const end = await new Promise<string | undefined>((resolve) => {
    child.on("error", (error) => resolve(`cannot be run: ${error.message}`));
    child.on("close", (code, signal) =>
      resolve(code === 0 ? undefined : signal ? `was ended by ${signal}` : `ended with exit code ${code}`),
    );
  });
  if (end !== undefined) throw failure(`${file} ${end}; what it printed is above.`, file, undefined);
}

function failure(place: string, file: string, hint: string | undefined): SeedError {
  return new SeedError(
    exitCodes.failed,
    [
      place,
      ...(hint === undefined ? [] : [`Note: ${hint}`]),
      "The migrations are in place, the seed data is not, not even in part.",
      `What to do: correct ${file}, then run again.`,
    ].join("\n"),
  );
}

/** Statement by which a program's session in this database acts as the owner, whatever it connects with. */
export function actAsOwnerStatement(database: string, login: string, owner: string | undefined): string {
  const { escapeIdentifier } = pg;
  const whose = `ALTER ROLE ${escapeIdentifier(login)} IN DATABASE ${escapeIdentifier(database)}`;
  return owner === undefined ? `${whose} RESET role` : `${whose} SET role TO ${escapeIdentifier(owner)}`;
}
