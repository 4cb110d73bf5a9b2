import { isDeepStrictEqual } from "node:util";
import type structs from "google-protobuf/google/protobuf/struct_pb.js";
import type { PluginDefinition, ResourceDefinition, State } from "./definition.ts";
import { fillNulls, metaText, type Timeouts } from "./outputs.ts";
import { markSecrets } from "./schema.ts";
import {
  fromStruct,
  type Properties,
  plain,
  Secret,
  toStruct,
  UNKNOWN,
  type Value,
  withoutNulls,
} from "./values.ts";

type Base = PluginDefinition<unknown>["base"];

/**
 * The outputs in a state, as a resource sees them. What a bridge keeps there for itself is left out: it describes
 * these outputs, and would mislead the genuine plugin beside new ones.
 */
export function readState(struct: structs.Struct | undefined): Properties {
  const state = withoutNulls(plain(fromStruct(struct)));
  return Object.fromEntries(Object.entries(state).filter(([name]) => !name.startsWith("__")));
}

/**
 * The outputs for the state.
 *
 * @param inputs Inputs with their secret marks.
 * @param timeouts Those that held.
 */
export function writeOutputs<Config>(
  base: Base,
  resource: ResourceDefinition<Config>,
  state: State,
  inputs: Properties,
  timeouts: Timeouts,
): structs.Struct {
  const outputs =
    base === "sdk" ? fillNulls(resource.properties, state.outputs) : withoutNulls(state.outputs);
  const meta = metaText(resource.schemaVersion ?? 0, timeouts);
  if (meta !== undefined) outputs.__meta = meta;
  const marked = markSecrets(resource.properties, outputs);
  // A native plugin gives back the marks of the inputs that it repeats; for a bridged one the engine does it.
  if (base === "native") keepMarks(marked, inputs);
  else marked.id = state.id;
  return toStruct(marked);
}

/** The outputs that a preview shows. */
export function writePreview<Config>(
  base: Base,
  resource: ResourceDefinition<Config>,
  id: Value,
  outputs: Properties,
  inputs: Properties,
): structs.Struct {
  const shown = markSecrets(resource.properties, outputs);
  if (base === "native") keepMarks(shown, inputs);
  else shown.id = id;
  if (base === "framework") {
    // Its bridge marks outputs that are known only.
    for (const [name, value] of Object.entries(shown)) {
      if (value instanceof Secret && value.value === UNKNOWN) shown[name] = UNKNOWN;
    }
  }
  return toStruct(shown);
}

/** Replaces the values that repeat an input by that input, with its marks. */
export function keepMarks(values: Properties, marked: Properties): void {
  for (const [name, value] of Object.entries(values)) {
    const input = marked[name];
    if (input !== undefined && isDeepStrictEqual(plain(input), plain(value))) values[name] = input;
  }
}
