import { UserError } from "./errors.ts";
import type { Role, StackOutputs, Viewpoint } from "./stack-outputs.ts";

export const envFormats = ["docker", "sh", "json"] as const;
/**
 * - `docker`: for `docker run --env-file`, which takes everything after the first `=` as it stands
 *   (Docker manual, «docker run», «Set environment variables»), and for Compose with `format: raw`.
 * - `sh`: for `set -a; . FILE`, every value in single quotes.
 * - `json`: one object.
 *
 * No file suits both of the first two: quotes would be part of the value for one, missing for the other.
 */
export type EnvFormat = (typeof envFormats)[number];

/**
 * Variables for an application.
 *
 * @param caFile Path of the authority's certificate for the reader of the file; undefined: no such file.
 */
export function environmentVariables(
  outputs: StackOutputs,
  options: { role: Role; from: Viewpoint; caFile: string | undefined },
): Record<string, string> {
  const connection = outputs.connections[options.role];
  const endpoint = connection[options.from];
  const { ca } = outputs.tls;
  return {
    POSTGRES_USER: connection.username,
    POSTGRES_PASSWORD: connection.password,
    POSTGRES_DB: connection.database,
    DB_DRIVER: outputs.DB_DRIVER,
    DB_SOURCE: endpoint.source,
    DB_HOST: endpoint.host,
    DB_PORT: String(endpoint.port),
    DB_SSLMODE: outputs.tls.mode,
    ...(ca === undefined ? {} : { DB_SSLROOTCERT_BASE64: Buffer.from(ca).toString("base64") }),
    ...(options.caFile === undefined ? {} : { DB_SSLROOTCERT: options.caFile }),
  };
}

/** @throws UserError for a value that the format has no way to write. */
export function formatEnvironment(variables: Readonly<Record<string, string>>, format: EnvFormat): string {
  if (format === "json") return `${JSON.stringify(variables, null, 2)}\n`;
  const line = format === "docker" ? dockerLine : shellLine;
  return Object.entries(variables)
    .map(([name, value]) => `${line(name, value)}\n`)
    .join("");
}

function dockerLine(name: string, value: string): string {
  // Docker's reader drops a carriage return at a line's end, so that one is lost too.
  if (/[\r\n\0]/.test(value)) {
    throw new UserError(`${name} contains a line break, which a Docker env file cannot hold.`, {
      next: "Use --format sh or --format json, or choose a value without line breaks.",
    });
  }
  return `${name}=${value}`;
}

function shellLine(name: string, value: string): string {
  if (value.includes("\0")) {
    throw new UserError(`${name} contains a NUL character, which no environment variable can hold.`, {
      next: "Choose a value without it.",
    });
  }
  return `${name}='${value.replaceAll("'", "'\\''")}'`;
}
