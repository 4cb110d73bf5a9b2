import { createHash } from "node:crypto";
import { hasUnknown, isProperties, type Properties, plain, Secret, UNKNOWN, type Value } from "./values.ts";

/** What a plugin knows of one property. A property that is not in a schema is refused by name. */
export interface PropertySchema {
  /** `set`: a list whose order carries no meaning. `object`: a block with {@link properties} of its own. */
  kind: "string" | "number" | "integer" | "boolean" | "list" | "set" | "map" | "object" | "any";
  /** Item of a list, set or map. Default: any string. */
  element?: PropertySchema;
  /** Fields of an object. */
  properties?: Schema;
  required?: boolean;
  /** What holds where the program gives nothing. See {@link Filling} for where it is written down. */
  default?: Value | (() => Value | undefined);
  /** The default is the resource's name and seven random hexadecimal digits, as `web-1f3a9c0`. */
  autoName?: boolean;
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

/**
 * Where defaults are written down.
 * - `inputs`: in the inputs, and named in `__defaults` at each level. A default that was used before stays. A
 *   default of false, 0 or "" is left out. This is how plugins on Terraform's SDK v2 do it.
 * - `outputs`: in the outputs only.
 */
export type Filling = "inputs" | "outputs";

export interface CheckOptions {
  filling: Filling;
  /** Name of the resource type or provider in messages, such as `docker:index/container:Container`. */
  what: string;
  /** Inputs of the last deployment, plain. */
  olds?: Properties;
  /** Makes the value of an {@link PropertySchema.autoName} property. Throws where the program must name it. */
  nameResource?(): string;
}

/**
 * Checks a program's inputs against a schema: nulls are dropped, strings, numbers and booleans convert into one
 * another, defaults are filled in. A property that is not in the schema is a failure that names it.
 */
export function checkProperties(
  schema: Schema,
  news: Properties,
  options: CheckOptions,
): { inputs: Properties; failures: CheckFailure[] } {
  const failures: CheckFailure[] = [];
  const inputs = checkObject(schema, news, options.olds ?? {}, "", options, failures);
  return { inputs, failures };
}

function checkObject(
  schema: Schema,
  news: Properties,
  olds: Properties,
  path: string,
  options: CheckOptions,
  failures: CheckFailure[],
): Properties {
  const inputs: Properties = {};
  const defaults: string[] = [];
  // The order of names on the wire is none: sorted, failures come out the same every time.
  for (const [name, value] of Object.entries(news).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (name.startsWith("__") || plain(value) === null) continue;
    const at = join(path, name);
    const property = schema[name];
    if (property === undefined || property.input === false) {
      failures.push({ property: "", reason: unknownProperty(at, schema, path, options.what) });
    } else {
      inputs[name] = checkValue(property, value, olds[name], at, options, failures);
    }
  }
  for (const [name, property] of Object.entries(schema)) {
    if (inputs[name] !== undefined) continue;
    const value = options.filling === "inputs" ? inputDefault(name, property, olds, options) : undefined;
    if (value !== undefined) {
      inputs[name] = value;
      defaults.push(name);
    } else if (property.required) {
      failures.push({ property: "", reason: `Missing required property '${join(path, name)}'` });
    }
  }
  if (options.filling === "inputs") inputs.__defaults = defaults.sort();
  return inputs;
}

function inputDefault(
  name: string,
  property: PropertySchema,
  olds: Properties,
  options: CheckOptions,
): Value | undefined {
  if (property.default === undefined && !property.autoName) return undefined;
  const old = olds[name];
  const oldDefaults = olds.__defaults;
  if (old !== undefined && (!Array.isArray(oldDefaults) || oldDefaults.includes(name))) return old;
  // A name that the program no longer gives is kept as well: another one would replace the resource.
  if (property.autoName) return old ?? options.nameResource?.();
  const value = defaultOf(property);
  return value === false || value === 0 || value === "" ? undefined : value;
}

/** The default of a property, or undefined. */
export function defaultOf(property: PropertySchema): Value | undefined {
  return typeof property.default === "function" ? property.default() : property.default;
}

/** Inputs with the defaults that stand in the outputs only. */
export function withDefaults(schema: Schema, inputs: Properties): Properties {
  const result = { ...inputs };
  for (const [name, property] of Object.entries(schema)) {
    const standard = property.input === false || property.autoName ? undefined : defaultOf(property);
    if (result[name] === undefined && standard !== undefined) result[name] = standard;
  }
  return result;
}

function unknownProperty(at: string, schema: Schema, path: string, what: string): string {
  const known = Object.keys(schema).filter((name) => schema[name]?.input !== false);
  return (
    `The airgap stand-in plugin does not know property '${at}' of ${what}. Leave it out, or use the genuine ` +
    `plugin. It knows${path === "" ? "" : ` in '${path}'`}: ${known.sort().join(", ")}`
  );
}

function checkValue(
  schema: PropertySchema,
  value: Value,
  old: Value | undefined,
  path: string,
  options: CheckOptions,
  failures: CheckFailure[],
): Value {
  if (value instanceof Secret) {
    return new Secret(checkValue(schema, value.value, old, path, options, failures));
  }
  if (value === UNKNOWN) return UNKNOWN;
  const wrong = (expected: string): Value => {
    failures.push({ property: path, reason: `expected ${expected}, got ${describe(value)}` });
    return value;
  };
  const valid = (checked: Value): Value => {
    const reason = hasUnknown(checked) ? undefined : schema.validate?.(plain(checked));
    if (reason !== undefined) failures.push({ property: path, reason });
    return checked;
  };
  switch (schema.kind) {
    case "any":
      return valid(value);
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
    case "set": {
      if (!Array.isArray(value)) return wrong("a list");
      const olds = Array.isArray(old) ? old : [];
      return valid(
        value.map((item, index) =>
          checkValue(elementOf(schema), item, olds[index], `${path}[${index}]`, options, failures),
        ),
      );
    }
    case "map": {
      if (!isProperties(value)) return wrong("a map");
      const result: Properties = {};
      for (const [name, item] of Object.entries(value)) {
        if (name.startsWith("__") || item === null) continue;
        result[name] = checkValue(
          elementOf(schema),
          item,
          undefined,
          path + keyPath(name),
          options,
          failures,
        );
      }
      return valid(result);
    }
    case "object": {
      if (!isProperties(value)) return wrong("an object");
      const olds = isProperties(old) ? old : {};
      return valid(checkObject(schema.properties ?? {}, value, olds, path, options, failures));
    }
  }
}

function describe(value: Value): string {
  if (Array.isArray(value)) return "a list";
  return isProperties(value) ? "an object" : `a ${typeof value}`;
}

/** What the items of a list, set or map are. */
export function elementOf(schema: PropertySchema): PropertySchema {
  return schema.element ?? { kind: "string" };
}

/** The path of a property of an object. */
export function join(path: string, name: string): string {
  return path === "" ? name : `${path}${keyPath(name)}`;
}

/** A key at the end of a property path, as Pulumi writes it. */
export function keyPath(name: string): string {
  return /^[A-Za-z_$][A-Za-z0-9_$]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
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
  if (value instanceof Secret) return value;
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
 * A name of at most 255 characters: the resource's name, a dash and seven hexadecimal digits that follow from
 * the engine's seed, so that a preview and its update agree.
 */
export function uniqueName(resourceName: string, seed: Uint8Array): string {
  const prefix = `${resourceName}-`;
  const digits = createHash("sha512").update(seed).update(prefix).digest("hex").slice(0, 7);
  if (prefix.length + digits.length > 255) {
    throw new Error(`name '${prefix}' plus 7 random characters is longer than the maximum length 255`);
  }
  return prefix + digits;
}
