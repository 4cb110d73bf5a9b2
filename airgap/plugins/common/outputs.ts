import { isZero } from "./diff.ts";
import { defaultOf, elementOf, type Filling, type PropertySchema, type Schema } from "./schema.ts";
import { equal, isProperties, type Properties, UNKNOWN, type Value } from "./values.ts";

/** Seconds that the operations of a resource may take. An operation that is not named knows no limit. */
export interface Timeouts {
  create?: number;
  update?: number;
  delete?: number;
}

/** The limits that hold for a resource, where the program sets one for an operation. */
export function withCustomTimeout(timeouts: Timeouts, operation: keyof Timeouts, seconds: number): Timeouts {
  return timeouts[operation] !== undefined && seconds > 0 ? { ...timeouts, [operation]: seconds } : timeouts;
}

/** Outputs as a preview shows them: what is given, else the default, else unknown where it is computed. */
export function proposedOutputs(schema: Schema, state: Properties, inputs: Properties): Properties {
  const outputs: Properties = { ...state };
  for (const [name, property] of Object.entries(schema)) {
    const value = inputs[name] ?? (property.input === false ? undefined : defaultOf(property));
    if (value !== undefined) outputs[name] = value;
    else if (property.computed || property.input === false) outputs[name] ??= UNKNOWN;
    else delete outputs[name];
  }
  return outputs;
}

/** Adds what Terraform's SDK v2 writes for properties that are missing: null, or [] for blocks. */
export function fillNulls(schema: Schema, outputs: Properties): Properties {
  const result: Properties = { ...outputs };
  for (const [name, property] of Object.entries(schema)) {
    result[name] = fillNull(property, outputs[name]);
  }
  return result;
}

function fillNull(schema: PropertySchema, value: Value | undefined): Value {
  const block = schema.element?.kind === "object";
  if (value === undefined) return block && (schema.kind === "list" || schema.kind === "set") ? [] : null;
  if (block && Array.isArray(value)) return value.map((item) => fillNull(elementOf(schema), item));
  if (schema.kind === "object" && isProperties(value)) return fillNulls(schema.properties ?? {}, value);
  return value;
}

/**
 * Inputs as they follow from what was read. A refresh takes the properties that the inputs already had; an
 * import all that a program can give, other than what is its default or zero anyway.
 */
export function inputsFromOutputs(
  schema: Schema,
  outputs: Properties,
  olds: Properties | undefined,
  filling: Filling,
): Properties {
  return olds === undefined ? importInputs(schema, outputs, filling) : refreshInputs(schema, olds, outputs);
}

function importInputs(schema: Schema, outputs: Properties, filling: Filling): Properties {
  const inputs: Properties = {};
  for (const [name, value] of Object.entries(outputs)) {
    const property = schema[name];
    if (property === undefined || property.input === false || value === null) continue;
    const imported = importValue(property, value, filling);
    const standard = filling === "inputs" ? defaultOf(property) : undefined;
    const redundant = standard === undefined ? isZero(imported) : standard === imported;
    if (property.required || !redundant) inputs[name] = imported;
  }
  if (filling === "inputs") inputs.__defaults = [];
  return inputs;
}

function importValue(schema: PropertySchema, value: Value, filling: Filling): Value {
  if (Array.isArray(value)) return value.map((item) => importValue(elementOf(schema), item, filling));
  if (schema.kind === "object" && isProperties(value)) {
    return importInputs(schema.properties ?? {}, value, filling);
  }
  return value;
}

function refreshInputs(schema: Schema, olds: Properties, outputs: Properties): Properties {
  const inputs: Properties = {};
  for (const [name, old] of Object.entries(olds)) {
    const value = outputs[name];
    if (name.startsWith("__") || value === undefined) continue;
    inputs[name] = refreshValue(schema[name] ?? { kind: "any" }, old, value);
  }
  if (Array.isArray(olds.__defaults)) {
    // What differs from its default now is no default any more.
    inputs.__defaults = olds.__defaults.filter(
      (name) => typeof name === "string" && equal(inputs[name], olds[name]),
    );
  }
  return inputs;
}

function refreshValue(schema: PropertySchema, old: Value, value: Value): Value {
  const element = elementOf(schema);
  if (Array.isArray(old) && Array.isArray(value)) {
    const items =
      schema.kind === "set" && [...old, ...value].every(isProperties) ? matchItems(old, value) : value;
    return old.flatMap((item, index) => {
      const now = items[index];
      return now === undefined ? [] : [refreshValue(element, item, now)];
    });
  }
  if (isProperties(old) && isProperties(value)) {
    const fields =
      schema.kind === "object"
        ? (schema.properties ?? {})
        : Object.fromEntries(Object.keys(old).map((name) => [name, element]));
    return refreshInputs(fields, old, value);
  }
  return value;
}

/**
 * For each old object of a set, the one read that has most in common with it. Sets of strings and the like go by
 * position, as in the bridge, so that the inputs take over the order of the state.
 */
function matchItems(olds: Value[], items: Value[]): (Value | undefined)[] {
  const score = (old: Value, item: Value): number => {
    if (!isProperties(old) || !isProperties(item)) return 0;
    return Object.keys(old).filter((name) => JSON.stringify(old[name]) === JSON.stringify(item[name])).length;
  };
  const rest = [...items];
  return olds.map((old) => {
    const best = rest.reduce<number>(
      (found, item, index) =>
        found < 0 || score(old, item) > score(old, rest[found] ?? null) ? index : found,
      -1,
    );
    return best < 0 ? undefined : rest.splice(best, 1)[0];
  });
}

// The key under which Terraform's SDK v2 keeps a resource's timeouts, in nanoseconds (helper/schema).
const timeoutsKey = "e2bfb730-ecaa-11e6-8f88-34363bc7c4c0";

/** The text of `__meta`, or undefined where there is nothing to say. */
export function metaText(schemaVersion: number, timeouts: Timeouts): string | undefined {
  const meta: Record<string, unknown> = {};
  const nanoseconds = Object.entries(timeouts).map(([name, seconds]) => [name, seconds * 1e9]);
  if (nanoseconds.length > 0) meta[timeoutsKey] = Object.fromEntries(nanoseconds.sort());
  if (schemaVersion > 0) meta.schema_version = String(schemaVersion);
  return Object.keys(meta).length > 0 ? JSON.stringify(meta) : undefined;
}
