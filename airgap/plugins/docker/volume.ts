import type Docker from "dockerode";
import type { ResourceDefinition } from "../common/plugin.ts";
import {
  computedDiff,
  rawStateDelta,
  refreshedState,
  sortSet,
  type TerraformSchema,
  terraformError,
  wordFailures,
} from "../common/terraform.ts";
import type { Properties } from "../common/values.ts";
import { type Engine, engineMessage, isMissing } from "./engine.ts";
import { labelMap, labelPairs, object, stringMap, text } from "./values.ts";

const busyMilliseconds = 30_000;
const retryMilliseconds = 200;

/** docker_volume: internal/provider/resource_docker_volume.go in kreuzwerker/terraform-provider-docker. */
const properties: TerraformSchema = {
  cluster: { kind: "object", properties: {}, input: false },
  driver: { kind: "string", computed: true, forceNew: true },
  driverOpts: { kind: "map", forceNew: true },
  labels: {
    kind: "set",
    forceNew: true,
    element: {
      kind: "object",
      properties: {
        label: { kind: "string", required: true },
        value: { kind: "string", required: true },
      },
    },
  },
  mountpoint: { kind: "string", computed: true, input: false },
  name: { kind: "string", autoName: true, forceNew: true },
};

/** A volume. Creating one of a name that exists takes that one over, with its data, and asks nothing. */
export const volume: ResourceDefinition<Engine> = {
  token: "docker:index/volume:Volume",
  properties,
  schemaVersion: 1,

  check: (checked, _olds, context) => wordFailures(properties, checked, context.name),

  diff: (result, state, inputs) => ({
    ...result,
    detailedDiff: computedDiff(properties, result.detailedDiff, state, inputs),
  }),

  async create(inputs, { config: engine }) {
    const docker = await engine.connect();
    try {
      const name = text(inputs, "name");
      const driver = text(inputs, "driver");
      const options = stringMap(inputs, "driverOpts");
      await docker.createVolume({
        Name: name,
        Labels: labelMap(inputs),
        ...(driver === "" ? {} : { Driver: driver }),
        ...(options === undefined ? {} : { DriverOpts: options }),
      });
      const state = readState(await docker.getVolume(name).inspect());
      const isPlain = Object.keys(object(state, "driverOpts") ?? {}).length === 0;
      return { id: name, outputs: withDelta(isPlain ? { ...state, driverOpts: null } : state) };
    } catch (error) {
      throw terraformError(`Unable to create volume: ${engineMessage(error, engine.host)}`);
    }
  },

  async read(id, _state, _inputs, { config: engine }) {
    const docker = await engine.connect();
    try {
      const found = await docker.getVolume(id).inspect();
      return { id: found.Name, outputs: withDelta(refreshedState(properties, readState(found))) };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw terraformError(`Unable to inspect volume: ${engineMessage(error, engine.host)}`);
    }
  },

  async delete(id, _state, { config: engine, signal }) {
    const docker = await engine.connect();
    const deadline = Date.now() + busyMilliseconds;
    for (;;) {
      try {
        await docker.getVolume(id).remove({ force: true });
        return;
      } catch (error) {
        if (isMissing(error)) return;
        const message = engineMessage(error, engine.host);
        const busy = message.includes("volume is in use");
        if (!busy || signal.aborted) throw terraformError(message);
        if (Date.now() > deadline) {
          throw terraformError(
            "timeout while waiting for state to become 'removed' (last state: 'in_use', timeout: 30s)",
          );
        }
      }
      await new Promise((resolve) => setTimeout(resolve, retryMilliseconds));
    }
  },
};

function readState(found: Docker.VolumeInspectInfo): Properties {
  return {
    cluster: null,
    driver: found.Driver,
    driverOpts: found.Options ?? {},
    labels: sortSet(properties.labels?.element ?? { kind: "object" }, labelPairs(found.Labels)),
    mountpoint: found.Mountpoint,
    name: found.Name,
  };
}

function withDelta(outputs: Properties): Properties {
  return { ...outputs, __pulumi_raw_state_delta: rawStateDelta(properties, outputs) };
}
