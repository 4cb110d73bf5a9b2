import { elementOf, join, keyPath, type PropertySchema, type Schema } from "./schema.ts";
import { equal, isProperties, type Properties, Secret, UNKNOWN, type Value } from "./values.ts";

/** Kinds of a property's change, by the names of `PropertyDiff.Kind`. */
export type DiffKind = "ADD" | "ADD_REPLACE" | "DELETE" | "DELETE_REPLACE" | "UPDATE" | "UPDATE_REPLACE";

/** Changes by path, such as `ports[0].internal`. */
export type DetailedDiff = { [path: string]: DiffKind };

/**
 * Compares the state of a resource with new inputs, both plain. A property that is not given equals its zero
 * value ("", 0, false, empty list or map), and equals anything where the provider computes it.
 */
export function diffState(schema: Schema, state: Properties, inputs: Properties): DetailedDiff {
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
    const forceNew = replace || property.forceNew === true;
    diffValue(property, state[name], inputs[name], join(path, name), forceNew, diff);
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
  const element = elementOf(schema);
  const deeper = replace || element.forceNew === true;
  if (schema.kind === "object" && isProperties(old) && isProperties(now)) {
    diffObject(schema.properties ?? {}, old, now, path, replace, diff);
  } else if (Array.isArray(old) && Array.isArray(now) && !isAbsent(old) && !isAbsent(now)) {
    const without = (items: Value[], others: Value[]) =>
      schema.kind === "set"
        ? items.map((item) => (others.some((other) => same(element, item, other)) ? undefined : item))
        : items;
    const before = without(old, now);
    const after = without(now, old);
    for (let index = 0; index < Math.max(before.length, after.length); index++) {
      diffValue(element, before[index], after[index], `${path}[${index}]`, deeper, diff);
    }
  } else if (schema.kind === "map" && isProperties(old) && isProperties(now)) {
    for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
      diffValue(element, old[name], now[name], path + keyPath(name), deeper, diff);
    }
  } else {
    const kind = isAbsent(old) ? "ADD" : isAbsent(now) ? "DELETE" : "UPDATE";
    diff[path] = replace || forcesNew(schema) ? `${kind}_REPLACE` : kind;
  }
}

/** Unlike a zero value, an empty list counts as no value at all. */
function isAbsent(value: Value | undefined): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0);
}

/** Whether adding or removing the whole value replaces the resource: a field in it does. */
function forcesNew(schema: PropertySchema): boolean {
  return (
    schema.forceNew === true ||
    (schema.element !== undefined && forcesNew(schema.element)) ||
    Object.values(schema.properties ?? {}).some(forcesNew)
  );
}

/** Whether a value is what a property has that nobody sets: nothing, "", 0, false, an empty list or map. */
export function isZero(value: Value | undefined): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isProperties(value)) return Object.keys(value).filter((name) => !name.startsWith("__")).length === 0;
  return value === undefined || value === null || value === "" || value === 0 || value === false;
}

function same(schema: PropertySchema, old: Value | undefined, now: Value | undefined): boolean {
  if (isZero(old) && isZero(now)) return true;
  if (Array.isArray(old) && Array.isArray(now)) {
    if (old.length !== now.length) return false;
    const element = elementOf(schema);
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

/**
 * Compares old and new inputs value by value, secret marks included, as the engine does for itself. For plugins
 * that know no schema rules of their own.
 */
export function diffInputs(olds: Properties, news: Properties): DetailedDiff {
  const diff: DetailedDiff = {};
  diffInputObject(olds, news, "", diff);
  return diff;
}

function diffInputObject(olds: Properties, news: Properties, path: string, diff: DetailedDiff): void {
  for (const name of new Set([...Object.keys(olds), ...Object.keys(news)])) {
    if (name.startsWith("__")) continue;
    diffInputValue(olds[name], news[name], join(path, name), diff);
  }
}

function diffInputValue(
  old: Value | undefined,
  now: Value | undefined,
  path: string,
  diff: DetailedDiff,
): void {
  if ((old ?? null) === null) {
    if ((now ?? null) !== null) diff[path] = "ADD";
  } else if ((now ?? null) === null) {
    diff[path] = "DELETE";
  } else if (Array.isArray(old) && Array.isArray(now)) {
    for (let index = 0; index < Math.max(old.length, now.length); index++) {
      diffInputValue(old[index], now[index], `${path}[${index}]`, diff);
    }
  } else if (isProperties(old) && isProperties(now)) {
    diffInputObject(old, now, path, diff);
  } else if (!equalMarked(old, now)) {
    diff[path] = "UPDATE";
  }
}

function equalMarked(old: Value | undefined, now: Value | undefined): boolean {
  if (old === UNKNOWN || now === UNKNOWN) return false;
  if (old instanceof Secret || now instanceof Secret) {
    return old instanceof Secret && now instanceof Secret && equalMarked(old.value, now.value);
  }
  return equal(old, now);
}
