import type Docker from "dockerode";
import type { ResourceDefinition } from "../common/plugin.ts";
import {
  plannedState,
  rawStateDelta,
  refreshedState,
  type TerraformSchema,
  terraformError,
  wordFailures,
} from "../common/terraform.ts";
import type { Properties } from "../common/values.ts";
import { type Engine, engineMessage } from "./engine.ts";
import { findImage, localImage } from "./images.ts";
import { flag, text } from "./values.ts";

const minutes20 = 20 * 60;

/** docker_image: internal/provider/resource_docker_image.go in kreuzwerker/terraform-provider-docker. */
const properties: TerraformSchema = {
  build: { kind: "object", properties: {}, singleSet: true, input: false },
  forceRemove: { kind: "boolean" },
  imageId: { kind: "string", computed: true, input: false },
  keepLocally: { kind: "boolean" },
  name: { kind: "string", required: true, forceNew: true },
  platform: { kind: "string", forceNew: true },
  pullTriggers: { kind: "set", forceNew: true },
  repoDigest: { kind: "string", computed: true, input: false },
  triggers: { kind: "map", input: false },
};

/** An image, pulled where the engine lacks it. Its id is the image's own with the name behind it, as genuine. */
export const remoteImage: ResourceDefinition<Engine> = {
  token: "docker:index/remoteImage:RemoteImage",
  properties,
  timeouts: { create: minutes20, update: minutes20, delete: minutes20 },

  check: (checked, _olds, context) => wordFailures(properties, checked, context.name),

  async create(inputs, { config: engine }) {
    const found = await find(engine, inputs);
    return { id: idOf(found, inputs), outputs: outputsOf(found, plannedState(properties, inputs)) };
  },

  async read(_id, state, _inputs, { config: engine }) {
    const docker = await engine.connect();
    const name = text(state, "name");
    // An import knows no name, and the genuine plugin finds nothing then.
    if (name === "") return undefined;
    const found = await localImage(engine, docker, name).catch((error: Error) => {
      throw terraformError(
        `resourceDockerImageRead: error looking up local image "${name}": ${error.message}`,
      );
    });
    if (found === undefined) return undefined;
    return { id: idOf(found, state), outputs: outputsOf(found, refreshedState(properties, state)) };
  },

  async update(_id, _state, inputs, { config: engine }) {
    return outputsOf(await find(engine, inputs), plannedState(properties, inputs));
  },

  async delete(_id, state, { config: engine }) {
    const docker = await engine.connect();
    if (flag(state, "keepLocally")) return;
    const name = text(state, "name");
    try {
      if ((await localImage(engine, docker, name)) === undefined) return;
    } catch (error) {
      const reason = `removeImage: error looking up local image "${name}": ${(error as Error).message}`;
      throw terraformError(`Unable to remove Docker image: ${reason}`);
    }
    await docker
      .getImage(name)
      .remove({ force: flag(state, "forceRemove") })
      .catch((error) => {
        throw terraformError(`Unable to remove Docker image: ${engineMessage(error, engine.host)}`);
      });
  },
};

async function find(engine: Engine, inputs: Properties): Promise<Docker.ImageInspectInfo> {
  const docker = await engine.connect();
  return findImage(engine, docker, text(inputs, "name"), text(inputs, "platform")).catch((error: Error) => {
    throw terraformError(`Unable to read Docker image into resource: ${error.message}`);
  });
}

function idOf(found: Docker.ImageInspectInfo, values: Properties): string {
  return found.Id + text(values, "name");
}

function outputsOf(found: Docker.ImageInspectInfo, state: Properties): Properties {
  const outputs = { ...state, imageId: found.Id, repoDigest: repoDigestOf(found, text(state, "name")) };
  return { ...outputs, __pulumi_raw_state_delta: rawStateDelta(properties, outputs) };
}

/** The digest of the repository that the name begins with, else the first; "" for an image from no registry. */
function repoDigestOf(found: Docker.ImageInspectInfo, name: string): string {
  const digests = found.RepoDigests ?? [];
  const repository = name.split(":", 1)[0] ?? name;
  return digests.find((digest) => digest.startsWith(repository)) ?? digests[0] ?? "";
}
