import { afterAll, beforeAll, expect, test } from "vitest";
import { failure, Sandbox, tokens, visible } from "./sandbox.ts";

const { schema, extension, role, database } = tokens;
let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
  await sandbox.make(role, { name: "owner" });
  await sandbox.make(role, { name: "heir" });
  await sandbox.make(database, { name: "app", owner: "owner" });
});
afterAll(() => sandbox?.close());

const ownerOf = (name: string) =>
  sandbox.value("app", `SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = '${name}'`);

test("a schema is made for its owner, in its database", async () => {
  const program = { name: "shop", database: "app", owner: "owner" };
  const made = await sandbox.make(schema, program);
  expect(made.id).toBe("app.shop");
  expect(await ownerOf("shop")).toBe("owner");
  expect(visible(made.outputs)).toEqual({
    ...{ id: "app.shop", ...program, ifNotExists: true, dropCascade: false, policies: [] },
  });
  expect(await sandbox.plan(made, program)).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
});

test("without a database it is the provider's, without an owner the connected user's", async () => {
  const made = await sandbox.make(schema, { name: "loose" });
  expect(visible(made.outputs)).toMatchObject({
    id: "postgres.loose",
    database: "postgres",
    owner: "postgres",
  });
});

test("a schema that is there already is taken over, with its new owner", async () => {
  await sandbox.sql("app", "CREATE SCHEMA early; CREATE TABLE early.t()");
  const made = await sandbox.make(schema, { name: "early", database: "app", owner: "owner" });
  expect(await ownerOf("early")).toBe("owner");
  expect(await sandbox.value("app", "SELECT to_regclass('early.t')::text")).toBe("early.t");
  expect(await sandbox.drift(made)).toEqual({});
});

test("name and owner change in place, the database by deleting first", async () => {
  const made = await sandbox.make(schema, { name: "first", database: "app", owner: "owner" });
  const inputs = await sandbox.check(schema, { name: "first", database: "postgres", owner: "owner" });
  expect(await sandbox.plugin.diff(schema, made.outputs, inputs)).toMatchObject({
    ...{ replaces: ["database"], deleteBeforeReplace: true },
  });
  const after = { name: "second", database: "app", owner: "heir" };
  expect(await sandbox.plan(made, after)).toEqual(["name", "owner"]);
  const changed = await sandbox.change(made, after);
  expect(changed.outputs.id).toBe("app.second");
  expect(await ownerOf("second")).toBe("heir");
  expect(await sandbox.drift(changed)).toEqual({});
});

test("a schema with tables is dropped only with dropCascade", async () => {
  const made = await sandbox.make(schema, { name: "filled", database: "app" });
  await sandbox.sql("app", "CREATE TABLE filled.t()");
  expect(await failure(sandbox.remove(made))).toBe(
    "error deleting schema: pq: cannot drop schema filled because other objects depend on it (2BP01)",
  );
  await sandbox.remove(await sandbox.change(made, { name: "filled", database: "app", dropCascade: true }));
  expect(await ownerOf("filled")).toBeUndefined();
});

test("a refresh finds a new owner, and that a schema or its database is gone", async () => {
  await sandbox.make(database, { name: "short-lived" });
  const lost = await sandbox.make(schema, { name: "s", database: "short-lived" });
  const made = await sandbox.make(schema, { name: "drifting", database: "app" });
  await sandbox.sql("app", "ALTER SCHEMA drifting OWNER TO heir");
  expect(await sandbox.drift(made)).toEqual({ owner: "heir" });
  await sandbox.sql("app", "DROP SCHEMA drifting");
  expect(await sandbox.drift(made)).toBe("gone");
  await sandbox.remove(made);
  await sandbox.sql("postgres", `DROP DATABASE "short-lived" WITH (FORCE)`);
  expect(await sandbox.drift(lost)).toBe("gone");
});

test("an existing schema is adopted by database and name, and then told its defaults", async () => {
  await sandbox.sql("app", "CREATE SCHEMA there AUTHORIZATION owner");
  const read = await sandbox.plugin.read(schema, "app.there");
  expect(read.inputs).toEqual({ name: "there", database: "app", owner: "owner", __defaults: [] });
  const adopted = { token: schema, id: read.id, outputs: read.outputs, inputs: read.inputs };
  const program = { name: "there", database: "app", owner: "owner" };
  expect(await sandbox.plan(adopted, program)).toEqual(["ifNotExists"]);
  expect(await sandbox.plan(await sandbox.change(adopted, program), program)).toEqual([]);
  expect(await failure(sandbox.plugin.read(schema, "there"))).toBe(
    "schema ID there has not the expected format 'database.schema': [there]",
  );
});

test("an extension is made where it is not, and keeps its version", async () => {
  await sandbox.make(schema, { name: "ext", database: "app" });
  const program = { name: "pg_trgm", database: "app", schema: "ext" };
  const made = await sandbox.make(extension, program);
  expect(made.id).toBe("app.pg_trgm");
  expect(visible(made.outputs)).toEqual({
    ...{ id: "app.pg_trgm", ...program, version: "1.6", createCascade: false, dropCascade: false },
  });
  expect(await sandbox.plan(made, program)).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
  expect((await sandbox.make(extension, program)).id).toBe("app.pg_trgm");
});

test("schema and version of an extension change in place, name and database replace it", async () => {
  const made = await sandbox.make(extension, { name: "hstore", database: "app", version: "1.7" });
  const after = { name: "hstore", database: "app", version: "1.8", schema: "ext" };
  expect(await sandbox.plan(made, after)).toEqual(["schema", "version"]);
  const changed = await sandbox.change(made, after);
  expect(visible(changed.outputs)).toMatchObject(after);
  expect(await sandbox.plan(changed, { name: "citext", database: "postgres" })).toEqual([
    "!database",
    "!name",
  ]);
});

test("extensions that an extension needs come with createCascade", async () => {
  const program = { name: "earthdistance", database: "app" };
  expect(await failure(sandbox.make(extension, program))).toBe(
    'pq: required extension "cube" is not installed (42704)',
  );
  const made = await sandbox.make(extension, { ...program, createCascade: true });
  expect(visible(made.outputs)).toMatchObject({ version: "1.2", createCascade: true });
});

test("an extension that a table uses is dropped only with dropCascade", async () => {
  const program = { name: "citext", database: "app" };
  const made = await sandbox.make(extension, program);
  await sandbox.sql("app", "CREATE TABLE addresses(email citext)");
  expect(await failure(sandbox.remove(made))).toBe(
    "pq: cannot drop extension citext because other objects depend on it (2BP01)",
  );
  await sandbox.remove(await sandbox.change(made, { ...program, dropCascade: true }));
  expect(await sandbox.drift(made)).toBe("gone");
});

test("an extension that the image lacks is named", async () => {
  expect(await failure(sandbox.make(extension, { name: "postgis", database: "app" }))).toBe(
    'pq: extension "postgis" is not available (0A000)',
  );
});

test("an existing extension is adopted by database and name", async () => {
  await sandbox.sql("app", "CREATE EXTENSION pgcrypto");
  const read = await sandbox.plugin.read(extension, "app.pgcrypto");
  expect(read.inputs).toMatchObject({ name: "pgcrypto", database: "app", schema: "public" });
  const adopted = { token: extension, id: read.id, outputs: read.outputs, inputs: read.inputs };
  expect(await sandbox.plan(adopted, { name: "pgcrypto", database: "app" })).toEqual([]);
});
