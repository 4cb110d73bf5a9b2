import { findRule, type Rule } from "./rules.ts";
import { type ResourceState, type Scalar, scalars, toNode } from "./state.ts";

interface Mark {
  readonly searched: string;
  readonly mark: string;
  readonly rule: Rule;
}

/** Finds the values that a rule says to travel, and puts `«resource path»` in their place wherever they turn up. */
export class Substitution {
  readonly #marks: Mark[];

  constructor(state: readonly ResourceState[], rules: readonly Rule[]) {
    const marks = new Map<string, Mark>();
    for (const resource of state) {
      const values = new Map(scalars(resource.properties));
      for (const [path, value] of values) {
        const rule = findRule(rules, resource.type, path);
        if (!rule?.travels) continue;
        // A port that the program names is no variable.
        const input = path.startsWith("outputs.")
          ? values.get(path.replace("outputs.", "inputs."))
          : undefined;
        if (input !== undefined && input === value) continue;
        for (const [place, part] of parts(value, path)) {
          for (const searched of spellings(part)) {
            if (!marks.has(searched))
              marks.set(searched, { searched, mark: `«${resource.name} ${place}»`, rule });
          }
        }
      }
    }
    // The longest first: a host name is the beginning of a container's id.
    this.#marks = [...marks.values()].sort((a, b) => b.searched.length - a.searched.length);
  }

  /** The value with marks in it, and the rules they come from. */
  apply(value: Scalar): { value: Scalar; rules: Rule[] } {
    if (typeof value === "boolean" || value === null) return { value, rules: [] };
    const rules: Rule[] = [];
    let text = String(value);
    for (const { searched, mark, rule } of this.#marks) {
      const parts = split(text, searched);
      if (parts.length === 1) continue;
      text = parts.join(mark);
      rules.push(rule);
    }
    return rules.length === 0 ? { value, rules } : { value: text, rules };
  }
}

/** A value with its place, and the values in it where it is an object as JSON: they travel by themselves, too. */
function parts(value: Scalar, path: string): [path: string, value: Scalar][] {
  if (typeof value !== "string" || !value.startsWith("{")) return [[path, value]];
  try {
    return [[path, value], ...scalars(toNode(JSON.parse(value)), path)];
  } catch {
    return [[path, value]];
  }
}

/** The forms in which a value is written inside others. Short values would be found anywhere: they are left out. */
function spellings(value: Scalar): string[] {
  if (typeof value === "number") return value >= 1024 ? [String(value)] : [];
  if (typeof value !== "string" || value.length < 6) return [];
  const forms = [value, value.trimEnd(), encodeURIComponent(value), Buffer.from(value).toString("base64")];
  // A time is whole seconds since 1970, too.
  if (/^\d{4}-\d\d-\d\dT[\d:]{8}(\.\d+)?(Z|[+-][\d:]{5})$/.test(value)) {
    forms.push(String(Math.floor(Date.parse(value) / 1000)));
  }
  return [...new Set([...forms, ...forms.map((form) => JSON.stringify(form).slice(1, -1))])];
}

/** Numbers are found as whole numbers only. */
function split(text: string, searched: string): string[] {
  return /^\d+$/.test(searched) ? text.split(new RegExp(`(?<!\\d)${searched}(?!\\d)`)) : text.split(searched);
}
