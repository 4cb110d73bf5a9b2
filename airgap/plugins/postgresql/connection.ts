import { existsSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { type DatabaseError, Pool, type PoolClient, type QueryResult } from "pg";

export type Row = Record<string, unknown>;

/** The provider's configuration, defaults filled in. */
export interface ConnectionSettings {
  host: string;
  port: number;
  username: string;
  password: string;
  /** The database for roles and databases, and for what names no database of its own. */
  database: string;
  /** One of libpq's modes. */
  sslmode: string;
  /** Path of a PEM file, or empty. */
  sslrootcert: string;
  /** Whether the provider may read what only a superuser can. */
  superuser: boolean;
  /** Seconds for one connection attempt; 0 waits without end. There are no further attempts. */
  connectTimeout: number;
  /** Connections to each database; 0 or less: no limit. */
  maxConnections: number;
  /** Role that the connected user is in the database, where a user name map makes it another. */
  databaseUsername: string;
  /** Major version of the server, or undefined to ask it. */
  expectedMajorVersion: number | undefined;
}

/**
 * Milliseconds that an unused connection is kept. The genuine plugin keeps none, so that its connections never
 * stand in the way of a `DROP DATABASE` or `CREATE DATABASE … TEMPLATE`; this is long enough to be used again
 * by the next resource.
 */
const idleMilliseconds = 500;

/** One PostgreSQL server: a pool of connections for each database, opened when first needed. */
export class Server {
  readonly settings: ConnectionSettings;
  readonly #pools = new Map<string, Pool>();

  constructor(settings: ConnectionSettings) {
    this.settings = settings;
  }

  /** The role that the connected user is. */
  get currentUser(): string {
    return this.settings.databaseUsername || this.settings.username;
  }

  /** Runs statements outside a transaction, on one connection. */
  async session<T>(database: string, use: (session: Session) => Promise<T>): Promise<T> {
    const client = await this.#connect(database || this.settings.database);
    let broken = true;
    try {
      const result = await use(new Session(client));
      broken = false;
      return result;
    } finally {
      client.release(broken);
    }
  }

  /**
   * Runs statements in a transaction, committed when `use` returns.
   *
   * @param opening Statements that are sent together with BEGIN, in one round trip: locks, mostly.
   */
  async transaction<T>(database: string, opening: string, use: (session: Session) => Promise<T>): Promise<T> {
    return this.session(database, async (session) => {
      await session.run(`BEGIN; SET LOCAL statement_timeout = 0; ${opening}`);
      const result = await use(session);
      await session.run("COMMIT");
      return result;
    });
  }

  /** Ends the unused connections to a database, which would stand in the way of a DROP or a TEMPLATE. */
  async release(database: string): Promise<void> {
    const pool = this.#pools.get(database);
    this.#pools.delete(database);
    await pool?.end();
  }

  async #connect(database: string): Promise<PoolClient> {
    try {
      let pool = this.#pools.get(database);
      if (pool === undefined) {
        pool = createPool(this.settings, database);
        this.#pools.set(database, pool);
      }
      return await pool.connect();
    } catch (error) {
      const { host } = this.settings;
      throw new Error(
        `error connecting to PostgreSQL server ${host} (scheme: postgres): ${connectReason(error)}`,
      );
    }
  }
}

/** Statements on one connection. Errors are worded as the genuine plugin's driver words them. */
export class Session {
  readonly #client: PoolClient;

  constructor(client: PoolClient) {
    this.#client = client;
  }

  /** Rows of the last statement in `sql`. Without `values`, `sql` may hold several. */
  async run<R extends Row = Row>(sql: string, values?: unknown[], failure?: string): Promise<R[]> {
    try {
      const result: QueryResult<R> | QueryResult<R>[] = await this.#client.query<R>(sql, values);
      return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as R[];
    } catch (error) {
      const reason = driverMessage(error, sql);
      throw new Error(failure === undefined ? reason : `${failure}: ${reason}`);
    }
  }
}

function driverMessage(error: unknown, sql = ""): string {
  const { code, message, position } = error as DatabaseError;
  if (!/^[0-9A-Z]{5}$/.test(code ?? "")) return message;
  return `pq: ${message}${place(sql, Number(position ?? 0))} (${code})`;
}

/** Where in a statement an error is, as the genuine plugin's driver writes it. */
function place(sql: string, position: number): string {
  if (position === 0 || sql === "") return "";
  const lines = sql.slice(0, position - 1).split("\n");
  const column = (lines.at(-1)?.length ?? 0) + 1;
  return sql.includes("\n") ? ` at position ${lines.length}:${column}` : ` at column ${column}`;
}

function connectReason(error: unknown): string {
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (error instanceof AggregateError && error.errors.length > 0) return connectReason(error.errors[0]);
  if (code === "ECONNREFUSED") return `dial tcp ${address}:${port}: connect: connection refused`;
  return driverMessage(error);
}

function createPool(settings: ConnectionSettings, database: string): Pool {
  refuseUnreachable(database);
  const pool = new Pool({
    host: settings.host,
    port: settings.port,
    user: settings.username,
    password: settings.password,
    database,
    ssl: tlsOptions(settings),
    max: settings.maxConnections > 0 ? settings.maxConnections : Number.MAX_SAFE_INTEGER,
    connectionTimeoutMillis: Math.max(0, settings.connectTimeout) * 1000,
    idleTimeoutMillis: idleMilliseconds,
    allowExitOnIdle: true,
    fallback_application_name: "Terraform provider",
  });
  // A connection that is lost between statements is of no account: the next statement says so, or it is made anew.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

/**
 * The genuine plugin writes the name of the database as it is into a URL, so that these characters make it fail,
 * or connect elsewhere. Refusing them keeps a program that works here working there.
 */
function refuseUnreachable(database: string): void {
  const character = [...database].find((item) => "%?#".includes(item) || item < " " || item === "\x7f");
  if (character === undefined) return;
  throw new Error(
    `the postgresql plugin cannot connect to a database whose name has the character ${JSON.stringify(character)}: ` +
      `${JSON.stringify(database)}; choose another name`,
  );
}

/**
 * The meaning of `sslmode` and `sslrootcert` in the genuine plugin's driver (lib/pq 1.12, ssl.go), which also
 * knows `allow` and `prefer`.
 */
function tlsOptions(settings: ConnectionSettings): ConnectionOptions | false {
  const { sslmode, sslrootcert, host } = settings;
  if (!["disable", "require", "verify-ca", "verify-full"].includes(sslmode)) {
    throw new Error(
      `pq: wrong value for "sslmode": "${sslmode}" is not supported by the airgap stand-in plugin; ` +
        `supported values are disable, require, verify-ca, verify-full`,
    );
  }
  if (sslmode === "disable") return false;
  const strict = sslmode === "verify-ca" || sslmode === "verify-full";
  const trusted = sslrootcert !== "" && (strict || existsSync(sslrootcert));
  const ca = trusted ? { ca: readFileSync(sslrootcert, "utf8") } : {};
  if (sslmode === "verify-full") return { ...ca, ...serverName(host), rejectUnauthorized: true };
  if (strict || trusted) {
    return { ...ca, ...serverName(host), rejectUnauthorized: true, checkServerIdentity: () => undefined };
  }
  return { ...serverName(host), rejectUnauthorized: false };
}

/** Server name indication takes no literal address (RFC 6066). */
function serverName(host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {};
}
