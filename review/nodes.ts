import type { Node } from "libpg-query";

/** The names of the parser's kinds of node: each node is an object with one of them as its key. */
export type Kind = Node extends infer Each ? (Each extends unknown ? keyof Each : never) : never;
export type Content<K extends Kind> =
  Extract<Node, Record<K, unknown>> extends Record<K, infer Value> ? Value : never;

/** The content of a node that is of one kind. */
export function part<K extends Kind>(node: Node | undefined, kind: K): Content<K> | undefined {
  return (node as Partial<Record<K, Content<K>>> | undefined)?.[kind];
}

/** The texts of a list of names, as in `schema.table`. */
export function namesIn(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).flatMap((node) => part(node, "String")?.sval ?? []);
}

/** The last of a list of names: without its schema. */
export function lastName(nodes: readonly Node[] | undefined): string {
  return namesIn(nodes).at(-1) ?? "";
}

/** Everything in a node, itself included. */
export function* walk(value: unknown): Generator<Node> {
  if (value === null || typeof value !== "object") return;
  if (!Array.isArray(value)) yield value as Node;
  for (const item of Object.values(value)) yield* walk(item);
}
