/**
 * One query for each kind of object. Each gives rows of `name`, `parent`, `properties` and `privileges`, as in
 * `CatalogueObject`. They run with pg_catalog alone on the search path, so that the server's own functions write
 * every other name with its schema. They work in PostgreSQL 15 to 18.
 */

/** Rows that belong to the server itself are left out, and so are members of extensions. */
interface Scope {
  /** SQL text: an array of the schemas to leave out. */
  readonly without: string;
}

/** Whether a schema counts. */
const counts = ({ without }: Scope, schema = "nspname") =>
  `${schema} NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND ${schema} !~ '^pg_(toast_)?temp_'
   AND ${schema} <> ALL (${without})`;

export const depends = (type: string, catalogue: string, oid: string) =>
  `EXISTS (SELECT FROM pg_depend
            WHERE classid = '${catalogue}'::regclass AND objid = ${oid} AND objsubid = 0 AND deptype = '${type}')`;

/** What an extension has made is the extension's matter. */
const notOfExtension = (catalogue: string, oid: string) => `NOT ${depends("e", catalogue, oid)}`;

export const role = (oid: string) => `quote_ident(pg_get_userbyid(${oid}))`;

export const comment = (catalogue: string, oid: string) => `obj_description(${oid}, '${catalogue}')`;

/**
 * Privileges by role. No list means the built-in rights, so that a list which says the same is no difference.
 *
 * @param builtIn SQL text: what holds where there is no list.
 */
export const privileges = (acl: string, builtIn: string) => `
  (SELECT jsonb_object_agg(grantee, rights)
     FROM (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE ${role("grantee")} END AS grantee,
                  string_agg(DISTINCT privilege_type || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', '
                             ORDER BY privilege_type || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS rights
             FROM aclexplode(coalesce(${acl}, ${builtIn})) GROUP BY 1) AS by_role)`;

export const properties = (list: Readonly<Record<string, string>>) =>
  `jsonb_strip_nulls(jsonb_build_object(${Object.entries(list)
    .map(([name, value]) => `'${name}', ${value}`)
    .join(", ")}))`;

/**
 * `name=value` options, in an order that does not depend on when they were set. Without `pg_attver`, which 17.12 and its
 * kin keep beside a column's own options: it counts the changes of a column's definition, and is nobody's setting.
 */
export const options = (list: string) =>
  `(SELECT string_agg(option, ', ' ORDER BY option) FROM unnest(${list}) AS option WHERE option !~ '^pg_attver=')`;

const names = (oids: string) =>
  `(SELECT string_agg(CASE member WHEN 0 THEN 'PUBLIC' ELSE ${role("member")} END, ', ' ORDER BY pg_get_userbyid(member)) FROM unnest(${oids}) AS member)`;

/** A relation in words, of pg_class AS relation and pg_namespace AS schema. */
const relationName = `
  CASE relation.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                        WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE 'table' END
  || format(' %I.%I', schema.nspname, relation.relname)`;
/** The same where the kind is clear. */
const shortName = `format('%I.%I', schema.nspname, relation.relname)`;

const fromRelation = "pg_class AS relation JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace";
const schemaName = "format('schema %I', schema.nspname)";
const tablespace = `(SELECT spcname FROM pg_tablespace WHERE oid = relation.reltablespace)`;

const enabled = (column: string) =>
  `CASE ${column} WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' ELSE 'always' END`;

/** An object that lies in a schema, of which a name says all that identifies it. */
const inSchema = (
  scope: Scope,
  object: {
    /** SQL text. */
    readonly name: string;
    readonly catalogue: string;
    /** Of the columns `<prefix>namespace` and `<prefix>owner`. */
    readonly prefix: string;
    /** SQL text. Default: its schema. */
    readonly parent?: string;
    readonly properties: Readonly<Record<string, string>>;
    readonly where?: string;
    readonly privileges?: string;
  },
) => `
  SELECT ${object.name} AS name,
         ${object.parent ?? schemaName} AS parent,
         ${properties({
           owner: role(`object.${object.prefix}owner`),
           ...object.properties,
           comment: comment(object.catalogue, "object.oid"),
         })} AS properties,
         ${object.privileges ?? "NULL::jsonb"} AS privileges
    FROM ${object.catalogue} AS object JOIN pg_namespace AS schema ON schema.oid = object.${object.prefix}namespace
   WHERE ${counts(scope)} AND ${notOfExtension(object.catalogue, "object.oid")} ${object.where ? `AND ${object.where}` : ""}`;

function database(): string {
  return `
  SELECT format('database %I', datname) AS name, NULL AS parent,
         ${properties({
           owner: role("datdba"),
           "connection limit": "nullif(datconnlimit, -1)",
           comment: "shobj_description(oid, 'pg_database')",
         })} AS properties,
         ${privileges("datacl", "acldefault('d', datdba)")} AS privileges
    FROM pg_database WHERE datname = current_database()`;
}

/** What ALTER DATABASE … SET and ALTER ROLE … SET have set, for this database or for all. */
function settings(): string {
  return `
  SELECT CASE WHEN setrole = 0 THEN 'settings of the database'
              WHEN setdatabase = 0 THEN format('settings of role %I', rolname)
              ELSE format('settings of role %I in the database', rolname) END AS name,
         NULL AS parent,
         (SELECT jsonb_object_agg(split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
            FROM unnest(setconfig) AS setting) AS properties,
         NULL::jsonb AS privileges
    FROM pg_db_role_setting LEFT JOIN pg_roles AS role ON role.oid = setrole
   WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      OR (setdatabase = 0 AND rolname !~ '^pg_')`;
}

function schemas(scope: Scope): string {
  return `
  SELECT ${schemaName} AS name, NULL AS parent,
         ${properties({ owner: role("nspowner"), comment: comment("pg_namespace", "schema.oid") })} AS properties,
         ${privileges("nspacl", "acldefault('n', nspowner)")} AS privileges
    FROM pg_namespace AS schema WHERE ${counts(scope)} AND ${notOfExtension("pg_namespace", "schema.oid")}`;
}

function extensions(): string {
  return `
  SELECT format('extension %I', extname) AS name, NULL AS parent,
         ${properties({
           version: "extversion",
           schema: "quote_ident(nspname)",
           owner: role("extowner"),
           comment: comment("pg_extension", "extension.oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_extension AS extension JOIN pg_namespace AS schema ON schema.oid = extnamespace`;
}

function relations(scope: Scope): string {
  return `
  SELECT ${relationName} AS name, ${schemaName} AS parent,
         ${properties({
           owner: role("relation.relowner"),
           kind: "CASE relation.relkind WHEN 'p' THEN 'partitioned' END",
           "partition key": "CASE relation.relkind WHEN 'p' THEN pg_get_partkeydef(relation.oid) END",
           "partition of": `(SELECT format('%s %s', inhparent::regclass, pg_get_expr(relation.relpartbound, relation.oid))
                               FROM pg_inherits WHERE inhrelid = relation.oid AND relation.relispartition)`,
           inherits: `(SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
                         FROM pg_inherits WHERE inhrelid = relation.oid AND NOT relation.relispartition)`,
           persistence: "CASE relation.relpersistence WHEN 'u' THEN 'unlogged' END",
           "access method": `CASE WHEN relation.relkind IN ('r', 'p', 'm')
                                  THEN (SELECT amname FROM pg_am WHERE pg_am.oid = relation.relam) END`,
           tablespace,
           options: options("relation.reloptions"),
           "TOAST options": `(SELECT ${options("toast.reloptions")} FROM pg_class AS toast WHERE toast.oid = relation.reltoastrelid)`,
           "row level security": `CASE WHEN relation.relrowsecurity OR relation.relforcerowsecurity
                                       THEN concat_ws(', ', CASE WHEN relation.relrowsecurity THEN 'enabled' END,
                                                            CASE WHEN relation.relforcerowsecurity THEN 'forced' END) END`,
           "replica identity": `CASE relation.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' END`,
           "row type": "CASE WHEN relation.reloftype <> 0 THEN relation.reloftype::regtype::text END",
           definition:
             "CASE WHEN relation.relkind IN ('v', 'm') THEN rtrim(pg_get_viewdef(relation.oid), ';') END",
           populated:
             "CASE WHEN relation.relkind = 'm' THEN CASE WHEN relation.relispopulated THEN 'yes' ELSE 'no' END END",
           server: `(SELECT format('%I %s', srvname, ${options("ftoptions")}) FROM pg_foreign_table
                      JOIN pg_foreign_server AS server ON server.oid = ftserver WHERE ftrelid = relation.oid)`,
           comment: comment("pg_class", "relation.oid"),
         })} AS properties,
         ${privileges("relation.relacl", "acldefault('r', relation.relowner)")} AS privileges,
         CASE WHEN relation.relkind IN ('r', 'p', 'f')
              THEN ARRAY(SELECT quote_ident(attname) FROM pg_attribute
                          WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) END AS columns
    FROM ${fromRelation}
   WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f') AND ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}`;
}

function columns(scope: Scope): string {
  return `
  SELECT format(CASE relation.relkind WHEN 'c' THEN 'attribute' ELSE 'column' END || ' %I of %s', attname, ${shortName}) AS name,
         ${relationName} AS parent,
         ${properties({
           type: "format_type(atttypid, atttypmod)",
           collation: `CASE WHEN attcollation <> (SELECT typcollation FROM pg_type WHERE pg_type.oid = atttypid)
                            THEN attcollation::regcollation::text END`,
           // From version 18 on, it is a constraint too, whose name does not matter.
           "NOT NULL": `CASE WHEN attnotnull THEN concat_ws(', ', 'yes',
                             (SELECT concat_ws(', ', CASE WHEN connoinherit THEN 'not inherited' END,
                                                     CASE WHEN NOT convalidated THEN 'not valid yet' END)
                                FROM pg_constraint WHERE contype = 'n' AND conrelid = relation.oid AND conkey = ARRAY[attnum]
                                 AND (connoinherit OR NOT convalidated))) END`,
           default: "CASE WHEN attgenerated = '' THEN pg_get_expr(adbin, adrelid) END",
           generated: `CASE WHEN attgenerated <> ''
                            THEN pg_get_expr(adbin, adrelid) || CASE attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END`,
           identity: "CASE attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END",
           storage: `CASE WHEN attstorage <> (SELECT typstorage FROM pg_type WHERE pg_type.oid = atttypid)
                          THEN CASE attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
                                               WHEN 'm' THEN 'main' ELSE 'extended' END END`,
           compression: "CASE attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END",
           "statistics target": "nullif(attstattarget::integer, -1)",
           inherited:
             "CASE WHEN attinhcount > 0 THEN CASE WHEN attislocal THEN 'yes, and its own' ELSE 'yes' END END",
           options: options("attoptions"),
           "foreign data options": options("attfdwoptions"),
           comment: "col_description(relation.oid, attnum)",
         })} AS properties,
         ${privileges("attacl", "acldefault('c', relation.relowner)")} AS privileges
    FROM ${fromRelation}
    JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = relation.oid AND adnum = attnum
   WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND ${counts(scope)}
     AND ${notOfExtension("pg_class", "relation.oid")}
     AND NOT (relation.relkind = 'c' AND ${depends("e", "pg_type", "relation.reltype")})`;
}

function constraints(scope: Scope): string {
  const rest = `
         ${properties({
           definition: "pg_get_constraintdef(object.oid)",
           inherited:
             "CASE WHEN coninhcount > 0 THEN CASE WHEN conislocal THEN 'yes, and its own' ELSE 'yes' END END",
           comment: comment("pg_constraint", "object.oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_constraint AS object`;
  return `
  SELECT format('constraint %I on %s', conname, ${shortName}) AS name,
         ${relationName} AS parent,
         ${rest}
    JOIN ${fromRelation} ON relation.oid = conrelid
   WHERE contype NOT IN ('t', 'n') AND ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}
     AND ${notOfExtension("pg_constraint", "object.oid")}
  UNION ALL
  SELECT format('constraint %I on domain %I.%I', conname, schema.nspname, typname), format('domain %I.%I', schema.nspname, typname),
         ${rest}
    JOIN pg_type AS type ON type.oid = contypid JOIN pg_namespace AS schema ON schema.oid = typnamespace
   WHERE contype <> 'n' AND contypid <> 0 AND ${counts(scope)} AND ${notOfExtension("pg_type", "type.oid")}`;
}

function indexes(scope: Scope): string {
  return `
  SELECT format('index %I on %s', index.relname, ${shortName}) AS name,
         coalesce((SELECT format('constraint %I on %s', conname, ${shortName}) FROM pg_constraint
                    WHERE conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x')),
                  ${relationName}) AS parent,
         ${properties({
           definition: "pg_get_indexdef(indexrelid)",
           valid: "CASE WHEN NOT indisvalid OR NOT indisready THEN 'no' END",
           tablespace: "(SELECT spcname FROM pg_tablespace WHERE oid = index.reltablespace)",
           clustered: "CASE WHEN indisclustered THEN 'yes' END",
           "replica identity": "CASE WHEN indisreplident THEN 'yes' END",
           "partition of": "(SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = indexrelid)",
           "statistics targets": `(SELECT string_agg(format('column %s: %s', attnum, attstattarget), ', ' ORDER BY attnum)
                                     FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget <> -1)`,
           comment: comment("pg_class", "indexrelid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid JOIN ${fromRelation} ON relation.oid = indrelid
   WHERE ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")} AND ${notOfExtension("pg_class", "indexrelid")}`;
}

function sequences(scope: Scope): string {
  const owner = (type: string, format: string) => `
         (SELECT ${format} FROM pg_depend AS link
            JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
            JOIN pg_class AS owner ON owner.oid = refobjid JOIN pg_namespace AS home ON home.oid = owner.relnamespace
           WHERE link.classid = 'pg_class'::regclass AND link.objid = relation.oid AND link.objsubid = 0
             AND link.refclassid = 'pg_class'::regclass AND link.deptype = '${type}')`;
  return `
  SELECT ${relationName} AS name,
         coalesce(${owner("i", "format('column %I of %I.%I', attname, home.nspname, owner.relname)")}, ${schemaName}) AS parent,
         ${properties({
           owner: role("relation.relowner"),
           type: "format_type(seqtypid, NULL)",
           start: "seqstart",
           increment: "seqincrement",
           minimum: "seqmin",
           maximum: "seqmax",
           cache: "seqcache",
           cycle: "CASE WHEN seqcycle THEN 'yes' END",
           "owned by": owner("a", "format('%I.%I.%I', home.nspname, owner.relname, attname)"),
           persistence: "CASE relation.relpersistence WHEN 'u' THEN 'unlogged' END",
           comment: comment("pg_class", "relation.oid"),
         })} AS properties,
         ${privileges("relation.relacl", "acldefault('s', relation.relowner)")} AS privileges
    FROM ${fromRelation} JOIN pg_sequence ON seqrelid = relation.oid
   WHERE ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}`;
}

function routines(scope: Scope): string {
  const aggregate = (column: string) => `nullif(${column}::oid, 0)::regproc::text`;
  return inSchema(scope, {
    catalogue: "pg_proc",
    prefix: "pro",
    name: `CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END
           || format(' %I.%I(%s)', schema.nspname, proname, oidvectortypes(proargtypes))`,
    properties: {
      definition: "CASE WHEN prokind <> 'a' THEN pg_get_functiondef(object.oid) END",
      aggregate: `(SELECT ${properties({
        kind: "aggkind",
        arguments: "pg_get_function_arguments(object.oid)",
        result: "pg_get_function_result(object.oid)",
        "direct arguments": "aggnumdirectargs",
        transition: aggregate("aggtransfn"),
        state: "format_type(aggtranstype, NULL)",
        final: aggregate("aggfinalfn"),
        combine: aggregate("aggcombinefn"),
        serialize: aggregate("aggserialfn"),
        deserialize: aggregate("aggdeserialfn"),
        "moving transition": aggregate("aggmtransfn"),
        "moving inverse": aggregate("aggminvtransfn"),
        "moving final": aggregate("aggmfinalfn"),
        "sort operator": "nullif(aggsortop, 0)::regoperator::text",
        "initial value": "agginitval",
        parallel: "proparallel",
      })} FROM pg_aggregate WHERE aggfnoid = object.oid)::text`,
    },
    // The constructors of a range type are the type's.
    where: `NOT ${depends("i", "pg_proc", "object.oid")}`,
    privileges: privileges("proacl", "acldefault('f', proowner)"),
  });
}

function types(scope: Scope): string {
  return inSchema(scope, {
    catalogue: "pg_type",
    prefix: "typ",
    name: "CASE typtype WHEN 'd' THEN 'domain' ELSE 'type' END || format(' %I.%I', schema.nspname, typname)",
    properties: {
      kind: "CASE typtype WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite' WHEN 'r' THEN 'range' WHEN 'b' THEN 'base' END",
      values: `(SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = object.oid)`,
      attributes: `(SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                     WHERE typtype = 'c' AND attrelid = typrelid AND attnum > 0 AND NOT attisdropped)`,
      type: "CASE typtype WHEN 'd' THEN format_type(typbasetype, typtypmod) END",
      collation: `CASE WHEN typtype = 'd' AND typcollation <> (SELECT base.typcollation FROM pg_type AS base WHERE base.oid = object.typbasetype)
                       THEN typcollation::regcollation::text END`,
      "NOT NULL": "CASE WHEN typnotnull THEN 'yes' END",
      default: "typdefault",
      definition: `CASE typtype
        WHEN 'r' THEN (SELECT concat_ws(', ', 'subtype ' || format_type(rngsubtype, NULL),
                                        'operator class ' || (SELECT opcname FROM pg_opclass WHERE oid = rngsubopc),
                                        'collation ' || nullif(rngcollation, 0)::regcollation, 'canonical ' || nullif(rngcanonical::oid, 0)::regproc,
                                        'difference ' || nullif(rngsubdiff::oid, 0)::regproc, 'multirange ' || format_type(rngmultitypid, NULL))
                         FROM pg_range WHERE rngtypid = object.oid)
        WHEN 'b' THEN format('input %s, output %s, length %s, alignment %s, storage %s', typinput, typoutput, typlen, typalign, typstorage) END`,
    },
    // Array types and multiranges are made with their type, row types with their table.
    where: `typtype IN ('b', 'c', 'd', 'e', 'r') AND NOT ${depends("i", "pg_type", "object.oid")}
            AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE pg_class.oid = typrelid) = 'c')`,
    privileges: privileges("typacl", "acldefault('T', typowner)"),
  });
}

function triggers(scope: Scope): string {
  return `
  SELECT format('trigger %I on %s', tgname, ${shortName}) AS name, ${relationName} AS parent,
         ${properties({
           definition: "pg_get_triggerdef(object.oid)",
           enabled: enabled("tgenabled"),
           comment: comment("pg_trigger", "object.oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_trigger AS object JOIN ${fromRelation} ON relation.oid = tgrelid
   WHERE NOT tgisinternal AND ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}
     AND ${notOfExtension("pg_trigger", "object.oid")}
  UNION ALL
  SELECT format('event trigger %I', evtname), NULL,
         ${properties({
           owner: role("evtowner"),
           event: "evtevent",
           function: "evtfoid::regprocedure::text",
           tags: "array_to_string(evttags, ', ')",
           enabled: enabled("evtenabled"),
           comment: comment("pg_event_trigger", "object.oid"),
         })},
         NULL
    FROM pg_event_trigger AS object WHERE ${notOfExtension("pg_event_trigger", "object.oid")}`;
}

function rulesAndPolicies(scope: Scope): string {
  return `
  SELECT format('rule %I on %s', rulename, ${shortName}) AS name, ${relationName} AS parent,
         ${properties({
           definition: "pg_get_ruledef(object.oid)",
           enabled: enabled("ev_enabled"),
           comment: comment("pg_rewrite", "object.oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    FROM pg_rewrite AS object JOIN ${fromRelation} ON relation.oid = ev_class
   -- The definition of a view is a rule of that name.
   WHERE rulename <> '_RETURN' AND ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}
  UNION ALL
  SELECT format('policy %I on %s', polname, ${shortName}), ${relationName},
         ${properties({
           command:
             "CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END",
           kind: "CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END",
           roles: names("polroles"),
           using: "pg_get_expr(polqual, polrelid)",
           check: "pg_get_expr(polwithcheck, polrelid)",
           comment: comment("pg_policy", "object.oid"),
         })},
         NULL
    FROM pg_policy AS object JOIN ${fromRelation} ON relation.oid = polrelid
   WHERE ${counts(scope)} AND ${notOfExtension("pg_class", "relation.oid")}`;
}

function statistics(scope: Scope): string {
  return inSchema(scope, {
    name: "format('statistics %I.%I', schema.nspname, stxname)",
    catalogue: "pg_statistic_ext",
    prefix: "stx",
    parent: `(SELECT ${relationName} FROM ${fromRelation} WHERE relation.oid = stxrelid)`,
    properties: {
      definition: "pg_get_statisticsobjdef(object.oid)",
      target: "nullif(stxstattarget::integer, -1)",
    },
  });
}

function defaultPrivileges(scope: Scope): string {
  const home = `CASE WHEN defaclnamespace <> 0 THEN ${schemaName} END`;
  return `
  SELECT format('default privileges of %s for %s in %s', ${role("defaclrole")},
                CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                   WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
                coalesce(${home}, 'every schema')) AS name,
         ${home} AS parent, '{}'::jsonb AS properties, ${privileges("defaclacl", "defaclacl")} AS privileges
    FROM pg_default_acl LEFT JOIN pg_namespace AS schema ON schema.oid = defaclnamespace
   WHERE defaclnamespace = 0 OR (${counts(scope)})`;
}

function operators(scope: Scope): string[] {
  const otherFunction = (column: string) => `nullif(${column}::oid, 0)::regproc::text`;
  return [
    inSchema(scope, {
      name: "format('operator %I.%s(%s, %s)', schema.nspname, oprname, format_type(nullif(oprleft, 0), NULL), format_type(oprright, NULL))",
      catalogue: "pg_operator",
      prefix: "opr",
      properties: {
        function: otherFunction("oprcode"),
        commutator: "nullif(oprcom, 0)::regoperator::text",
        negator: "nullif(oprnegate, 0)::regoperator::text",
        restrict: otherFunction("oprrest"),
        join: otherFunction("oprjoin"),
        "can merge": "CASE WHEN oprcanmerge THEN 'yes' END",
        "can hash": "CASE WHEN oprcanhash THEN 'yes' END",
      },
    }),
    inSchema(scope, {
      name: "format('operator class %I.%I for %s', schema.nspname, opcname, (SELECT amname FROM pg_am WHERE pg_am.oid = opcmethod))",
      catalogue: "pg_opclass",
      prefix: "opc",
      properties: {
        type: "format_type(opcintype, NULL)",
        default: "CASE WHEN opcdefault THEN 'yes' END",
        stored: "format_type(nullif(opckeytype, 0), NULL)",
        family: "(SELECT opfname FROM pg_opfamily WHERE pg_opfamily.oid = opcfamily)",
      },
    }),
    inSchema(scope, {
      name: "format('operator family %I.%I for %s', schema.nspname, opfname, (SELECT amname FROM pg_am WHERE pg_am.oid = opfmethod))",
      catalogue: "pg_opfamily",
      prefix: "opf",
      properties: {
        operators: `(SELECT string_agg(format('%s %s', amopstrategy, amopopr::regoperator), ', ' ORDER BY amopstrategy, amopopr::regoperator::text)
                       FROM pg_amop WHERE amopfamily = object.oid)`,
        functions: `(SELECT string_agg(format('%s %s', amprocnum, amproc), ', ' ORDER BY amprocnum, amproc::text)
                       FROM pg_amproc WHERE amprocfamily = object.oid)`,
      },
    }),
    `
  SELECT format('cast from %s to %s', format_type(castsource, NULL), format_type(casttarget, NULL)) AS name, NULL AS parent,
         ${properties({
           function: "nullif(castfunc, 0)::regprocedure::text",
           context:
             "CASE castcontext WHEN 'e' THEN 'explicit' WHEN 'a' THEN 'assignment' ELSE 'implicit' END",
           method: "CASE castmethod WHEN 'f' THEN 'function' WHEN 'i' THEN 'text' ELSE 'same bytes' END",
           comment: comment("pg_cast", "object.oid"),
         })} AS properties,
         NULL::jsonb AS privileges
    -- Those of the server itself have lower numbers (transam.h, FirstNormalObjectId).
    FROM pg_cast AS object WHERE object.oid >= 16384 AND ${notOfExtension("pg_cast", "object.oid")}
     -- A multirange brings casts along.
     AND NOT ${depends("i", "pg_cast", "object.oid")}`,
  ];
}

function textSearchAndCollations(scope: Scope): string[] {
  return [
    inSchema(scope, {
      name: "format('text search configuration %I.%I', schema.nspname, cfgname)",
      catalogue: "pg_ts_config",
      prefix: "cfg",
      properties: {
        parser: "(SELECT prsname FROM pg_ts_parser WHERE pg_ts_parser.oid = cfgparser)",
        mapping: `(SELECT string_agg(format('%s: %s', alias, mapdict::regdictionary), ', ' ORDER BY alias, mapseqno)
                     FROM pg_ts_config_map JOIN ts_token_type(cfgparser) ON tokid = maptokentype WHERE mapcfg = object.oid)`,
      },
    }),
    inSchema(scope, {
      name: "format('text search dictionary %I.%I', schema.nspname, dictname)",
      catalogue: "pg_ts_dict",
      prefix: "dict",
      properties: {
        template: "(SELECT tmplname FROM pg_ts_template WHERE pg_ts_template.oid = dicttemplate)",
        options: "dictinitoption",
      },
    }),
    inSchema(scope, {
      name: "format('collation %I.%I', schema.nspname, collname)",
      catalogue: "pg_collation",
      prefix: "coll",
      // Its columns differ from version to version.
      properties: {
        definition: "(to_jsonb(object) - '{oid, collname, collnamespace, collowner}'::text[])::text",
      },
    }),
    inSchema(scope, {
      name: "format('conversion %I.%I', schema.nspname, conname)",
      catalogue: "pg_conversion",
      prefix: "con",
      properties: {
        definition: `format('from %s to %s by %s%s', pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc,
                            CASE WHEN condefault THEN ', default' ELSE '' END)`,
      },
    }),
  ];
}

/** What belongs to the database as a whole and is seldom met. */
function others(): string[] {
  const row = (name: string, list: Readonly<Record<string, string>>, rights: string, from: string) => `
  SELECT ${name} AS name, NULL AS parent, ${properties(list)} AS properties, ${rights} AS privileges FROM ${from}`;
  return [
    row(
      "format('language %I', lanname)",
      { owner: role("lanowner"), trusted: "CASE WHEN lanpltrusted THEN 'yes' ELSE 'no' END" },
      privileges("lanacl", "acldefault('l', lanowner)"),
      `pg_language AS object WHERE ${notOfExtension("pg_language", "object.oid")}`,
    ),
    row(
      "format('foreign-data wrapper %I', fdwname)",
      { owner: role("fdwowner"), options: options("fdwoptions") },
      privileges("fdwacl", "acldefault('F', fdwowner)"),
      "pg_foreign_data_wrapper",
    ),
    row(
      "format('foreign server %I', srvname)",
      {
        owner: role("srvowner"),
        wrapper: "(SELECT fdwname FROM pg_foreign_data_wrapper AS wrapper WHERE wrapper.oid = srvfdw)",
        type: "srvtype",
        version: "srvversion",
        options: options("srvoptions"),
      },
      privileges("srvacl", "acldefault('S', srvowner)"),
      "pg_foreign_server",
    ),
    row(
      "format('user mapping of %s on server %I', CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, srvname)",
      // Names alone: the values may be passwords.
      {
        options:
          "(SELECT string_agg(split_part(option, '=', 1), ', ' ORDER BY option) FROM unnest(umoptions) AS option)",
      },
      "NULL::jsonb",
      "pg_user_mappings",
    ),
    row(
      "format('publication %I', pubname)",
      {
        owner: role("pubowner"),
        definition: "(to_jsonb(object) - '{oid, pubname, pubowner}'::text[])::text",
        tables: `(SELECT string_agg(concat_ws(' ', prrelid::regclass::text, '(' || prattrs::text || ')', 'where ' || pg_get_expr(prqual, prrelid)),
                                    ', ' ORDER BY prrelid::regclass::text)
                    FROM pg_publication_rel WHERE prpubid = object.oid)`,
        schemas: `(SELECT string_agg(pnnspid::regnamespace::text, ', ' ORDER BY pnnspid::regnamespace::text)
                     FROM pg_publication_namespace WHERE pnpubid = object.oid)`,
        comment: comment("pg_publication", "object.oid"),
      },
      "NULL::jsonb",
      "pg_publication AS object",
    ),
  ];
}

/**
 * Rights on what PostgreSQL and extensions bring along, as far as they aren't those that it came with: whoever may read
 * pg_authid or run pg_read_file needs no right on anything else.
 */
function rightsOnOthersObjects(): string {
  const text = (acl: string) => `
    (SELECT string_agg(grantee || ': ' || rights, '; ' ORDER BY grantee)
       FROM (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE ${role("grantee")} END AS grantee,
                    string_agg(DISTINCT privilege_type || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ') AS rights
               FROM aclexplode(${acl}) GROUP BY 1) AS by_role)`;
  const those = (
    from: string,
    name: string,
    acl: string,
    builtIn: string,
    catalogue: string,
    schema: string | undefined,
    column = "0",
  ) => `
    SELECT ${name} AS what, ${text(acl)} AS rights FROM ${from}
      LEFT JOIN pg_init_privs AS initial
             ON initial.classoid = '${catalogue}'::regclass AND initial.objoid = object.oid AND initial.objsubid = ${column}
     WHERE ${acl} IS NOT NULL AND ${text(acl)} IS DISTINCT FROM ${text(`coalesce(initial.initprivs, ${builtIn})`)}
       AND (${schema === undefined ? "" : `${schema} IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) OR `}
            ${depends("e", catalogue, "object.oid")})
       ${
         schema === undefined
           ? ""
           : // Of which the server keeps no initial rights: its owner (the bootstrap superuser, 10) has all, and all may read.
             `AND (${schema} <> 'information_schema'::regnamespace OR EXISTS (
                    SELECT FROM aclexplode(${acl})
                     WHERE grantee NOT IN (0, 10) OR (grantee = 0 AND privilege_type NOT IN ('SELECT', 'USAGE'))))`
       }`;
  return `
  SELECT 'objects of PostgreSQL and of extensions' AS name, NULL AS parent,
         (SELECT jsonb_object_agg('rights on ' || what, coalesce(rights, 'nobody''s')) FROM (
           ${[
             those(
               "pg_proc AS object",
               "'function ' || object.oid::regprocedure",
               "proacl",
               "acldefault('f', proowner)",
               "pg_proc",
               "pronamespace",
             ),
             those(
               "pg_class AS object",
               "object.oid::regclass::text",
               "relacl",
               "acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)",
               "pg_class",
               "relnamespace",
             ),
             those(
               "pg_attribute JOIN pg_class AS object ON object.oid = attrelid",
               "format('column %I of %s', attname, object.oid::regclass)",
               "attacl",
               "acldefault('c', relowner)",
               "pg_class",
               "relnamespace",
               "attnum",
             ),
             those(
               "pg_type AS object",
               "'type ' || object.oid::regtype",
               "typacl",
               "acldefault('T', typowner)",
               "pg_type",
               "typnamespace",
             ),
             those(
               "pg_language AS object",
               "'language ' || quote_ident(lanname)",
               "lanacl",
               "acldefault('l', lanowner)",
               "pg_language",
               undefined,
             ),
             those(
               "pg_namespace AS object",
               "'schema ' || quote_ident(nspname)",
               "nspacl",
               "acldefault('n', nspowner)",
               "pg_namespace",
               "object.oid",
             ),
           ].join(" UNION ALL ")}) AS others) AS properties,
         NULL::jsonb AS privileges`;
}

/** @param without SQL text: an array of the schemas to leave out. */
export function catalogueQueries(without: string): string[] {
  const scope = { without };
  return [
    database(),
    settings(),
    schemas(scope),
    extensions(),
    relations(scope),
    columns(scope),
    constraints(scope),
    indexes(scope),
    sequences(scope),
    routines(scope),
    types(scope),
    triggers(scope),
    rulesAndPolicies(scope),
    statistics(scope),
    defaultPrivileges(scope),
    ...operators(scope),
    ...textSearchAndCollations(scope),
    ...others(),
    rightsOnOthersObjects(),
  ];
}
