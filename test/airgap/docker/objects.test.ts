import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cpusText } from "../../../airgap/plugins/docker/container-state.ts";
import { formatDuration, parseDuration } from "../../../airgap/plugins/docker/duration.ts";
import { uploadArchive } from "../../../airgap/plugins/docker/uploads.ts";
import { Sandbox, tokens } from "./sandbox.ts";

let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
});
afterAll(() => sandbox.close());

test("a network is made, read without a difference, imported, and gone after its deletion", async () => {
  const made = await sandbox.make(tokens.network, {
    name: sandbox.name("net"),
    internal: true,
    ipamConfigs: [{ subnet: "10.213.7.0/24", gateway: "10.213.7.9" }],
    options: { "com.docker.network.bridge.enable_icc": "true" },
  });
  expect(made.outputs).toMatchObject({
    attachable: false,
    driver: "bridge",
    ingress: false,
    internal: true,
    ipamConfigs: [{ auxAddress: null, gateway: "10.213.7.9", ipRange: "", subnet: "10.213.7.0/24" }],
    ipamDriver: "default",
    ipamOptions: null,
    ipv6: false,
    options: { "com.docker.network.bridge.enable_icc": "true" },
    scope: "local",
    __meta: '{"schema_version":"1"}',
  });
  const read = await sandbox.plugin.read(tokens.network, made.id, made.outputs, made.inputs);
  expect(read.inputs).toEqual(made.inputs);
  expect(await sandbox.change(tokens.network, { ...made, outputs: read.outputs }, {})).toBe("none");
  const imported = await sandbox.plugin.read(tokens.network, made.id);
  expect(imported.inputs).toMatchObject({ name: sandbox.name("net"), internal: true });
  const byName = await sandbox.plugin.read(tokens.network, sandbox.name("net"));
  expect(byName.id).toBe(sandbox.name("net"));
  await sandbox.plugin.delete(tokens.network, made.id, made.outputs);
  expect((await sandbox.plugin.read(tokens.network, made.id, made.outputs, made.inputs)).id).toBe("");
  await sandbox.plugin.delete(tokens.network, made.id, made.outputs);
});

test("a second network of a name is refused", async () => {
  await sandbox.network("once");
  await expect(sandbox.network("once")).rejects.toThrow(/Unable to create network: .* already exists/);
});

test("a network that is in use is deleted as soon as it is free", async () => {
  const network = await sandbox.network("busy");
  const made = await sandbox.container("member", { networksAdvanced: [{ name: network.id }] });
  const deletion = sandbox.plugin.delete(tokens.network, network.id, network.outputs);
  await setTimeout(1000);
  await sandbox.plugin.delete(tokens.container, made.id, made.outputs);
  await deletion;
  await expect(sandbox.docker.getNetwork(network.id).inspect()).rejects.toMatchObject({ statusCode: 404 });
});

test("a volume that exists is taken over with what is in it", async () => {
  const name = sandbox.name("retained");
  const first = await sandbox.make(tokens.volume, { name });
  const writer = await sandbox.container("writer", {
    volumes: [{ volumeName: name, containerPath: "/data" }],
  });
  await sandbox.run(writer.id, "sh", "-c", "echo kept > /data/file");
  const second = await sandbox.make(tokens.volume, { name });
  expect(second.outputs).toEqual(first.outputs);
  expect(second.outputs).toMatchObject({ cluster: null, driver: "local", driverOpts: null, name });
  expect(await sandbox.run(writer.id, "cat", "/data/file")).toEqual({ code: 0, output: "kept" });
});

test("a volume is read without a difference, and gone after its deletion", async () => {
  const made = await sandbox.volume("plain");
  const read = await sandbox.plugin.read(tokens.volume, made.id, made.outputs, made.inputs);
  expect(read.inputs).toEqual(made.inputs);
  expect(await sandbox.change(tokens.volume, { ...made, outputs: read.outputs }, {})).toBe("none");
  await sandbox.plugin.delete(tokens.volume, made.id, made.outputs);
  expect((await sandbox.plugin.read(tokens.volume, made.id, made.outputs, made.inputs)).id).toBe("");
  await sandbox.plugin.delete(tokens.volume, made.id, made.outputs);
});

test("an image is found by its name, and removed again unless it is to be kept", async () => {
  const repo = sandbox.name("image");
  await sandbox.docker.getImage("postgres:17-trixie").tag({ repo, tag: "1" });
  const kept = await sandbox.make(tokens.image, { labels: null, name: `${repo}:1`, keepLocally: true });
  const { Id } = await sandbox.docker.getImage("postgres:17-trixie").inspect();
  expect(kept.id).toBe(`${Id}${repo}:1`);
  expect(kept.outputs).toMatchObject({ imageId: Id, keepLocally: true, platform: null, pullTriggers: null });
  expect(await sandbox.change(tokens.image, kept, {})).toBe("none");
  await sandbox.plugin.delete(tokens.image, kept.id, kept.outputs);
  const read = await sandbox.plugin.read(tokens.image, kept.id, kept.outputs, kept.inputs);
  expect(read.id).toBe(kept.id);
  const outputs = await sandbox.plugin.update(tokens.image, kept.id, kept.outputs, {
    ...kept.inputs,
    keepLocally: false,
  });
  await sandbox.plugin.delete(tokens.image, kept.id, outputs);
  expect((await sandbox.plugin.read(tokens.image, kept.id, kept.outputs, kept.inputs)).id).toBe("");
});

test("an image that cannot be pulled is an error that says why", async () => {
  const name = "127.0.0.1:1/no-such-image:1";
  await expect(sandbox.make(tokens.image, { labels: null, name })).rejects.toThrow(
    /Unable to read Docker image into resource: unable to pull image .* connection refused/,
  );
});

test.each([
  ["1m30s", 90e9, "1m30s"],
  ["90s", 90e9, "1m30s"],
  ["1m", 60e9, "1m0s"],
  ["1500ms", 1.5e9, "1.5s"],
  ["1h2m3.5s", 3723.5e9, "1h2m3.5s"],
  ["250us", 250e3, "250µs"],
  ["0", 0, "0s"],
  ["soon", undefined, ""],
  ["5", undefined, ""],
])("a duration of %s is %s nanoseconds, written %s", (text, nanoseconds, written) => {
  expect(parseDuration(text)).toBe(nanoseconds);
  if (nanoseconds !== undefined) expect(formatDuration(nanoseconds)).toBe(written);
});

test.each([
  [1, "1.0"],
  [1.5, "1.5"],
  [0.5, "0.5"],
  [0.25, "0.25"],
  [0.05, "0.1"],
  [10, "10."],
])("%s processors come back as %s, as from the genuine plugin", (cpus, text) => {
  expect(cpusText(cpus * 1e9)).toBe(text);
});

test("an upload's path must fit into an archive", () => {
  expect(() => uploadArchive([{ file: `/${"a".repeat(101)}`, content: "a" }])).toThrow(
    "the path of an upload is longer than 100 bytes",
  );
});
