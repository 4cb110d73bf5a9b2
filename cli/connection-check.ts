import pg from "pg";
import { UserError } from "./errors.ts";
import type { StackOutputs } from "./stack-outputs.ts";

export interface ConnectionProblem {
  /**
   * - `unreachable`: nobody answers there.
   * - `empty`: a server answers that has neither the environment's roles nor its database.
   */
  readonly kind: "unreachable" | "empty" | "other";
  readonly error: UserError;
}

/** Milliseconds that the server gets to answer; it has already been healthy when this is asked. */
const answerTime = 10_000;

/** SQLSTATEs of a login that the server has never heard of: wrong password or role, and no such database. */
const unknownLogin = new Set(["28P01", "28000", "3D000"]);

/** Logs in as the application, as strictly as its outputs allow. @returns Undefined where that works. */
export async function checkConnection(outputs: StackOutputs): Promise<ConnectionProblem | undefined> {
  const { app } = outputs.connections;
  const { ca } = outputs.tls;
  const client = new pg.Client({
    host: app.host.host,
    port: app.host.port,
    user: app.username,
    password: app.password,
    database: app.database,
    ssl: ca === undefined ? false : { ca },
    connectionTimeoutMillis: answerTime,
    query_timeout: answerTime,
  });
  try {
    await client.connect();
    await client.query("SELECT 1");
    return undefined;
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    const where = `${app.username}@${app.host.host}:${app.host.port}/${app.database}`;
    return {
      kind: unknownLogin.has(code ?? "") ? "empty" : code === "ECONNREFUSED" ? "unreachable" : "other",
      error: new UserError(`the environment is up, but logging in as ${where} does not work: ${message}`, {
        next: `Look at the server's log: docker logs ${outputs.containerName}`,
        cause: error,
      }),
    };
  } finally {
    await client.end().catch(() => {});
  }
}
