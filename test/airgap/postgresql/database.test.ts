import { afterAll, beforeAll, expect, test } from "vitest";
import { UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { failure, Sandbox, tokens, visible } from "./sandbox.ts";

const { database, role } = tokens;
let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
  await sandbox.make(role, { name: "owner" });
  await sandbox.make(role, { name: "heir" });
});
afterAll(() => sandbox?.close());

test("a database that is only named is UTF-8 from template0, and its state tells what it got", async () => {
  const made = await sandbox.make(database, { name: "plain" });
  expect(made.id).toBe("plain");
  expect(made.inputs.__defaults).toEqual(["allowConnections", "connectionLimit"]);
  expect(visible(made.outputs)).toEqual({
    allowConnections: true,
    alterObjectOwnership: false,
    connectionLimit: -1,
    encoding: "UTF8",
    id: "plain",
    isTemplate: false,
    lcCollate: "en_US.utf8",
    lcCtype: "en_US.utf8",
    name: "plain",
    owner: "postgres",
    tablespaceName: "pg_default",
    template: "template0",
  });
  expect(await sandbox.plan(made, { name: "plain" })).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
});

test("every option reaches the server, and is no change afterwards", async () => {
  const program = {
    ...{ name: "full", owner: "owner", template: "template0", encoding: "LATIN1" },
    ...{ lcCollate: "C", lcCtype: "C", tablespaceName: "pg_default" },
    ...{ connectionLimit: 3, allowConnections: false, isTemplate: true },
  };
  const made = await sandbox.make(database, program);
  const [row] = await sandbox.sql(
    "postgres",
    `SELECT datdba::regrole::text, pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit,
       datallowconn, datistemplate FROM pg_database WHERE datname = 'full'`,
  );
  expect(row).toEqual(["owner", "LATIN1", "C", "C", 3, false, true]);
  expect(await sandbox.plan(made, program)).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
  await sandbox.remove(made);
});

test("an empty text leaves a property to the server", async () => {
  const made = await sandbox.make(database, { name: "left open", owner: "owner" });
  const open = { owner: "", template: "", encoding: "", lcCollate: "", lcCtype: "", tablespaceName: "" };
  expect(await sandbox.plan(made, { name: "left open", ...open })).toEqual([]);
});

test("what makes a database is replaced, deleting it first; what it is set to is updated", async () => {
  const made = await sandbox.make(database, { name: "changing" });
  for (const [property, value] of [
    ...[
      ["template", "template1"],
      ["encoding", "LATIN1"],
      ["lcCollate", "C"],
      ["lcCtype", "C"],
    ],
  ] as const) {
    const inputs = await sandbox.check(database, { name: "changing", [String(property)]: String(value) });
    const { replaces, deleteBeforeReplace } = await sandbox.plugin.diff(database, made.outputs, inputs);
    expect([replaces, deleteBeforeReplace]).toEqual([[property], true]);
  }
  const after = {
    name: "changing",
    owner: "owner",
    connectionLimit: 2,
    allowConnections: false,
    isTemplate: true,
  };
  expect(await sandbox.plan(made, after)).toEqual([
    ...["allowConnections", "connectionLimit", "isTemplate", "owner"],
  ]);
  const changed = await sandbox.change(made, after);
  expect(visible(changed.outputs)).toMatchObject(after);
  expect(await sandbox.drift(changed)).toEqual({});
});

test.each([
  ["encoding", { encoding: "utf8" }],
  ["collation", { lcCollate: "DEFAULT" }],
])("an %s that the server spells otherwise is replaced at every run", async (_what, option) => {
  const program = { name: `spelled ${Object.keys(option)}`, ...option };
  const made = await sandbox.make(database, program);
  expect(await sandbox.plan(made, program)).toEqual(Object.keys(option).map((property) => `!${property}`));
});

test("a renamed database keeps its tables", async () => {
  const made = await sandbox.make(database, { name: "before" });
  await sandbox.sql("before", "CREATE TABLE kept()");
  expect(await sandbox.plan(made, { name: "after" })).toEqual(["name"]);
  const renamed = await sandbox.change(made, { name: "after" });
  expect(renamed.outputs.id).toBe("after");
  expect(await sandbox.value("after", "SELECT to_regclass('kept')::text")).toBe("kept");
  expect(await sandbox.drift(renamed)).toEqual({});
});

test("a new owner takes over objects only where the program says so", async () => {
  const made = await sandbox.make(database, { name: "inherited", owner: "owner" });
  await sandbox.sql("inherited", "CREATE TABLE t(); ALTER TABLE t OWNER TO owner");
  const owner = () => sandbox.value("inherited", "SELECT tableowner FROM pg_tables WHERE tablename = 't'");
  const second = await sandbox.change(made, { name: "inherited", owner: "heir" });
  expect(await owner()).toBe("owner");
  const third = await sandbox.change(second, { name: "inherited", owner: "owner" });
  await sandbox.change(third, { name: "inherited", owner: "heir", alterObjectOwnership: true });
  expect(await owner()).toBe("heir");
});

test("making a database for another owner leaves no membership behind", async () => {
  const made = await sandbox.make(database, { name: "owned", owner: "owner" });
  expect(
    await sandbox.value(
      "postgres",
      "SELECT count(*)::int FROM pg_auth_members WHERE roleid = 'owner'::regrole",
    ),
  ).toBe(0);
  expect(await sandbox.drift(made)).toEqual({});
});

test("databases of one owner are made side by side", async () => {
  const names = ["p1", "p2", "p3", "p4", "p5", "p6"];
  await Promise.all(names.map((name) => sandbox.make(database, { name, owner: "owner" })));
  expect(
    await sandbox.value("postgres", "SELECT count(*)::int FROM pg_database WHERE datname ~ '^p[1-6]$'"),
  ).toBe(6);
  expect(
    await sandbox.value("postgres", "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'"),
  ).toBe(0);
});

test("a database is dropped while others are connected to it, a template too", async () => {
  const made = await sandbox.make(database, { name: "busy", isTemplate: true, owner: "owner" });
  const ended = sandbox.attempt("busy", "SELECT pg_sleep(60)");
  await expect
    .poll(() =>
      sandbox.value("postgres", "SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'busy'"),
    )
    .toBe(1);
  await sandbox.remove(made);
  expect(await ended).toMatch(/terminat/);
  expect(
    await sandbox.value("postgres", "SELECT count(*)::int FROM pg_database WHERE datname = 'busy'"),
  ).toBe(0);
});

test("a refresh finds what was altered by hand, and that a database is gone", async () => {
  const made = await sandbox.make(database, { name: "drifting" });
  await sandbox.sql("postgres", "ALTER DATABASE drifting OWNER TO heir");
  await sandbox.sql("postgres", "ALTER DATABASE drifting CONNECTION LIMIT 1");
  expect(await sandbox.drift(made)).toEqual({ owner: "heir", connectionLimit: 1 });
  await sandbox.sql("postgres", "DROP DATABASE drifting");
  expect(await sandbox.drift(made)).toBe("gone");
});

test("an existing database is adopted by its name, as if made from template0", async () => {
  await sandbox.sql("postgres", "CREATE DATABASE there OWNER owner");
  const read = await sandbox.plugin.read(database, "there");
  expect(read.inputs).toEqual({
    ...{ name: "there", owner: "owner", template: "template0", encoding: "UTF8" },
    ...{ lcCollate: "en_US.utf8", lcCtype: "en_US.utf8", tablespaceName: "pg_default", __defaults: [] },
  });
  const adopted = { token: database, id: read.id, outputs: read.outputs, inputs: read.inputs };
  expect(await sandbox.plan(adopted, { name: "there", owner: "owner" })).toEqual([]);
  expect(await sandbox.plan(adopted, { name: "there", owner: "heir" })).toEqual(["owner"]);
});

test("a preview leaves open what the server decides", async () => {
  const inputs = await sandbox.check(database, { name: "planned", owner: UNKNOWN });
  const { outputs } = await sandbox.plugin.create(database, inputs, { preview: true });
  expect(outputs).toMatchObject({ name: "planned", owner: UNKNOWN, lcCollate: UNKNOWN, connectionLimit: -1 });
});

test.each([
  ["a double quote and a semicolon", 'a"b; DROP TABLE x; --'],
  ["spaces and a dollar", "a b $1"],
  ["unicode", "données-日本"],
  ["a backslash and a slash", "a\\b/c"],
  ["63 bytes", "d".repeat(63)],
])("a name with %s works in every operation", async (_what, name) => {
  const made = await sandbox.make(database, { name, owner: "owner" });
  const schema = await sandbox.make(tokens.schema, { name, database: name, owner: "owner" });
  expect(await sandbox.drift(schema)).toEqual({});
  const changed = await sandbox.change(made, { name, owner: "heir", alterObjectOwnership: true });
  expect(await sandbox.drift(changed)).toEqual({});
  await sandbox.remove(schema);
  await sandbox.remove(changed);
});

test.each(["%", "?", "#"])("nothing in a database with %s in its name can be reached", async (character) => {
  const name = `a${character}20b`;
  const made = await sandbox.make(database, { name });
  expect(await failure(sandbox.make(tokens.schema, { name: "s", database: name }))).toBe(
    "error connecting to PostgreSQL server 127.0.0.1 (scheme: postgres): " +
      `the postgresql plugin cannot connect to a database whose name has the character "${character}": ` +
      `"${name}"; choose another name`,
  );
  await sandbox.remove(made);
});

test("a database with a quote in its name cannot be dropped, as with the genuine plugin", async () => {
  const made = await sandbox.make(database, { name: "it's" });
  expect(await failure(sandbox.remove(made))).toMatch(
    /^error terminating database connections: the postgresql plugin cannot drop a database whose name has/,
  );
});

test.each([
  [
    { name: "postgres" },
    'error creating database "postgres": pq: database "postgres" already exists (42P04)',
  ],
  [
    { name: "x", owner: "nope" },
    'error granting role nope to postgres: pq: role "nope" does not exist (42704)',
  ],
  [
    { name: "x", template: "nope" },
    'error creating database "x": pq: template database "nope" does not exist (3D000)',
  ],
])("%j fails with the server's reason", async (inputs, message) => {
  expect(await failure(sandbox.make(database, inputs))).toBe(message);
});
