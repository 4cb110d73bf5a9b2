import { createHash, createHmac, pbkdf2Sync } from "node:crypto";

/** What PostgreSQL's own password_encryption takes (scram_iterations, until 15 fixed). */
const iterations = 4096;

/**
 * What PostgreSQL keeps in a password's place (`SCRAM-SHA-256$…`, RFC 5802): given as a password, it is stored as it is.
 * So the password itself is in no statement, and in no log of statements.
 *
 * The password must be its own normalised form (NFKC), which the settings see to: normalisation is then no difference.
 * @param salt 16 bytes; the same salt gives the same text, so that it is a change only where the password is
 */
export function scramVerifier(password: string, salt: Buffer): string {
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const keyed = (text: string) => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(keyed("Client Key")).digest();
  const part = (bytes: Buffer) => bytes.toString("base64");
  return `SCRAM-SHA-256$${iterations}:${part(salt)}$${part(storedKey)}:${part(keyed("Server Key"))}`;
}

/**
 * The salt of a login's password. Made from a secret: one made from the password alone would tell quickly whether a
 * guess is right.
 */
export function scramSalt(secret: string, login: string, password: string): Buffer {
  return createHmac("sha256", secret)
    .update(JSON.stringify([login, password]))
    .digest()
    .subarray(0, 16);
}
