import { setTimeout } from "node:timers/promises";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Properties } from "../../../airgap/plugins/common/values.ts";
import { InitFailed } from "../common/client.ts";
import { type Made, Sandbox, tokens } from "./sandbox.ts";

let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await Sandbox.open();
});
afterAll(() => sandbox.close());

async function failure(run: Promise<unknown>): Promise<Error> {
  return run.then(
    () => expect.fail("it did not fail"),
    (error) => error,
  );
}

/** The message without what differs from run to run. */
function message(error: Error): string {
  return error.message
    .replace(/[0-9a-f]{64}/g, "ID")
    .replaceAll(sandbox.id, "RUN")
    .replace(/127\.0\.0\.1:\d+/, "127.0.0.1:PORT");
}

/** What the engine would do next with a container whose creation failed half-way. */
async function afterwards(error: Error, inputs: Properties) {
  if (!(error instanceof InitFailed)) return expect.fail("nothing was left behind");
  const { changes, replaces } = await sandbox.plugin.diff(tokens.container, error.outputs, inputs);
  return { changes, replaces };
}

test("inputs that cannot be are refused with the genuine plugin's words", async () => {
  const { failures } = await sandbox.plugin.check(tokens.container, {
    name: "c",
    restart: "sometimes",
    memory: -1,
    memorySwap: -2,
    shmSize: -1,
    cpuSet: "one",
    cpuShares: -1,
    healthcheck: { tests: ["CMD"], interval: "soon", timeout: "-1s", retries: -1 },
    uploads: [{ file: "/a", content: "a", permissions: "600" }, { contentBase64: "%%" }],
    mounts: [{ type: "disk" }],
    volumes: [{ hostPath: "relative" }],
    ports: [{ external: 1 }],
    networksAdvanced: [{}],
  });
  expect(failures.sort()).toMatchInlineSnapshot(`
    [
      "'-1' cannot be lower than 0. '-1' cannot be lower than 0. Examine values at 'test.cpuShares'.",
      "'-1' cannot be lower than 0. '-1' cannot be lower than 0. Examine values at 'test.healthcheck.retries'.",
      "'-1' cannot be lower than 0. '-1' cannot be lower than 0. Examine values at 'test.memory'.",
      "'-1' cannot be lower than 0. '-1' cannot be lower than 0. Examine values at 'test.shmSize'.",
      "'-1s' duration must not be negative. '-1s' duration must not be negative. Examine values at 'test.healthcheck.timeout'.",
      "'-2' cannot be lower than -1. '-2' cannot be lower than -1. Examine values at 'test.memorySwap'.",
      "'600' doesn't match the pattern '^0[0-7]{3}$'. '600' doesn't match the pattern '^0[0-7]{3}$'. Examine values at 'test.uploads'.",
      "'disk' doesn't match the pattern '^(bind|volume|tmpfs)$'. 'disk' doesn't match the pattern '^(bind|volume|tmpfs)$'. Examine values at 'test.mounts'.",
      "'one' doesn't match the pattern '^\\d+([,-]\\d+)*$'. 'one' doesn't match the pattern '^\\d+([,-]\\d+)*$'. Examine values at 'test.cpuSet'.",
      "'relative' must be an absolute path. 'relative' must be an absolute path. Examine values at 'test.volumes'.",
      "'sometimes' doesn't match the pattern '^(no|on-failure|always|unless-stopped)$'. 'sometimes' doesn't match the pattern '^(no|on-failure|always|unless-stopped)$'. Examine values at 'test.restart'.",
      "'soon' is not a valid duration. 'soon' is not a valid duration. Examine values at 'test.healthcheck.interval'.",
      "It is not base64 decodeable. It is not base64 decodeable. Examine values at 'test.uploads'.",
      "Missing required argument. The argument "image" is required, but no definition was found.. Examine values at 'test.image'.",
      "Missing required argument. The argument "mounts.0.target" is required, but no definition was found.. Examine values at 'test.mounts'.",
      "Missing required argument. The argument "networks_advanced.0.name" is required, but no definition was found.. Examine values at 'test.networksAdvanced'.",
      "Missing required argument. The argument "ports.0.internal" is required, but no definition was found.. Examine values at 'test.ports[0].internal'.",
      "Missing required argument. The argument "upload.1.file" is required, but no definition was found.. Examine values at 'test.uploads'.",
    ]
  `);
});

test("a property that no program here uses is refused by name", async () => {
  const { failures } = await sandbox.plugin.check(tokens.container, {
    image: "a",
    privileged: true,
    uploads: [{ file: "/a", source: "/b" }],
  });
  expect(failures.map((reason) => reason.split(" of ")[0])).toEqual([
    "The airgap stand-in plugin does not know property 'privileged'",
    "The airgap stand-in plugin does not know property 'uploads[0].source'",
  ]);
});

test("an image that cannot be had leaves nothing behind", async () => {
  const error = await failure(sandbox.container("no-image", { image: "127.0.0.1:1/no-such-image:1" }));
  expect(error).not.toBeInstanceOf(InitFailed);
  expect(error.message).toMatch(
    /^1 error occurred:\n\t\* Unable to create container with image 127\.0\.0\.1:1\/no-such-image:1: unable to pull image 127\.0\.0\.1:1\/no-such-image:1: error pulling image 127\.0\.0\.1:1\/no-such-image:1: Error response from daemon: .*connection refused\n\n$/,
  );
});

test("a name that is no image's is told from one that cannot be had", async () => {
  const error = await failure(sandbox.container("bad-image", { image: "Not:An:Image" }));
  expect(message(error)).toContain(
    'findImage1: error looking up local image "Not:An:Image": unable to inspect image Not:An:Image: Error response from daemon:',
  );
});

test("an empty image name is refused", async () => {
  const error = await failure(sandbox.container("empty-image", { image: "" }));
  expect(message(error)).toMatchInlineSnapshot(`
    "1 error occurred:
    	* Unable to create container with image : empty image name is not allowed

    "
  `);
});

test("a container that does not turn healthy in time is kept, and replaced by the next update", async () => {
  const properties = {
    name: sandbox.name("unhealthy"),
    image: "postgres:17-trixie",
    command: ["sleep", "600"],
    healthcheck: { tests: ["CMD", "false"], interval: "1s" },
    wait: true,
    waitTimeout: 2,
  };
  const startedAt = Date.now();
  const error = await failure(sandbox.make(tokens.container, properties));
  const seconds = (Date.now() - startedAt) / 1000;
  expect(seconds).toBeGreaterThan(2);
  expect(seconds).toBeLessThan(15);
  expect(message(error)).toMatchInlineSnapshot(`
    "creating urn:pulumi:test::test::docker:index/container:Container::test: 1 error occurred:
    	* container failed to be in healthy state

    "
  `);
  const inputs = await sandbox.check(tokens.container, { labels: sandbox.labels, ...properties });
  expect(await afterwards(error, inputs)).toEqual({ changes: true, replaces: ["entrypoints"] });
  // With command and entrypoint both given, the genuine plugin has nothing by which to see that it failed.
  const given = { ...inputs, entrypoints: ["docker-entrypoint.sh"] };
  const left = error as InitFailed;
  const both = new InitFailed(left.id, { ...left.outputs, entrypoints: given.entrypoints }, left.message);
  expect(await afterwards(both, given)).toEqual({ changes: true, replaces: [] });
  expect((await sandbox.inspect(left.id)).State.Running).toBe(true);
  await sandbox.plugin.delete(tokens.container, left.id, left.outputs);
});

test("a cancelled wait for health ends at once, and keeps the container", async () => {
  const away = await Sandbox.open();
  try {
    const startedAt = Date.now();
    const creation = failure(
      away.container("cancelled", {
        healthcheck: { tests: ["CMD", "false"], interval: "1s" },
        wait: true,
        waitTimeout: 120,
      }),
    );
    await setTimeout(2000);
    await away.plugin.call(away.plugin.rpc.cancel, new empties.Empty());
    expect(await creation).toBeInstanceOf(InitFailed);
    expect(Date.now() - startedAt).toBeLessThan(30_000);
  } finally {
    await away.close();
  }
});

test("waiting needs a health check", async () => {
  const error = await failure(sandbox.container("no-check", { wait: true }));
  expect(message(error)).toMatchInlineSnapshot(`
    "creating urn:pulumi:test::test::docker:index/container:Container::test: 1 error occurred:
    	* you have supplied a 'wait' argument, but the container does not have a healthcheck defined. Please remove the 'wait' argument or add a 'healthcheck' attribute

    "
  `);
  expect(error).toBeInstanceOf(InitFailed);
});

test("a port in use fails the start and names the port", async () => {
  const ports = [{ internal: 5432, ip: "127.0.0.1" }];
  const first = await sandbox.container("first", { ports });
  const [{ external = null } = {}] = first.outputs.ports as Properties[];
  const error = await failure(
    sandbox.container("second", { ports: [{ internal: 5432, external, ip: "127.0.0.1" }] }),
  );
  expect(error).toBeInstanceOf(InitFailed);
  expect(message(error)).toContain("* Unable to start container: Error response from daemon: ");
  expect(message(error)).toContain("Bind for 127.0.0.1:PORT failed: port is already allocated");
});

test("a name in use leaves the container that has it alone", async () => {
  const first = await sandbox.container("twice");
  const error = await failure(sandbox.container("twice"));
  expect(error).not.toBeInstanceOf(InitFailed);
  expect(message(error)).toContain(
    'Unable to create container: Error response from daemon: Conflict. The container name "/RUN-twice" is already in use by container "ID".',
  );
  expect((await sandbox.inspect(first.id)).State.Running).toBe(true);
});

const nothing = "nothing left";
const container = "a container left";

// What comes from the engine differs between its versions, and is not looked at.
test.each<[string, Properties, string, string]>([
  ["no-network", { networksAdvanced: [{ name: "no-such-network" }] }, "Unable to ", container],
  ["no-command", { entrypoints: ["no-such-program"] }, "Unable to start container: ", container],
  ["empty-word", { command: ["1", ""] }, "values for command may not be empty", nothing],
  [
    "no-content",
    { uploads: [{ file: "/a" }] },
    "error with upload content: one of 'content', 'content_base64', or 'source' must be set",
    container,
  ],
  [
    "two-contents",
    { uploads: [{ file: "/a", content: "a", contentBase64: "YQ==" }] },
    "error with upload content: only one of 'content', 'content_base64', or 'source' can be set",
    container,
  ],
  [
    "no-path",
    { volumes: [{ volumeName: "a" }] },
    "Unable to parse volumes: volume entry without container path or source container",
    nothing,
  ],
  ["bad-cpus", { cpus: "many" }, "Error setting cpus: failed to parse many as a rational number", nothing],
  ["little-memory", { memory: 1 }, "Unable to create container: Error response from daemon: ", nothing],
])("tells what went wrong: %s", async (name, properties, reason, left) => {
  const error = await failure(sandbox.container(name, properties));
  expect(error.message).toContain(`1 error occurred:\n\t* ${reason}`);
  expect(error instanceof InitFailed ? container : nothing).toBe(left);
});

test("a failed update is in the state, so that the next one sees no more than what is left to do", async () => {
  const made = await sandbox.container("update");
  const inputs: Properties = { ...made.inputs, memory: 1, memorySwap: 1 };
  const error = await failure(sandbox.plugin.update(tokens.container, made.id, made.outputs, inputs));
  expect(message(error)).toMatchInlineSnapshot(`
    "updating urn:pulumi:test::test::docker:index/container:Container::test: 1 error occurred:
    	* Unable to update a container: Error response from daemon: Minimum memory limit allowed is 6MB

    "
  `);
  expect((error as InitFailed).outputs.memory).toBe(1);
});

test("a volume in use is deleted as soon as it is free", async () => {
  const volume = await sandbox.volume("busy");
  const holder: Made = await sandbox.container("holder", {
    volumes: [{ volumeName: volume.id, containerPath: "/data" }],
  });
  const deletion = sandbox.plugin.delete(tokens.volume, volume.id, volume.outputs);
  await setTimeout(1000);
  await sandbox.plugin.delete(tokens.container, holder.id, holder.outputs);
  await deletion;
  await expect(sandbox.docker.getVolume(volume.id).inspect()).rejects.toMatchObject({ statusCode: 404 });
});

test.each([
  ["unix:///no/such/docker.sock", "unix socket"],
  ["tcp://127.0.0.1:1", "closed port"],
])("an engine that is not there is named: %s", async (host) => {
  const away = await Sandbox.open({ config: { host } });
  try {
    const run = (await failure(away.volume("a"))).message;
    expect(run).toBe(
      "1 error occurred:\n\t* failed to create Docker client: Error pinging Docker server, please make sure that " +
        `${host} is reachable and has a  '_ping' endpoint. Error: Cannot connect to the Docker daemon at ${host}. ` +
        "Is the docker daemon running?\n\n",
    );
    const refresh = (await failure(away.plugin.read(tokens.volume, "a", { name: "a" }, { name: "a" })))
      .message;
    expect(refresh).toBe(`refreshing urn:pulumi:test::test::${tokens.volume}::test: ${run}`);
  } finally {
    away.plugin.stop();
  }
});

test("the engine is that of DOCKER_HOST where the program names none", async () => {
  const away = await Sandbox.open({ env: { DOCKER_HOST: "unix:///no/such/docker.sock" } });
  try {
    expect((await failure(away.volume("a"))).message).toContain("unix:///no/such/docker.sock");
  } finally {
    away.plugin.stop();
  }
});

test("a host that is no address, or needs what the stand-in lacks, is refused", async () => {
  for (const [host, reason] of [
    ["nowhere", "unable to parse docker host `nowhere`"],
    ["ssh://somewhere", "reaches Docker over unix:// and tcp:// only, not over ssh://"],
  ] as const) {
    const away = await Sandbox.open({ config: { host } });
    try {
      expect((await failure(away.volume("a"))).message).toContain(reason);
    } finally {
      away.plugin.stop();
    }
  }
});
