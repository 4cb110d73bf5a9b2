import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import type { Server, Session } from "./connection.ts";
import {
  databaseOwner,
  grantMembership,
  identifier,
  literal,
  lockRole,
  revokeMembership,
  withOwnerGranted,
} from "./sql.ts";
import { atLeast, changed, flag, text, whole } from "./state.ts";

const properties: Schema = {
  name: { kind: "string", required: true, autoName: true },
  owner: { kind: "string", computed: true },
  template: { kind: "string", computed: true, forceNew: true },
  encoding: { kind: "string", computed: true, forceNew: true },
  lcCollate: { kind: "string", computed: true, forceNew: true },
  lcCtype: { kind: "string", computed: true, forceNew: true },
  tablespaceName: { kind: "string", computed: true },
  connectionLimit: { kind: "integer", default: -1, validate: atLeast(-1, "connection_limit") },
  allowConnections: { kind: "boolean", default: true },
  isTemplate: { kind: "boolean", computed: true },
  alterObjectOwnership: { kind: "boolean", default: false },
};

export const database: ResourceDefinition<Server> = {
  token: "postgresql:index/database:Database",
  properties,

  async create(inputs, { config: server }) {
    const name = text(inputs, "name");
    const template = text(inputs, "template");
    if (template !== "") await server.release(template);
    await withOwnerGranted(server, text(inputs, "owner"), (session) =>
      session.run(
        createStatement(server, inputs),
        undefined,
        `error creating database ${JSON.stringify(name)}`,
      ),
    );
    return { id: name, outputs: await outputsAfter(server, inputs) };
  },

  async read(id, state, _inputs, { config: server }) {
    const found = await readDatabase(server, text(state, "name") || id, state);
    return found && { id: text(found, "name"), outputs: found };
  },

  async update(_id, state, inputs, { config: server }) {
    const old = text(state, "name");
    const name = text(inputs, "name");
    if (name !== old) {
      await server.release(old);
      await server.session("", (session) =>
        session.run(
          `ALTER DATABASE ${identifier(old)} RENAME TO ${identifier(name)}`,
          undefined,
          "error updating database name",
        ),
      );
    }
    const owner = text(inputs, "owner");
    const newOwner = owner !== "" && changed(state, inputs, "owner");
    const reassign = newOwner || changed(state, inputs, "alterObjectOwnership");
    if (owner !== "" && reassign && flag(inputs, "alterObjectOwnership")) {
      await reassignObjects(server, name, owner);
    }
    if (newOwner) {
      await withOwnerGranted(server, owner, (session) =>
        session.run(
          `ALTER DATABASE ${identifier(name)} OWNER TO ${identifier(owner)}`,
          undefined,
          "error updating database OWNER",
        ),
      );
    }
    await server.session("", (session) => alterSettings(session, name, state, inputs));
    return { ...(await outputsAfter(server, { ...inputs, template: state.template ?? null })), id: name };
  },

  async delete(_id, state, { config: server }) {
    const name = text(state, "name");
    refuseUndroppable(name);
    await server.release(name);
    await withOwnerGranted(server, text(state, "owner"), async (session) => {
      const quoted = identifier(name);
      if (flag(state, "isTemplate")) {
        await session.run(
          `ALTER DATABASE ${quoted} IS_TEMPLATE false`,
          undefined,
          "error updating database IS_TEMPLATE during DROP DATABASE: error updating database IS_TEMPLATE",
        );
      }
      await session.run(
        `ALTER DATABASE ${quoted} ALLOW_CONNECTIONS false`,
        undefined,
        "error blocking connections to database",
      );
      await session.run(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = ${literal(name)} AND pid <> pg_backend_pid()`,
        undefined,
        "error terminating database connections",
      );
      await session.run(`DROP DATABASE ${quoted} WITH (FORCE)`, undefined, "error dropping database");
    });
  },
};

function createStatement(server: Server, inputs: Properties): string {
  const options = [`CREATE DATABASE ${identifier(text(inputs, "name"))}`];
  const option = (keyword: string, property: string, quote: (value: string) => string, otherwise = "") => {
    const value = text(inputs, property);
    if (value.toUpperCase() === "DEFAULT") options.push(`${keyword} DEFAULT`);
    else if (value !== "") options.push(`${keyword} ${quote(value)}`);
    else if (otherwise !== "") options.push(`${keyword} ${otherwise}`);
  };
  options.push(`OWNER ${identifier(text(inputs, "owner") || server.currentUser)}`);
  option("TEMPLATE", "template", identifier, "template0");
  option("ENCODING", "encoding", literal, "'UTF8'");
  option("LC_COLLATE", "lcCollate", literal);
  option("LC_CTYPE", "lcCtype", literal);
  option("TABLESPACE", "tablespaceName", identifier);
  options.push(`ALLOW_CONNECTIONS ${flag(inputs, "allowConnections")}`);
  options.push(`CONNECTION LIMIT ${whole(inputs, "connectionLimit")}`);
  options.push(`IS_TEMPLATE ${flag(inputs, "isTemplate")}`);
  return options.join(" ");
}

async function alterSettings(
  session: Session,
  name: string,
  state: Properties,
  inputs: Properties,
): Promise<void> {
  const alter = (clause: string, what: string) =>
    session.run(`ALTER DATABASE ${identifier(name)} ${clause}`, undefined, `error updating database ${what}`);
  const given = (property: string) =>
    inputs[property] !== undefined && inputs[property] !== null && changed(state, inputs, property);
  if (given("tablespaceName")) {
    const tablespace = text(inputs, "tablespaceName");
    const reset = tablespace === "" || tablespace.toUpperCase() === "DEFAULT";
    await alter(reset ? "RESET TABLESPACE" : `SET TABLESPACE ${identifier(tablespace)}`, "TABLESPACE");
  }
  if (changed(state, inputs, "connectionLimit")) {
    await alter(`CONNECTION LIMIT = ${whole(inputs, "connectionLimit")}`, "CONNECTION LIMIT");
  }
  if (changed(state, inputs, "allowConnections")) {
    await alter(`ALLOW_CONNECTIONS ${flag(inputs, "allowConnections")}`, "ALLOW_CONNECTIONS");
  }
  if (given("isTemplate")) await alter(`IS_TEMPLATE ${flag(inputs, "isTemplate")}`, "IS_TEMPLATE");
}

/** Gives everything in the database that its owner owns to the new owner. */
async function reassignObjects(server: Server, name: string, owner: string): Promise<void> {
  const user = server.currentUser;
  await server.transaction(name, lockRole(user), async (session) => {
    const current = await databaseOwner(session, name);
    if (current === owner) return;
    const granted = await grantMembership(session, current, user);
    await session.run(
      `REASSIGN OWNED BY ${identifier(current)} TO ${identifier(owner)}`,
      undefined,
      `error reassigning objects owned by '${current}'`,
    );
    if (granted) await revokeMembership(session, current, user);
  });
}

/** The genuine plugin writes the name unquoted into the statement that ends the connections, and fails there. */
function refuseUndroppable(name: string): void {
  if (!name.includes("'")) return;
  throw new Error(
    `error terminating database connections: the postgresql plugin cannot drop a database whose name has ` +
      `the character ': ${JSON.stringify(name)}; drop it by hand, then run \`pulumi refresh\``,
  );
}

async function readDatabase(
  server: Server,
  name: string,
  state: Properties,
): Promise<Properties | undefined> {
  const [row] = await server.session("", (session) =>
    session.run(
      `SELECT datname AS name, pg_get_userbyid(datdba)::text AS owner, pg_encoding_to_char(encoding) AS encoding,
         datcollate AS "lcCollate", datctype AS "lcCtype", spcname AS "tablespaceName",
         datconnlimit AS "connectionLimit", datallowconn AS "allowConnections", datistemplate AS "isTemplate"
       FROM pg_database AS d JOIN pg_tablespace AS ts ON d.dattablespace = ts.oid WHERE datname = $1`,
      [name],
      "error reading database",
    ),
  );
  if (row === undefined) return undefined;
  return {
    ...(row as Properties),
    // The server does not tell it.
    template: text(state, "template") || "template0",
    alterObjectOwnership: state.alterObjectOwnership ?? null,
  };
}

async function outputsAfter(server: Server, inputs: Properties): Promise<Properties> {
  const name = text(inputs, "name");
  const found = await readDatabase(server, name, inputs);
  if (found === undefined) throw new Error(`database ${name} was removed while it was being changed`);
  return { ...found, alterObjectOwnership: flag(inputs, "alterObjectOwnership") };
}
