import type { Client } from "pg";
import { connectServer, type ServerAccess } from "../reset/server.ts";
import { UserError } from "./errors.ts";
import { readServerFile } from "./server-file.ts";
import type { Connection, StackOutputs } from "./stack-outputs.ts";

export interface OpenServer {
  /** The superuser's connection; the caller ends it. */
  readonly client: Client;
  readonly connections: StackOutputs["connections"];
}

/** Milliseconds in which a server must answer whose address may be out of date. */
const patience = 2_000;

/**
 * Connects to an ephemeral stack's server as the superuser, by what `pulumi up` left behind on this machine, or else by
 * the stack's outputs.
 *
 * @throws UserError where the stack is persistent, not up, or does not answer.
 */
export async function openServer(stack: string): Promise<OpenServer> {
  const known = readServerFile(stack);
  if (known) {
    const { connections } = known;
    const client = await connectServer(accessOf(connections.superuser), patience).catch((error) => {
      if (error.code === tooManyConnections) throw unreachable(stack, connections.superuser, error);
      return undefined;
    });
    if (client) return { client, connections };
  }
  return await (await import("./server-by-outputs.ts")).openByOutputs(stack);
}

/** SQLSTATE of a server that answers, and has no connection left. */
export const tooManyConnections = "53300";

export function accessOf({ host: { host, port }, password, username }: Connection): ServerAccess {
  return { host, port, user: username, password };
}

export function unreachable(
  stack: string,
  { host: { host, port } }: Connection,
  error: Error & { code?: string },
): UserError {
  return new UserError(`the server of ${stack} does not answer at ${host}:${port}: ${error.message}`, {
    next:
      error.code === tooManyConnections
        ? "End sessions that are not needed, or raise max_connections in the setting serverSettings."
        : `Bring it up: ./db start --stack ${stack}`,
    cause: error,
  });
}
