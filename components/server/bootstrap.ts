import pg from "pg";
import { maintenanceDatabase, type RoleNames, roleNames } from "../names.ts";
import type { Settings } from "../settings.ts";

const { escapeIdentifier, escapeLiteral } = pg;

/**
 * SQL that must hold before anyone can connect: the role of the health check exists. Run in single-user mode before each
 * start of an existing data directory, and as an init script on a new one; both take one statement a line.
 */
export function bootstrapSql(options: {
  superuserName: string;
  roles: RoleNames;
  majorVersion: number;
  /** Whether commits wait for the backup; undefined: there is none, and never was. */
  synchronous?: boolean | undefined;
}): string {
  const health = escapeIdentifier(options.roles.health);
  const superuser = escapeIdentifier(options.superuserName);
  return [
    // What sets a server up must not wait for a backup container that comes after it; this session is among that.
    ...(options.synchronous ? ["SET synchronous_commit = local;"] : []),
    ...(options.synchronous === undefined
      ? []
      : [
          `ALTER ROLE ${superuser} ${options.synchronous ? "SET synchronous_commit = local" : "RESET synchronous_commit"};`,
        ]),
    whereRole(options.roles.health, false, `CREATE ROLE ${health}`),
    `ALTER ROLE ${health} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD NULL;`,
    `GRANT CONNECT ON DATABASE ${escapeIdentifier(maintenanceDatabase)} TO ${health};`,
    // Being asked for health must stay possible when the application has taken every connection.
    ...(options.majorVersion >= 16 ? [`GRANT pg_use_reserved_connections TO ${health};`] : []),
    "",
  ].join("\n");
}

/** The same for an environment's settings. */
export function bootstrapOf(
  settings: Pick<Settings, "appName" | "backup" | "lifetime" | "majorVersion" | "superuserName">,
): string {
  return bootstrapSql({
    ...settings,
    roles: roleNames(settings.appName),
    synchronous: settings.lifetime === "persistent" ? (settings.backup?.synchronous ?? false) : undefined,
  });
}

function whereRole(name: string, exists: boolean, statement: string): string {
  return `DO ${escapeLiteral(
    `BEGIN IF ${exists ? "" : "NOT "}EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${escapeLiteral(name)}) THEN ${statement}; END IF; END`,
  )};`;
}

function passwordStatement(name: string, password: string): string {
  return `ALTER ROLE ${escapeIdentifier(name)} PASSWORD ${escapeLiteral(password)}`;
}

/**
 * SQL that gives restored logins their passwords of today. Fails where one is missing: then the names in the settings
 * are not those that the backup was made with.
 */
export function restoredPasswordsSql(passwords: Readonly<Record<string, string>>): string {
  return Object.entries(passwords)
    .map(([name, password]) => {
      const missing = `RAISE EXCEPTION USING MESSAGE = ${escapeLiteral(
        `The backup has no role "${name}". appName, databaseName, schemaName and superuserName must be those that the backup was made with.`,
      )}`;
      return `${whereRole(name, false, missing)}\n${passwordStatement(name, password)};\n`;
    })
    .join("");
}
