import { UserError } from "./errors.ts";
import type { Connection } from "./stack-outputs.ts";

/**
 * The lines of a libpq password file (PostgreSQL manual, «The Password File»): every connection seen from the
 * Docker host.
 *
 * @throws UserError for a password with a line break, which the format has no way to write.
 */
export function formatPasswordFile(connections: readonly Connection[]): string {
  return connections
    .map(({ host: { host, port }, database, username, password }) => {
      const fields = [host, String(port), database, username, password];
      const broken = fields.findIndex((field) => /[\r\n\0]/.test(field));
      if (broken >= 0) {
        throw new UserError(
          `the connection of ${username} has a line break, which a password file cannot hold.`,
          {
            next: "Choose a password and names without line breaks.",
          },
        );
      }
      return `${fields.map((field) => field.replace(/[\\:]/g, "\\$&")).join(":")}\n`;
    })
    .join("");
}
