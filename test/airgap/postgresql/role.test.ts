import { afterAll, beforeAll, expect, test } from "vitest";
import { Secret } from "../../../airgap/plugins/common/values.ts";
import { failure, Sandbox, tokens, visible } from "./sandbox.ts";

const { role } = tokens;
let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
});
afterAll(() => sandbox?.close());

test("a role that is only named can do nothing, and its state says so", async () => {
  const made = await sandbox.make(role, { name: "bare" });
  expect(made.id).toBe("bare");
  expect(made.inputs.__defaults).toEqual(["connectionLimit", "encryptedPassword", "inherit", "validUntil"]);
  expect(made.outputs.password).toEqual(new Secret(null));
  expect(visible(made.outputs)).toEqual({
    assumeRole: "",
    bypassRowLevelSecurity: false,
    connectionLimit: -1,
    createDatabase: false,
    createRole: false,
    encrypted: null,
    encryptedPassword: true,
    id: "bare",
    idleInTransactionSessionTimeout: 0,
    inherit: true,
    login: false,
    name: "bare",
    password: null,
    passwordWo: null,
    passwordWoVersion: null,
    replication: false,
    roles: null,
    searchPaths: null,
    skipDropRole: false,
    skipReassignOwned: false,
    statementTimeout: 0,
    superuser: false,
    validUntil: "infinity",
  });
  expect(made.outputs.__pulumi_raw_state_delta).toEqual({ obj: { renamed: { searchPaths: "search_path" } } });
  expect(await sandbox.plan(made, { name: "bare" })).toEqual([]);
  expect(await sandbox.drift(made)).toEqual({});
});

test("every attribute reaches the server", async () => {
  await sandbox.make(role, { name: "group" });
  const made = await sandbox.make(role, {
    name: "full",
    login: true,
    password: new Secret("pw"),
    superuser: true,
    createDatabase: true,
    createRole: true,
    inherit: false,
    replication: true,
    bypassRowLevelSecurity: true,
    connectionLimit: 3,
    validUntil: "2035-01-01 00:00:00+00",
    roles: ["pg_monitor", "group"],
    searchPaths: ["app", "$user", "With Space"],
    statementTimeout: 5000,
    idleInTransactionSessionTimeout: 7000,
    assumeRole: "group",
  });
  const [row] = await sandbox.sql(
    "postgres",
    `SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls,
       rolconnlimit, rolvaliduntil = '2035-01-01 00:00:00+00', rolconfig::text FROM pg_roles WHERE rolname = 'full'`,
  );
  expect(row).toEqual([
    ...[true, true, true, true, false, true, true, 3, true],
    '{"search_path=app, \\"$user\\", \\"With Space\\"",statement_timeout=5000,' +
      "idle_in_transaction_session_timeout=7000,role=group}",
  ]);
  expect(made.outputs.roles).toEqual(["group", "pg_monitor"]);
  expect(made.outputs.password).toEqual(new Secret("pw"));
  expect(await sandbox.drift(made)).toEqual({});
});

test("a change alters only what changed, and keeps the role", async () => {
  const before = {
    name: "worker",
    login: true,
    connectionLimit: 5,
    statementTimeout: 1000,
    roles: ["pg_monitor"],
  };
  const after = { name: "worker", connectionLimit: 7, roles: ["pg_read_all_data"], searchPaths: ["app"] };
  const made = await sandbox.make(role, before);
  const oid = await sandbox.value("postgres", "SELECT 'worker'::regrole::oid");
  expect(await sandbox.plan(made, after)).toEqual([
    ...["connectionLimit", "login", "roles[0]", "searchPaths", "statementTimeout"],
  ]);
  const changed = await sandbox.change(made, after);
  expect(await sandbox.value("postgres", "SELECT 'worker'::regrole::oid")).toBe(oid);
  expect(visible(changed.outputs)).toMatchObject({
    ...{ connectionLimit: 7, login: false, statementTimeout: 0 },
    ...{ roles: ["pg_read_all_data"], searchPaths: ["app"] },
  });
  expect(await sandbox.drift(changed)).toEqual({});
});

test("a rename keeps the role, its password and what it owns", async () => {
  const made = await sandbox.make(role, { name: "old name", login: true, password: "pw" });
  await sandbox.sql("postgres", `GRANT CREATE ON DATABASE postgres TO "old name"`);
  await sandbox.sql("postgres", "CREATE SCHEMA its", { user: "old name", password: "pw" });
  const renamed = await sandbox.change(made, { name: "new name", login: true, password: "pw" });
  expect(renamed.outputs.name).toBe("new name");
  expect(
    await sandbox.value("postgres", "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'its'"),
  ).toBe('"new name"');
  expect(await sandbox.drift(renamed)).toEqual({});
  expect(await sandbox.value("postgres", "SELECT 1", { user: "new name", password: "pw" })).toBe(1);
});

test("reordered roles are no change", async () => {
  const made = await sandbox.make(role, { name: "ordered", roles: ["pg_monitor", "pg_read_all_data"] });
  expect(await sandbox.plan(made, { name: "ordered", roles: ["pg_read_all_data", "pg_monitor"] })).toEqual(
    [],
  );
});

test("every change of a role takes away memberships that it does not name", async () => {
  const made = await sandbox.make(role, { name: "strict", login: true });
  await sandbox.sql("postgres", "GRANT pg_monitor TO strict");
  await sandbox.change(made, { name: "strict", login: true, connectionLimit: 1 });
  expect(await sandbox.value("postgres", "SELECT pg_has_role('strict', 'pg_monitor', 'MEMBER')")).toBe(false);
});

test.each([
  ["a quote", "it's"],
  ["a double quote", 'say "x"'],
  ["percent and dollar", "%41 $1 {x}"],
  ["spaces", "  a b  "],
  ["unicode", "pässwörd-日本-€"],
  ["200 characters", "x".repeat(200)],
  ["SQL", "'; DROP ROLE postgres; --"],
])("a password with %s logs in", async (_what, password) => {
  const made = await sandbox.make(role, { name: `secret ${password.slice(0, 20)}`, login: true, password });
  const login = { user: made.id, password };
  expect(await sandbox.value("postgres", "SELECT session_user::text", login)).toBe(made.id);
  await sandbox.remove(made);
});

test("a backslash in a password arrives twice, as with the genuine plugin", async () => {
  await sandbox.make(role, { name: "backslash", login: true, password: "a\\b" });
  expect(await sandbox.attempt("postgres", "SELECT 1", { user: "backslash", password: "a\\\\b" })).toBe(
    "allowed",
  );
  expect(await sandbox.attempt("postgres", "SELECT 1", { user: "backslash", password: "a\\b" })).toMatch(
    /authentication failed/,
  );
});

test("a changed password is set, and the state keeps it as a secret", async () => {
  const made = await sandbox.make(role, { name: "rotated", login: true, password: "one" });
  expect(await sandbox.plan(made, { name: "rotated", login: true, password: "two" })).toEqual(["password"]);
  const changed = await sandbox.change(made, { name: "rotated", login: true, password: "two" });
  expect(changed.outputs.password).toEqual(new Secret("two"));
  expect(await sandbox.value("postgres", "SELECT 1", { user: "rotated", password: "two" })).toBe(1);
});

test("a refresh cannot see another password, but sees that there is none", async () => {
  const made = await sandbox.make(role, { name: "hidden", login: true, password: "known" });
  await sandbox.sql("postgres", "ALTER ROLE hidden PASSWORD 'other'");
  expect(await sandbox.drift(made)).toEqual({});
  await sandbox.sql("postgres", "ALTER ROLE hidden PASSWORD NULL");
  expect(await sandbox.drift(made)).toEqual({ password: "" });
});

test("a refresh finds what was altered by hand, and that a role is gone", async () => {
  const made = await sandbox.make(role, { name: "drifting", login: true });
  await sandbox.sql(
    "postgres",
    `ALTER ROLE drifting NOLOGIN CONNECTION LIMIT 2; ALTER ROLE drifting SET search_path TO a, "B c";
     ALTER ROLE drifting SET statement_timeout TO 9; GRANT pg_monitor TO drifting`,
  );
  expect(await sandbox.drift(made)).toEqual({
    ...{ connectionLimit: 2, login: false, roles: ["pg_monitor"] },
    ...{ searchPaths: ["a", "B c"], statementTimeout: 9 },
  });
  await sandbox.sql("postgres", "DROP ROLE drifting");
  expect(await sandbox.drift(made)).toBe("gone");
});

test("an existing role is adopted by its name, without its password", async () => {
  await sandbox.sql(
    "postgres",
    "CREATE ROLE there LOGIN PASSWORD 'pw' CONNECTION LIMIT 4 IN ROLE pg_monitor",
  );
  const read = await sandbox.plugin.read(role, "there");
  expect(read.inputs).toEqual({
    ...{ name: "there", login: true, connectionLimit: 4, roles: ["pg_monitor"] },
    __defaults: [],
  });
  const adopted = { token: role, id: read.id, outputs: read.outputs, inputs: read.inputs };
  const program = { name: "there", login: true, connectionLimit: 4, roles: ["pg_monitor"] };
  expect(await sandbox.plan(adopted, program)).toEqual([]);
  expect(await sandbox.plan(adopted, { ...program, password: "new" })).toEqual(["password"]);
});

test("deleting a role gives what it owns to the provider's user, and drops it", async () => {
  const made = await sandbox.make(role, { name: "leaver" });
  await sandbox.sql(
    "postgres",
    `CREATE TABLE left_behind(); ALTER TABLE left_behind OWNER TO leaver; GRANT CONNECT ON DATABASE postgres TO leaver`,
  );
  await sandbox.remove(made);
  expect(
    await sandbox.value("postgres", "SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind'"),
  ).toBe("postgres");
  expect(await sandbox.value("postgres", "SELECT count(*)::int FROM pg_roles WHERE rolname = 'leaver'")).toBe(
    0,
  );
});

test("a role that is used in another database cannot be dropped", async () => {
  const made = await sandbox.make(role, { name: "elsewhere" });
  await sandbox.sql("postgres", "CREATE DATABASE other");
  await sandbox.sql("other", "CREATE TABLE its(); GRANT SELECT ON its TO elsewhere");
  expect(await failure(sandbox.remove(made))).toBe(
    'could not delete role elsewhere: pq: role "elsewhere" cannot be dropped because some objects depend on it (2BP01)',
  );
});

test("skipDropRole and skipReassignOwned leave role and objects alone", async () => {
  const made = await sandbox.make(role, { name: "stayer", skipDropRole: true, skipReassignOwned: true });
  await sandbox.sql("postgres", "CREATE TABLE staying(); ALTER TABLE staying OWNER TO stayer");
  await sandbox.remove(made);
  expect(
    await sandbox.value("postgres", "SELECT tableowner FROM pg_tables WHERE tablename = 'staying'"),
  ).toBe("stayer");
});

test.each([
  ["quotes and a semicolon", `a"b'; DROP TABLE x; --`],
  ["spaces, percent and dollar", "a %20 $1 b"],
  ["unicode", "rôle-日本"],
  ["a backslash", "a\\b"],
  ["63 bytes", "r".repeat(63)],
])("a name with %s works in every operation", async (_what, name) => {
  const made = await sandbox.make(role, { name, login: true, password: "pw" });
  const member = await sandbox.make(role, { name: `m${name.slice(1)}`, roles: [name], assumeRole: name });
  expect(await sandbox.drift(member)).toEqual({});
  const changed = await sandbox.change(made, { name, login: true, password: "pw2" });
  expect(await sandbox.drift(changed)).toEqual({});
  expect(await sandbox.value("postgres", "SELECT session_user::text", { user: name, password: "pw2" })).toBe(
    name,
  );
  await sandbox.remove(member);
  await sandbox.remove(changed);
});

test.each([
  [{ name: "postgres" }, 'error creating role postgres: pq: role "postgres" already exists (42710)'],
  [{ name: "x", roles: ["nope"] }, 'could not grant role nope to x: pq: role "nope" does not exist (42704)'],
  [{ name: "x", searchPaths: ["a, b"] }, "search_path cannot contain `, `: a, b"],
])("%j fails, and leaves no role behind", async (inputs, message) => {
  expect(await failure(sandbox.make(role, inputs))).toBe(message);
  expect(await sandbox.value("postgres", "SELECT count(*)::int FROM pg_roles WHERE rolname = 'x'")).toBe(0);
});

test("inputs that cannot be are refused before anything is done", async () => {
  const { failures } = await sandbox.plugin.check(role, {
    ...{ connectionLimit: -2, statementTimeout: -1, login: "perhaps" },
    ...{ name: "x", lockTimeout: 5 },
  });
  expect(failures.map((reason) => reason.replace(/ It knows: .*/, ""))).toMatchInlineSnapshot(`
    [
      "expected connection_limit to be at least (-1), got -2. Examine values at 'test.connectionLimit'.",
      "The airgap stand-in plugin does not know property 'lockTimeout' of postgresql:index/role:Role. Leave it out, or use the genuine plugin.",
      "expected a boolean, got a string. Examine values at 'test.login'.",
      "expected statement_timeout to be at least (0), got -1. Examine values at 'test.statementTimeout'.",
    ]
  `);
});
