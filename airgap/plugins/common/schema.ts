import {
  equal,
  hasUnknown,
  isProperties,
  type Properties,
  plain,
  Secret,
  UNKNOWN,
  type Value,
} from "./values.ts";

/** What a plugin knows of one property. A property that is not in a schema is refused by name. */
export interface PropertySchema {
  /** `set`: a list whose order carries no meaning. `object`: a block with {@link properties} of its own. */
  kind: "string" | "number" | "integer" | "boolean" | "list" | "set" | "map" | "object";
  /** Item of a list, set or map. Default: any string. */
  element?: PropertySchema;
  /** Fields of an object. */
  properties?: Schema;
  required?: boolean;
  /** Filled in by check where the program gives nothing, and named in `__defaults`. */
  default?: Value;
  /** A change replaces the resource. On an object it holds for its fields too. */
  forceNew?: boolean;
  /** Marked secret in inputs and outputs, whatever the program says. */
  secret?: boolean;
  /** The provider fills it in: unknown in a preview where the program gives nothing, and no diff then. */
  computed?: boolean;
  /** `false`: never given by the program. Default: true. */
  input?: boolean;
  /** Returns what is wrong with a known value, or undefined. */
  validate?(value: Value): string | undefined;
}

export type Schema = { [name: string]: PropertySchema };

export interface CheckFailure {
  /** Path of the property; empty for the resource as a whole. */
  property: string;
  reason: string;
}

/** Kinds of a property's change, by the names of `PropertyDiff.Kind`. */
export type DiffKind = "ADD" | "ADD_REPLACE" | "DELETE" | "DELETE_REPLACE" | "UPDATE" | "UPDATE_REPLACE";
export type DetailedDiff = { [path: string]: { kind: DiffKind; inputDiff?: boolean } };

/**
 * Checks a program's inputs against a schema, in the way of the genuine bridged plugins: nulls are dropped,
 * strings, numbers and booleans convert into one another, defaults are filled in and named in `__defaults`.
 * Unlike there, a property that is not in the schema is a failure that names it.
 *
 * @param what Name of the resource or provider, for messages, such as `docker:index/container:Container`.
 */
export function checkProperties(
  schema: Schema,
  news: Properties,
  what: string,
): { inputs: Properties; failures: CheckFailure[] } {
  const failures: CheckFailure[] = [];
  const inputs = checkObject(schema, news, "", what, failures);
  return { inputs, failures };
}

function checkObject(
  schema: Schema,
  news: Properties,
  path: string,
  what: string,
  failures: CheckFailure[],
): Properties {
  const inputs: Properties = {};
  const defaults: string[] = [];
  for (const [name, value] of Object.entries(news)) {
    if (name.startsWith("__")) continue;
    const at = path === "" ? name : `${path}.${name}`;
    const property = schema[name];
    if (property === undefined || property.input === false) {
      failures.push({ property: at, reason: unknownProperty(at, what, schema) });
    } else if (plain(value) !== null) {
      inputs[name] = checkValue(property, value, at, what, failures);
    }
  }
  for (const [name, property] of Object.entries(schema)) {
    if (inputs[name] !== undefined) continue;
    if (property.default !== undefined) {
      inputs[name] = property.default;
      defaults.push(name);
    } else if (property.required) {
      const at = path === "" ? name : `${path}.${name}`;
      failures.push({ property: at, reason: `Missing required property '${at}'` });
    }
  }
  return { ...inputs, __defaults: defaults.sort() };
}

function unknownProperty(path: string, what: string, schema: Schema): string {
  const known = Object.keys(schema).filter((name) => schema[name]?.input !== false);
  return (
    `the airgap stand-in plugin does not know property '${path}' of ${what}; ` +
    `it knows ${known.sort().join(", ")}. Leave it out, or use the genuine plugin.`
  );
}

function checkValue(
  schema: PropertySchema,
  value: Value,
  path: string,
  what: string,
  failures: CheckFailure[],
): Value {
  if (value instanceof Secret) return new Secret(checkValue(schema, value.value, path, what, failures));
  if (value === UNKNOWN) return UNKNOWN;
  const wrong = (expected: string): Value => {
    failures.push({ property: path, reason: `expected ${expected} for '${path}', got ${describe(value)}` });
    return value;
  };
  const valid = (checked: Value): Value => {
    const reason = hasUnknown(checked) ? undefined : schema.validate?.(plain(checked));
    if (reason !== undefined) failures.push({ property: path, reason });
    return checked;
  };
  switch (schema.kind) {
    case "string":
      if (typeof value === "string") return valid(value);
      if (typeof value === "number" || typeof value === "boolean") return valid(String(value));
      return wrong("a string");
    case "integer":
    case "number": {
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      if (typeof number !== "number" || Number.isNaN(number)) return wrong("a number");
      if (schema.kind === "integer" && !Number.isInteger(number)) return wrong("a whole number");
      return valid(number);
    }
    case "boolean":
      if (typeof value === "boolean") return valid(value);
      if (value === "true" || value === "false") return valid(value === "true");
      return wrong("a boolean");
    case "list":
    case "set":
      if (!Array.isArray(value)) return wrong("a list");
      return valid(
        value.map((item, index) =>
          checkValue(schema.element ?? { kind: "string" }, item, `${path}[${index}]`, what, failures),
        ),
      );
    case "map":
      if (!isProperties(value)) return wrong("a map");
      return valid(
        Object.fromEntries(
          Object.entries(value)
            .filter(([name, item]) => !name.startsWith("__") && item !== null)
            .map(([name, item]) => [
              name,
              checkValue(schema.element ?? { kind: "string" }, item, `${path}.${name}`, what, failures),
            ]),
        ),
      );
    case "object":
      if (!isProperties(value)) return wrong("an object");
      return valid(checkObject(schema.properties ?? {}, value, path, what, failures));
  }
}

function describe(value: Value): string {
  if (Array.isArray(value)) return "a list";
  return isProperties(value) ? "an object" : `a ${typeof value}`;
}

/** Marks the values of secret properties, at any depth. */
export function markSecrets(schema: Schema, properties: Properties): Properties {
  return Object.fromEntries(
    Object.entries(properties).map(([name, value]) => {
      const property = schema[name];
      return [name, property === undefined ? value : markSecret(property, value)];
    }),
  );
}

function markSecret(schema: PropertySchema, value: Value): Value {
  if (value instanceof Secret || value === null) return value;
  if (schema.secret) return new Secret(value);
  if (schema.kind === "object" && isProperties(value)) return markSecrets(schema.properties ?? {}, value);
  if (schema.element !== undefined) {
    const element = schema.element;
    if (Array.isArray(value)) return value.map((item) => markSecret(element, item));
    if (isProperties(value)) {
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, markSecret(element, item)]),
      );
    }
  }
  return value;
}

/**
 * Compares the state of a resource with new inputs, both plain. A property that is not given equals its zero
 * value ("" , 0, false, empty list or map), and equals anything where the provider computes it.
 */
export function diffProperties(schema: Schema, state: Properties, inputs: Properties): DetailedDiff {
  const diff: DetailedDiff = {};
  diffObject(schema, state, inputs, "", false, diff);
  return diff;
}

function diffObject(
  schema: Schema,
  state: Properties,
  inputs: Properties,
  path: string,
  replace: boolean,
  diff: DetailedDiff,
): void {
  for (const [name, property] of Object.entries(schema)) {
    if (property.input === false) continue;
    if (property.computed && inputs[name] === undefined) continue;
    const at = path === "" ? name : `${path}.${name}`;
    diffValue(property, state[name], inputs[name], at, replace || property.forceNew === true, diff);
  }
}

function diffValue(
  schema: PropertySchema,
  old: Value | undefined,
  now: Value | undefined,
  path: string,
  replace: boolean,
  diff: DetailedDiff,
): void {
  if (same(schema, old, now)) return;
  const element = schema.element ?? { kind: "string" };
  const deeper = replace || element.forceNew === true;
  if (schema.kind === "object" && isProperties(old) && isProperties(now)) {
    diffObject(schema.properties ?? {}, old, now, path, replace, diff);
  } else if ((schema.kind === "list" || schema.kind === "set") && Array.isArray(old) && Array.isArray(now)) {
    const [before, after] =
      schema.kind === "set"
        ? [
            old.map((item) => (now.some((other) => same(element, item, other)) ? undefined : item)),
            now.map((item) => (old.some((other) => same(element, item, other)) ? undefined : item)),
          ]
        : [old, now];
    for (let index = 0; index < Math.max(before.length, after.length); index++) {
      diffValue(element, before[index], after[index], `${path}[${index}]`, deeper, diff);
    }
  } else if (schema.kind === "map" && isProperties(old) && isProperties(now)) {
    for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
      diffValue(element, old[name], now[name], `${path}${keyPath(name)}`, deeper, diff);
    }
  } else {
    const kind = isZero(old) ? "ADD" : isZero(now) ? "DELETE" : "UPDATE";
    diff[path] = { kind: replace || forcesNew(schema) ? `${kind}_REPLACE` : kind };
  }
}

/** Whether adding or removing the whole value replaces the resource: a field in it does. */
function forcesNew(schema: PropertySchema): boolean {
  return (
    schema.forceNew === true ||
    (schema.element !== undefined && forcesNew(schema.element)) ||
    Object.values(schema.properties ?? {}).some(forcesNew)
  );
}

function keyPath(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
}

function isZero(value: Value | undefined): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isProperties(value)) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === "" || value === 0 || value === false;
}

function same(schema: PropertySchema, old: Value | undefined, now: Value | undefined): boolean {
  if (now !== UNKNOWN && isZero(old) && isZero(now)) return true;
  if (Array.isArray(old) && Array.isArray(now)) {
    if (old.length !== now.length) return false;
    const element = schema.element ?? { kind: "string" };
    if (schema.kind !== "set") return old.every((item, index) => same(element, item, now[index]));
    const rest = [...now];
    return old.every((item) => {
      const index = rest.findIndex((other) => same(element, item, other));
      if (index >= 0) rest.splice(index, 1);
      return index >= 0;
    });
  }
  if (schema.kind === "object" && isProperties(old) && isProperties(now)) {
    const diff: DetailedDiff = {};
    diffObject(schema.properties ?? {}, old, now, "", false, diff);
    return Object.keys(diff).length === 0;
  }
  return equal(old, now);
}
