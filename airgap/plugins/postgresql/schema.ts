import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import type { Server, Session } from "./connection.ts";
import { databaseExists, databaseOwner, identifier, withRolesGranted } from "./sql.ts";
import { changed, flag, text } from "./state.ts";

const properties: Schema = {
  name: { kind: "string", required: true, autoName: true },
  database: { kind: "string", computed: true, forceNew: true },
  owner: { kind: "string", computed: true },
  ifNotExists: { kind: "boolean", default: true },
  dropCascade: { kind: "boolean", default: false },
};

export const schema: ResourceDefinition<Server> = {
  token: "postgresql:index/schema:Schema",
  properties,

  async create(inputs, { config: server }) {
    const name = text(inputs, "name");
    const owner = text(inputs, "owner");
    const database = databaseOf(server, inputs);
    await server.transaction(database, "", async (session) => {
      const current = await databaseOwner(session, database);
      const owners = owner === "" || owner === current ? [current] : [current, owner];
      await withRolesGranted(session, owners, async () => {
        if (!(await schemaExists(session, name))) {
          const condition = flag(inputs, "ifNotExists") ? "IF NOT EXISTS " : "";
          const authorization = owner === "" ? "" : ` AUTHORIZATION ${identifier(owner)}`;
          await session.run(
            `CREATE SCHEMA ${condition}${identifier(name)}${authorization}`,
            undefined,
            `error creating schema ${name}`,
          );
        } else if (owner !== "") await setOwner(session, name, owner);
      });
    });
    return { id: `${database}.${name}`, outputs: await outputsAfter(server, inputs) };
  },

  async read(id, state, _inputs, { config: server }) {
    const isImport = Object.keys(state).length === 0;
    const place = isImport ? parseId(id) : { database: databaseOf(server, state), name: text(state, "name") };
    const exists = await server.session("", (session) => databaseExists(session, place.database));
    if (!exists) return undefined;
    const found = await readSchema(server, place.database, place.name);
    if (found === undefined) return undefined;
    const values = {
      ...found,
      ifNotExists: state.ifNotExists ?? null,
      dropCascade: state.dropCascade ?? null,
    };
    return { id: `${place.database}.${place.name}`, outputs: stateOf(values) };
  },

  async update(_id, state, inputs, { config: server }) {
    const old = text(state, "name");
    const name = text(inputs, "name");
    const owner = text(inputs, "owner");
    const database = databaseOf(server, state);
    await server.transaction(database, "", async (session) => {
      if (name !== old) {
        await session.run(
          `ALTER SCHEMA ${identifier(old)} RENAME TO ${identifier(name)}`,
          undefined,
          "error updating schema NAME",
        );
      }
      if (owner !== "" && changed(state, inputs, "owner")) await setOwner(session, name, owner);
    });
    return { ...(await outputsAfter(server, { ...inputs, database })), id: `${database}.${name}` };
  },

  async delete(_id, state, { config: server }) {
    const name = text(state, "name");
    await server.transaction(databaseOf(server, state), "", async (session) => {
      if (!(await schemaExists(session, name))) return;
      await withRolesGranted(session, [text(state, "owner")], async () => {
        const mode = flag(state, "dropCascade") ? "CASCADE" : "RESTRICT";
        await session.run(`DROP SCHEMA ${identifier(name)} ${mode}`, undefined, "error deleting schema");
      });
    });
  },
};

function databaseOf(server: Server, values: Properties): string {
  return text(values, "database") || server.settings.database;
}

function parseId(id: string): { database: string; name: string } {
  const [database, name, ...rest] = id.split(".");
  if (database === undefined || name === undefined || rest.length > 0) {
    throw new Error(
      `schema ID ${id} has not the expected format 'database.schema': [${id.split(".").join(" ")}]`,
    );
  }
  return { database, name };
}

async function schemaExists(session: Session, name: string): Promise<boolean> {
  const rows = await session.run("SELECT FROM pg_namespace WHERE nspname = $1", [name]);
  return rows.length > 0;
}

async function setOwner(session: Session, name: string, owner: string): Promise<void> {
  await session.run(
    `ALTER SCHEMA ${identifier(name)} OWNER TO ${identifier(owner)}`,
    undefined,
    "error updating schema OWNER",
  );
}

async function readSchema(server: Server, database: string, name: string): Promise<Properties | undefined> {
  const [row] = await server.session(database, (session) =>
    session.run<{ owner: string }>(
      "SELECT pg_get_userbyid(nspowner)::text AS owner FROM pg_namespace WHERE nspname = $1",
      [name],
      "error reading schema",
    ),
  );
  return row === undefined ? undefined : { name, database, owner: row.owner };
}

/** Policies are not an input of this plugin, but part of the genuine state all the same. */
function stateOf(values: Properties): Properties {
  return { ...values, policies: [] };
}

async function outputsAfter(server: Server, inputs: Properties): Promise<Properties> {
  const name = text(inputs, "name");
  const found = await readSchema(server, databaseOf(server, inputs), name);
  if (found === undefined) throw new Error(`schema ${name} was removed while it was being changed`);
  return stateOf({
    ...found,
    ifNotExists: flag(inputs, "ifNotExists"),
    dropCascade: flag(inputs, "dropCascade"),
  });
}
