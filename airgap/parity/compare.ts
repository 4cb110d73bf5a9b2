import { emptyRule, findRule, isSet, type Rule, sameStackRules, separateStackRules } from "./rules.ts";
import { children, join, type Node, type ResourceState, type Scalar } from "./state.ts";
import { Substitution } from "./substitution.ts";

export interface Difference {
  readonly urn: string;
  /** Lists that are sets are sorted first, so that an index in it can be another one than in the state. */
  readonly path: string;
  /** As it is printed; a secret is not shown. Undefined where there is nothing. */
  readonly left: string | undefined;
  readonly right: string | undefined;
}

export interface Comparison {
  readonly differences: readonly Difference[];
  /** What differs and may, with the number of places. */
  readonly ignored: ReadonlyMap<Rule, number>;
}

/** Compares one stack before and after something that must change nothing, such as a refresh. */
export function compareSameStack(
  left: readonly ResourceState[],
  right: readonly ResourceState[],
): Comparison {
  return compare(left, right, sameStackRules);
}

/** Compares two stacks that were made one after the other from the same program, settings and names. */
export function compareSeparateStacks(
  left: readonly ResourceState[],
  right: readonly ResourceState[],
): Comparison {
  return compare(left, right, separateStackRules);
}

function compare(
  left: readonly ResourceState[],
  right: readonly ResourceState[],
  rules: readonly Rule[],
): Comparison {
  const differences: Difference[] = [];
  const ignored = new Map<Rule, number>();
  const ignore = (rule: Rule) => ignored.set(rule, (ignored.get(rule) ?? 0) + 1);
  const lefts = leavesByUrn(left, new Substitution(left, rules));
  const rights = leavesByUrn(right, new Substitution(right, rules));

  for (const urn of sortedUnion(lefts, rights)) {
    const a = lefts.get(urn);
    const b = rights.get(urn);
    if (a === undefined || b === undefined) {
      differences.push({ urn, path: "", left: a && "a resource", right: b && "a resource" });
      continue;
    }
    for (const path of sortedUnion(a.leaves, b.leaves)) {
      const leftLeaf = a.leaves.get(path);
      const rightLeaf = b.leaves.get(path);
      if (leftLeaf?.raw === rightLeaf?.raw && leftLeaf?.value === rightLeaf?.value) continue;
      const rule = findRule(rules, a.type, path);
      if (leftLeaf && rightLeaf && leftLeaf.value === rightLeaf.value) {
        for (const used of leftLeaf.rules) ignore(used);
      } else if (rule && mayDiffer(rule, path, a, b)) {
        ignore(rule);
      } else if (isEmpty(leftLeaf) && isEmpty(rightLeaf)) {
        ignore(emptyRule);
      } else {
        differences.push({ urn, path, left: show(leftLeaf), right: show(rightLeaf) });
      }
    }
  }
  return { differences, ignored };
}

function mayDiffer(rule: Rule, path: string, a: Resource, b: Resource): boolean {
  if (rule.optional) return lacks(a, rule) || lacks(b, rule);
  return a.leaves.has(path) && b.leaves.has(path) && isFree(a, path) && isFree(b, path);
}

function lacks({ type, leaves }: Resource, rule: Rule): boolean {
  return ![...leaves.keys()].some((path) => findRule([rule], type, path));
}

/** Whether the program leaves the value open: a port that it names is no variable. */
function isFree({ leaves }: Resource, path: string): boolean {
  return !path.startsWith("outputs.") || !leaves.has(path.replace("outputs.", "inputs."));
}

/** A scalar, an empty list or object, or, at `<path>(secret)`, a secret mark. */
interface Leaf {
  readonly raw: Scalar;
  /** With marks in the place of values that travel. */
  readonly value: Scalar;
  readonly rules: readonly Rule[];
  readonly hidden: boolean;
}

interface Resource {
  readonly type: string;
  readonly leaves: ReadonlyMap<string, Leaf>;
}

function leavesByUrn(state: readonly ResourceState[], marks: Substitution): Map<string, Resource> {
  return new Map(
    state.map(({ urn, type, properties }) => [
      urn,
      { type, leaves: new Map(leavesOf(properties, "", { type, marks, hidden: false })) },
    ]),
  );
}

type LeafContext = { readonly type: string; readonly marks: Substitution; readonly hidden: boolean };

function leavesOf(node: Node, path: string, context: LeafContext): [string, Leaf][] {
  const inner = { ...context, hidden: context.hidden || node.secret };
  const mark: [string, Leaf][] = node.secret
    ? [[`${path}(secret)`, { raw: true, value: true, rules: [], hidden: false }]]
    : [];
  if (node.kind === "scalar") {
    return [...mark, [path, { raw: node.value, ...context.marks.apply(node.value), hidden: inner.hidden }]];
  }
  const items = children(node);
  if (items.length === 0) {
    const value = node.kind === "list" ? "[]" : "{}";
    return [...mark, [path, { raw: value, value, rules: [], hidden: false }]];
  }
  if (!isSet(context.type, path)) {
    return [...mark, ...items.flatMap(([step, child]) => leavesOf(child, join(path, step), inner))];
  }
  const sorted = items
    .map(([, child]) => leavesOf(child, "", inner))
    .map((leaves) => ({ leaves, order: JSON.stringify(leaves.map(([at, { value }]) => [at, value]).sort()) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1));
  return [
    ...mark,
    ...sorted.flatMap(({ leaves }, index) =>
      leaves.map(([at, leaf]): [string, Leaf] => [join(`${path}[${index}]`, at), leaf]),
    ),
  ];
}

function isEmpty(leaf: Leaf | undefined): boolean {
  return leaf === undefined || [null, "[]", "{}", "", 0, false].includes(leaf.raw);
}

function show(leaf: Leaf | undefined): string | undefined {
  if (leaf === undefined) return undefined;
  if (leaf.hidden && !isEmpty(leaf)) return "[secret]";
  const text = JSON.stringify(leaf.raw);
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}

function sortedUnion(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].sort();
}

/** A line for each difference, below a line for its resource, and one for each rule that was used. */
export function formatComparison(
  { differences, ignored }: Comparison,
  leftName: string,
  rightName: string,
): string[] {
  const lines: string[] = [];
  let urn = "";
  for (const difference of differences) {
    if (difference.urn !== urn) {
      urn = difference.urn;
      lines.push(urn);
    }
    const path = difference.path === "" ? "" : `${difference.path}: `;
    lines.push(
      `  ${path}${leftName} ${difference.left ?? "none"}, ${rightName} ${difference.right ?? "none"}`,
    );
  }
  for (const [{ type, path, reason }, count] of ignored) {
    lines.push(`ignored ${count} × ${type === "*" ? "any resource" : type} ${path}: ${reason}`);
  }
  return lines;
}
