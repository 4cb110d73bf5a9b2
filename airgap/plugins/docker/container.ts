import type Docker from "dockerode";
import { type DetailedDiff, diffState } from "../common/diff.ts";
import { type OperationContext, PartialFailure, type ResourceDefinition } from "../common/plugin.ts";
import { defaultOf } from "../common/schema.ts";
import {
  computedDiff,
  plannedState,
  rawStateDelta,
  terraformError,
  topLevel,
  updatedState,
  wordFailures,
} from "../common/terraform.ts";
import { equal, type Properties, UNKNOWN } from "../common/values.ts";
import { containerSchema } from "./container-schema.ts";
import { containerSpec, containerUpdate } from "./container-spec.ts";
import { createdContainerState, refreshedContainerState } from "./container-state.ts";
import { type Engine, engineMessage, isMissing } from "./engine.ts";
import { findImage } from "./images.ts";
import { uploadArchive } from "./uploads.ts";
import { flag, objects, strings, text, whole } from "./values.ts";

const minutes20 = 20 * 60;
const healthPollMilliseconds = 100;

/** The properties that an update hands to the engine. A change of any other goes to the state only. */
const updatable = [
  "restart",
  "maxRetryCount",
  "cpuShares",
  "memory",
  "memoryReservation",
  "cpuSet",
  "memorySwap",
];

export const container: ResourceDefinition<Engine> = {
  token: "docker:index/container:Container",
  properties: containerSchema,
  schemaVersion: 2,
  timeouts: { create: minutes20, update: minutes20, delete: minutes20 },
  deleteBeforeReplace: true,

  check: (checked, _olds, context) => wordFailures(containerSchema, checked, context.name),

  diff: (result, state, inputs) => ({
    ...result,
    detailedDiff: containerDiff(result.detailedDiff, state, inputs),
  }),

  preview: (proposed, state) => ({ ...proposed, ...previewedPorts(proposed, state) }),

  async create(inputs, context) {
    const docker = await context.config.connect();
    const planned = plannedState(containerSchema, inputs);
    const id = await createContainer(docker, planned, context);
    try {
      await connectNetworks(docker, id, planned, context.config);
      await upload(docker, id, planned, context.config);
      if (flag(planned, "start")) {
        await start(docker, id, context.config);
        if (flag(planned, "wait")) await waitUntilHealthy(docker, id, planned, context);
      }
      const containerLogs = flag(planned, "attach")
        ? await attach(docker, id, planned, context.config)
        : null;
      const found = await inspect(docker, id, context.config);
      // One with `rm` that has ended already.
      if (found === undefined) throw terraformError(`Error response from daemon: No such container: ${id}`);
      return { id, outputs: withCreateDelta({ ...createdContainerState(found, planned), containerLogs }) };
    } catch (error) {
      const outputs = withCreateDelta(failedState(planned));
      throw new PartialFailure({ id, outputs }, (error as Error).message);
    }
  },

  async read(id, state, _inputs, context) {
    const docker = await context.config.connect();
    const found = await inspect(docker, id, context.config);
    if (found === undefined) return undefined;
    return { id: found.Id, outputs: withDelta(refreshedContainerState(found, state)) };
  },

  async update(id, state, inputs, context) {
    const diff = containerDiff(diffState(containerSchema, state, withDefaults(inputs)), state, inputs);
    const changed = new Set(Object.keys(diff).map(topLevel));
    const outputs = withDelta(updatedState(containerSchema, state, inputs, changed));
    try {
      const docker = await context.config.connect();
      if (!flag(state, "mustRun") && flag(outputs, "mustRun") && flag(outputs, "start")) {
        await start(docker, id, context.config);
      }
      if (updatable.some((name) => differs(state, outputs, name))) {
        await docker
          .getContainer(id)
          .update(containerUpdate(outputs))
          .catch((error) => {
            const message = engineMessage(error, context.config.host);
            throw terraformError(`Unable to update a container: ${message}`);
          });
      }
    } catch (error) {
      throw new PartialFailure({ id, outputs }, (error as Error).message);
    }
    return outputs;
  },

  async delete(id, state, context) {
    const docker = await context.config.connect();
    const found = docker.getContainer(id);
    const failed = (what: string) => (error: unknown) => {
      if (isMissing(error)) return;
      const message = engineMessage(error, context.config.host);
      if (what === "deleting container" && message.includes("is already in progress")) return;
      throw terraformError(`Error ${what} ${id}: ${message}`);
    };
    if (!flag(state, "attach")) {
      // Without a grace period it is killed: stopTimeout is not used here.
      const t = Math.max(whole(state, "destroyGraceSeconds"), 0);
      await found.stop({ t }).catch((error) => {
        if (error.statusCode !== 304) failed("stopping container")(error);
      });
    }
    await found.remove({ v: flag(state, "removeVolumes"), force: true }).catch(failed("deleting container"));
    if (flag(state, "rm")) {
      await found.wait({ condition: "removed" }).catch(failed("waiting for container removal"));
    }
  },
};

function containerDiff(diff: DetailedDiff, state: Properties, inputs: Properties): DetailedDiff {
  const result = computedDiff(containerSchema, diff, state, inputs);
  const drop = (name: string) => {
    for (const path of Object.keys(result)) if (topLevel(path) === name) delete result[path];
  };
  // Taking these away leaves what the container has.
  for (const name of ["user", "workingDir"]) if ((inputs[name] ?? "") === "") drop(name);
  if (inputs.ports !== UNKNOWN && samePorts(objects(state, "ports"), objects(inputs, "ports"))) drop("ports");
  if (inputs.mounts !== UNKNOWN && !mountsForceNew(objects(state, "mounts"), objects(inputs, "mounts"))) {
    for (const [path, kind] of Object.entries(result)) {
      if (topLevel(path) === "mounts") result[path] = kind.replace("_REPLACE", "") as typeof kind;
    }
  }
  return result;
}

/** A port whose number the engine chooses is unknown until then, or stays what it is. */
function previewedPorts(proposed: Properties, state: Properties): Properties {
  if (!Array.isArray(proposed.ports)) return {};
  const known = objects(state, "ports");
  const ports = objects(proposed, "ports").map((port, index) => ({
    ...port,
    external: port.external ?? known[index]?.external ?? UNKNOWN,
  }));
  return { ports };
}

function withDefaults(inputs: Properties): Properties {
  const defaults = Object.entries(containerSchema)
    .filter(([name]) => inputs[name] === undefined)
    .flatMap(([name, property]) => {
      const value = defaultOf(property);
      return value === undefined ? [] : [[name, value]];
    });
  return { ...inputs, ...Object.fromEntries(defaults) };
}

/** Ports in another order are the same ports. */
function samePorts(state: Properties[], inputs: Properties[]): boolean {
  if (state.length !== inputs.length) return false;
  const planned: Properties[] = inputs.map((port, index) => ({
    ...port,
    external: port.external ?? state[index]?.external ?? null,
  }));
  return state.every((old) => {
    const now = planned.find((port) => port.internal === old.internal);
    if (now === undefined) return false;
    if (now.protocol !== old.protocol) {
      return planned.some((port) => port.internal === old.internal && port.protocol === old.protocol);
    }
    return now.external !== UNKNOWN && now.external === old.external && now.ip === old.ip;
  });
}

/** Whether their number or a tmpfs changes. Any other change of a mount never reaches the container. */
function mountsForceNew(state: Properties[], inputs: Properties[]): boolean {
  const tmpfs = (mounts: Properties[]) =>
    mounts
      .filter((mount) => mount.tmpfsOptions !== undefined)
      .map((mount) =>
        JSON.stringify([mount.target, text(mount, "source"), flag(mount, "readOnly"), sizes(mount)]),
      )
      .sort();
  const sizes = ({ tmpfsOptions }: Properties) => {
    const options = tmpfsOptions as Properties;
    return [whole(options, "sizeBytes"), whole(options, "mode")];
  };
  return state.length !== inputs.length || String(tmpfs(state)) !== String(tmpfs(inputs));
}

async function createContainer(
  docker: Docker,
  planned: Properties,
  { config: engine }: OperationContext<Engine>,
): Promise<string> {
  const image = text(planned, "image");
  await findImage(engine, docker, image).catch((error: Error) => {
    throw terraformError(`Unable to create container with image ${image}: ${error.message}`);
  });
  let spec: Docker.ContainerCreateOptions;
  try {
    spec = containerSpec(planned);
  } catch (error) {
    throw terraformError((error as Error).message);
  }
  try {
    return (await docker.createContainer(spec)).id;
  } catch (error) {
    throw terraformError(`Unable to create container: ${engineMessage(error, engine.host)}`);
  }
}

async function connectNetworks(
  docker: Docker,
  id: string,
  planned: Properties,
  engine: Engine,
): Promise<void> {
  const networks = objects(planned, "networksAdvanced");
  if (networks.length === 0) return;
  // A container begins in the default network, which is not among the ones that it is to be in.
  await docker
    .getNetwork("bridge")
    .disconnect({ Container: id })
    .catch((error) => {
      const message = engineMessage(error, engine.host);
      if (message.includes("is not connected to the network bridge")) return;
      throw terraformError(`Unable to disconnect the default network: ${message}`);
    });
  for (const network of networks) {
    const name = text(network, "name");
    await docker
      .getNetwork(name)
      .connect({ Container: id, EndpointConfig: { Aliases: strings(network, "aliases"), IPAMConfig: {} } })
      .catch((error) => {
        throw terraformError(`Unable to connect to network '${name}': ${engineMessage(error, engine.host)}`);
      });
  }
}

async function upload(docker: Docker, id: string, planned: Properties, engine: Engine): Promise<void> {
  const files = objects(planned, "uploads");
  if (files.length === 0) return;
  for (const file of files) {
    const given = ["content", "contentBase64"].filter((name) => text(file, name) !== "").length;
    const sources = "'content', 'content_base64', or 'source'";
    if (given === 0) throw terraformError(`error with upload content: one of ${sources} must be set`);
    if (given > 1) throw terraformError(`error with upload content: only one of ${sources} can be set`);
  }
  await docker
    .getContainer(id)
    .putArchive(uploadArchive(files), { path: "/" })
    .catch((error) => {
      throw terraformError(`Unable to upload volume content: ${engineMessage(error, engine.host)}`);
    });
}

async function start(docker: Docker, id: string, engine: Engine): Promise<void> {
  await docker
    .getContainer(id)
    .start()
    .catch((error) => {
      // 304: it runs already.
      if (error.statusCode === 304) return;
      throw terraformError(`Unable to start container: ${engineMessage(error, engine.host)}`);
    });
}

async function waitUntilHealthy(
  docker: Docker,
  id: string,
  planned: Properties,
  { config: engine, signal }: OperationContext<Engine>,
): Promise<void> {
  const deadline = Date.now() + whole(planned, "waitTimeout") * 1000;
  do {
    const found = await docker
      .getContainer(id)
      .inspect()
      .catch((error) => {
        throw terraformError(`error inspecting container state: ${engineMessage(error, engine.host)}`);
      });
    const health = found.State.Health?.Status;
    if (health === "healthy") return;
    if (health === undefined) {
      throw terraformError(
        "you have supplied a 'wait' argument, but the container does not have a healthcheck defined. " +
          "Please remove the 'wait' argument or add a 'healthcheck' attribute",
      );
    }
    await new Promise((resolve) => setTimeout(resolve, healthPollMilliseconds));
  } while (Date.now() < deadline && !signal.aborted);
  throw terraformError("container failed to be in healthy state");
}

/** Waits for the end of a container, and returns its output where the program asks for it. */
async function attach(
  docker: Docker,
  id: string,
  planned: Properties,
  engine: Engine,
): Promise<string | null> {
  const found = docker.getContainer(id);
  try {
    const logs = flag(planned, "logs") ? readLogs(docker, found) : null;
    await found.wait();
    return await logs;
  } catch (error) {
    throw terraformError(`Unable to wait container end of execution: ${engineMessage(error, engine.host)}`);
  }
}

async function readLogs(docker: Docker, found: Docker.Container): Promise<string> {
  const stream = await found.logs({ follow: true, stdout: true, stderr: true });
  const chunks: Buffer[] = [];
  const { Writable } = await import("node:stream");
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  docker.modem.demuxStream(stream, sink, sink);
  await new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject));
  return Buffer.concat(chunks).toString("utf8");
}

async function inspect(
  docker: Docker,
  id: string,
  engine: Engine,
): Promise<Docker.ContainerInspectInfo | undefined> {
  try {
    return await docker.getContainer(id).inspect();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw terraformError(engineMessage(error, engine.host));
  }
}

/** What the state holds of a container that was made but failed: what was planned, and nothing that was read. */
function failedState(planned: Properties): Properties {
  const unset = ["envs", "securityOpts", "labels"].filter((name) => planned[name] === null);
  return { ...planned, ...Object.fromEntries(unset.map((name) => [name, []])) };
}

/** A health check that is not there is null in Terraform's state until it is read for the first time. */
function withCreateDelta(outputs: Properties): Properties {
  const { healthcheck, ...schema } = containerSchema;
  if (outputs.healthcheck !== null) return withDelta(outputs);
  return { ...outputs, __pulumi_raw_state_delta: rawStateDelta(schema, outputs) };
}

function withDelta(outputs: Properties): Properties {
  return { ...outputs, __pulumi_raw_state_delta: rawStateDelta(containerSchema, outputs) };
}

function differs(state: Properties, outputs: Properties, name: string): boolean {
  const value = (values: Properties) => values[name] || undefined;
  return !equal(value(state) ?? null, value(outputs) ?? null);
}
