import { fileURLToPath } from "node:url";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import { afterAll, expect, test } from "vitest";
import {
  fromStruct,
  type Properties,
  Secret,
  toStruct,
  UNKNOWN,
} from "../../../airgap/plugins/common/values.ts";
import { InitFailed, PluginClient, type StartOptions } from "./client.ts";

const main = fileURLToPath(new URL("sample-plugin.ts", import.meta.url));
const thing = "sample:index:Thing";

const running: Promise<PluginClient>[] = [];
const shared = new Map<string, Promise<PluginClient>>();
afterAll(async () => {
  for (const client of running) (await client).stop();
});

/** A plugin that keeps nothing between tests: one process does for all, unless it needs options. */
async function start(base: "sdk" | "framework" | "native", options?: StartOptions) {
  const common = options === undefined ? shared.get(base) : undefined;
  const client = common ?? PluginClient.start(main, { ...options, args: [base] });
  if (common === undefined) running.push(client);
  if (options === undefined) shared.set(base, client);
  (await client).logs.length = 0;
  return client;
}

async function checked(client: PluginClient, news: Properties, olds: Properties = {}): Promise<Properties> {
  const { inputs, failures } = await client.check(thing, news, olds);
  expect(failures).toEqual([]);
  return inputs;
}

test("a property that the schema lacks is refused by name, at any depth", async () => {
  const client = await start("sdk");
  const { failures } = await client.check(thing, {
    name: "a",
    colour: "red",
    ports: [{ internal: 1, weight: 2 }],
  });
  expect(failures).toMatchInlineSnapshot(`
    [
      "The airgap stand-in plugin does not know property 'colour' of sample:index:Thing. Leave it out, or use the genuine plugin. It knows: address, labels, name, off, password, peers, ports, size",
      "The airgap stand-in plugin does not know property 'ports[0].weight' of sample:index:Thing. Leave it out, or use the genuine plugin. It knows in 'ports[0]': internal, protocol",
    ]
  `);
});

test("a missing or wrong value is refused, and its place named without its value", async () => {
  const client = await start("sdk");
  const { failures } = await client.check(thing, {
    name: "a",
    size: 1.5,
    password: ["hidden"],
    ports: [{}],
    labels: { a: [1] },
  });
  expect(failures).toMatchInlineSnapshot(`
    [
      "expected a string, got a list. Examine values at 'test.labels.a'.",
      "expected a string, got a list. Examine values at 'test.password'.",
      "Missing required property 'ports[0].internal'",
      "expected a whole number, got a number. Examine values at 'test.size'.",
    ]
  `);
});

test("an sdk plugin writes defaults into the inputs and names them, but not false ones", async () => {
  const client = await start("sdk");
  expect(await checked(client, { name: "a", ports: [{ internal: "80" }], labels: null })).toEqual({
    name: "a",
    size: 3,
    ports: [{ internal: 80, protocol: "tcp", __defaults: ["protocol"] }],
    __defaults: ["size"],
  });
});

test("a default that was used before stays, one that the program had set does not", async () => {
  const client = await start("sdk");
  const before = { name: "a", size: 9, off: false, __defaults: ["off", "size"] };
  expect(await checked(client, { name: "a" }, before)).toEqual(before);
  expect(await checked(client, { name: "a" }, { ...before, __defaults: [] })).toEqual({
    name: "a",
    size: 3,
    __defaults: ["size"],
  });
});

test("a framework plugin leaves defaults out of the inputs and shows them in a preview", async () => {
  const client = await start("framework");
  const inputs = await checked(client, { name: "a" });
  expect(inputs).toEqual({ name: "a" });
  const { outputs } = await client.create(thing, inputs, { preview: true });
  expect(outputs).toEqual({
    id: UNKNOWN,
    name: "a",
    size: 3,
    off: false,
    address: UNKNOWN,
    seen: UNKNOWN,
  });
});

test("a name that is not given is the resource's with seven digits, and then stays", async () => {
  const client = await start("sdk");
  const inputs = await checked(client, {});
  expect(inputs.name).toMatch(/^test-[0-9a-f]{7}$/);
  expect(inputs.__defaults).toContain("name");
  expect((await checked(client, {})).name).toBe(inputs.name);
  expect((await client.check(thing, {}, inputs, "other")).inputs.name).toBe(inputs.name);
});

test("a name that the program gave and gives no more stays", async () => {
  const client = await start("sdk");
  const inputs = await checked(client, {}, await checked(client, { name: "chosen" }));
  expect(inputs.name).toBe("chosen");
  expect(inputs.__defaults).toContain("name");
});

test("secret properties are marked in inputs and outputs, other marks are kept in the inputs", async () => {
  const client = await start("sdk");
  const inputs = await checked(client, {
    name: "a",
    password: "p",
    labels: new Secret({ a: "b" }),
    ports: UNKNOWN,
  });
  expect(inputs).toMatchObject({
    password: new Secret("p"),
    labels: new Secret({ a: "b" }),
    ports: UNKNOWN,
  });
  const { outputs } = await client.create(thing, { name: "a", password: "p", __defaults: [] });
  expect(outputs.password).toEqual(new Secret("p"));
});

test("an sdk plugin's state has nulls for what has no value, and its meta", async () => {
  const client = await start("sdk", { env: { SAMPLE_GREETING: "hi" } });
  const { id, outputs } = await client.create(thing, { name: "a", size: 3, __defaults: ["size"] });
  expect(id).toBe("test");
  expect(outputs).toEqual({
    id: "test",
    name: "a",
    size: 3,
    off: null,
    password: new Secret(null),
    address: "10.0.0.1",
    labels: null,
    ports: [],
    peers: null,
    seen: "hi 60",
    __meta: '{"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{"create":60000000000},"schema_version":"2"}',
  });
});

test("what a genuine plugin noted in the state about old outputs is not kept beside new ones", async () => {
  const client = await start("sdk");
  const state = { name: "a", size: 3, __pulumi_raw_state_delta: { obj: {} }, __meta: "{}" };
  const outputs = await client.update(thing, "a", state, { name: "a", size: 4 });
  expect(outputs.__pulumi_raw_state_delta).toBeUndefined();
  expect(outputs).toMatchObject({ size: 4, __meta: expect.stringContaining('"schema_version":"2"') });
});

test("a native plugin gives repeated inputs back with their marks", async () => {
  const client = await start("native");
  const labels = new Secret({ a: "b" });
  const { outputs } = await client.create(thing, { name: "a", labels });
  expect(outputs.labels).toEqual(labels);
  expect(outputs.id).toBeUndefined();
});

test("a change is told by path, and replaces where the schema says so", async () => {
  const client = await start("sdk");
  const state = {
    name: "a",
    size: 3,
    address: "10.0.0.1",
    labels: { a: "1", b: "2" },
    ports: [{ internal: 80, protocol: "tcp" }],
    peers: ["x", "y"],
    off: null,
  };
  const inputs = { ...state, address: null, __defaults: ["name"] };
  expect((await client.diff(thing, state, inputs)).changes).toBe(false);
  expect((await client.diff(thing, state, { ...inputs, peers: ["y", "x"], off: false })).changes).toBe(false);
  expect(await client.diff(thing, state, { ...inputs, labels: { a: "1", "c.d": "3" }, size: 4 })).toEqual({
    changes: true,
    replaces: [],
    deleteBeforeReplace: false,
    detailed: { size: "UPDATE", "labels.b": "DELETE", 'labels["c.d"]': "ADD" },
  });
  expect(
    await client.diff(thing, state, { ...inputs, ports: [{ internal: UNKNOWN, protocol: "tcp" }] }),
  ).toEqual({
    changes: true,
    replaces: ["ports"],
    deleteBeforeReplace: false,
    detailed: { "ports[0].internal": "UPDATE_REPLACE" },
  });
});

test("a replacement deletes first where the program chose the name", async () => {
  const client = await start("sdk");
  const state = { name: "a", size: 3, ports: [] };
  const inputs = { name: "a", size: 3, ports: [{ internal: 1, protocol: "tcp" }], __defaults: ["size"] };
  expect((await client.diff(thing, state, inputs)).deleteBeforeReplace).toBe(true);
  expect((await client.diff(thing, state, { ...inputs, __defaults: ["name"] })).deleteBeforeReplace).toBe(
    false,
  );
});

test("ignored changes are no changes", async () => {
  const client = await start("sdk");
  const state = { name: "a", size: 3, labels: { a: "1", b: "2" } };
  const inputs = { name: "b", size: 4, labels: { a: "9", b: "9" }, __defaults: [] };
  const { detailed } = await client.diff(thing, state, inputs, { ignoreChanges: ["name", "labels.a"] });
  expect(detailed).toEqual({ size: "UPDATE", "labels.b": "UPDATE" });
});

test("a native plugin compares inputs with inputs", async () => {
  const client = await start("native");
  const oldInputs = { name: "a", peers: ["x"], password: new Secret("p") };
  const news = { name: "a", peers: ["x", "y"], password: "p" };
  expect((await client.diff(thing, { name: "other" }, news, { oldInputs })).detailed).toEqual({
    "peers[1]": "ADD",
    password: "UPDATE",
  });
});

test("a refresh takes over what changed in the inputs that there were", async () => {
  const client = await start("sdk");
  const state = { name: "a", size: 3, password: "p", ports: [{ internal: 81, protocol: "tcp" }] };
  const { id, inputs } = await client.read(thing, "a", state, {
    name: "a",
    size: 3,
    ports: [{ internal: 81, __defaults: [] }],
    __defaults: ["size"],
  });
  expect(id).toBe("a");
  expect(inputs).toEqual({
    name: "a",
    size: 5,
    ports: [{ internal: 80, __defaults: [] }],
    __defaults: [],
  });
});

test("an import takes all that is not its default or zero", async () => {
  const client = await start("sdk");
  const { inputs } = await client.read(thing, "a");
  expect(inputs).toEqual({
    name: "a",
    size: 5,
    address: "10.0.0.1",
    ports: [{ internal: 80, __defaults: [] }],
    __defaults: [],
  });
});

test("a resource that is gone reads as nothing", async () => {
  const client = await start("sdk");
  expect(await client.read(thing, "gone", { name: "gone" })).toMatchObject({ id: "", outputs: {} });
});

test("an error reaches the engine as its message, without a stack", async () => {
  const client = await start("sdk");
  await expect(client.create(thing, { name: "a", size: 13 })).rejects.toThrow(/^size 13 cannot be had$/);
  await expect(client.delete(thing, "stuck", { name: "a" })).rejects.toThrow(
    /^deleting urn:pulumi:test::test::sample:index:Thing::test: it does not go$/,
  );
  await expect(client.create("sample:index:Other", {})).rejects.toThrow(
    "the airgap stand-in plugin for sample has no resource sample:index:Other; it has sample:index:Thing",
  );
});

test("a resource that was made half-way reaches the engine with its id and outputs", async () => {
  const client = await start("sdk");
  const error = await client.create(thing, { name: "a", size: 14, password: "p" }).catch((caught) => caught);
  expect(error).toBeInstanceOf(InitFailed);
  expect(error).toMatchObject({
    id: "test",
    message: "creating urn:pulumi:test::test::sample:index:Thing::test: made, but not well",
    outputs: { size: 14, address: "10.0.0.1", password: new Secret("p") },
  });
});

test("log lines reach the engine", async () => {
  const client = await start("sdk");
  await client.create(thing, { name: "a" });
  const line = { severity: 1, message: "making test", passing: false };
  await expect.poll(() => client.logs).toContainEqual(line);
});

test("a customTimeout that the resource lacks is ignored with a warning", async () => {
  const client = await start("sdk");
  await client.update(thing, "a", { name: "a" }, { name: "a" }, { timeoutSeconds: 7 });
  const message = "Resource does not support customTimeouts, ignoring: update=7s";
  await expect.poll(() => client.logs).toContainEqual({ severity: 2, message, passing: false });
});

test("an operation is told when its time is up and when the user cancels", async () => {
  const client = await start("sdk", {});
  await expect(client.create(thing, { name: "a", size: 15 }, { timeoutSeconds: 0.2 })).rejects.toThrow(
    "gave up: The operation was aborted due to timeout",
  );
  const pending = client.create(thing, { name: "a", size: 15 });
  const cancelled = expect(pending).rejects.toThrow("gave up: cancelled");
  await client.call<empties.Empty, empties.Empty>(client.rpc.cancel, new empties.Empty());
  await cancelled;
});

test("provider configuration is JSON in strings, and keeps its secrets", async () => {
  const client = await start("sdk");
  const request = new provider.CheckRequest();
  request.setUrn("urn:pulumi:test::test::pulumi:providers:sample::mine");
  request.setNews(toStruct({ greeting: "hi", retries: "3", token: "t", version: "1.2.3" }));
  const response = await client.call<provider.CheckRequest, provider.CheckResponse>(
    client.rpc.checkConfig,
    request,
  );
  expect(response.getFailuresList()).toEqual([]);
  expect(fromStruct(response.getInputs())).toEqual({
    greeting: "hi",
    retries: "3",
    token: new Secret("t"),
    version: "1.2.3",
  });
  request.setNews(toStruct({ retries: "many", proxy: "p" }));
  const refused = await client.call<provider.CheckRequest, provider.CheckResponse>(
    client.rpc.checkConfig,
    request,
  );
  expect(refused.getFailuresList().map((failure) => failure.getReason())).toEqual([
    "The airgap stand-in plugin does not know property 'proxy' of the sample provider. Leave it out, or use " +
      "the genuine plugin. It knows: greeting, retries, token",
    "expected a number, got a string. Examine values at 'mine.retries'.",
  ]);
});

test("a change of provider configuration updates the provider", async () => {
  const client = await start("sdk");
  const request = new provider.DiffRequest();
  request.setUrn("urn:pulumi:test::test::pulumi:providers:sample::mine");
  request.setOldInputs(toStruct({ greeting: "hi" }));
  request.setNews(toStruct({ greeting: "ho" }));
  const response = await client.call<provider.DiffRequest, provider.DiffResponse>(
    client.rpc.diffConfig,
    request,
  );
  expect(response.getDiffsList()).toEqual(["greeting"]);
  expect(response.getReplacesList()).toEqual([]);
});

test("a function call is refused by name", async () => {
  const client = await start("sdk");
  const request = new provider.InvokeRequest();
  request.setTok("sample:index:getThing");
  await expect(
    client.call<provider.InvokeRequest, provider.InvokeResponse>(client.rpc.invoke, request),
  ).rejects.toThrow("the airgap stand-in plugin for sample has no function sample:index:getThing");
});
