import { strings } from "../common/read.ts";
import type { Properties, Value } from "../common/values.ts";

export { flag, strings, text, whole } from "../common/read.ts";

/** Whether a property changed; one that is not set equals its zero value. */
export function changed(state: Properties, inputs: Properties, name: string): boolean {
  return comparable(state[name]) !== comparable(inputs[name]);
}

function comparable(value: Value | undefined): string {
  const zero = value === undefined || value === null || value === "" || value === 0 || value === false;
  return zero ? "" : JSON.stringify(value);
}

/** A set as the genuine state has it after a change: an empty one is null where there was none before. */
export function planned(name: string, state: Properties, inputs: Properties): string[] | null {
  const values = sorted(strings(inputs, name));
  return values.length > 0 || Array.isArray(state[name]) ? values : null;
}

/** A set in the order in which the genuine state has it. */
export function sorted(values: string[]): string[] {
  return [...new Set(values)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

export function atLeast(minimum: number, attribute: string): (value: Value) => string | undefined {
  return (value) =>
    typeof value === "number" && value < minimum
      ? `expected ${attribute} to be at least (${minimum}), got ${value}`
      : undefined;
}

export function oneOf(allowed: string[], attribute: string): (value: Value) => string | undefined {
  return (value) =>
    typeof value === "string" && !allowed.includes(value)
      ? `expected ${attribute} to be one of [${allowed.map((item) => JSON.stringify(item)).join(" ")}], got ${value}`
      : undefined;
}
