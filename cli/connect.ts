import { connectionUrl } from "../components/connection-url.ts";
import type { Role, StackOutputs } from "./stack-outputs.ts";

const purposes: Record<Role, string> = {
  app: "application",
  migrator: "migrations",
  readonly: "reports and other readers",
  monitor: "statistics, no rows",
  superuser: "PostgreSQL's superuser",
};

/** How people and scripts connect to an environment that is up. */
export interface ConnectReport {
  readonly stack: string;
  readonly image: string;
  readonly lifetime: StackOutputs["lifetime"];
  readonly container: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  /** A line for the shell, which asks for nothing. */
  readonly psql: string;
  readonly users: readonly {
    readonly role: Role;
    readonly name: string;
    readonly database: string;
    readonly purpose: string;
    /** Only where asked for. */
    readonly password?: string;
  }[];
}

export function connectReport(
  stack: string,
  outputs: StackOutputs,
  options: { readonly psql: string; readonly showPasswords: boolean },
): ConnectReport {
  const { app } = outputs.connections;
  return {
    stack,
    image: outputs.image,
    lifetime: outputs.lifetime,
    container: outputs.containerName,
    host: app.host.host,
    port: app.host.port,
    database: app.database,
    psql: options.psql,
    users: (Object.keys(purposes) as Role[]).map((role) => {
      const { username, database, password } = outputs.connections[role];
      return {
        role,
        name: username,
        database,
        purpose: purposes[role],
        ...(options.showPasswords ? { password } : {}),
      };
    }),
  };
}

export function formatConnectReport(report: ConnectReport): string {
  const width = Math.max(...report.users.map(({ name }) => name.length));
  const users = report.users.map(({ name, purpose, database, password }) => {
    const where = database === report.database ? "" : `, in database ${database}`;
    return `  ${name.padEnd(width)}  ${password === undefined ? "" : `${password}  `}${purpose}${where}`;
  });
  const passwords = report.users.some(({ password }) => password !== undefined)
    ? []
    : [
        "",
        `Passwords: ./db env ${report.stack} writes a file for an application; --show-passwords prints them here.`,
      ];
  return [
    "",
    "Connect:",
    `  ${report.psql}`,
    "",
    `Host      ${report.host}`,
    `Port      ${report.port}`,
    `Database  ${report.database}`,
    "Users",
    ...users,
    ...passwords,
    "",
  ].join("\n");
}

/**
 * A line that connects as the application when pasted into a shell. The password is in a file that only its owner
 * may read, so that it is in no shell history and no process list.
 *
 * @param caFile Certificate of the authority, with TLS: the server must then prove who it is.
 */
export function psqlLine(
  outputs: StackOutputs,
  files: { readonly passwordFile: string; readonly caFile: string | undefined },
): string {
  const { app } = outputs.connections;
  const url = new URL(
    connectionUrl({
      username: app.username,
      password: "",
      host: app.host.host,
      port: app.host.port,
      database: app.database,
      sslMode: files.caFile === undefined ? outputs.tls.mode : "verify-full",
    }),
  );
  // An empty password would keep libpq from looking into the file.
  url.password = "";
  const authority = files.caFile === undefined ? "" : `&sslrootcert=${encodeURIComponent(files.caFile)}`;
  return `PGPASSFILE=${shellWord(files.passwordFile)} psql ${shellWord(`${url.href}${authority}`)}`;
}

/** Quotes a word for a POSIX shell, where it needs quotes. */
export function shellWord(word: string): string {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
