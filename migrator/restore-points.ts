import type { Client } from "pg";
import { backupsSchema } from "../components/access/privileges.ts";
import { type ConnectionSettings, connect, describeServer } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";

/** Bytes that the server takes for a name (MAXFNAMELEN - 1), without room for a number at the end. */
const longestName = 63;
const roomForNumber = 5;
const table = `${backupsSchema}.restore_point`;

/**
 * Names moments in the server's log, by which a restore finds the state of that time: «before 0007_name» is a target.
 * In a session of its own, as the role that makes backups.
 */
export class RestorePoints {
  readonly #client: Client;
  readonly #connection: ConnectionSettings;

  private constructor(client: Client, connection: ConnectionSettings) {
    this.#client = client;
    this.#connection = connection;
  }

  static async open(connection: ConnectionSettings): Promise<RestorePoints> {
    return new RestorePoints(await connect(connection), connection);
  }

  /**
   * @param wanted Gets a number where there is one of that name already: a restore stops at the first.
   * @returns The name that it has.
   */
  async make(wanted: string): Promise<string> {
    try {
      const { rows: tables } = await this.#client.query("SELECT to_regclass($1) AS found", [table]);
      const noted = tables[0]?.found !== null;
      const { rows } = noted
        ? await this.#client.query<{ name: string }>(`SELECT name FROM ${table}`)
        : { rows: [] };
      const name = freeName(wanted, new Set(rows.map((row) => row.name)));
      const { rows: made } = await this.#client.query("SELECT pg_create_restore_point($1) AS lsn", [name]);
      if (noted) {
        await this.#client.query(`INSERT INTO ${table} (name, lsn, made_at) VALUES ($1, $2, now())`, [
          name,
          made[0]?.lsn,
        ]);
      }
      return name;
    } catch (error) {
      throw new MigratorError(
        exitCodes.failed,
        `No restore point could be made in ${describeServer(this.#connection)}: ${(error as Error).message}.\nNo further migration was run. What to do: run pulumi up, which gives the backup role what it needs, then run this again.`,
      );
    }
  }

  async end(): Promise<void> {
    await this.#client.end().catch(() => {});
  }
}

/** A name that is not taken, and that the server takes. */
export function freeName(wanted: string, taken: ReadonlySet<string>): string {
  let name = wanted;
  while (Buffer.byteLength(name) > longestName - roomForNumber) name = name.slice(0, -1);
  for (let number = 2; ; number += 1) {
    const candidate = number === 2 && !taken.has(name) ? name : `${name} (${number})`;
    if (!taken.has(candidate)) return candidate;
  }
}
