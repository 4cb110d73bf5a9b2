import type Docker from "dockerode";
import type { ResourceDefinition } from "../common/plugin.ts";
import {
  computedDiff,
  plannedState,
  rawStateDelta,
  refreshedState,
  sortSet,
  type TerraformSchema,
  terraformError,
  wordFailures,
} from "../common/terraform.ts";
import { isProperties, type Properties, type Value } from "../common/values.ts";
import { type Engine, engineMessage, isMissing } from "./engine.ts";
import { flag, labelMap, labelPairs, object, objects, stringMap, text } from "./values.ts";

const busyMilliseconds = 30_000;
const retryMilliseconds = 200;

/** docker_network: internal/provider/resource_docker_network.go in kreuzwerker/terraform-provider-docker. */
const properties: TerraformSchema = {
  attachable: { kind: "boolean", forceNew: true },
  driver: { kind: "string", computed: true, forceNew: true },
  ingress: { kind: "boolean", input: false },
  internal: { kind: "boolean", computed: true, forceNew: true },
  ipamConfigs: {
    kind: "set",
    terraformName: "ipam_config",
    computed: true,
    forceNew: true,
    element: {
      kind: "object",
      properties: {
        auxAddress: { kind: "map", input: false },
        gateway: { kind: "string" },
        ipRange: { kind: "string" },
        subnet: { kind: "string" },
      },
    },
  },
  ipamDriver: { kind: "string", default: "default", forceNew: true },
  ipamOptions: { kind: "map", input: false },
  ipv6: { kind: "boolean", forceNew: true },
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
  name: { kind: "string", autoName: true, forceNew: true },
  options: { kind: "map", computed: true, forceNew: true },
  scope: { kind: "string", computed: true, input: false },
};

export const network: ResourceDefinition<Engine> = {
  token: "docker:index/network:Network",
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
      const made = await docker.createNetwork(networkSpec(inputs));
      const found: Docker.NetworkInspectInfo = await docker.getNetwork(made.id).inspect();
      const planned = plannedState(properties, inputs);
      const state = readState(found);
      // What the program gives stays as planned, without the zeros that reading puts in.
      if (inputs.ipamConfigs !== undefined) state.ipamConfigs = planned.ipamConfigs ?? [];
      return { id: made.id, outputs: withDelta({ ...state, ipamOptions: null }) };
    } catch (error) {
      throw terraformError(`Unable to create network: ${engineMessage(error, engine.host)}`);
    }
  },

  async read(id, _state, _inputs, { config: engine }) {
    const docker = await engine.connect();
    const found: Docker.NetworkInspectInfo | undefined = await docker
      .getNetwork(id)
      .inspect()
      .catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw terraformError(engineMessage(error, engine.host));
      });
    if (found === undefined) return undefined;
    return { id, outputs: withDelta(refreshedState(properties, readState(found))) };
  },

  async delete(id, _state, { config: engine, signal }) {
    const docker = await engine.connect();
    const deadline = Date.now() + busyMilliseconds;
    for (;;) {
      try {
        await docker.getNetwork(id).remove();
        return;
      } catch (error) {
        if (isMissing(error)) return;
        const message = engineMessage(error, engine.host);
        // A container that is being removed may still be in it.
        const busy = message.includes("has active endpoints");
        if (!busy || Date.now() > deadline || signal.aborted) throw terraformError(message);
      }
      await new Promise((resolve) => setTimeout(resolve, retryMilliseconds));
    }
  },
};

function networkSpec(inputs: Properties): Docker.NetworkCreateOptions {
  return {
    Name: text(inputs, "name"),
    // Engines before API 1.44 would else make a second network of the same name.
    CheckDuplicate: true,
    Labels: labelMap(inputs),
    ...(text(inputs, "driver") === "" ? {} : { Driver: text(inputs, "driver") }),
    ...(object(inputs, "options") === undefined ? {} : { Options: stringMap(inputs, "options") ?? {} }),
    Internal: flag(inputs, "internal"),
    Attachable: flag(inputs, "attachable"),
    EnableIPv6: flag(inputs, "ipv6"),
    IPAM: {
      Driver: text(inputs, "ipamDriver"),
      Config: objects(inputs, "ipamConfigs").map((range) => ({
        ...(text(range, "subnet") === "" ? {} : { Subnet: text(range, "subnet") }),
        ...(text(range, "ipRange") === "" ? {} : { IPRange: text(range, "ipRange") }),
        ...(text(range, "gateway") === "" ? {} : { Gateway: text(range, "gateway") }),
      })),
    },
  };
}

function readState(found: Docker.NetworkInspectInfo): Properties {
  const ranges: Value[] = (found.IPAM?.Config ?? []).map((range) => ({
    subnet: range.Subnet ?? "",
    ipRange: (range as { IPRange?: string }).IPRange ?? "",
    gateway: range.Gateway ?? "",
    auxAddress: (range as { AuxiliaryAddresses?: Record<string, string> }).AuxiliaryAddresses ?? {},
  }));
  return {
    attachable: found.Attachable,
    driver: found.Driver,
    ingress: found.Ingress,
    internal: found.Internal,
    ipamConfigs: sortSet(properties.ipamConfigs?.element ?? { kind: "object" }, ranges),
    ipamDriver: found.IPAM?.Driver ?? "",
    ipamOptions: mapOf(found.IPAM?.Options),
    ipv6: found.EnableIPv6,
    labels: sortSet(properties.labels?.element ?? { kind: "object" }, labelPairs(found.Labels)),
    name: found.Name,
    options: mapOf(found.Options),
    scope: found.Scope,
  };
}

function mapOf(value: unknown): Properties {
  return isProperties(value as Value) ? (value as Properties) : {};
}

function withDelta(outputs: Properties): Properties {
  return { ...outputs, __pulumi_raw_state_delta: rawStateDelta(properties, outputs) };
}
