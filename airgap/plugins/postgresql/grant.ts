import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import type { Server, Session } from "./connection.ts";
import {
  catalogTypes,
  privilegesEqual,
  refuseImport,
  roleAndSchemaExist,
  roleOid,
  validatePrivileges,
} from "./privileges.ts";
import {
  databaseExists,
  databaseOwner,
  identifier,
  lockDatabase,
  lockRole,
  setOrder,
  withRolesGranted,
} from "./sql.ts";
import { flag, oneOf, planned, sorted, strings, text } from "./state.ts";

const objectTypes = [
  "database",
  "function",
  "procedure",
  "routine",
  "schema",
  "sequence",
  "table",
  "foreign_data_wrapper",
  "foreign_server",
  "column",
];

/** Types of objects that live in no schema. */
const outsideSchemas = ["database", "foreign_data_wrapper", "foreign_server"];

const properties: Schema = {
  role: { kind: "string", required: true, forceNew: true },
  database: { kind: "string", required: true, forceNew: true },
  schema: { kind: "string", forceNew: true },
  objectType: {
    kind: "string",
    required: true,
    forceNew: true,
    validate: oneOf(objectTypes, "object_type"),
  },
  objects: { kind: "set", forceNew: true },
  columns: { kind: "set", forceNew: true },
  privileges: { kind: "set", required: true },
  withGrantOption: { kind: "boolean", forceNew: true, default: false },
};

export const grant: ResourceDefinition<Server> = {
  token: "postgresql:index/grant:Grant",
  properties,
  deleteBeforeReplace: true,

  async create(inputs, { config: server }) {
    await apply(server, inputs, inputs);
    return { id: idOf(inputs), outputs: outputsAfter({}, inputs) };
  },

  async read(_id, state, _inputs, { config: server }) {
    refuseImport(state, "postgresql_grant");
    const database = text(state, "database");
    const schema = outsideSchemas.includes(text(state, "objectType")) ? "" : text(state, "schema");
    const exists = await server.session("", (session) => databaseExists(session, database));
    if (!exists) return undefined;
    return server.session(database, async (session) => {
      if (!(await roleAndSchemaExist(session, text(state, "role"), schema))) return undefined;
      return {
        id: idOf(state),
        outputs: { privileges: null, ...state, ...(await drift(server, session, state)) },
      };
    });
  },

  async update(_id, state, inputs, { config: server }) {
    await apply(server, state, inputs);
    return outputsAfter(state, inputs);
  },

  async delete(_id, state, { config: server }) {
    await server.transaction(text(state, "database"), locks(state), async (session) => {
      await withRolesGranted(session, await owners(session, state), () => revoke(session, state));
    });
  },
};

function outputsAfter(state: Properties, inputs: Properties): Properties {
  const sets = ["objects", "columns", "privileges"].map((name) => [name, planned(name, state, inputs)]);
  return { ...inputs, ...Object.fromEntries(sets), withGrantOption: flag(inputs, "withGrantOption") };
}

function idOf(values: Properties): string {
  const objectType = text(values, "objectType");
  const schema = outsideSchemas.includes(objectType) ? [] : [text(values, "schema")];
  const objects = [...setOrder(strings(values, "objects")), ...setOrder(strings(values, "columns"))];
  return [text(values, "role"), text(values, "database"), ...schema, objectType, ...objects].join("_");
}

/** Takes away what was granted, then grants what is wanted, in one transaction: nobody sees the gap. */
async function apply(server: Server, before: Properties, inputs: Properties): Promise<void> {
  refuseContradictions(inputs);
  await server.transaction(text(inputs, "database"), locks(inputs), async (session) => {
    await validatePrivileges(server, session, inputs);
    await withRolesGranted(session, await owners(session, inputs), async () => {
      await revoke(session, before);
      const privileges = setOrder(strings(inputs, "privileges"));
      if (privileges.length > 0) await session.run(grantStatement(inputs, privileges));
    });
    // The genuine plugin reads what it granted, which fails where the role is not there.
    await roleOid(session, text(inputs, "role"));
  });
}

function refuseContradictions(inputs: Properties): void {
  const objectType = text(inputs, "objectType");
  const count = (name: string) => new Set(strings(inputs, name)).size;
  if (text(inputs, "schema") === "" && !outsideSchemas.includes(objectType)) {
    throw new Error("parameter 'schema' is mandatory for postgresql_grant resource");
  }
  if (count("objects") > 0 && (objectType === "database" || objectType === "schema")) {
    throw new Error("cannot specify `objects` when `object_type` is `database` or `schema`");
  }
  if (objectType !== "column") {
    if (count("columns") > 0) throw new Error("cannot specify `columns` when `object_type` is not `column`");
  } else if (count("columns") === 0) {
    throw new Error("must specify `columns` when `object_type` is `column`");
  } else if (count("privileges") !== 1) {
    throw new Error("must specify exactly 1 `privileges` when `object_type` is `column`");
  } else if (count("objects") !== 1) {
    throw new Error("must specify exactly 1 table in the `objects` field when `object_type` is `column`");
  }
  if (objectType.startsWith("foreign_") && count("objects") !== 1) {
    throw new Error(
      "one element must be specified in `objects` when `object_type` is `foreign_data_wrapper` or `foreign_server`",
    );
  }
}

function locks(values: Properties): string {
  const database = text(values, "objectType") === "database" ? lockDatabase(text(values, "database")) : "";
  return `${lockRole(text(values, "role"))} ${database}`;
}

/** Whose member the connected user must be to change these privileges: owners of the schema and its tables. */
async function owners(session: Session, values: Properties): Promise<string[]> {
  const objectType = text(values, "objectType");
  if (outsideSchemas.includes(objectType)) return [];
  const schema = text(values, "schema");
  const found = await session.run<{ owner: string; schema: boolean }>(
    `SELECT pg_get_userbyid(nspowner)::text AS owner, true AS schema FROM pg_namespace WHERE nspname = $1
     UNION SELECT tableowner::text, false FROM pg_tables WHERE schemaname = $1 AND $2`,
    [schema, objectType !== "schema"],
  );
  if (!found.some((row) => row.schema)) {
    throw new Error(`could not find schema '${schema}' while looking for owner`);
  }
  const roles = new Set<string>();
  for (const { owner } of found) {
    roles.add(owner === "pg_database_owner" ? await databaseOwner(session, "") : owner);
  }
  return [...roles];
}

/** What privileges are on, as GRANT and REVOKE write it; `privileges` as they write them before ON. */
function target(values: Properties, privileges: string): string {
  const objectType = text(values, "objectType");
  const schema = identifier(text(values, "schema"));
  const objects = setOrder(strings(values, "objects"));
  const qualified = objects.map((name) => `${schema}.${callable(name)}`).join(",");
  switch (objectType) {
    case "database":
      return `${privileges} ON DATABASE ${identifier(text(values, "database"))}`;
    case "schema":
      return `${privileges} ON SCHEMA ${schema}`;
    case "foreign_data_wrapper":
      return `${privileges} ON FOREIGN DATA WRAPPER ${identifier(objects[0] ?? "")}`;
    case "foreign_server":
      return `${privileges} ON FOREIGN SERVER ${identifier(objects[0] ?? "")}`;
    case "column": {
      const columns = setOrder(strings(values, "columns")).map((name) => identifier(name));
      return `${privileges} (${columns.join(",")}) ON TABLE ${qualified}`;
    }
    default: {
      const keyword = objectType.toUpperCase();
      return objects.length > 0
        ? `${privileges} ON ${keyword} ${qualified}`
        : `${privileges} ON ALL ${keyword}S IN SCHEMA ${schema}`;
    }
  }
}

/** Quotes a name, and leaves argument types behind it, which tell functions of one name apart, as they are. */
function callable(name: string): string {
  const [bare = "", types] = name.split("(");
  return types === undefined ? identifier(bare) : `${identifier(bare)}(${types}`;
}

function grantStatement(values: Properties, privileges: string[]): string {
  const option = flag(values, "withGrantOption") ? " WITH GRANT OPTION" : "";
  return `GRANT ${target(values, privileges.join(","))} TO ${identifier(text(values, "role"))}${option}`;
}

async function revoke(session: Session, values: Properties): Promise<void> {
  const objectType = text(values, "objectType");
  const privileges = setOrder(strings(values, "privileges")).join(",");
  const inSchema = objectType !== "schema" && !outsideSchemas.includes(objectType);
  if (objectType === "column" && (privileges === "" || strings(values, "columns").length === 0)) return;
  // On named objects only what was granted is revoked: ALL would also take away what columns were granted.
  const single = inSchema && strings(values, "objects").length > 0 && privileges !== "";
  const what = target(values, single ? privileges : "ALL PRIVILEGES");
  const statement = `REVOKE ${what} FROM ${identifier(text(values, "role"))}`;
  await session.run(statement, undefined, "could not execute revoke query");
}

/** ACLs of one object by the type of object; $1 names it, $2 is the role's OID. */
const aclOf: Record<string, string> = {
  database: "SELECT datacl AS acl FROM pg_database WHERE datname = $1",
  schema: "SELECT nspacl AS acl FROM pg_namespace WHERE nspname = $1",
  foreign_data_wrapper: "SELECT fdwacl AS acl FROM pg_foreign_data_wrapper WHERE fdwname = $1",
  foreign_server: "SELECT srvacl AS acl FROM pg_foreign_server WHERE srvname = $1",
};

/** The properties whose value in the server is not that in the state. */
async function drift(server: Server, session: Session, state: Properties): Promise<Properties> {
  const objectType = text(state, "objectType");
  const oid = await roleOid(session, text(state, "role"));
  const acl = aclOf[objectType];
  if (acl !== undefined) {
    const name = text(state, objectType) || (strings(state, "objects")[0] ?? "");
    const rows = await session.run<{ privilege: string }>(
      `SELECT privilege_type AS privilege FROM (${acl}) AS object, aclexplode(acl) WHERE grantee = $2`,
      [name, oid],
      `could not read privileges for ${objectType.replaceAll("_", " ")} ${name}`,
    );
    const granted = rows.map((row) => row.privilege);
    return (await privilegesEqual(server, session, granted, state)) ? {} : { privileges: sorted(granted) };
  }
  if (objectType === "column") return columnDrift(session, state, oid);
  const objects = strings(state, "objects");
  for (const { name, granted } of await grantedByObject(session, state, oid)) {
    if (objects.length > 0 && !objects.includes(name)) continue;
    // One object with other privileges is enough to make all of them anew.
    if (!(await privilegesEqual(server, session, granted, state))) return { privileges: sorted(granted) };
  }
  return {};
}

/** Names and ACLs of the objects in a schema; $2 names it, $3 is the kind of relation. */
const relations = `SELECT relname::text AS name, relacl AS acl
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $2 AND relkind = $3`;
const functions = `SELECT proname::text AS name, proacl AS acl
  FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = $2`;

async function grantedByObject(
  session: Session,
  state: Properties,
  oid: number,
): Promise<{ name: string; granted: string[] }[]> {
  const objectType = text(state, "objectType");
  const isRelation = objectType === "table" || objectType === "sequence";
  return session.run(
    `SELECT name, array_remove(array_agg(DISTINCT privilege_type), NULL) AS granted
     FROM (${isRelation ? relations : functions}) AS objects
       LEFT JOIN LATERAL aclexplode(acl) AS privilege ON grantee = $1
     GROUP BY name`,
    [oid, text(state, "schema"), ...(isRelation ? [catalogTypes[objectType]] : [])],
  );
}

async function columnDrift(session: Session, state: Properties, oid: number): Promise<Properties> {
  const rows = await session.run<{ name: string }>(
    `SELECT DISTINCT attname::text AS name FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
       JOIN pg_attribute ON pg_class.oid = attrelid, aclexplode(attacl)
     WHERE grantee = $1 AND nspname = $2 AND relname = $3 AND relkind = 'r' AND privilege_type = $4`,
    [oid, text(state, "schema"), strings(state, "objects")[0], strings(state, "privileges")[0]],
  );
  const wanted = strings(state, "columns");
  const found = wanted.filter((column) => rows.some((row) => row.name === column));
  return found.length === wanted.length ? {} : { columns: found };
}
