import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fromStruct, Secret, toStruct, UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { failure, Sandbox, tokens, visible } from "./sandbox.ts";

const { role, database, schema, grant, defaultPrivileges } = tokens;
let sandbox: Sandbox;
let folder: string;

/** A CA, a certificate for localhost and 127.0.0.1, and another CA that signed nothing. */
const certificates = `set -e; cd /tmp
for ca in ca other; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=$ca -keyout $ca.key -out $ca.pem
done
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost' > server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile server.ext -out server.pem
chown postgres server.key && chmod 600 server.key`;

beforeAll(async () => {
  sandbox = await Sandbox.open();
  folder = mkdtempSync(join(tmpdir(), "postgresql-plugin-"));
  await sandbox.exec("bash", "-c", `{ ${certificates}; } 2>/dev/null`);
  for (const name of ["ca", "other"]) {
    writeFileSync(join(folder, `${name}.pem`), await sandbox.exec("cat", `/tmp/${name}.pem`));
  }
  await sandbox.sql("postgres", "ALTER SYSTEM SET ssl_cert_file = '/tmp/server.pem'");
  await sandbox.sql("postgres", "ALTER SYSTEM SET ssl_key_file = '/tmp/server.key'");
  await sandbox.sql("postgres", "ALTER SYSTEM SET ssl = on");
  await sandbox.sql("postgres", "SELECT pg_reload_conf()");
});
afterAll(async () => {
  await sandbox?.close();
  rmSync(folder, { recursive: true, force: true });
});

const encrypted =
  "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'Terraform provider'";

test.each([
  ["disable", "127.0.0.1", undefined, "false"],
  ["require", "127.0.0.1", undefined, "true"],
  ["verify-ca", "127.0.0.1", "ca", "true"],
  ["verify-full", "localhost", "ca", "true"],
])("sslmode %s connects to %s with CA %s, encrypted: %s", async (sslmode, host, ca, expected) => {
  const certificate = ca === undefined ? {} : { sslrootcert: join(folder, `${ca}.pem`) };
  const plugin = await sandbox.another({ sslmode, host, ...certificate });
  await sandbox.make(role, { name: `via ${sslmode}` }, plugin);
  expect(await sandbox.sql("postgres", encrypted)).toContainEqual([expected]);
  plugin.stop();
  await expect.poll(() => sandbox.sql("postgres", encrypted)).toEqual([]);
});

const unreachable = "error connecting to PostgreSQL server";

test.each([
  ["verify-full", "127.0.0.1", "ca", /Hostname\/IP does not match certificate's altnames/],
  ["verify-full", "localhost", "other", /unable to verify|self-signed certificate/],
  ["verify-ca", "127.0.0.1", "other", /unable to verify|self-signed certificate/],
  ["require", "127.0.0.1", "other", /unable to verify|self-signed certificate/],
  ["prefer", "127.0.0.1", "ca", /"prefer" is not supported/],
])("sslmode %s refuses %s with CA %s", async (sslmode, host, ca, reason) => {
  const plugin = await sandbox.another({ sslmode, host, sslrootcert: join(folder, `${ca}.pem`) });
  const message = await failure(sandbox.make(role, { name: "never" }, plugin));
  expect(message).toContain(`${unreachable} ${host} (scheme: postgres): `);
  expect(message).toMatch(reason);
});

test("a server that is not there is told at once, with address and port", async () => {
  const unused = await new Promise<number>((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
  const plugin = await sandbox.another({ port: String(unused) });
  expect(await failure(sandbox.make(role, { name: "never" }, plugin))).toBe(
    `${unreachable} 127.0.0.1 (scheme: postgres): dial tcp 127.0.0.1:${unused}: connect: connection refused`,
  );
});

test("a server that does not answer is given up after connectTimeout seconds", async () => {
  const silent = createServer();
  const port = await new Promise<number>((resolve) => {
    silent.listen(0, "127.0.0.1", () => resolve((silent.address() as { port: number }).port));
  });
  try {
    const plugin = await sandbox.another({ port: String(port), connectTimeout: "1" });
    const started = Date.now();
    expect(await failure(sandbox.make(role, { name: "never" }, plugin))).toContain(unreachable);
    expect(Date.now() - started).toBeGreaterThan(900);
    expect(Date.now() - started).toBeLessThan(10_000);
  } finally {
    silent.close();
  }
});

test("a wrong password is told without the password", async () => {
  const plugin = await sandbox.another({ password: "not the password" });
  expect(await failure(sandbox.make(role, { name: "never" }, plugin))).toBe(
    `${unreachable} 127.0.0.1 (scheme: postgres): pq: password authentication failed for user "postgres" (28P01)`,
  );
});

test("the provider's password is a secret, and its other values are text", async () => {
  const news = { host: "db", port: "5432", password: "pw", connectTimeout: "180", sslmode: "disable" };
  const request = new provider.CheckRequest();
  request.setUrn("urn:pulumi:test::test::pulumi:providers:postgresql::pg");
  request.setNews(toStruct(news));
  const response = await sandbox.plugin.call<provider.CheckRequest, provider.CheckResponse>(
    sandbox.plugin.rpc.checkConfig,
    request,
  );
  expect(fromStruct(response.getInputs())).toEqual({ ...news, password: new Secret("pw") });
});

test("libpq's environment stands in for what the program leaves out", async () => {
  const env = { PGHOST: "127.0.0.1", PGPORT: String(sandbox.port), PGSSLMODE: "disable", PGUSER: "postgres" };
  const plugin = await sandbox.another({ host: null, port: null, sslmode: null, username: null }, env);
  expect((await sandbox.make(role, { name: "by environment" }, plugin)).id).toBe("by environment");
});

test("a kept connection that the server ended is not noticed", async () => {
  const plugin = await sandbox.another({});
  await sandbox.make(role, { name: "before the end" }, plugin);
  const ended = await sandbox.sql(
    "postgres",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'Terraform provider'",
  );
  expect(ended.length).toBeGreaterThan(0);
  await sandbox.make(role, { name: "after the end" }, plugin);
});

test("connections are used again by what follows, and soon given back", async () => {
  const plugin = await sandbox.another({});
  const count = () =>
    sandbox.value(
      "postgres",
      "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'Terraform provider'",
    );
  await expect.poll(count, { timeout: 60_000 }).toBe(0);
  for (let index = 0; index < 20; index++) await sandbox.make(role, { name: `again ${index}` }, plugin);
  expect(await count()).toBe(1);
  await expect.poll(count, { timeout: 60_000 }).toBe(0);
});

test("a database that the plugin worked in can be a template, renamed and dropped at once", async () => {
  const made = await sandbox.make(database, { name: "worked in" });
  await sandbox.make(schema, { name: "s", database: "worked in" });
  await sandbox.make(database, { name: "copy", template: "worked in" });
  expect(await sandbox.value("copy", "SELECT to_regnamespace('s')::text")).toBe("s");
  await sandbox.make(schema, { name: "s2", database: "worked in" });
  const renamed = await sandbox.change(made, { name: "renamed" });
  await sandbox.make(schema, { name: "s3", database: "renamed" });
  await sandbox.remove(renamed);
});

test("one connection to each database is enough for many operations at the same time", async () => {
  const plugin = await sandbox.another({ maxConnections: "1" });
  await sandbox.make(role, { name: "narrow owner" }, plugin);
  const names = ["n1", "n2", "n3", "n4"];
  await Promise.all(
    names.flatMap((name) => [
      sandbox.make(role, { name, login: true, password: "pw", roles: ["pg_monitor"] }, plugin),
      sandbox.make(database, { name, owner: "narrow owner" }, plugin),
    ]),
  );
  const made = await Promise.all(
    names.map((name) => sandbox.make(schema, { name, database: "n1", owner: name }, plugin)),
  );
  await Promise.all(made.map((one) => plugin.delete(schema, one.id, one.outputs)));
});

test("a user that is no superuser manages what others own, and gives back the memberships it took", async () => {
  await sandbox.sql(
    "postgres",
    "CREATE ROLE admin LOGIN CREATEROLE CREATEDB PASSWORD 'pw'; GRANT pg_monitor TO admin WITH ADMIN OPTION",
  );
  const plugin = await sandbox.another({ username: "admin", password: "pw", superuser: "false" });
  const login = { name: "its role", login: true, password: "pw", roles: ["pg_monitor"] };
  const managed = await sandbox.make(role, login, plugin);
  await sandbox.make(role, { name: "its owner" }, plugin);
  const its = await sandbox.make(database, { name: "its database", owner: "its owner" }, plugin);
  const place = { database: "its database", schema: "its schema" };
  const made = [
    await sandbox.make(schema, { name: place.schema, database: place.database, owner: "its owner" }, plugin),
    await sandbox.make(
      grant,
      { ...place, role: "its role", objectType: "schema", privileges: ["USAGE"] },
      plugin,
    ),
    await sandbox.make(
      defaultPrivileges,
      { ...place, owner: "its owner", role: "its role", objectType: "table", privileges: ["SELECT"] },
      plugin,
    ),
  ];
  const usable = "SELECT count(*)::int FROM pg_auth_members WHERE set_option AND member = 'admin'::regrole";
  expect(await sandbox.value("postgres", usable)).toBe(1);
  const read = await plugin.read(role, managed.id, managed.outputs, managed.inputs);
  expect(visible(read.outputs)).toMatchObject({ password: "pw", roles: ["pg_monitor"] });
  for (const one of made.reverse()) await plugin.delete(one.token, one.id, one.outputs);
  await plugin.delete(database, its.id, its.outputs);
  await plugin.delete(role, managed.id, managed.outputs);
  expect(await sandbox.value("postgres", usable)).toBe(1);
});

test("a user that is no superuser must say so, or passwords cannot be read", async () => {
  await sandbox.sql("postgres", "CREATE ROLE modest LOGIN CREATEROLE PASSWORD 'pw'");
  const plugin = await sandbox.another({ username: "modest", password: "pw" });
  expect(await failure(sandbox.make(role, { name: "unread", login: true, password: "pw" }, plugin))).toMatch(
    /^could not read role password from Postgres as connected user modest is not a SUPERUSER/,
  );
});

test("a preview connects to nothing, and takes what is not known yet", async () => {
  const plugin = await sandbox.another({ host: "nowhere.invalid" });
  const inputs = await sandbox.check(role, { name: UNKNOWN, password: UNKNOWN }, {}, plugin);
  const { outputs } = await plugin.create(role, inputs, { preview: true });
  expect(outputs).toMatchObject({ name: UNKNOWN, password: new Secret(UNKNOWN), login: false });
});

test.each([
  ["postgresql:index/function:Function", {}, /has no resource postgresql:index\/function:Function/],
  [role, { name: "x", passwordWo: "y" }, /does not know property 'passwordWo'/],
  [schema, { name: "x", policies: [] }, /does not know property 'policies'/],
])("what the plugin does not cover is refused by name: %s", async (token, inputs, message) => {
  expect(await failure(sandbox.check(token, inputs))).toMatch(message);
});
