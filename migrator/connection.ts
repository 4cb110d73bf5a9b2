import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, checkServerIdentity } from "node:tls";
import type { Client, ClientConfig } from "pg";
import { exitCodes, InputError, MigratorError } from "./errors.ts";

export type SslMode = "disable" | "require" | "verify-ca" | "verify-full";

const sslModes: readonly string[] = ["disable", "require", "verify-ca", "verify-full"] satisfies SslMode[];

export interface ConnectionSettings {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly sslMode: SslMode;
  /** Certificates of the authorities that may sign the server's, in PEM. */
  readonly sslRootCert: string | undefined;
  readonly applicationName: string;
}

export interface ConnectionDefaults {
  /** Used where the URL has no `application_name`. */
  readonly applicationName: string;
  /** The CA in PEM; used where the URL has no `sslrootcert`. */
  readonly sslRootCert?: string | undefined;
}

/**
 * Reads a connection URL as libpq does (manual, "Connection URIs"): parts are percent-encoded; the parameters
 * are `sslmode`, `sslrootcert` (a file) and `application_name`.
 *
 * `sslmode` must be given, as disable, require, verify-ca or verify-full: libpq's other modes, and its default
 * "prefer", promise nothing. On a Unix socket (a host that begins with a slash) there is no TLS.
 *
 * @throws InputError whose message never has the URL or a part of it that could be a password.
 */
export function parseConnection(url: string, defaults: ConnectionDefaults): ConnectionSettings {
  const problems: string[] = [];
  const parts = splitUrl(url);
  if (parts === undefined) {
    throw new InputError("DB_SOURCE cannot be used:", [
      "it is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, " +
        "in which special characters are written as %XX",
    ]);
  }
  const { host, port, database, user, password, parameters } = parts;
  if (host === "") problems.push("it has no host");
  if (database === "") problems.push("it has no database");
  if (user === "") problems.push("it has no user");

  const known = ["sslmode", "sslrootcert", "application_name"];
  const unknown = [...parameters.keys()].filter((name) => !known.includes(name));
  for (const name of unknown) {
    problems.push(`the parameter "${name}" is not known here: it takes ${known.join(", ")}`);
  }

  const socket = host.startsWith("/");
  const sslMode = parameters.get("sslmode") ?? (socket ? "disable" : undefined);
  if (sslMode === undefined)
    problems.push(`it has no sslmode: add ?sslmode= and one of ${sslModes.join(", ")}`);
  else if (!sslModes.includes(sslMode)) {
    problems.push(`sslmode "${sslMode}" is not known here: use one of ${sslModes.join(", ")}`);
  }

  let sslRootCert = defaults.sslRootCert;
  const rootCertFile = parameters.get("sslrootcert");
  if (rootCertFile !== undefined) {
    try {
      sslRootCert = readFileSync(rootCertFile, "utf8");
    } catch (error) {
      problems.push(`the CA file of sslrootcert cannot be read: ${(error as Error).message}`);
    }
  }
  if (sslMode?.startsWith("verify-") && !sslRootCert && rootCertFile === undefined) {
    problems.push(
      `sslmode "${sslMode}" needs the CA's certificate: give it in DB_SSLROOTCERT_PEM or as sslrootcert=FILE`,
    );
  }
  if (sslRootCert && !sslRootCert.includes("-----BEGIN CERTIFICATE-----")) {
    problems.push("the CA is not a certificate in PEM: it must begin with -----BEGIN CERTIFICATE-----");
  }
  if (problems.length > 0) throw new InputError("DB_SOURCE cannot be used:", problems);

  return {
    host,
    port,
    database,
    user,
    password,
    sslMode: socket ? "disable" : (sslMode as SslMode),
    sslRootCert,
    applicationName: parameters.get("application_name") ?? defaults.applicationName,
  };
}

function splitUrl(url: string) {
  try {
    const parsed = new URL(url);
    if (parsed.protocol !== "postgres:" && parsed.protocol !== "postgresql:") return undefined;
    return {
      host: decodeURIComponent(parsed.hostname).replace(/^\[|\]$/g, ""),
      port: parsed.port === "" ? 5432 : Number(parsed.port),
      database: decodeURIComponent(parsed.pathname.slice(1)),
      user: decodeURIComponent(parsed.username),
      password: parsed.password === "" ? undefined : decodeURIComponent(parsed.password),
      // Not searchParams: it reads "+" as a space, which libpq does not.
      parameters: new Map(
        parsed.search
          .slice(1)
          .split("&")
          .filter((pair) => pair !== "")
          .map((pair) => {
            const [name = "", ...value] = pair.split("=");
            return [decodeURIComponent(name), decodeURIComponent(value.join("="))] as const;
          }),
      ),
    };
  } catch {
    // The error of URL has the whole text in it, the password too.
    return undefined;
  }
}

/**
 * What `sslmode` means to libpq (manual, "SSL Support", table "SSL Mode Descriptions"), in Node's terms.
 * pg's own reading of a URL differs: there, `require` verifies the host.
 * Without a CA, `require` encrypts and verifies nothing; with one it is the same as `verify-ca`.
 */
export function tlsOptions(
  settings: Pick<ConnectionSettings, "host" | "sslMode" | "sslRootCert">,
): ConnectionOptions | false {
  const { host, sslMode, sslRootCert } = settings;
  if (sslMode === "disable") return false;
  const servername = isIP(host) === 0 ? { servername: host } : {};
  if (!sslRootCert) return { rejectUnauthorized: false, ...servername };
  return {
    ca: sslRootCert,
    rejectUnauthorized: true,
    checkServerIdentity: (_name, certificate) =>
      sslMode === "verify-full" ? checkServerIdentity(host, certificate) : undefined,
    ...servername,
  };
}

/** How to speak of a server in a message: no password. */
export function describeServer({ database, host, port, user }: ConnectionSettings): string {
  return `database "${database}" at ${host}:${port} as "${user}"`;
}

/** Codes of Node and of the server that a server which is about to come up, or restarts, answers with. */
const passing = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  // A Unix socket that is not there yet.
  "ENOENT",
  // crash_shutdown, admin_shutdown, cannot_connect_now, too_many_connections.
  "57P01",
  "57P02",
  "57P03",
  "53300",
]);

function passes(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (code !== undefined) return passing.has(code);
  // pg gives these two no code. Docker's proxy accepts a connection before the server does, and drops it.
  return message === "Connection terminated unexpectedly" || message === "timeout expired";
}

/**
 * Opens a connection. One that fails in a way that may pass (refused, reset, server starting) is tried again.
 *
 * @param patience How long to try, in milliseconds; default 10 seconds.
 * @throws MigratorError with exit code `connection`.
 */
export async function connect(settings: ConnectionSettings, patience = 10_000): Promise<Client> {
  const { Client } = (await import("pg")).default;
  const { applicationName, database, host, password, port, user } = settings;
  const config: ClientConfig = {
    host,
    port,
    database,
    user,
    ...(password === undefined ? {} : { password }),
    application_name: applicationName,
    ssl: tlsOptions(settings),
    // Given, so that PGOPTIONS and PGCLIENTENCODING of the surrounding shell have no effect.
    options: "-c client_encoding=UTF8",
    client_encoding: "UTF8",
    keepAlive: true,
    connectionTimeoutMillis: Math.min(patience, 5_000),
  };
  const begin = performance.now();
  for (let pause = 50; ; pause = Math.min(2 * pause, 1_000)) {
    const client = new Client(config);
    // A connection that is lost while idle is reported by the next query; without a listener it ends the process.
    client.on("error", () => {});
    try {
      await client.connect();
      return client;
    } catch (error) {
      client.end().catch(() => {});
      const elapsed = performance.now() - begin;
      if (!passes(error) || elapsed + pause > patience) {
        throw new MigratorError(exitCodes.connection, describeRefusal(settings, error, elapsed));
      }
    }
    await sleep(pause);
  }
}

function describeRefusal(settings: ConnectionSettings, error: unknown, elapsed: number): string {
  const { code } = error as { code?: string };
  const cause = error instanceof AggregateError ? error.errors.at(-1) : error;
  const tried = passes(error) ? ` (tried for ${Math.round(elapsed / 1_000)} s)` : "";
  return [
    `Cannot connect to ${describeServer(settings)}, sslmode ${settings.sslMode}${tried}:`,
    `  ${(cause as Error).message}`,
    `What to do: ${advice(code, (cause as Error).message)}`,
  ].join("\n");
}

function advice(code: string | undefined, message: string): string {
  if (message === "The server does not support SSL connections") {
    return "turn TLS on at the server, or use sslmode=disable where the network may be trusted.";
  }
  switch (code) {
    case "28P01":
      return "check the user and the password; `pulumi up` sets the password that the stack has.";
    case "28000":
      return "see pg_hba.conf: it has no line that lets this user in from here, or only with (or without) TLS.";
    case "3D000":
      return "check the database's name, or create the database first.";
    case "ENOTFOUND":
      return "check the host's name.";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "connect by a name or address that is in the server's certificate, or use sslmode=verify-ca.";
    case "CERT_HAS_EXPIRED":
      return "renew the server's certificate.";
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return "the server's certificate is not signed by the CA that was given: give the CA of this very stack.";
    case "53300":
      return "end connections that are not needed, or raise max_connections.";
    default:
      return "see whether the server runs and listens there (`docker ps`, `docker logs`), then run again.";
  }
}

/** Whether a session ended in the middle of its work: the server went, or ended it. */
export function isConnectionLost(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (error instanceof MigratorError) return false;
  // admin_shutdown, crash_shutdown.
  if (code === "57P01" || code === "57P02") return true;
  if (code === "ECONNRESET" || code === "EPIPE" || code === "ETIMEDOUT") return true;
  return (
    code === undefined &&
    /Connection terminated|connection error and is not queryable|Client was closed/.test(message ?? "")
  );
}
