import { afterAll, beforeAll, expect, test } from "vitest";
import type { Properties } from "../../../airgap/plugins/common/values.ts";
import { failure, Sandbox, tokens, visible } from "./sandbox.ts";

const { grant, grantRole, defaultPrivileges, role, database, schema } = tokens;
const reader = { user: "reader", password: "pw" };
let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
  await sandbox.make(role, { name: "owner" });
  await sandbox.make(role, { name: "group" });
  await sandbox.make(role, { name: "reader", login: true, password: "pw", roles: ["group"] });
  await sandbox.make(database, { name: "app", owner: "owner" });
  await sandbox.make(schema, { name: "app", database: "app", owner: "owner" });
  await sandbox.sql(
    "app",
    `SET ROLE owner; CREATE TABLE app.a(x int, y int); CREATE TABLE app.b(x int); CREATE SEQUENCE app.s;
     CREATE FUNCTION app.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
     CREATE FUNCTION app.f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
  );
});
afterAll(() => sandbox?.close());

/** Makes a resource, and proves that neither the program nor a refresh sees a change afterwards. */
async function settled(token: string, program: Properties) {
  const made = await sandbox.make(token, program);
  expect(await sandbox.plan(made, program)).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
  return made;
}

const acl = (text: string) => sandbox.value("app", `SELECT coalesce((${text})::text, 'default')`);
const databaseAcl = (name: string) => acl(`SELECT datacl FROM pg_database WHERE datname = '${name}'`);

test.each(["app", "postgres", "template1"])(
  "with no privileges, everybody loses all rights on database %s, for good",
  async (name) => {
    const made = await settled(grant, {
      database: name,
      role: "public",
      objectType: "database",
      privileges: [],
    });
    expect(made.id).toBe(`public_${name}_database`);
    expect(made.outputs.privileges).toBeNull();
    const roleName = name === "app" ? "owner" : "postgres";
    expect(await databaseAcl(name)).toBe(`{${roleName}=CTc/${roleName}}`);
    expect(await sandbox.attempt(name, "SELECT 1", reader)).toBe(`permission denied for database "${name}"`);
  },
);

test("privileges are granted, given up and taken back as the program says, in any order", async () => {
  const program = { database: "app", role: "group", objectType: "database" };
  const made = await settled(grant, { ...program, privileges: ["TEMPORARY", "CONNECT"] });
  expect(made.outputs.privileges).toEqual(["CONNECT", "TEMPORARY"]);
  expect(await sandbox.plan(made, { ...program, privileges: ["CONNECT", "TEMPORARY"] })).toEqual([]);
  expect(await sandbox.plan(made, { ...program, privileges: ["CONNECT"] })).toEqual(["privileges[1]"]);
  const less = await sandbox.change(made, { ...program, privileges: ["CONNECT"] });
  expect(await databaseAcl("app")).toContain("group=c/owner");
  expect(await sandbox.attempt("app", "SELECT 1", reader)).toBe("allowed");
  await sandbox.remove(less);
  expect(await databaseAcl("app")).not.toContain("group=");
});

test("ALL stays ALL while every privilege is there", async () => {
  const program = { database: "app", role: "group", objectType: "database", privileges: ["ALL"] };
  const made = await settled(grant, program);
  await sandbox.sql("app", `REVOKE TEMPORARY ON DATABASE app FROM "group"`);
  expect(await sandbox.drift(made)).toEqual({ privileges: ["CONNECT", "CREATE"] });
});

test("schema privileges are USAGE and CREATE, and none for everybody in public", async () => {
  await settled(grant, {
    ...{ database: "app", schema: "public", role: "public" },
    objectType: "schema",
    privileges: [],
  });
  expect(await acl("SELECT nspacl FROM pg_namespace WHERE nspname = 'public'")).toBe(
    "{pg_database_owner=UC/pg_database_owner}",
  );
  const program = { database: "app", schema: "app", role: "group", objectType: "schema" };
  const made = await settled(grant, { ...program, privileges: ["USAGE", "CREATE"] });
  expect(made.id).toBe("group_app_app_schema");
  await sandbox.change(made, { ...program, privileges: ["USAGE"] });
  expect(await acl("SELECT nspacl FROM pg_namespace WHERE nspname = 'app'")).toBe(
    "{owner=UC/owner,group=U/owner}",
  );
});

test("on all tables of a schema, one table without the rights is drift", async () => {
  const program = { database: "app", schema: "app", role: "group", objectType: "table" };
  const made = await settled(grant, { ...program, privileges: ["SELECT", "UPDATE"] });
  expect(await sandbox.value("app", "SELECT count(*)::int FROM app.a", reader)).toBe(0);
  await sandbox.sql("app", `SET ROLE owner; REVOKE UPDATE ON app.b FROM "group"`);
  expect(await sandbox.drift(made)).toEqual({ privileges: ["SELECT"] });
  await sandbox.sql("app", 'SET ROLE owner; GRANT UPDATE ON app.b TO "group"; CREATE TABLE app.later()');
  expect(await sandbox.drift(made)).toEqual({ privileges: [] });
  await sandbox.sql("app", "DROP TABLE app.later");
});

test("ALL on tables counts MAINTAIN, which version 17 has", async () => {
  const program = { database: "app", schema: "app", role: "reader", objectType: "table", objects: ["b"] };
  await sandbox.remove(await settled(grant, { ...program, privileges: ["ALL"] }));
  await sandbox.remove(await settled(grant, { ...program, privileges: ["MAINTAIN"] }));
});

test("named objects get their rights alone, and another name replaces, deleting first", async () => {
  const program = { database: "app", schema: "app", role: "reader", objectType: "table" };
  const made = await settled(grant, { ...program, objects: ["b", "a"], privileges: ["DELETE"] });
  expect(made.id).toBe("reader_app_app_table_b_a");
  expect(made.outputs.objects).toEqual(["a", "b"]);
  const inputs = await sandbox.check(grant, { ...program, objects: ["a"], privileges: ["DELETE"] });
  expect(await sandbox.plugin.diff(grant, made.outputs, inputs)).toMatchObject({
    ...{ replaces: ["objects"], deleteBeforeReplace: true },
  });
});

test("sequences, overloaded functions and columns get theirs", async () => {
  const place = { database: "app", schema: "app", role: "reader" };
  await settled(grant, { ...place, objectType: "sequence", objects: ["s"], privileges: ["USAGE"] });
  await settled(grant, {
    ...{ ...place, objectType: "function", objects: ["f(int)"] },
    ...{ privileges: ["EXECUTE"], withGrantOption: true },
  });
  expect(await acl("SELECT proacl FROM pg_proc WHERE oid = 'app.f(int)'::regprocedure")).toContain(
    "reader=X*/owner",
  );
  expect(await acl("SELECT proacl FROM pg_proc WHERE oid = 'app.f(text)'::regprocedure")).toBe("default");
  const columns = {
    ...place,
    objectType: "column",
    objects: ["a"],
    columns: ["x", "y"],
    privileges: ["INSERT"],
  };
  const made = await settled(grant, columns);
  expect(made.id).toBe("reader_app_app_column_a_x_y");
  await sandbox.sql("app", "SET ROLE owner; REVOKE INSERT (y) ON app.a FROM reader");
  expect(await sandbox.drift(made)).toEqual({ columns: ["x"] });
});

test("a refresh finds rights that were taken or given by hand, and that role or schema is gone", async () => {
  await sandbox.make(role, { name: "visitor" });
  await sandbox.make(schema, { name: "visited", database: "app" });
  const made = await settled(grant, {
    ...{ database: "app", schema: "visited", role: "visitor", objectType: "schema", privileges: ["USAGE"] },
  });
  await sandbox.sql("app", "REVOKE USAGE ON SCHEMA visited FROM visitor");
  expect(await sandbox.drift(made)).toEqual({ privileges: [] });
  await sandbox.sql("app", "GRANT ALL ON SCHEMA visited TO visitor");
  expect(await sandbox.drift(made)).toEqual({ privileges: ["CREATE", "USAGE"] });
  await sandbox.sql("app", "DROP SCHEMA visited");
  expect(await sandbox.drift(made)).toBe("gone");
  const connect = await settled(grant, {
    ...{ database: "app", role: "visitor", objectType: "database", privileges: ["CONNECT"] },
  });
  await sandbox.sql("app", "DROP OWNED BY visitor; DROP ROLE visitor");
  expect(await sandbox.drift(connect)).toBe("gone");
});

test("tables made later have what the defaults give, as far as their schema", async () => {
  const program = {
    ...{ database: "app", schema: "app", owner: "owner", role: "group", objectType: "table" },
    ...{ privileges: ["SELECT", "INSERT", "UPDATE", "DELETE"] },
  };
  const made = await settled(defaultPrivileges, program);
  expect(made.id).toBe("group_app_app_owner_table");
  await sandbox.sql("app", "SET ROLE owner; CREATE TABLE app.c()");
  expect(await acl("SELECT relacl FROM pg_class WHERE oid = 'app.c'::regclass")).toContain(
    "group=arwd/owner",
  );
  const changed = await sandbox.change(made, { ...program, privileges: ["SELECT"] });
  await sandbox.sql("app", "SET ROLE owner; CREATE TABLE app.d()");
  expect(await acl("SELECT relacl FROM pg_class WHERE oid = 'app.d'::regclass")).toContain("group=r/owner");
  await sandbox.remove(changed);
  expect(await sandbox.value("app", "SELECT count(*)::int FROM pg_default_acl")).toBe(0);
});

test.each([
  ["function", "proacl FROM pg_proc WHERE proname = 'fresh_function'"],
  ["type", "typacl FROM pg_type WHERE typname = 'fresh_type'"],
])(
  "without a schema and privileges, everybody loses what a new %s gives by default",
  async (objectType, of) => {
    const program = { database: "app", owner: "owner", role: "public", objectType, privileges: [] };
    const made = await settled(defaultPrivileges, program);
    expect(made.id).toBe(`public_app_noschema_owner_${objectType}`);
    const definition =
      objectType === "type"
        ? "CREATE TYPE app.fresh_type AS ENUM ('a')"
        : "CREATE FUNCTION app.fresh_function() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    await sandbox.sql("app", `SET ROLE owner; ${definition}`);
    expect(await acl(`SELECT ${of}`)).toMatch(/^\{owner=[XU]\/owner\}$/);
    await sandbox.remove(made);
  },
);

test("defaults that were taken away by hand are gone, not changed", async () => {
  const made = await settled(defaultPrivileges, {
    ...{ database: "app", owner: "owner", role: "group", objectType: "sequence", privileges: ["USAGE"] },
  });
  await sandbox.sql("app", `ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT SELECT ON SEQUENCES TO "group"`);
  expect(await sandbox.drift(made)).toEqual({ privileges: ["SELECT", "USAGE"] });
  await sandbox.sql("app", `ALTER DEFAULT PRIVILEGES FOR ROLE owner REVOKE ALL ON SEQUENCES FROM "group"`);
  expect(await sandbox.drift(made)).toBe("gone");
});

test("rights on one database, and defaults of one owner, change side by side", async () => {
  const defaults = { table: "SELECT", sequence: "USAGE", function: "EXECUTE", type: "USAGE" };
  const roles = ["g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8"];
  await Promise.all(roles.map((name) => sandbox.make(role, { name })));
  const made = await Promise.all([
    ...Object.entries(defaults).map(([objectType, privilege]) =>
      settled(defaultPrivileges, {
        ...{ database: "app", owner: "owner", role: "group", objectType, privileges: [privilege] },
      }),
    ),
    ...roles.map((name) =>
      settled(grant, { database: "app", role: name, objectType: "database", privileges: ["CONNECT"] }),
    ),
  ]);
  await Promise.all(made.map((one) => sandbox.remove(one)));
});

test("a membership is made, found gone, and made anew with another option", async () => {
  await sandbox.make(role, { name: "member" });
  const program = { role: "member", grantRole: "group" };
  const made = await settled(grantRole, program);
  expect(made.id).toBe("member_group_false");
  expect(visible(made.outputs)).toEqual({ id: made.id, ...program, withAdminOption: false });
  expect(await sandbox.plan(made, { ...program, withAdminOption: true })).toEqual(["!withAdminOption"]);
  await sandbox.remove(made);
  expect(await sandbox.drift(made)).toBe("gone");
  expect((await settled(grantRole, { ...program, withAdminOption: true })).id).toBe("member_group_true");
});

test.each([
  ["quotes and a semicolon", `a"b'; DROP TABLE x; --`],
  ["spaces, percent and dollar", "a %20 $1 b"],
  ["unicode", "rôle-日本"],
  ["63 bytes", "p".repeat(63)],
])("role and object names with %s work", async (_what, name) => {
  await sandbox.make(role, { name });
  await sandbox.make(schema, { name, database: "app", owner: name });
  await sandbox.sql("app", `CREATE TABLE "${name.replaceAll('"', '""')}"."${name.replaceAll('"', '""')}"()`);
  const place = { database: "app", schema: name, role: name };
  const made = [
    await settled(grant, { ...place, objectType: "table", objects: [name], privileges: ["SELECT"] }),
    await settled(grant, { database: "app", role: name, objectType: "database", privileges: ["CONNECT"] }),
    await settled(defaultPrivileges, {
      ...place,
      owner: "owner",
      objectType: "table",
      privileges: ["SELECT"],
    }),
    await settled(grantRole, { role: name, grantRole: "group" }),
  ];
  for (const one of made) await sandbox.remove(one);
});

test.each([
  [
    { objectType: "database", privileges: ["connect"] },
    "connect is not an allowed privilege for object type database",
  ],
  [
    { objectType: "table", privileges: ["SELECT"] },
    "parameter 'schema' is mandatory for postgresql_grant resource",
  ],
  [
    { objectType: "schema", schema: "app", objects: ["a"], privileges: [] },
    "cannot specify `objects` when `object_type` is `database` or `schema`",
  ],
  [
    { objectType: "column", schema: "app", objects: ["a"], columns: ["x"], privileges: ["SELECT", "UPDATE"] },
    "must specify exactly 1 `privileges` when `object_type` is `column`",
  ],
  [
    { objectType: "table", schema: "nope", privileges: ["SELECT"] },
    "could not find schema 'nope' while looking for owner",
  ],
  [
    { objectType: "database", role: "nope", privileges: ["CONNECT"] },
    'could not execute revoke query: pq: role "nope" does not exist (42704)',
  ],
  [
    { objectType: "database", database: "template0", privileges: [] },
    "error connecting to PostgreSQL server 127.0.0.1 (scheme: postgres): " +
      'pq: database "template0" is not currently accepting connections (55000)',
  ],
])("a grant with %j is refused", async (program, message) => {
  expect(await failure(sandbox.make(grant, { database: "app", role: "group", ...program }))).toBe(message);
});

test.each([
  [
    { objectType: "schema", schema: "app", privileges: ["USAGE"] },
    "cannot specify `schema` when `object_type` is `schema`",
  ],
  [
    { objectType: "table", role: "public", privileges: ["SELECT"], withGrantOption: true },
    "with_grant_option cannot be true for role 'public'",
  ],
  [
    { objectType: "table", owner: "nope", privileges: ["SELECT"] },
    'could not revoke default privileges: pq: role "nope" does not exist (42704)',
  ],
  [
    { objectType: "function", owner: "reader", role: "public", privileges: ["EXECUTE"] },
    "expected non-nil error with nil state during Create of " +
      "urn:pulumi:test::test::postgresql:index/defaultPrivileges:DefaultPrivileges::test",
  ],
])("default privileges with %j are refused", async (program, message) => {
  const place = { database: "app", owner: "owner", role: "group" };
  expect(await failure(sandbox.make(defaultPrivileges, { ...place, ...program }))).toBe(message);
});

test("an unknown type of object is refused before anything is done", async () => {
  const { failures } = await sandbox.plugin.check(grant, {
    ...{ database: "app", role: "group", objectType: "view", privileges: [] },
  });
  expect(failures).toMatchInlineSnapshot(`
    [
      "expected object_type to be one of ["database" "function" "procedure" "routine" "schema" "sequence" "table" "foreign_data_wrapper" "foreign_server" "column"], got view. Examine values at 'test.objectType'.",
    ]
  `);
});

test("a missing property is refused in the genuine plugin's words", async () => {
  const { failures } = await sandbox.plugin.check(grantRole, { role: "group" });
  expect(failures).toMatchInlineSnapshot(`
    [
      "Missing required argument. The argument "grant_role" is required, but no definition was found.. Examine values at 'test.grantRole'.",
    ]
  `);
});

test("grants cannot be imported", async () => {
  expect(await failure(sandbox.plugin.read(grant, "public_app_database"))).toBe(
    "resource postgresql_grant doesn't support import",
  );
});
