import { comment, options, privileges, properties, role } from "./queries.ts";

/** As in queries.ts, of what belongs to no single database. For a superuser. */

function roles(): string {
  const yes = (column: string) => `CASE WHEN ${column} THEN 'yes' END`;
  return `
  SELECT format('role %I', rolname) AS name, NULL AS parent,
         ${properties({
           superuser: yes("rolsuper"),
           "create roles": yes("rolcreaterole"),
           "create databases": yes("rolcreatedb"),
           inherit: "CASE WHEN NOT rolinherit THEN 'no' END",
           login: yes("rolcanlogin"),
           replication: yes("rolreplication"),
           "bypass row level security": yes("rolbypassrls"),
           "connection limit": "nullif(rolconnlimit, -1)",
           // VALID UNTIL 'infinity' says the same as no such clause.
           "valid until": "nullif(rolvaliduntil, 'infinity')",
           // Its kind alone: the password is nobody's to read.
           password: `CASE WHEN rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'SCRAM'
                           WHEN rolpassword LIKE 'md5%' THEN 'MD5' WHEN rolpassword IS NOT NULL THEN 'of another kind' END`,
           comment: `shobj_description(oid, 'pg_authid')`,
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_authid WHERE rolname !~ '^pg_'`;
}

/** Inherit and set options are version 16's; before it, a membership had the one and the role decided on the other. */
function memberships(): string {
  return `
  SELECT format('membership of %s in %s', ${role("member")}, ${role("roleid")}) AS name,
         'role ' || ${role("member")} AS parent,
         ${properties({
           "admin option": "max(CASE WHEN admin_option THEN 'yes' END)",
           inherit: `max(CASE WHEN to_jsonb(granted) ->> 'inherit_option' = 'false' THEN 'no' END)`,
           set: `max(CASE WHEN to_jsonb(granted) ->> 'set_option' = 'false' THEN 'no' END)`,
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_auth_members AS granted
   -- The server's own have lower numbers (transam.h, FirstNormalObjectId).
   WHERE NOT (roleid < 16384 AND member < 16384)
   GROUP BY roleid, member`;
}

/** Without owner and rights, which are the catalogue's of each database. */
function databases(): string {
  return `
  SELECT format('database %I', datname) AS name, NULL AS parent,
         ${properties({
           encoding: "pg_encoding_to_char(encoding)",
           collation: "datcollate",
           "character type": "datctype",
           template: "CASE WHEN datistemplate THEN 'yes' END",
           "open to connections": "CASE WHEN NOT datallowconn THEN 'no' END",
           tablespace:
             "(SELECT nullif(spcname, 'pg_default') FROM pg_tablespace AS space WHERE space.oid = dattablespace)",
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_database`;
}

function others(): string[] {
  return [
    `
  SELECT format('tablespace %I', spcname) AS name, NULL AS parent,
         ${properties({ owner: role("spcowner"), options: options("spcoptions") })} AS properties,
         ${privileges("spcacl", "acldefault('t', spcowner)")} AS privileges
    FROM pg_tablespace`,
    `
  SELECT format('rights on parameter %s', parname) AS name, NULL AS parent, '{}'::jsonb AS properties,
         ${privileges("paracl", "paracl")} AS privileges
    FROM pg_parameter_acl`,
    `
  SELECT format('subscription %I', subname) AS name, NULL AS parent,
         ${properties({
           owner: role("subowner"),
           enabled: "CASE WHEN subenabled THEN 'yes' ELSE 'no' END",
           // The connection may have a password in it.
           publications: "array_to_string(subpublications, ', ')",
           comment: comment("pg_subscription", "oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_subscription`,
  ];
}

export function clusterQueries(): string[] {
  return [roles(), memberships(), databases(), ...others()];
}
