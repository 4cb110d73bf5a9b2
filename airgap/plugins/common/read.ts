import type { Properties } from "./values.ts";

// Properties as plain values: one that is missing or of another type reads as its zero value.

export function text(values: Properties, name: string): string {
  const value = values[name];
  return typeof value === "string" ? value : "";
}

export function flag(values: Properties, name: string): boolean {
  return values[name] === true;
}

export function whole(values: Properties, name: string): number {
  const value = values[name];
  return typeof value === "number" ? value : 0;
}

export function strings(values: Properties, name: string): string[] {
  const value = values[name];
  return Array.isArray(value) ? value.map(String) : [];
}
