/** Writes a PEM block (RFC 7468): lines of 64 characters, a line end after the last. */
export function encodePem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/**
 * Reads the first PEM block of a text.
 *
 * @param what The input in the error message, such as `CA certificate`.
 */
export function decodePem(text: string, labels: string[], what: string): { label: string; der: Buffer } {
  const failed = `Failed to parse ${what} PEM`;
  const match = /-----BEGIN ([A-Z0-9 ]+)-----\n?([^-]*)-----END \1-----/.exec(text);
  const [, label = "", body = ""] = match ?? [];
  if (match === null) throw new Error(`${failed}: there is no PEM block in it`);
  if (!labels.includes(label)) {
    throw new Error(`${failed}: expected ${labels.map((name) => `"${name}"`).join(" or ")}, got "${label}"`);
  }
  return { label, der: Buffer.from(body, "base64") };
}
