import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Properties, UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { testLabel, testRun } from "../../support/docker.ts";
import { type Made, Sandbox, tokens } from "./sandbox.ts";

let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
});
afterAll(() => sandbox.close());

function read(made: Made) {
  return sandbox.plugin.read(tokens.container, made.id, made.outputs, made.inputs);
}

function remove(made: Made) {
  return sandbox.plugin.delete(tokens.container, made.id, made.outputs);
}

test("a state holds every property, as the genuine plugin writes it", async () => {
  const made = await sandbox.container("state", { envs: ["B=2", "A=1"] });
  const { id, hostname, networkDatas, image, name, labels, ...rest } = made.outputs;
  expect(id).toBe(made.id);
  expect(hostname).toBe(made.id.slice(0, 12));
  expect(networkDatas).toEqual([expect.objectContaining({ networkName: "bridge", ipPrefixLength: 16 })]);
  expect({ image, name, labels }).toEqual({
    image: "postgres:17-trixie",
    name: sandbox.name("state"),
    labels: [
      { label: testLabel, value: testRun },
      { label: "postgresql-environments.test-run", value: sandbox.id },
    ],
  });
  expect(rest).toMatchSnapshot();
});

test("defaults that are not zero are written into the inputs, and named there", async () => {
  const inputs = await sandbox.check(tokens.container, {
    image: "a",
    name: "a",
    ports: [{ internal: 1 }],
    healthcheck: { tests: ["CMD", "true"], interval: "1s" },
  });
  expect(inputs).toMatchInlineSnapshot(`
    {
      "__defaults": [
        "containerReadRefreshTimeoutMilliseconds",
        "mustRun",
        "networkMode",
        "removeVolumes",
        "restart",
        "start",
        "waitTimeout",
      ],
      "containerReadRefreshTimeoutMilliseconds": 15000,
      "healthcheck": {
        "__defaults": [
          "startInterval",
          "startPeriod",
          "timeout",
        ],
        "interval": "1s",
        "startInterval": "0s",
        "startPeriod": "0s",
        "tests": [
          "CMD",
          "true",
        ],
        "timeout": "0s",
      },
      "image": "a",
      "mustRun": true,
      "name": "a",
      "networkMode": "bridge",
      "ports": [
        {
          "__defaults": [
            "ip",
            "protocol",
          ],
          "internal": 1,
          "ip": "0.0.0.0",
          "protocol": "tcp",
        },
      ],
      "removeVolumes": true,
      "restart": "no",
      "start": true,
      "waitTimeout": 60,
    }
  `);
});

test("uploads are there before the container starts, with content, owner and mode", async () => {
  const made = await sandbox.container("uploads", {
    entrypoints: ["/opt/new/folder/run"],
    command: ["600"],
    uploads: [
      { file: "/opt/new/folder/run", content: '#!/bin/sh\nexec sleep "$1"\n', executable: true },
      { file: "/etc/key.pem", content: "s3cret ü\n", permissions: "0600" },
      { file: "/etc/bytes", contentBase64: Buffer.from([0, 255, 10, 128]).toString("base64") },
    ],
  });
  const { output } = await sandbox.run(
    made.id,
    "sh",
    "-c",
    "stat -c '%U:%G %a %n' /opt/new/folder/run /etc/key.pem /etc/bytes; cat /etc/key.pem; od -An -tu1 /etc/bytes",
  );
  expect(output.split("\n")).toEqual([
    "root:root 744 /opt/new/folder/run",
    "root:root 600 /etc/key.pem",
    "root:root 644 /etc/bytes",
    "s3cret ü",
    "   0 255  10 128",
  ]);
});

test("a port without a number gets a free one, told in the state, and kept by every later read", async () => {
  const made = await sandbox.container("ports", {
    ports: [{ internal: 5432, ip: "127.0.0.1" }],
    entrypoints: ["sh", "-c"],
    command: ["exec sleep 600"],
  });
  const [port] = made.outputs.ports as Properties[];
  expect(port).toEqual({ internal: 5432, external: expect.any(Number), ip: "127.0.0.1", protocol: "tcp" });
  expect(port?.external).toBeGreaterThan(1023);
  expect((await read(made)).outputs.ports).toEqual([port]);
  expect(await sandbox.change(tokens.container, made, {})).toBe("none");
});

test("a preview does not know the port that the engine will choose, nor what it will tell", async () => {
  const inputs = await sandbox.check(tokens.container, {
    name: "a",
    image: "a",
    ports: [{ internal: 5432 }, { internal: 80, external: 8080 }],
  });
  const { id, outputs } = await sandbox.plugin.create(tokens.container, inputs, { preview: true });
  expect(id).toBe("");
  expect(outputs).toMatchObject({
    ports: [
      { internal: 5432, external: UNKNOWN },
      { internal: 80, external: 8080 },
    ],
    hostname: UNKNOWN,
    networkDatas: UNKNOWN,
    image: "a",
  });
});

test("a container is in the networks that it names, under its aliases, and not in the default one", async () => {
  const network = await sandbox.network("inner");
  const server = await sandbox.container("server", {
    networksAdvanced: [{ name: network.id, aliases: ["db", "postgres"] }],
  });
  const client = await sandbox.container("client", { networksAdvanced: [{ name: network.id }] });
  const networks = Object.keys((await sandbox.inspect(server.id)).NetworkSettings.Networks);
  expect(networks).toEqual([sandbox.name("inner")]);
  const [data] = server.outputs.networkDatas as Properties[];
  for (const alias of ["db", "postgres"]) {
    const { output } = await sandbox.run(client.id, "getent", "hosts", alias);
    expect(output.split(/\s+/)).toEqual([data?.ipAddress, alias]);
  }
});

test("waits until the container is healthy, and not longer", async () => {
  const startedAt = Date.now();
  const made = await sandbox.container("healthy", {
    healthcheck: { tests: ["CMD", "true"], interval: "1s", timeout: "5s", retries: 3 },
    wait: true,
    waitTimeout: 30,
  });
  expect(Date.now() - startedAt).toBeLessThan(20_000);
  expect((await sandbox.inspect(made.id)).State.Health?.Status).toBe("healthy");
  expect(made.outputs.healthcheck).toEqual({
    tests: ["CMD", "true"],
    interval: "1s",
    timeout: "5s",
    startPeriod: "0s",
    startInterval: "0s",
    retries: 3,
  });
});

test("tmpfs, limits, ulimits and user reach the engine", async () => {
  const made = await sandbox.container("limits", {
    init: true,
    memory: 64,
    memorySwap: 64,
    cpus: "0.5",
    shmSize: 16,
    user: "postgres",
    tmpfs: { "/scratch": "size=2m,mode=0700" },
    mounts: [{ type: "tmpfs", target: "/fast", tmpfsOptions: { sizeBytes: 1048576, mode: 448 } }],
    ulimits: [{ name: "nofile", soft: 512, hard: 1024 }],
    sysctls: { "net.core.somaxconn": "1234" },
    hosts: [{ host: "elsewhere", ip: "10.1.2.3" }],
    stopSignal: "SIGINT",
    stopTimeout: 42,
    logDriver: "json-file",
    logOpts: { "max-size": "3m" },
    securityOpts: ["no-new-privileges:true"],
    capabilities: { drops: ["NET_RAW"] },
    groupAdds: ["users"],
  });
  const { HostConfig, Config } = await sandbox.inspect(made.id);
  expect(HostConfig).toMatchObject({
    Memory: 64 * 1024 * 1024,
    MemorySwap: 64 * 1024 * 1024,
    NanoCpus: 5e8,
    ShmSize: 16 * 1024 * 1024,
    Tmpfs: { "/scratch": "size=2m,mode=0700" },
    Ulimits: [{ Name: "nofile", Soft: 512, Hard: 1024 }],
    Sysctls: { "net.core.somaxconn": "1234" },
    ExtraHosts: ["elsewhere:10.1.2.3"],
    LogConfig: { Type: "json-file", Config: { "max-size": "3m" } },
    SecurityOpt: ["no-new-privileges:true"],
    CapDrop: ["CAP_NET_RAW"],
    GroupAdd: ["users"],
    Init: true,
  });
  expect(Config).toMatchObject({ User: "postgres", StopSignal: "SIGINT", StopTimeout: 42 });
  const { output } = await sandbox.run(
    made.id,
    "sh",
    "-c",
    "df --output=size,target /scratch /fast /dev/shm | tail -n +2",
  );
  expect(output.split("\n").map((line) => line.trim().split(/\s+/))).toEqual([
    ["2048", "/scratch"],
    ["1024", "/fast"],
    ["16384", "/dev/shm"],
  ]);
  expect(await sandbox.change(tokens.container, made, {})).toBe("none");
});

test("a container that is gone is read as gone, and deleted without an error", async () => {
  const made = await sandbox.container("gone");
  await sandbox.docker.getContainer(made.id).remove({ force: true, v: true });
  expect((await read(made)).id).toBe("");
  await remove(made);
});

test("a stopped container that must run is a difference, and the next update starts it again", async () => {
  const made = await sandbox.container("stopped", { ports: [{ internal: 5432, ip: "127.0.0.1" }] });
  await sandbox.docker.getContainer(made.id).stop({ t: 0 });
  const { outputs } = await read(made);
  expect(outputs).toMatchObject({ mustRun: false, exitCode: 137, ports: [] });
  const running = { ...made, outputs: { ...outputs, ports: made.outputs.ports ?? [] } };
  expect(await sandbox.change(tokens.container, running, {})).toBe("update");
  const updated = await sandbox.plugin.update(tokens.container, made.id, running.outputs, made.inputs);
  expect(updated.mustRun).toBe(true);
  expect((await sandbox.inspect(made.id)).State.Running).toBe(true);
});

test("a stopped container that need not run is no difference", async () => {
  const made = await sandbox.container("done", { command: ["0"], mustRun: false });
  await sandbox.docker.getContainer(made.id).wait();
  const { outputs } = await read(made);
  expect(outputs).toMatchObject({ mustRun: false, exitCode: 0 });
  expect(await sandbox.change(tokens.container, { ...made, outputs }, {})).toBe("none");
});

test("a container that is attached to has ended when its creation has, with its output in the state", async () => {
  const made = await sandbox.container("attached", {
    entrypoints: ["sh", "-c"],
    command: ["echo one; sleep 0.5; echo two"],
    attach: true,
    logs: true,
    mustRun: false,
  });
  expect(made.outputs).toMatchObject({ exitCode: 0, containerLogs: "one\ntwo\n" });
});

test("a container that is not to start is made and left alone", async () => {
  const made = await sandbox.container("idle", { start: false });
  expect((await sandbox.inspect(made.id)).State.Status).toBe("created");
});

test("deletion gives a container its grace period to end, and keeps named volumes", async () => {
  const volume = await sandbox.volume("kept");
  const made = await sandbox.container("graceful", {
    entrypoints: ["sh", "-c"],
    command: ["trap 'echo ended > /data/how; exit 0' INT; while :; do sleep 0.1; done"],
    volumes: [{ volumeName: volume.id, containerPath: "/data" }],
    destroyGraceSeconds: 30,
  });
  await remove(made);
  await expect(sandbox.inspect(made.id)).rejects.toMatchObject({ statusCode: 404 });
  const heir = await sandbox.container("heir", {
    volumes: [{ volumeName: volume.id, containerPath: "/data", readOnly: true }],
  });
  expect(await sandbox.run(heir.id, "cat", "/data/how")).toEqual({ code: 0, output: "ended" });
  expect((await sandbox.run(heir.id, "touch", "/data/other")).code).not.toBe(0);
});

test.each([
  [true, 404],
  [false, 200],
])("removeVolumes %s decides what becomes of anonymous volumes", async (removeVolumes, status) => {
  const made = await sandbox.container(`anonymous-${removeVolumes}`, {
    removeVolumes,
    volumes: [{ containerPath: "/anonymous" }],
  });
  const mounts = (await sandbox.inspect(made.id)).Mounts;
  const found = mounts.find((mount) => mount.Destination === "/anonymous")?.Name ?? "";
  await remove(made);
  const after = await sandbox.docker
    .getVolume(found)
    .inspect()
    .then(
      () => 200,
      (error) => error.statusCode,
    );
  for (const { Name } of removeVolumes ? [] : mounts) await sandbox.docker.getVolume(Name ?? "").remove();
  expect(after).toBe(status);
});

test("a container that the engine removes by itself is gone after its deletion", async () => {
  const made = await sandbox.container("fleeting", { rm: true });
  await remove(made);
  await expect(sandbox.inspect(made.id)).rejects.toMatchObject({ statusCode: 404 });
});

test("an import fills state and inputs from the engine", async () => {
  const made = await sandbox.container("imported", { memory: 64, memorySwap: 64, restart: "always" });
  const { id, outputs, inputs } = await sandbox.plugin.read(tokens.container, made.id);
  expect(id).toBe(made.id);
  expect(outputs).toMatchObject({ image: "postgres:17-trixie", memory: 64, command: ["600"] });
  expect(inputs).toMatchObject({
    name: sandbox.name("imported"),
    image: "postgres:17-trixie",
    entrypoints: ["sleep"],
    restart: "always",
    memory: 64,
  });
  expect(inputs.ports).toBeUndefined();
});

test("an image named by its id is read back as its id", async () => {
  const found = await sandbox.docker.getImage("postgres:17-trixie").inspect();
  const made = await sandbox.container("by-id", { image: found.Id });
  expect(made.outputs.image).toBe(found.Id);
  expect((await read(made)).outputs.image).toBe(found.Id);
});

test("a host port is taken as given", async () => {
  const external = await freePort();
  const made = await sandbox.container("given-port", {
    ports: [{ internal: 5432, external, ip: "127.0.0.1" }],
  });
  expect(made.outputs.ports).toEqual([{ internal: 5432, external, ip: "127.0.0.1", protocol: "tcp" }]);
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0));
    });
  });
}
