import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

/** How a connection is made secure: the URL's own sslmode where there is no CA. */
export interface Security {
  /** Verifies the server, its name included (libpq's verify-full). PEM. */
  readonly ca?: string;
}

/** Opens a connection by a URL as the outputs have it; the caller ends it. */
export async function open(source: string, security: Security = {}): Promise<pg.Client> {
  const url = new URL(source);
  const mode = url.searchParams.get("sslmode");
  const client = new pg.Client({
    host: url.hostname,
    port: Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
    application_name: "test",
    connectionTimeoutMillis: 60_000,
    ssl: security.ca ? { ca: security.ca } : mode === "disable" ? false : { rejectUnauthorized: false },
  });
  // A server that goes away is no concern of a test that has its answer.
  client.on("error", () => {});
  await client.connect();
  return client;
}

/** Rows of one statement, each as a list of its values. */
export async function query(
  source: string,
  sql: string,
  values: unknown[] = [],
  security: Security = {},
): Promise<unknown[][]> {
  const client = await open(source, security);
  try {
    return (await client.query({ text: sql, values, rowMode: "array" })).rows;
  } finally {
    await client.end();
  }
}

/** The first value of the first row. */
export async function value(source: string, sql: string, values: unknown[] = []): Promise<unknown> {
  return (await query(source, sql, values))[0]?.[0];
}

/** What the server says to a statement that it refuses; throws where it accepts it. */
export async function refusal(source: string, sql: string): Promise<string> {
  try {
    await query(source, sql);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`the server accepted: ${sql}`);
}

/** Server parameters as SHOW prints them. */
export async function show(source: string, ...names: string[]): Promise<Record<string, string>> {
  const client = await open(source);
  try {
    const shown: Record<string, string> = {};
    for (const name of names) {
      const { rows } = await client.query(`SHOW ${pg.escapeIdentifier(name)}`);
      shown[name] = String(Object.values(rows[0])[0]);
    }
    return shown;
  } finally {
    await client.end();
  }
}

/**
 * Waits until a migration waits: in its pg_sleep, or for an advisory lock. The log announces a migration a moment before
 * it begins.
 */
export async function untilWaiting(superuser: string, event: "PgSleep" | "advisory"): Promise<void> {
  const waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = $1";
  for (let tries = 0; tries < 2_000; tries += 1) {
    if ((await value(superuser, waiting, [event])) === true) return;
    await sleep(50);
  }
  throw new Error("no migration waits");
}
