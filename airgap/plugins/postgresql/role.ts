import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import { type Properties, Secret } from "../common/values.ts";
import type { Server, Session } from "./connection.ts";
import { doubledLiteral, identifier, lockRole, withRolesGranted } from "./sql.ts";
import { atLeast, changed, flag, sorted, strings, text, whole } from "./state.ts";

const properties: Schema = {
  name: { kind: "string", required: true, autoName: true },
  password: { kind: "string", secret: true },
  roles: { kind: "set" },
  searchPaths: { kind: "list" },
  encryptedPassword: { kind: "boolean", default: true },
  validUntil: { kind: "string", default: "infinity" },
  connectionLimit: { kind: "integer", default: -1, validate: atLeast(-1, "connection_limit") },
  superuser: { kind: "boolean", default: false },
  createDatabase: { kind: "boolean", default: false },
  createRole: { kind: "boolean", default: false },
  inherit: { kind: "boolean", default: true },
  login: { kind: "boolean", default: false },
  replication: { kind: "boolean", default: false },
  bypassRowLevelSecurity: { kind: "boolean", default: false },
  idleInTransactionSessionTimeout: {
    kind: "integer",
    validate: atLeast(0, "idle_in_transaction_session_timeout"),
  },
  statementTimeout: { kind: "integer", validate: atLeast(0, "statement_timeout") },
  assumeRole: { kind: "string" },
  skipDropRole: { kind: "boolean", default: false },
  skipReassignOwned: { kind: "boolean", default: false },
};

/** Attributes with a keyword that a leading NO turns off, by the order of CREATE ROLE in the genuine plugin. */
const attributes: [property: string, keyword: string][] = [
  ["superuser", "SUPERUSER"],
  ["createDatabase", "CREATEDB"],
  ["createRole", "CREATEROLE"],
  ["inherit", "INHERIT"],
  ["login", "LOGIN"],
  ["bypassRowLevelSecurity", "BYPASSRLS"],
  ["replication", "REPLICATION"],
];

const timeouts: [property: string, parameter: string][] = [
  ["statementTimeout", "statement_timeout"],
  ["idleInTransactionSessionTimeout", "idle_in_transaction_session_timeout"],
];

export const role: ResourceDefinition<Server> = {
  token: "postgresql:index/role:Role",
  properties,

  async create(inputs, { config: server }) {
    const name = text(inputs, "name");
    const created = `CREATE ROLE ${identifier(name)} WITH ${createOptions(inputs)}`;
    await server.transaction("", "", async (session) => {
      await session.run(created, undefined, `error creating role ${name}`);
      await grantRoles(session, inputs);
      await setSearchPath(session, inputs);
      await setParameters(session, {}, inputs);
    });
    const outputs = await outputsAfter(server, name, {}, inputs);
    return { id: text(outputs, "name"), outputs };
  },

  async read(id, state, _inputs, { config: server }) {
    const found = await readRole(server, text(state, "name") || id, state);
    return found && { id: text(found, "name"), outputs: stateOf(found) };
  },

  async update(_id, state, inputs, { config: server }) {
    const old = text(state, "name");
    const name = text(inputs, "name");
    const quoted = identifier(name);
    await server.transaction("", lockRole(old), async (session) => {
      const alter = (clause: string, what: string) =>
        session.run(`ALTER ROLE ${quoted} ${clause}`, undefined, `error updating role ${what}`);
      if (name !== old) {
        await session.run(
          `ALTER ROLE ${identifier(old)} RENAME TO ${quoted}`,
          undefined,
          "error updating role NAME",
        );
      }
      const password = text(inputs, "password");
      if (password !== "" && (name !== old || changed(state, inputs, "password"))) {
        await alter(`PASSWORD ${doubledLiteral(password)}`, "password");
      }
      if (changed(state, inputs, "connectionLimit")) {
        await alter(`CONNECTION LIMIT ${whole(inputs, "connectionLimit")}`, "CONNECTION LIMIT");
      }
      for (const [property, keyword] of attributes) {
        if (!changed(state, inputs, property)) continue;
        await alter(`WITH ${flag(inputs, property) ? "" : "NO"}${keyword}`, keyword);
      }
      const validUntil = text(inputs, "validUntil");
      if (validUntil !== "" && changed(state, inputs, "validUntil")) {
        await alter(`VALID UNTIL ${dateLiteral(validUntil)}`, "VALID UNTIL");
      }
      await revokeRoles(session, name);
      await grantRoles(session, inputs);
      await setSearchPath(session, inputs);
      await setParameters(session, state, inputs);
    });
    return { ...(await outputsAfter(server, name, state, inputs)), id: name };
  },

  async delete(_id, state, { config: server }) {
    const name = text(state, "name");
    const user = server.currentUser;
    await server.transaction("", lockRole(name), async (session) => {
      if (!flag(state, "skipReassignOwned")) {
        await withRolesGranted(session, [name], async () => {
          await session.run(
            `REASSIGN OWNED BY ${identifier(name)} TO ${identifier(user)}`,
            undefined,
            `could not reassign owned by role ${name} to ${user}`,
          );
          await session.run(
            `DROP OWNED BY ${identifier(name)}`,
            undefined,
            `could not drop owned by role ${name}`,
          );
        });
      }
      if (!flag(state, "skipDropRole")) {
        await session.run(`DROP ROLE ${identifier(name)}`, undefined, `could not delete role ${name}`);
      }
    });
  },
};

function createOptions(inputs: Properties): string {
  const options: string[] = [];
  const password = text(inputs, "password");
  if (password.toUpperCase() === "NULL") options.push("PASSWORD NULL");
  else if (password !== "") {
    const encrypted = flag(inputs, "encryptedPassword") ? "ENCRYPTED" : "UNENCRYPTED";
    options.push(`${encrypted} PASSWORD ${doubledLiteral(password)}`);
  }
  const validUntil = text(inputs, "validUntil");
  if (validUntil !== "") options.push(`VALID UNTIL ${dateLiteral(validUntil)}`);
  options.push(`CONNECTION LIMIT ${whole(inputs, "connectionLimit")}`);
  for (const [property, keyword] of attributes)
    options.push(`${flag(inputs, property) ? "" : "NO"}${keyword}`);
  return options.join(" ");
}

function dateLiteral(date: string): string {
  return date.toLowerCase() === "infinity" ? "'infinity'" : doubledLiteral(date);
}

async function revokeRoles(session: Session, name: string): Promise<void> {
  const granted = await session.run<{ role: string }>(
    `SELECT pg_get_userbyid(roleid) AS role FROM pg_auth_members JOIN pg_roles ON member = pg_roles.oid
     WHERE rolname = $1`,
    [name],
    `could not get roles list for role ${name}`,
  );
  for (const { role } of granted) {
    const failure = `could not revoke role ${role} from ${name}`;
    await session.run(`REVOKE ${identifier(role)} FROM ${identifier(name)}`, undefined, failure);
  }
}

async function grantRoles(session: Session, inputs: Properties): Promise<void> {
  const name = text(inputs, "name");
  for (const role of strings(inputs, "roles")) {
    const failure = `could not grant role ${role} to ${name}`;
    await session.run(`GRANT ${identifier(role)} TO ${identifier(name)}`, undefined, failure);
  }
}

async function setSearchPath(session: Session, inputs: Properties): Promise<void> {
  const name = text(inputs, "name");
  const schemas = strings(inputs, "searchPaths");
  const ambiguous = schemas.find((schema) => schema.includes(", "));
  if (ambiguous !== undefined) throw new Error(`search_path cannot contain \`, \`: ${ambiguous}`);
  const path = schemas.length > 0 ? schemas.map((schema) => identifier(schema)).join(", ") : "DEFAULT";
  await session.run(
    `ALTER ROLE ${identifier(name)} SET search_path TO ${path}`,
    undefined,
    `could not set search_path ${path} for ${name}`,
  );
}

async function setParameters(session: Session, state: Properties, inputs: Properties): Promise<void> {
  const name = text(inputs, "name");
  const alter = `ALTER ROLE ${identifier(name)}`;
  for (const [property, parameter] of timeouts) {
    if (!changed(state, inputs, property)) continue;
    const timeout = whole(inputs, property);
    if (timeout === 0) {
      await session.run(`${alter} RESET ${parameter}`, undefined, `could not reset ${parameter} for ${name}`);
    } else {
      const failure = `could not set ${parameter} ${timeout} for ${name}`;
      await session.run(`${alter} SET ${parameter} TO ${timeout}`, undefined, failure);
    }
  }
  if (!changed(state, inputs, "assumeRole")) return;
  const assumed = text(inputs, "assumeRole");
  if (assumed === "") await session.run(`${alter} RESET ROLE`, undefined, `could not reset role for ${name}`);
  else {
    const failure = `could not set role ${assumed} for ${name}`;
    await session.run(`${alter} SET ROLE TO ${identifier(assumed)}`, undefined, failure);
  }
}

interface RoleRow extends Record<string, unknown> {
  roles: string[];
  config: string[] | null;
  passwordReadable: boolean;
}

/** What the server says of a role; undefined where it is gone. `state` gives what the server does not tell. */
async function readRole(server: Server, name: string, state: Properties): Promise<Properties | undefined> {
  return server.session("", async (session) => {
    const [row] = await session.run<RoleRow>(
      `SELECT rolname AS name, rolsuper AS superuser, rolinherit AS inherit, rolcreaterole AS "createRole",
         rolcreatedb AS "createDatabase", rolcanlogin AS login, rolconnlimit AS "connectionLimit",
         coalesce(rolvaliduntil::text, 'infinity') AS "validUntil", rolreplication AS replication,
         rolbypassrls AS "bypassRowLevelSecurity", rolconfig AS config,
         ARRAY(SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members WHERE member = pg_roles.oid) AS roles,
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS "passwordReadable"
       FROM pg_roles WHERE rolname = $1`,
      [name],
      "error reading ROLE",
    );
    if (row === undefined) return undefined;
    const { config, passwordReadable, ...found } = row;
    const parameters = config ?? [];
    return {
      ...(found as Properties),
      encryptedPassword: true,
      skipDropRole: flag(state, "skipDropRole"),
      skipReassignOwned: flag(state, "skipReassignOwned"),
      searchPaths: searchPath(parameters),
      statementTimeout: timeout(parameters, "statement_timeout"),
      idleInTransactionSessionTimeout: timeout(parameters, "idle_in_transaction_session_timeout"),
      assumeRole: parameter(parameters, "role") ?? "",
      password: await readPassword(server, session, name, state, row.login === true, passwordReadable),
    };
  });
}

function parameter(config: string[], name: string): string | undefined {
  return config.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}

function timeout(config: string[], name: string): number {
  const value = parameter(config, name) ?? "0";
  if (/^\d+$/.test(value)) return Number(value);
  // The genuine plugin names this parameter for all of them, and reads no units.
  throw new Error(`error reading statement_timeout: strconv.Atoi: parsing "${value}": invalid syntax`);
}

function searchPath(config: string[]): string[] {
  const value = parameter(config, "search_path");
  return value === undefined ? [] : value.split(", ").map((schema) => schema.replace(/^"+|"+$/g, ""));
}

/**
 * The password as the state has it, unless the server shows that it is another one: it is kept hashed there, so
 * that only its absence and an MD5 hash can tell.
 */
async function readPassword(
  server: Server,
  session: Session,
  name: string,
  state: Properties,
  login: boolean,
  readable: boolean,
): Promise<string | null> {
  const known = text(state, "password");
  if (known === "") return state.password === "" ? "" : null;
  if (!login || !server.settings.superuser) return known;
  if (!readable) {
    throw new Error(
      `could not read role password from Postgres as connected user ${server.currentUser} is not a SUPERUSER. ` +
        "You can set `superuser = false` in the provider configuration " +
        "so it will not try to read the password from Postgres",
    );
  }
  const [row] = await session.run<{ same: boolean; passwd: string }>(
    `SELECT coalesce(passwd, '') AS passwd, passwd = 'md5' || md5($2 || $1) AS same FROM pg_shadow
     WHERE usename = $1`,
    [name, known],
    "error reading role",
  );
  const stored = row?.passwd ?? "";
  const hashed = known.startsWith("md5") || known.startsWith("SCRAM-SHA-256");
  return !hashed && (row?.same === true || stored.startsWith("SCRAM-SHA-256")) ? known : stored;
}

/** Inputs that this plugin does not take are part of the genuine state all the same. */
function stateOf(values: Properties): Properties {
  const roles = Array.isArray(values.roles) ? sorted(strings(values, "roles")) : null;
  return {
    ...values,
    roles,
    encrypted: null,
    passwordWo: new Secret(null),
    passwordWoVersion: null,
  };
}

/** After a change the genuine plugin keeps the planned sets; an empty list or set that is not given stays as it was. */
async function outputsAfter(
  server: Server,
  name: string,
  state: Properties,
  inputs: Properties,
): Promise<Properties> {
  const found = await readRole(server, name, inputs);
  if (found === undefined) throw new Error(`role ${name} was removed while it was being changed`);
  const unset = (property: string) => inputs[property] === undefined || inputs[property] === null;
  if (!unset("roles")) found.roles = inputs.roles ?? null;
  else if (strings(found, "roles").length === 0) found.roles = state.roles ?? null;
  if (unset("searchPaths") && strings(found, "searchPaths").length === 0) {
    found.searchPaths = state.searchPaths ?? null;
  }
  return stateOf(found);
}
