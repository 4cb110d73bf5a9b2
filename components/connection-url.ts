/** libpq's sslmode, as far as this program uses it. */
export type SslMode = "disable" | "require" | "verify-full";

export interface ConnectionParts {
  readonly username: string;
  readonly password: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly sslMode: SslMode;
}

/** Connection URL as libpq and its kin read it (manual, «Connection URIs»); every part may have any character. */
export function connectionUrl(parts: ConnectionParts): string {
  const host = parts.host.includes(":") ? `[${parts.host}]` : parts.host;
  const credentials = `${encodeURIComponent(parts.username)}:${encodeURIComponent(parts.password)}`;
  return `postgresql://${credentials}@${host}:${parts.port}/${encodeURIComponent(parts.database)}?sslmode=${parts.sslMode}`;
}

/** Where a server is reached from one point of view. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** One login's way in, from both points of view. */
export interface LoginConnection {
  readonly username: string;
  readonly password: string;
  readonly database: string;
  /** From the Docker host and whoever reaches it. */
  readonly host: Endpoint & { readonly source: string };
  /** From a container in the environment's network. */
  readonly network: Endpoint & { readonly source: string };
}
