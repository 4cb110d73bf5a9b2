import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from "node:crypto";
import pg from "pg";
import { type ConnectionSettings, tlsOptions } from "../migrator/connection.ts";

/** `refused`: it is another. `elsewhere`: the login may not come in from here, whatever its password. */
export type PasswordState = "good" | "refused" | "elsewhere";

/** Codes of a server that has taken the password, and refuses for another reason. */
const afterwards = new Set([
  // insufficient_privilege: the database is closed to this role.
  "42501",
  // too_many_connections, of the role, the database or the server.
  "53300",
]);

/** Tries a login. @throws The error of a server that cannot be asked. */
export async function tryPassword(settings: ConnectionSettings): Promise<PasswordState> {
  const client = new pg.Client({
    host: settings.host,
    port: settings.port,
    user: settings.user,
    password: settings.password ?? "",
    database: settings.database,
    application_name: settings.applicationName,
    ssl: tlsOptions(settings),
    connectionTimeoutMillis: 10_000,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    return "good";
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "28P01") return "refused";
    if (code === "28000") return "elsewhere";
    if (code !== undefined && afterwards.has(code)) return "good";
    throw error;
  } finally {
    client.end().catch(() => {});
  }
}

/**
 * Whether a password is that of a verifier as pg_authid keeps it: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`
 * (RFC 5803). For a login that may not come in from here.
 */
export function fitsVerifier(password: string, verifier: string | null): boolean {
  const [, iterations, salt, storedKey] =
    /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)$/.exec(verifier ?? "") ?? [];
  if (iterations === undefined || salt === undefined || storedKey === undefined) return false;
  const salted = pbkdf2Sync(
    password.normalize("NFKC"),
    Buffer.from(salt, "base64"),
    Number(iterations),
    32,
    "sha256",
  );
  const clientKey = createHmac("sha256", salted).update("Client Key").digest();
  const stored = Buffer.from(storedKey, "base64");
  const own = createHash("sha256").update(clientKey).digest();
  return stored.length === own.length && timingSafeEqual(stored, own);
}
