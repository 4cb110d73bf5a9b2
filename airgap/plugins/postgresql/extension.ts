import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import type { Server } from "./connection.ts";
import { databaseExists, identifier } from "./sql.ts";
import { changed, flag, text } from "./state.ts";

const properties: Schema = {
  name: { kind: "string", required: true, forceNew: true, autoName: true },
  schema: { kind: "string", computed: true },
  version: { kind: "string", computed: true },
  database: { kind: "string", computed: true, forceNew: true },
  dropCascade: { kind: "boolean", default: false },
  createCascade: { kind: "boolean", default: false },
};

export const extension: ResourceDefinition<Server> = {
  token: "postgresql:index/extension:Extension",
  properties,

  async create(inputs, { config: server }) {
    const name = text(inputs, "name");
    const database = databaseOf(server, inputs);
    const statement = [`CREATE EXTENSION IF NOT EXISTS ${identifier(name)}`];
    if (text(inputs, "schema")) statement.push(`SCHEMA ${identifier(text(inputs, "schema"))}`);
    if (text(inputs, "version")) statement.push(`VERSION ${identifier(text(inputs, "version"))}`);
    if (flag(inputs, "createCascade")) statement.push("CASCADE");
    await server.session(database, (session) => session.run(statement.join(" ")));
    return { id: `${database}.${name}`, outputs: await outputsAfter(server, inputs) };
  },

  async read(id, state, _inputs, { config: server }) {
    const isImport = Object.keys(state).length === 0;
    const place = isImport ? parseId(id) : { database: databaseOf(server, state), name: text(state, "name") };
    const exists = await server.session("", (session) => databaseExists(session, place.database));
    if (!exists) return undefined;
    const found = await readExtension(server, place.database, place.name);
    if (found === undefined) return undefined;
    return {
      id: `${place.database}.${place.name}`,
      outputs: {
        ...found,
        dropCascade: state.dropCascade ?? null,
        createCascade: state.createCascade ?? null,
      },
    };
  },

  async update(_id, state, inputs, { config: server }) {
    const alter = `ALTER EXTENSION ${identifier(text(inputs, "name"))}`;
    const schema = text(inputs, "schema");
    const version = text(inputs, "version");
    await server.transaction(databaseOf(server, state), "", async (session) => {
      if (schema !== "" && changed(state, inputs, "schema")) {
        await session.run(
          `${alter} SET SCHEMA ${identifier(schema)}`,
          undefined,
          "error updating extension SCHEMA",
        );
      }
      if (version !== "" && changed(state, inputs, "version")) {
        await session.run(
          `${alter} UPDATE TO ${identifier(version)}`,
          undefined,
          "error updating extension version",
        );
      }
    });
    return outputsAfter(server, { ...inputs, database: databaseOf(server, state) });
  },

  async delete(_id, state, { config: server }) {
    const mode = flag(state, "dropCascade") ? "CASCADE" : "RESTRICT";
    await server.session(databaseOf(server, state), (session) =>
      session.run(`DROP EXTENSION ${identifier(text(state, "name"))} ${mode}`),
    );
  },
};

function databaseOf(server: Server, values: Properties): string {
  return text(values, "database") || server.settings.database;
}

function parseId(id: string): { database: string; name: string } {
  const [database, name, ...rest] = id.split(".");
  if (database === undefined || name === undefined || rest.length > 0) {
    throw new Error(
      `extension ID ${id} has not the expected format 'database.extension': [${id.split(".").join(" ")}]`,
    );
  }
  return { database, name };
}

async function readExtension(
  server: Server,
  database: string,
  name: string,
): Promise<Properties | undefined> {
  const [row] = await server.session(database, (session) =>
    session.run<{ schema: string; version: string }>(
      `SELECT nspname AS schema, extversion AS version
       FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = $1`,
      [name],
      "error reading extension",
    ),
  );
  return row === undefined ? undefined : { name, database, ...row };
}

async function outputsAfter(server: Server, inputs: Properties): Promise<Properties> {
  const name = text(inputs, "name");
  const database = databaseOf(server, inputs);
  const found = await readExtension(server, database, name);
  if (found === undefined) throw new Error(`extension ${name} was removed while it was being changed`);
  return {
    ...found,
    dropCascade: flag(inputs, "dropCascade"),
    createCascade: flag(inputs, "createCascade"),
  };
}
