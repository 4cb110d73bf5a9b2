import type { ResourceDefinition } from "../common/plugin.ts";
import { computedDiff, terraformMessage, wordFailures } from "../common/terraform.ts";
import type { Properties } from "../common/values.ts";

/** An error of the bridge itself, which is not worded as those of the provider below it. */
export class BridgeError extends Error {}

/**
 * Adds what the genuine plugin's layers over its Terraform provider add to every resource: the wording of errors,
 * and the note in the state by which Terraform's own state is made again (pkg/tfbridge/rawstate.go).
 *
 * @param renamed Terraform's name of each property where it is not the Pulumi name in snake case.
 */
export function bridged<Config>(
  resource: ResourceDefinition<Config>,
  renamed: Record<string, string> = {},
): ResourceDefinition<Config> {
  const { create, read, update } = resource;
  const noted = (outputs: Properties) => ({
    ...outputs,
    __pulumi_raw_state_delta: rawStateDelta(outputs, renamed),
  });
  return {
    ...resource,
    check: (checked, _olds, context) => wordFailures(resource.properties, checked, context.name),
    diff: (result, state, inputs) => ({
      ...result,
      detailedDiff: computedDiff(resource.properties, result.detailedDiff, state, inputs),
    }),
    async create(...operation) {
      const state = await worded(create(...operation));
      return { ...state, outputs: noted(state.outputs) };
    },
    async read(...operation) {
      const state = await worded(read(...operation));
      return state && { ...state, outputs: noted(state.outputs) };
    },
    ...(update && { update: async (...operation) => noted(await worded(update(...operation))) }),
    delete: (...operation) => worded(resource.delete(...operation)),
  };
}

/** The resources of this plugin have nothing nested but lists and sets of strings. */
function rawStateDelta(outputs: Properties, renamed: Record<string, string>): Properties {
  const collections = Object.entries(outputs).filter(([, value]) => Array.isArray(value));
  const delta: Properties = {};
  if (Object.keys(renamed).length > 0) delta.renamed = renamed;
  if (collections.length > 0) delta.ps = Object.fromEntries(collections.map(([name]) => [name, { arr: {} }]));
  return { obj: delta };
}

async function worded<T>(operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    if (error instanceof BridgeError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(terraformMessage(message));
  }
}
