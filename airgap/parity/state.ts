// Wire constants of the engine: sdk/go/common/resource/sig/sig.go in pulumi/pulumi.
const signatureKey = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";

export type Scalar = null | boolean | number | string;

/** A value of a state, and whether it is marked secret there. */
export type Node = (
  | { readonly kind: "scalar"; readonly value: Scalar }
  | { readonly kind: "list"; readonly items: readonly Node[] }
  | { readonly kind: "object"; readonly fields: ReadonlyMap<string, Node> }
) & { readonly secret: boolean };

/** A resource of an exported stack. */
export interface ResourceState {
  readonly urn: string;
  readonly type: string;
  readonly name: string;
  /** `id`, `inputs`, `outputs`, `parent`, `protect` and the like, all but the URN. */
  readonly properties: Node;
}

/**
 * Reads what `pulumi stack export --show-secrets` prints. Of resources with one URN (a replaced one that waits for
 * its deletion), later ones get `#2`, `#3`.
 *
 * @throws where a secret is encrypted: the export was made without `--show-secrets`.
 */
export function readState(exported: string): ResourceState[] {
  const { deployment } = JSON.parse(exported) as { deployment: { resources?: Record<string, unknown>[] } };
  const seen = new Map<string, number>();
  return (deployment.resources ?? []).map(({ urn, ...properties }) => {
    const count = (seen.get(String(urn)) ?? 0) + 1;
    seen.set(String(urn), count);
    return {
      urn: count === 1 ? String(urn) : `${urn}#${count}`,
      type: String(properties.type),
      name: String(urn).split("::").slice(3).join("::"),
      properties: toNode(properties),
    };
  });
}

export function toNode(value: unknown, secret = false): Node {
  if (Array.isArray(value)) return { kind: "list", items: value.map((item) => toNode(item)), secret };
  if (typeof value !== "object" || value === null) return { kind: "scalar", value: value as Scalar, secret };
  const fields = value as Record<string, unknown>;
  if (fields[signatureKey] === secretSignature) {
    if (typeof fields.plaintext !== "string") {
      throw new Error("the state has encrypted values: export it with --show-secrets");
    }
    return toNode(JSON.parse(fields.plaintext), true);
  }
  return {
    kind: "object",
    fields: new Map(Object.entries(fields).map(([key, item]) => [key, toNode(item)])),
    secret,
  };
}

/** Every scalar below a node, with its path, such as `outputs.ports[0].external`. */
export function* scalars(node: Node, path = ""): Generator<[path: string, value: Scalar]> {
  if (node.kind === "scalar") yield [path, node.value];
  else for (const [step, child] of children(node)) yield* scalars(child, join(path, step));
}

/** Children of a list or object with their step: `[0]`, `name`, `["a.b"]`. */
export function children(node: Node): [step: string, child: Node][] {
  if (node.kind === "list") return node.items.map((item, index) => [`[${index}]`, item]);
  if (node.kind === "scalar") return [];
  return [...node.fields].map(([key, item]) => [/^\w+$/.test(key) ? key : `[${JSON.stringify(key)}]`, item]);
}

export function join(path: string, step: string): string {
  return path === "" || step.startsWith("[") ? path + step : `${path}.${step}`;
}
