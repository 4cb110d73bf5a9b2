import { type DetailedDiff, isZero } from "./diff.ts";
import type { CheckResult } from "./plugin.ts";
import { defaultOf, elementOf, type PropertySchema } from "./schema.ts";
import { isProperties, type Properties, UNKNOWN, type Value } from "./values.ts";

/**
 * What genuine plugins on Terraform's SDK v2 keep in the state beyond what a schema says: nulls, zero values,
 * the order of sets, and the delta from which they make Terraform's own state again. The rules are those of
 * pulumi/pulumi-terraform-bridge (pkg/tfbridge, pkg/tfshim/sdk-v2) and hashicorp/terraform-plugin-sdk
 * (helper/schema), compared property by property with the genuine docker plugin.
 */
export interface TerraformProperty extends PropertySchema {
  /** Name in Terraform's schema. Default: the name in snake_case. */
  terraformName?: string;
  /** On an object: Terraform has a set of at most one here, not a list. */
  singleSet?: boolean;
  element?: TerraformProperty;
  properties?: TerraformSchema;
}

export type TerraformSchema = { [name: string]: TerraformProperty };

/** The state that is planned from a new resource's inputs. What the provider computes is null. */
export function plannedState(schema: TerraformSchema, inputs: Properties): Properties {
  return mapFields(schema, (property, name) => plannedValue(property, inputs[name] ?? null, false));
}

function plannedValue(property: TerraformProperty, value: Value, inSet: boolean): Value {
  const { kind } = property;
  if (value === null) {
    const zero = property.default === false || property.default === 0;
    if (zero) return property.default as Value;
    if (kind === "list" || kind === "set") return isBlock(property) || inSet ? [] : null;
    return inSet && kind === "string" ? "" : null;
  }
  const planElement = (item: Value) => plannedElement(elementOf(property), item, inSet || kind === "set");
  if (kind === "set" && Array.isArray(value)) return sortSet(elementOf(property), value.map(planElement));
  if (kind === "list" && Array.isArray(value)) return value.map(planElement);
  if (kind === "object") return plannedElement(property, value, inSet || property.singleSet === true);
  return value;
}

function plannedElement(element: TerraformProperty, value: Value, inSet: boolean): Value {
  if (element.kind !== "object" || !isProperties(value)) return value;
  return mapFields(element.properties ?? {}, (field, name) =>
    plannedValue(field, value[name] ?? null, inSet),
  );
}

/** A state as it is after it was read again: blocks are never null, and sets hold zeros instead of nulls. */
export function refreshedState(schema: TerraformSchema, state: Properties): Properties {
  return mapFields(schema, (property, name) => {
    const value = state[name] ?? null;
    if (value === null && isBlock(property)) return [];
    return property.kind === "set" ? withZeros(property, value) : value;
  });
}

/**
 * The state after an update, which does not read: what changes is as planned, the rest as it was.
 *
 * @param changed Names of the properties that change.
 */
export function updatedState(
  schema: TerraformSchema,
  state: Properties,
  inputs: Properties,
  changed: Set<string>,
): Properties {
  return mapFields(schema, (property, name) => {
    if (changed.has(name)) {
      const planned = plannedValue(property, inputs[name] ?? defaultOf(property) ?? null, false);
      return planned ?? zeroOf(property);
    }
    const value = state[name] ?? null;
    return property.kind === "set" ? withZeros(property, value) : value;
  });
}

function withZeros(property: TerraformProperty, value: Value): Value {
  const element = elementOf(property);
  if (value === null) return zeroOf(property);
  if (Array.isArray(value)) {
    const filled = value.map((item) => withZeros(element, item));
    return property.kind === "set" ? sortSet(element, filled) : filled;
  }
  if (property.kind === "object" && isProperties(value)) {
    return mapFields(property.properties ?? {}, (field, name) => withZeros(field, value[name] ?? null));
  }
  return value;
}

function zeroOf({ kind }: PropertySchema): Value {
  const zeros: Partial<Record<PropertySchema["kind"], Value>> = {
    string: "",
    boolean: false,
    integer: 0,
    number: 0,
    map: {},
  };
  return zeros[kind] ?? null;
}

/** Elements as Terraform iterates over a set: strings by their bytes, objects by the bytes that it hashes. */
export function sortSet(element: TerraformProperty, items: Value[]): Value[] {
  const keyed = items.map((item) => ({
    item,
    key: Buffer.from(typeof item === "string" ? item : hashBytes(element, item)),
  }));
  keyed.sort((a, b) => Buffer.compare(a.key, b.key));
  return keyed
    .filter(({ key }, index) => index === 0 || !keyed[index - 1]?.key.equals(key))
    .map(({ item }) => item);
}

/** As appendSetHashBytes of hashicorp/go-cty, cty/set_internals.go. */
function hashBytes(property: TerraformProperty, value: Value): string {
  const element = elementOf(property);
  if (value === UNKNOWN) return "?";
  if (value === null) return "~";
  if (property.kind === "object" && isProperties(value)) {
    const fields = Object.entries(property.properties ?? {}).map(([name, field]) => {
      const bytes = hashBytes(field, value[name] ?? null);
      // A field that is an object is a list of at most one in Terraform.
      const listed = bytes === "~" ? "[]" : `[${bytes};]`;
      return { name: terraformName(name, field), bytes: field.kind === "object" ? listed : bytes };
    });
    fields.sort((a, b) => (a.name < b.name ? -1 : 1));
    return `<${fields.map(({ bytes }) => `${bytes};`).join("")}>`;
  }
  if (Array.isArray(value)) return `[${value.map((item) => `${hashBytes(element, item)};`).join("")}]`;
  if (isProperties(value)) {
    const names = Object.keys(value).sort();
    const pairs = names.map((name) => `${JSON.stringify(name)}:${hashBytes(element, value[name] ?? null)};`);
    return `{${pairs.join("")}}`;
  }
  if (typeof value === "boolean") return value ? "T" : "F";
  return JSON.stringify(value);
}

/**
 * By this the genuine plugin makes Terraform's state from the outputs (rawstate.go in pkg/tfbridge). It holds no
 * values.
 */
export function rawStateDelta(schema: TerraformSchema, outputs: Properties): Properties {
  const deltas: Properties = {};
  const renamed: Properties = {};
  for (const [name, property] of Object.entries(schema)) {
    const delta = valueDelta(property, outputs[name] ?? null);
    if (delta !== undefined) deltas[name] = delta;
    if (property.terraformName !== undefined) renamed[name] = property.terraformName;
  }
  return {
    obj: {
      ...(Object.keys(deltas).length > 0 ? { ps: deltas } : {}),
      ...(Object.keys(renamed).length > 0 ? { renamed } : {}),
    },
  };
}

function valueDelta(property: TerraformProperty, value: Value): Properties | undefined {
  if (property.kind === "object") {
    return { plu: { i: isProperties(value) ? rawStateDelta(property.properties ?? {}, value) : {} } };
  }
  if (isProperties(value)) return { map: {} };
  if (!Array.isArray(value)) return undefined;
  const { kind, properties = {} } = elementOf(property) as TerraformProperty;
  if (kind !== "object" || value.length === 0) return { arr: {} };
  const elements = value.map((item, index) => [
    String(index),
    rawStateDelta(properties, isProperties(item) ? item : {}),
  ]);
  return { arr: { el: Object.fromEntries(elements) } };
}

/**
 * Changes a schema's diff to what Terraform's is for computed properties. A list or map that the state lacks, as
 * after a failed creation, is a change; "", an empty block, or a set that is unknown as a whole where the state has
 * one is none.
 */
export function computedDiff(
  schema: TerraformSchema,
  diff: DetailedDiff,
  state: Properties,
  inputs: Properties,
): DetailedDiff {
  const result: DetailedDiff = { ...diff };
  for (const [name, property] of Object.entries(schema)) {
    if (!property.computed) continue;
    const value = inputs[name];
    const collection = property.kind === "list" || property.kind === "map";
    if (value === undefined && collection && state[name] === undefined) {
      result[name] = property.forceNew ? "ADD_REPLACE" : "ADD";
    }
    const nothing = value === "" || (isBlock(property) && isZero(value));
    const unknownSet = property.kind === "set" && value === UNKNOWN && !isZero(state[name]);
    if (nothing || unknownSet) {
      for (const path of Object.keys(result)) {
        if (value !== undefined && topLevel(path) === name) delete result[path];
      }
    }
  }
  return result;
}

/** Words failures of required and validated properties as the bridge does. */
export function wordFailures(schema: TerraformSchema, checked: CheckResult, resource: string): CheckResult {
  const failures = checked.failures.map(({ property, reason }) => {
    const missing = /^Missing required property '(.*)'$/.exec(reason)?.[1];
    if (missing === undefined && (property === "" || reason.startsWith("expected "))) {
      return { property, reason };
    }
    const path = describePath(schema, missing ?? property);
    const text =
      missing === undefined
        ? `${reason}. ${reason}`
        : `Missing required argument. The argument "${path.terraform}" is required, but no definition was found.`;
    return { property: "", reason: `${text}. Examine values at '${resource}.${path.pulumi}'.` };
  });
  return { inputs: checked.inputs, failures };
}

/** A property's path in Terraform's words, and in Pulumi's, which ends at the first set. */
function describePath(schema: TerraformSchema, path: string): { terraform: string; pulumi: string } {
  const terraform: string[] = [];
  let pulumi = "";
  let inSet = false;
  let property: TerraformProperty = { kind: "object", properties: schema };
  for (const step of path.match(/[^.[\]]+/g) ?? []) {
    const field: TerraformProperty | undefined = property.properties?.[step];
    if (field === undefined) {
      terraform.push(step);
      inSet ||= property.kind === "set";
      if (!inSet) pulumi += `[${step}]`;
      property = elementOf(property);
    } else {
      terraform.push(terraformName(step, field), ...(field.kind === "object" ? ["0"] : []));
      if (!inSet) pulumi += pulumi === "" ? step : `.${step}`;
      property = field;
    }
  }
  return { terraform: terraform.join("."), pulumi };
}

/** The error of a failed operation, as the bridge words it. */
export function terraformError(summary: string): Error {
  return new Error(terraformMessage(summary));
}

export function terraformMessage(summary: string): string {
  return `1 error occurred:\n\t* ${summary}\n\n`;
}

export function topLevel(path: string): string {
  return path.split(/[.[]/, 1)[0] ?? path;
}

function isBlock(property: PropertySchema): boolean {
  const readOnly = property.computed && property.input === false;
  return property.element?.kind === "object" && !readOnly;
}

function terraformName(name: string, property: TerraformProperty): string {
  return property.terraformName ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function mapFields(
  schema: TerraformSchema,
  value: (property: TerraformProperty, name: string) => Value,
): Properties {
  return Object.fromEntries(Object.entries(schema).map(([name, property]) => [name, value(property, name)]));
}
