import type { Catalogue, CatalogueObject } from "./read.ts";

/** One object in which two catalogues differ. */
export type Difference =
  | {
      readonly kind: "missing" | "extra";
      readonly object: string;
      /** Names of the objects that go with it, such as a table's columns. */
      readonly parts: readonly string[];
    }
  | { readonly kind: "changed"; readonly object: string; readonly changes: readonly Change[] }
  /** The same columns in another order, which is all that a column dropped and added again can be: no fault. */
  | {
      readonly kind: "order";
      readonly object: string;
      readonly was: readonly string[];
      readonly is: readonly string[];
    };

export interface Change {
  /** What of the object: `type`, or `privileges of shop_readonly`. */
  readonly what: string;
  /** Undefined: nothing, or the default. */
  readonly was: string | undefined;
  readonly is: string | undefined;
}

/** Whether it is more than another order of columns. */
export function isFault({ kind }: Difference): boolean {
  return kind !== "order";
}

/** What differs in `after` from `before`, by name. What goes with a missing or extra object is told with it. */
export function compareCatalogues(before: Catalogue, after: Catalogue): Difference[] {
  return [
    ...oneSided("missing", before, after),
    ...oneSided("extra", after, before),
    ...[...before.values()].flatMap((was) => {
      const is = after.get(was.name);
      return is ? compareObjects(was, is) : [];
    }),
  ].toSorted((a, b) => (a.object < b.object ? -1 : a.object > b.object ? 1 : 0));
}

function oneSided(kind: "missing" | "extra", there: Catalogue, other: Catalogue): Difference[] {
  const parts = new Map<string, string[]>();
  for (const { name } of there.values()) {
    if (other.has(name)) continue;
    const top = topmost(name, there, other);
    const list = parts.get(top) ?? [];
    parts.set(top, list);
    if (top !== name) list.push(name);
  }
  return [...parts].map(([object, list]) => ({ kind, object, parts: list }));
}

/** The outermost object that goes with this one and is not in the other catalogue either. */
function topmost(name: string, there: Catalogue, other: Catalogue): string {
  let top = name;
  for (
    let parent = there.get(name)?.parent;
    parent !== undefined && there.has(parent);
    parent = there.get(parent)?.parent
  ) {
    if (!other.has(parent)) top = parent;
  }
  return top;
}

function compareObjects(was: CatalogueObject, is: CatalogueObject): Difference[] {
  const changes = [
    ...changesOf(was.properties, is.properties, (name) => name),
    ...changesOf(was.privileges, is.privileges, (role) => `privileges of ${role}`),
  ];
  return [
    ...(changes.length > 0 ? [{ kind: "changed" as const, object: was.name, changes }] : []),
    ...compareOrder(was, is),
  ];
}

function changesOf(
  was: Readonly<Record<string, string>>,
  is: Readonly<Record<string, string>>,
  what: (name: string) => string,
): Change[] {
  return [...new Set([...Object.keys(was), ...Object.keys(is)])]
    .filter((name) => was[name] !== is[name])
    .toSorted()
    .map((name) => ({ what: what(name), was: was[name], is: is[name] }));
}

/** Columns that only one of the two has are differences by themselves. */
function compareOrder(was: CatalogueObject, is: CatalogueObject): Difference[] {
  const before = (was.columns ?? []).filter((name) => is.columns?.includes(name));
  const after = (is.columns ?? []).filter((name) => was.columns?.includes(name));
  if (before.every((name, index) => name === after[index])) return [];
  return [{ kind: "order", object: was.name, was: before, is: after }];
}

/** Values up to this length are shown as a whole. */
const shown = 100;

/**
 * A difference in plain words.
 *
 * @param when When `after` was read, as in «after down».
 */
export function describeDifference(difference: Difference, when: string): string {
  const { object } = difference;
  switch (difference.kind) {
    case "missing":
      return `${object} ${verbOf(object)} missing ${when}${describeParts(difference.parts)}`;
    case "extra":
      return `${object} ${verbOf(object)} there ${when}, and ${verbOf(object) === "are" ? "were" : "was"} not before${describeParts(difference.parts)}`;
    case "order":
      return `${object}: the order of the columns was ${difference.was.join(", ")}, is ${difference.is.join(", ")} ${when}`;
    case "changed":
      return `${object}, ${when}: ${difference.changes.map((change) => describeChange(change, ["was", "were"])).join("; ")}`;
  }
}

/** The same where one of the two is not earlier, but as it should be. */
export function describeDeviation(difference: Difference): string {
  const { object } = difference;
  switch (difference.kind) {
    case "missing":
      return `${object} ${verbOf(object)} missing${describeParts(difference.parts)}`;
    case "extra":
      return `${object} ${verbOf(object)} there, and should not be${describeParts(difference.parts)}`;
    case "order":
      return `${object}: the order of the columns should be ${difference.was.join(", ")}, is ${difference.is.join(", ")}`;
    case "changed":
      return `${object}: ${difference.changes.map((change) => describeChange(change, ["should be", "should be"])).join("; ")}`;
  }
}

function verbOf(object: string): "is" | "are" {
  return /^(?:settings|default privileges|rights) /.test(object) ? "are" : "is";
}

/** As in « (with 3 columns and 1 index)». */
function describeParts(parts: readonly string[]): string {
  if (parts.length === 0) return "";
  const counts = [...Map.groupBy(parts, kindOf)].map(([kind, { length }]) =>
    length === 1 ? `1 ${kind}` : `${length} ${plural(kind)}`,
  );
  const last = counts.pop();
  return ` (with ${counts.length > 0 ? `${counts.join(", ")} and ${last}` : last})`;
}

/** The words before the name. */
function kindOf(name: string): string {
  const long =
    /^(?:materialized view|foreign table|text search \w+|operator class|operator family|default privileges)\b/;
  const kind = long.exec(name)?.[0] ?? name.split(" ")[0] ?? name;
  return kind === "statistics" ? "statistics object" : kind;
}

function plural(kind: string): string {
  if (kind.endsWith("privileges")) return kind;
  if (kind.endsWith("y")) return `${kind.slice(0, -1)}ies`;
  return /(?:s|x)$/.test(kind) ? `${kind}es` : `${kind}s`;
}

function describeChange({ what, was, is }: Change, [one, many]: readonly [string, string]): string {
  const [before, after] =
    /^(?:privileges|rights)|(?:attributes|functions|operators|options|roles|schemas|tables|tags|targets|values)$/.test(
      what,
    )
      ? [many, "are"]
      : [one, "is"];
  if (
    was !== undefined &&
    is !== undefined &&
    [was, is].some((text) => text.includes("\n") || text.length > shown)
  ) {
    return describeLongChange(what, was, is, before);
  }
  return `${what} ${before} ${described(what, was)}, ${after} ${described(what, is)}`;
}

function described(what: string, value: string | undefined): string {
  if (value === undefined && what.startsWith("rights on ")) return "the built-in ones";
  if (value === undefined || value === "") return "none";
  const [first = "", ...rest] = value.trim().split("\n");
  const text = rest.length > 0 || first.length > shown ? `${first.slice(0, shown)} …` : first;
  return what === "comment" ? `«${text}»` : text;
}

/** Shows where a long text first differs. */
function describeLongChange(what: string, was: string, is: string, verb: string): string {
  const [before, after] = [was.split("\n"), is.split("\n")];
  const line = before.findIndex((text, index) => text !== after[index]);
  const place = line < 0 ? before.length : line;
  const [a, b] = [before[place], after[place]].map((text) => text?.trim());
  const excerpt = (text: string | undefined, other: string | undefined) =>
    text === undefined ? "nothing" : `«${aroundDifference(text, other ?? "")}»`;
  const where = Math.max(before.length, after.length) > 1 ? ` in line ${place + 1}` : "";
  return `${what} differs${where}: ${verb === "were" ? "was" : verb} ${excerpt(a, b)}, is ${excerpt(b, a)}`;
}

function aroundDifference(text: string, other: string): string {
  if (text.length <= shown) return text;
  let same = 0;
  while (same < text.length && text[same] === other[same]) same += 1;
  const start = Math.max(0, Math.min(same - shown / 2, text.length - shown));
  const end = start + shown;
  return `${start > 0 ? "… " : ""}${text.slice(start, end)}${end < text.length ? " …" : ""}`;
}
