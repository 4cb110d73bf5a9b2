import pg from "pg";

const { escapeIdentifier, escapeLiteral } = pg;

/** What belongs to a database, but not into it: a clone begins without it. */
export interface DatabaseProperties {
  readonly owner: string;
  /** -1: no limit. */
  readonly connectionLimit: number;
  readonly comment: string | null;
  /** Null: PostgreSQL's default, by which everybody may connect. */
  readonly acl: readonly AclEntry[] | null;
  readonly settings: readonly DatabaseSettings[];
}

export interface AclEntry {
  readonly grantor: string;
  /** Null: PUBLIC. */
  readonly grantee: string | null;
  readonly privilege: string;
  readonly grantable: boolean;
}

/** ALTER DATABASE … SET, or ALTER ROLE … IN DATABASE … SET. */
export interface DatabaseSettings {
  /** Null: of everybody. */
  readonly role: string | null;
  /** `name=value` each, as the server keeps them. */
  readonly settings: readonly string[];
}

export interface FoundDatabase extends DatabaseProperties {
  readonly name: string;
  readonly oid: string;
  /** Number of sessions in it, background workers included. */
  readonly sessions: number;
}

/** One statement; a row for each of these databases that is there. */
export function databasesQuery(names: readonly string[]): string {
  return `
    SELECT d.datname AS name, d.oid::text AS oid, pg_get_userbyid(d.datdba)::text AS owner,
           d.datconnlimit AS "connectionLimit", shobj_description(d.oid, 'pg_database') AS comment,
           CASE WHEN d.datacl IS NOT NULL THEN coalesce((
             SELECT json_agg(json_build_object(
                      'grantor', pg_get_userbyid(a.grantor),
                      'grantee', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                      'privilege', a.privilege_type, 'grantable', a.is_grantable) ORDER BY a.ordinality)
               FROM aclexplode(d.datacl) WITH ORDINALITY AS a), '[]') END AS acl,
           coalesce((
             SELECT json_agg(json_build_object(
                      'role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
                      'settings', s.setconfig) ORDER BY s.setrole)
               FROM pg_db_role_setting AS s WHERE s.setdatabase = d.oid), '[]') AS settings,
           (SELECT count(*)::int FROM pg_stat_activity AS p WHERE p.datid = d.oid AND p.pid <> pg_backend_pid())
             AS sessions
      FROM pg_database AS d
     WHERE d.datname IN (${names.map(escapeLiteral).join(", ")})`;
}

/** Statements that give a new database, which has nothing but its owner, the properties of another. */
export function propertyStatements(name: string, properties: DatabaseProperties): string[] {
  const database = escapeIdentifier(name);
  return [
    ...aclStatements(database, properties),
    ...properties.settings.flatMap(({ role, settings }) =>
      settings.map((setting) => {
        const [parameter = ""] = setting.split("=", 1);
        const whose =
          role === null
            ? `ALTER DATABASE ${database}`
            : `ALTER ROLE ${escapeIdentifier(role)} IN DATABASE ${database}`;
        return `${whose} SET ${quoteParameter(parameter)} TO ${settingValue(parameter, setting.slice(parameter.length + 1))}`;
      }),
    ),
    ...(properties.comment === null
      ? []
      : [`COMMENT ON DATABASE ${database} IS ${escapeLiteral(properties.comment)}`]),
  ];
}

/** In the order of the list, owner's grants first: whoever hands a right on must have been given it before. */
function aclStatements(database: string, { acl, owner }: DatabaseProperties): string[] {
  if (acl === null) return [];
  const byOwner = acl.filter(({ grantor }) => grantor === owner);
  const byOthers = acl.filter(({ grantor }) => grantor !== owner);
  const grant = ({ grantee, privilege, grantable }: AclEntry) =>
    `GRANT ${privilege} ON DATABASE ${database} TO ${grantee === null ? "PUBLIC" : escapeIdentifier(grantee)}${
      grantable ? " WITH GRANT OPTION" : ""
    }`;
  return [
    `REVOKE ALL ON DATABASE ${database} FROM PUBLIC, ${escapeIdentifier(owner)}`,
    // What the superuser grants is recorded as granted by the owner.
    ...byOwner.map(grant),
    ...byOthers.flatMap((entry) => [
      `SET LOCAL ROLE ${escapeIdentifier(entry.grantor)}`,
      grant(entry),
      "RESET ROLE",
    ]),
  ];
}

/** Extensions' parameters have a dot in their name, which is no part of an identifier. */
function quoteParameter(parameter: string): string {
  return parameter.split(".").map(escapeIdentifier).join(".");
}

/** Parameters whose value is kept as a list of quoted names (src/backend/utils/misc/guc_tables.c, GUC_LIST_QUOTE). */
const nameLists = new Set([
  "local_preload_libraries",
  "search_path",
  "session_preload_libraries",
  "shared_preload_libraries",
  "temp_tablespaces",
  "unix_socket_directories",
]);

function settingValue(parameter: string, value: string): string {
  if (!nameLists.has(parameter.toLowerCase())) return escapeLiteral(value);
  const names = value.match(/"(?:[^"]|"")*"|[^\s,"]+/g) ?? [""];
  return names
    .map((name) => escapeLiteral(name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name))
    .join(", ");
}
