import pg from "pg";
import {
  applicationSchemaUsers,
  backupsSchema,
  connecting,
  defaultPrivileges,
  extensionsSchemaUsers,
} from "../components/access/privileges.ts";
import { roleDefinitions } from "../components/access/roles.ts";
import { extensionsSchema, maintenanceDatabase, roleNames } from "../components/names.ts";
import { bootstrapOf } from "../components/server/bootstrap.ts";
import type { Settings } from "../components/settings.ts";

type DatabaseSettings = Pick<
  Settings,
  | "appName"
  | "backup"
  | "databaseName"
  | "extensions"
  | "lifetime"
  | "majorVersion"
  | "schemaName"
  | "superuserName"
>;

const { escapeIdentifier: name, escapeLiteral: literal } = pg;

/**
 * What `PostgresServer` and `DatabaseAccess` make on a new server, as SQL: roles and the application's database. To be
 * run in the maintenance database, one by one.
 *
 * @param passwords Of the logins that are used here.
 */
export function serverSql(
  settings: DatabaseSettings,
  passwords: Readonly<Record<"migrator", string>>,
): string[] {
  const roles = roleNames(settings.appName);
  const database = name(settings.databaseName);
  const searchPath = `${name(settings.schemaName)}, ${name(extensionsSchema)}`;
  return [
    ...bootstrapOf(settings).trim().split("\n"),
    ...roleDefinitions.flatMap((definition) => {
      const role = name(roles[definition.key]);
      const groups = (definition.memberOf ?? []).map((group) =>
        name(Object.hasOwn(roles, group) ? roles[group as keyof typeof roles] : group),
      );
      return [
        [
          `CREATE ROLE ${role} ${definition.login ? "LOGIN" : "NOLOGIN"}`,
          definition.replication ? "REPLICATION" : "",
          definition.key === "migrator" ? `PASSWORD ${literal(passwords.migrator)}` : "",
        ].join(" "),
        ...groups.map((group) => `GRANT ${group} TO ${role}`),
        ...(definition.usesSchema ? [`ALTER ROLE ${role} SET search_path TO ${searchPath}`] : []),
      ];
    }),
    `CREATE DATABASE ${database} OWNER ${name(roles.owner)} TEMPLATE template1`,
    ...[database, name(maintenanceDatabase), "template1"].map(
      (each) => `REVOKE ALL ON DATABASE ${each} FROM PUBLIC`,
    ),
    ...connecting.map((role) => `GRANT CONNECT ON DATABASE ${database} TO ${name(roles[role])}`),
  ];
}

/** The rest of it, to be run in the application's database: schemas, extensions, default privileges. */
export function databaseSql(settings: DatabaseSettings): string[] {
  const roles = roleNames(settings.appName);
  const schema = name(settings.schemaName);
  const extensions = name(extensionsSchema);
  const owner = name(roles.owner);
  return [
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    `CREATE SCHEMA ${schema} AUTHORIZATION ${owner}`,
    ...applicationSchemaUsers.map((role) => `GRANT USAGE ON SCHEMA ${schema} TO ${name(roles[role])}`),
    `CREATE SCHEMA ${extensions} AUTHORIZATION ${name(settings.superuserName)}`,
    ...extensionsSchemaUsers.map((role) => `GRANT USAGE ON SCHEMA ${extensions} TO ${name(roles[role])}`),
    ...settings.extensions.map(
      (extension) =>
        `CREATE EXTENSION ${name(extension.name)} SCHEMA ${name(extension.schema)}` +
        (extension.version === undefined ? "" : ` VERSION ${literal(extension.version)}`),
    ),
    ...defaultPrivileges.map(({ role, objectType, privileges, global }) => {
      const grantee = role === "public" ? "PUBLIC" : name(roles[role]);
      const scope = `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner}${global ? "" : ` IN SCHEMA ${schema}`}`;
      return privileges.length === 0
        ? `${scope} REVOKE ALL ON ${objectType}S FROM ${grantee}`
        : `${scope} GRANT ${privileges.join(", ")} ON ${objectType}S TO ${grantee}`;
    }),
    ...(settings.backup ? backupSql(settings) : []),
  ];
}

/** What the backups have in the database, but for the tables that they make themselves. */
function backupSql({ appName, databaseName }: DatabaseSettings): string[] {
  const roles = roleNames(appName);
  const [backup, monitor, schema] = [roles.backup, roles.monitor, backupsSchema].map(name);
  return [
    `GRANT CONNECT ON DATABASE ${name(databaseName)} TO ${backup}`,
    `CREATE SCHEMA ${schema} AUTHORIZATION ${backup}`,
    `GRANT USAGE ON SCHEMA ${schema} TO ${monitor}`,
    `ALTER DEFAULT PRIVILEGES FOR ROLE ${backup} IN SCHEMA ${schema} GRANT SELECT ON TABLES TO ${monitor}`,
    `GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO ${backup}`,
  ];
}
