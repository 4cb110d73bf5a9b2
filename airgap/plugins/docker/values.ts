import { text } from "../common/read.ts";
import { isProperties, type Properties, type Value } from "../common/values.ts";

export { flag, strings, text, whole } from "../common/read.ts";

export function objects(values: Properties, name: string): Properties[] {
  const value = values[name];
  return Array.isArray(value) ? value.filter(isProperties) : [];
}

export function object(values: Properties, name: string): Properties | undefined {
  const value = values[name];
  return isProperties(value) ? value : undefined;
}

export function stringMap(values: Properties, name: string): Record<string, string> | undefined {
  const value = object(values, name);
  return value && Object.fromEntries(Object.entries(value).map(([key, item]) => [key, String(item)]));
}

/** Labels as Docker has them. */
export function labelMap(values: Properties): Record<string, string> {
  return Object.fromEntries(
    objects(values, "labels").map((item) => [text(item, "label"), text(item, "value")]),
  );
}

/** Labels as the state has them: a set of pairs. */
export function labelPairs(labels: Record<string, string> | null | undefined): Value[] {
  return Object.entries(labels ?? {}).map(([label, value]) => ({ label, value }));
}
