import { afterAll, beforeAll, expect, test } from "vitest";
import { type Properties, UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { type Made, Sandbox, tokens } from "./sandbox.ts";

let sandbox: Sandbox;
let made: Made;
let network: Made;
let volume: Made;
let image: Made;

const ports = [
  { internal: 5432, ip: "127.0.0.1", protocol: "tcp" },
  { internal: 9187, ip: "127.0.0.1", protocol: "tcp" },
];
const files = [
  { file: "/etc/a", content: "a", permissions: "0600" },
  { file: "/etc/b", contentBase64: "Yg==", executable: true },
];

beforeAll(async () => {
  sandbox = await Sandbox.open();
  network = await sandbox.network("net");
  volume = await sandbox.volume("data");
  image = await sandbox.make(tokens.image, { labels: null, name: "postgres:17-trixie", keepLocally: true });
  made = await sandbox.container("full", {
    capabilities: { adds: ["CAP_NET_ADMIN"] },
    cpus: "1.5",
    envs: ["A=1", "B=2"],
    healthcheck: { tests: ["CMD", "true"], interval: "1s" },
    hostname: "db",
    init: true,
    logDriver: "json-file",
    logOpts: { "max-size": "1m" },
    memory: 64,
    memorySwap: 64,
    mounts: [
      { type: "tmpfs", target: "/scratch", tmpfsOptions: { sizeBytes: 1048576 } },
      { type: "volume", source: volume.id, target: "/mnt" },
    ],
    networksAdvanced: [{ name: network.id, aliases: ["db", "postgres"] }],
    ports,
    restart: "no",
    shmSize: 32,
    stopSignal: "SIGTERM",
    stopTimeout: 5,
    tmpfs: { "/run": "size=1m" },
    ulimits: [{ name: "nofile", soft: 100, hard: 200 }],
    uploads: files,
    user: "root",
    volumes: [{ volumeName: volume.id, containerPath: "/data" }],
    wait: true,
  });
});
afterAll(() => sandbox.close());

test("nothing changes after a creation, nor after a read of it", async () => {
  expect(await sandbox.change(tokens.container, made, {})).toBe("none");
  const read = await sandbox.plugin.read(tokens.container, made.id, made.outputs, made.inputs);
  expect(read.id).toBe(made.id);
  expect(read.inputs).toEqual(made.inputs);
  expect(await sandbox.change(tokens.container, { ...made, outputs: read.outputs }, {})).toBe("none");
});

// null takes a property away.
const replacing: Properties[] = [
  { name: "other" },
  { image: "other:1" },
  { image: UNKNOWN },
  { command: ["601"] },
  { entrypoints: ["tail"] },
  { envs: ["A=2", "B=2"] },
  { envs: ["A=1"] },
  { envs: [] },
  { labels: [{ label: "x", value: "y" }] },
  { ports: [ports[0] ?? null] },
  { ports: null },
  { ports: [{ internal: 5432, external: 1, ip: "127.0.0.1" }, ports[1] ?? null] },
  { ports: [{ internal: 5432, ip: "0.0.0.0" }, ports[1] ?? null] },
  { uploads: [{ file: "/etc/a", content: "changed", permissions: "0600" }, files[1] ?? null] },
  { uploads: [{ file: "/etc/a", content: "a", permissions: "0640" }, files[1] ?? null] },
  { uploads: null },
  { volumes: [{ volumeName: "other", containerPath: "/data" }] },
  { volumes: null },
  { mounts: null },
  {
    mounts: [
      { type: "tmpfs", target: "/scratch", tmpfsOptions: { sizeBytes: 2097152 } },
      { type: "bind", target: "/mnt" },
    ],
  },
  { networksAdvanced: null },
  { networksAdvanced: [{ name: "other" }] },
  { networkMode: "none" },
  { user: "postgres" },
  { hostname: "other" },
  { stopSignal: "SIGINT" },
  { stopTimeout: 6 },
  { shmSize: 64 },
  { cpus: "2.0" },
  { cpus: null },
  { capabilities: null },
  { capabilities: { adds: ["CAP_NET_ADMIN", "CAP_SYS_TIME"] } },
  { logDriver: "local" },
  { logOpts: { "max-size": "2m" } },
  { readOnly: true },
  { ulimits: [{ name: "nofile", soft: 100, hard: 300 }] },
  { hosts: [{ host: "a", ip: "10.0.0.1" }] },
  { sysctls: { "net.core.somaxconn": "1024" } },
  { dns: ["1.1.1.1"] },
  { groupAdds: ["10"] },
  { securityOpts: ["no-new-privileges:true"] },
  { workingDir: "/tmp" },
];

test.each(replacing)("replaces the container for %j", async (change) => {
  expect(await sandbox.change(tokens.container, made, change)).toBe("replace");
});

test("a container is deleted before its successor is made", async () => {
  const inputs = { ...made.inputs, image: "other:1" };
  const diff = await sandbox.plugin.diff(tokens.container, made.outputs, inputs);
  expect(diff).toMatchObject({ deleteBeforeReplace: true, detailed: { image: "UPDATE_REPLACE" } });
});

const updating: Properties[] = [
  { memory: 128, memorySwap: 256 },
  { memory: null, memorySwap: null },
  { memorySwap: -1 },
  { memoryReservation: 16 },
  { cpuShares: 512 },
  { cpuSet: "0" },
  { restart: "unless-stopped" },
  { restart: "on-failure", maxRetryCount: 2 },
  { destroyGraceSeconds: 9 },
  { mustRun: false },
  { removeVolumes: false },
  { wait: null },
  { waitTimeout: 5 },
  // These are taken into the state, and never reach the container.
  { healthcheck: { tests: ["CMD", "false"], interval: "2s" } },
  { tmpfs: { "/run": "size=2m" } },
  { init: false },
  {
    mounts: [
      { type: "tmpfs", target: "/scratch", tmpfsOptions: { sizeBytes: 1048576 } },
      { type: "volume", target: "/else" },
    ],
  },
];

test.each(updating)("updates in place for %j", async (change) => {
  expect(await sandbox.change(tokens.container, made, change)).toBe("update");
});

const ignored: Properties[] = [
  { envs: ["B=2", "A=1"] },
  { uploads: [...files].reverse() },
  { envs: null },
  { labels: null },
  { healthcheck: null },
  { hostname: null },
  { hostname: "" },
  { stopSignal: null },
  { user: null },
  { shmSize: null },
  { restart: null },
];

test.each(ignored)("sees no change in %j", async (change) => {
  expect(await sandbox.change(tokens.container, made, change)).toBe("none");
});

test("a list that is unknown replaces a container that has none, and may be that of one that has", async () => {
  const bare = await sandbox.container("bare");
  for (const name of ["envs", "ports", "mounts", "securityOpts"]) {
    expect([name, await sandbox.change(tokens.container, bare, { [name]: UNKNOWN })]).toEqual([
      name,
      "replace",
    ]);
  }
  expect(await sandbox.change(tokens.container, made, { envs: UNKNOWN })).toBe("none");
});

test("sees no change in network aliases in another order", async () => {
  const networksAdvanced = [{ name: network.id, aliases: ["postgres", "db"] }];
  expect(await sandbox.change(tokens.container, made, { networksAdvanced })).toBe("none");
});

test.each([{ name: "other" }, { internal: true }, { driver: "macvlan" }, { labels: [] }, { ipv6: true }])(
  "replaces a network for %j, deleting it first as its name is given",
  async (change) => {
    expect(await sandbox.change(tokens.network, network, change)).toBe("replace");
    const inputs = await sandbox.check(tokens.network, { name: network.inputs.name ?? null, ...change });
    const diff = await sandbox.plugin.diff(tokens.network, network.outputs, inputs);
    expect(diff.deleteBeforeReplace).toBe(true);
  },
);

test("a volume that the plugin named is made anew before the old one goes", async () => {
  const olds = await sandbox.check(tokens.volume, {});
  expect(olds.name).toMatch(/^test-[0-9a-f]{7}$/);
  const inputs = await sandbox.check(tokens.volume, { labels: sandbox.labels }, olds);
  expect(inputs.name).toBe(olds.name);
  const diff = await sandbox.plugin.diff(tokens.volume, olds, inputs);
  expect(diff).toMatchObject({ replaces: ["labels"], deleteBeforeReplace: false });
});

test.each([{ name: "other" }, { driver: "other" }, { driverOpts: { type: "tmpfs" } }, { labels: null }])(
  "replaces a volume for %j",
  async (change) => {
    expect(await sandbox.change(tokens.volume, volume, change)).toBe("replace");
  },
);

test.each([
  [{ name: "other" }, "replace"],
  [{ pullTriggers: ["a"] }, "replace"],
  [{ platform: "linux/amd64" }, "replace"],
  [{ keepLocally: false }, "update"],
  [{ forceRemove: true }, "update"],
] as const)("for an image, %j means %s", async (change, expected) => {
  expect(await sandbox.change(tokens.image, image, change as unknown as Properties)).toBe(expected);
});

test("an update hands limits and restart policy to the engine, and the rest to the state only", async () => {
  const limited = await sandbox.container("limits", {
    memory: 64,
    memorySwap: 64,
    healthcheck: { tests: ["CMD", "true"], interval: "1s" },
    tmpfs: { "/run": "size=1m" },
  });
  const inputs = await sandbox.check(
    tokens.container,
    {
      name: sandbox.name("limits"),
      image: limited.inputs.image ?? null,
      labels: sandbox.labels,
      entrypoints: ["sleep"],
      command: ["600"],
      memory: 96,
      memorySwap: 128,
      cpuShares: 512,
      restart: "on-failure",
      maxRetryCount: 3,
      healthcheck: { tests: ["CMD", "false"], interval: "2s" },
      tmpfs: { "/run": "size=2m" },
    },
    limited.inputs,
  );
  const outputs = await sandbox.plugin.update(tokens.container, limited.id, limited.outputs, inputs);
  expect(outputs).toMatchObject({
    memory: 96,
    memorySwap: 128,
    cpuShares: 512,
    healthcheck: { tests: ["CMD", "false"], interval: "2s" },
    tmpfs: { "/run": "size=2m" },
  });
  const { HostConfig, Config } = await sandbox.inspect(limited.id);
  expect(HostConfig).toMatchObject({
    Memory: 96 * 1024 * 1024,
    MemorySwap: 128 * 1024 * 1024,
    CpuShares: 512,
    RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
    Tmpfs: { "/run": "size=1m" },
  });
  expect(Config.Healthcheck).toMatchObject({ Test: ["CMD", "true"], Interval: 1e9 });
  expect((await sandbox.plugin.diff(tokens.container, outputs, inputs)).changes).toBe(false);
});
