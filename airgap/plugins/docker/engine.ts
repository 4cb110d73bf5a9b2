import { readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { terraformError } from "../common/terraform.ts";

/** A Docker Engine, connected to by the first operation that needs it. */
export interface Engine {
  /** Throws where it cannot be reached, in the words of the genuine plugin. */
  connect(): Promise<Docker>;
  /** Where it is, such as `unix:///var/run/docker.sock`. */
  host: string;
}

/**
 * @param host Such as `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
 * @param context Name of a Docker context, which goes before the host.
 */
export function openEngine(host: string, context: string | undefined): Engine {
  const address = context === undefined || context === "" ? host : hostOfContext(context);
  let connected: Promise<Docker> | undefined;
  return {
    host: address,
    connect() {
      connected ??= connect(address).catch((error: unknown) => {
        connected = undefined;
        throw terraformError(`failed to create Docker client: ${(error as Error).message}`);
      });
      return connected;
    },
  };
}

async function connect(host: string): Promise<Docker> {
  const options = connectionOptions(host);
  // Loading takes 0.1 s, which a plugin that only compares need not spend.
  const { default: Client } = await import("dockerode");
  const client = new Client(options);
  try {
    await client.ping();
  } catch (error) {
    throw new Error(
      `Error pinging Docker server, please make sure that ${host} is reachable and has a  '_ping' endpoint. ` +
        `Error: ${engineMessage(error, host)}`,
    );
  }
  return client;
}

function connectionOptions(host: string): Docker.DockerOptions {
  const [, scheme, rest] = /^([a-z]+):\/\/(.+)$/.exec(host) ?? [];
  if (scheme === undefined || rest === undefined) throw new Error(`unable to parse docker host \`${host}\``);
  // An empty host, as dockerode would else take it from DOCKER_HOST.
  if (scheme === "unix") return { host: "", socketPath: rest };
  if (scheme === "tcp" || scheme === "http") {
    if (process.env.DOCKER_CERT_PATH) {
      throw new Error("the airgap stand-in plugin does not use DOCKER_CERT_PATH: it knows no TLS to Docker");
    }
    const { hostname, port } = new URL(`http://${rest}`);
    return { protocol: "http", host: hostname, port: port || "2375" };
  }
  throw new Error(
    `the airgap stand-in plugin reaches Docker over unix:// and tcp:// only, not over ${scheme}://`,
  );
}

function hostOfContext(context: string): string {
  const folder = join(homedir(), ".docker", "contexts", "meta");
  const fail = (reason: string) => terraformError(`Error loading Docker context '${context}': ${reason}`);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw fail(`could not read contexts directory: ${(error as Error).message}`);
  }
  for (const name of names) {
    const text = readFileSync(join(folder, name, "meta.json"), "utf8");
    const meta: { Name?: string; Endpoints?: { docker?: { Host?: string } } } = JSON.parse(text);
    const host = meta.Endpoints?.docker?.Host;
    if (meta.Name === context && host !== undefined) return host;
  }
  throw fail(`context '${context}' not found`);
}

/** The engine's own message, worded as Docker's client for Go does. */
export function engineMessage(error: unknown, host: string): string {
  const { statusCode, json, code, message } = error as {
    statusCode?: number;
    json?: { message?: string };
    code?: string;
    message: string;
  };
  if (statusCode !== undefined) {
    // For a stream, dockerode has the engine's message only inside its own.
    const reason = json?.message ?? message.replace(/^\(HTTP code \d+\) .*? - /s, "").trim();
    return `Error response from daemon: ${reason}`;
  }
  if (code === "EACCES" || code === "EPERM") {
    return `permission denied while trying to connect to the Docker daemon socket at ${host}`;
  }
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return `Cannot connect to the Docker daemon at ${host}. Is the docker daemon running?`;
  }
  return `error during connect: ${message}`;
}

export function isMissing(error: unknown): boolean {
  return (error as { statusCode?: number }).statusCode === 404;
}
