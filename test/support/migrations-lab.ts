import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import type { ConnectionSettings } from "../../migrator/connection.ts";
import type { MigratorError } from "../../migrator/errors.ts";
import { migrate } from "../../migrator/run.ts";
import type { RunOptions } from "../../migrator/run-options.ts";
import type { ThrowawayServer } from "./throwaway-server.ts";

/** A database with the roles and the schema that migrations need, and a folder of migrations of its own. */
export interface MigrationsLab {
  readonly folder: string;
  readonly connection: ConnectionSettings;
  /** DB_SOURCE of the migrator. */
  readonly source: string;
  readonly owner: string;
  readonly application: string;
  /** As the superuser, with the schema on the search path. */
  query(sql: string): Promise<pg.QueryResult>;
  /** Writes a pair of files. */
  write(name: string, up: string, down?: string): void;
  remove(...names: string[]): void;
  /** Runs the migrations. Neither output may hold a stack trace or the password. */
  run(options?: Partial<RunOptions>): Promise<{ log: string; error: string; code: number }>;
  /** Names in the record, in order. */
  applied(): Promise<string[]>;
  /** Tables of the application's schema. */
  tables(): Promise<string[]>;
  dispose(): Promise<void>;
}

let count = 0;

export async function makeLab(server: ThrowawayServer): Promise<MigrationsLab> {
  count += 1;
  const name = `lab${count}`;
  const [owner, migrator, application] = [`${name}_owner`, `${name}_migrator`, `${name}_app`];
  const password = randomBytes(12).toString("hex");
  const superuser = await server.connect("postgres");
  for (const sql of [
    `CREATE ROLE ${owner}; CREATE ROLE ${migrator} LOGIN PASSWORD '${password}'; CREATE ROLE ${application};
     GRANT ${owner} TO ${migrator}`,
    `CREATE DATABASE ${name} OWNER ${owner} TEMPLATE template1`,
  ]) {
    await superuser.query(sql);
  }
  await superuser.end();
  const client = await server.connect(name);
  await client.query(`CREATE SCHEMA app AUTHORIZATION ${owner}; SET search_path TO app;
    GRANT USAGE ON SCHEMA app TO ${application};
    ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} GRANT ALL ON TABLES TO ${application};
    ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} GRANT ALL ON SCHEMAS TO ${application}`);
  const folder = mkdtempSync(join(tmpdir(), "migrations-"));
  const connection: ConnectionSettings = {
    host: "127.0.0.1",
    port: server.port,
    database: name,
    user: migrator,
    password,
    sslMode: "disable",
    sslRootCert: undefined,
    applicationName: "test",
  };
  const query = (sql: string) => client.query(sql);
  return {
    folder,
    connection,
    source: `postgres://${migrator}:${password}@127.0.0.1:${server.port}/${name}?sslmode=disable`,
    owner,
    application,
    query,
    write(file, up, down = "SELECT 1;") {
      writeFileSync(join(folder, `${file}.up.sql`), up);
      writeFileSync(join(folder, `${file}.down.sql`), down);
    },
    remove(...names) {
      for (const file of names) {
        rmSync(join(folder, `${file}.up.sql`));
        rmSync(join(folder, `${file}.down.sql`));
      }
    },
    async run(options = {}) {
      const lines: string[] = [];
      const log = (line: string) => lines.push(line);
      const error = await migrate({
        ...{ connection, folder, owner, schema: "app", log, allowDataLoss: true },
        ...options,
      }).then(
        () => undefined,
        (failure: MigratorError) => failure,
      );
      if (error && error.name !== "MigratorError" && error.name !== "InputError") throw error;
      const result = {
        log: lines.join("\n"),
        error: error?.message.replaceAll(folder, "FOLDER") ?? "",
        code: error?.exitCode ?? 0,
      };
      if ((result.log + result.error).includes(password)) throw new Error("the password is in the output");
      return result;
    },
    async applied() {
      const { rows } = await query("SELECT name FROM migrations.applied ORDER BY name");
      return rows.map((row) => row.name);
    },
    async tables() {
      const { rows } = await query("SELECT tablename FROM pg_tables WHERE schemaname = 'app' ORDER BY 1");
      return rows.map((row) => row.tablename);
    },
    async dispose() {
      await client.end();
      rmSync(folder, { recursive: true });
    },
  };
}
