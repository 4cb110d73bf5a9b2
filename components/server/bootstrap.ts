import pg from "pg";
import { maintenanceDatabase, type RoleNames } from "../names.ts";

/**
 * SQL that must hold before anyone can connect: the superuser's password is the program's, and the role of the
 * health check exists. Run in single-user mode before each start of an existing data directory, and as an init
 * script on a new one; both take one statement a line.
 *
 * The image sets the superuser's password on a new data directory only. A volume that outlived its stack has an
 * older one.
 * @param passwords of logins that may exist already, by role name: set where the role exists (a volume that is taken over)
 */
export function bootstrapSql(options: {
  superuserName: string;
  superuserPassword: string;
  roles: RoleNames;
  majorVersion: number;
  passwords: Readonly<Record<string, string>>;
}): string {
  const { escapeIdentifier, escapeLiteral } = pg;
  const health = escapeIdentifier(options.roles.health);
  const whereRole = (name: string, exists: boolean, statement: string) =>
    `DO ${escapeLiteral(
      `BEGIN IF ${exists ? "" : "NOT "}EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${escapeLiteral(name)}) THEN ${statement}; END IF; END`,
    )};`;
  return [
    `ALTER ROLE ${escapeIdentifier(options.superuserName)} PASSWORD ${escapeLiteral(options.superuserPassword)};`,
    whereRole(options.roles.health, false, `CREATE ROLE ${health}`),
    `ALTER ROLE ${health} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD NULL;`,
    `GRANT CONNECT ON DATABASE ${escapeIdentifier(maintenanceDatabase)} TO ${health};`,
    // Being asked for health must stay possible when the application has taken every connection.
    ...(options.majorVersion >= 16 ? [`GRANT pg_use_reserved_connections TO ${health};`] : []),
    ...Object.entries(options.passwords).map(([name, password]) =>
      whereRole(name, true, `ALTER ROLE ${escapeIdentifier(name)} PASSWORD ${escapeLiteral(password)}`),
    ),
    "",
  ].join("\n");
}
