import type { Schema } from "./schema.ts";
import { hasUnknown, type Properties, plain, Secret, UNKNOWN, type Value } from "./values.ts";

/** Provider configuration travels as strings: everything else is JSON in a string. */
export function unfoldConfig(schema: Schema, config: Properties): Properties {
  const unfold = (name: string, value: Value): Value => {
    if (value instanceof Secret) return new Secret(unfold(name, value.value));
    const kind = schema[name]?.kind;
    if (typeof value !== "string" || kind === undefined || kind === "string") return value;
    try {
      return value === "" ? null : JSON.parse(value);
    } catch {
      return value;
    }
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, unfold(name, value)]));
}

/** The reverse of {@link unfoldConfig}. */
export function foldConfig(config: Properties): Properties {
  const fold = (value: Value): Value => {
    if (hasUnknown(value)) return UNKNOWN;
    if (value instanceof Secret) return new Secret(fold(value.value));
    return typeof value === "string" ? value : JSON.stringify(plain(value));
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, fold(value)]));
}
