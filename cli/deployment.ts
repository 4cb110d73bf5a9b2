import { z } from "zod";

const resource = z.object({
  urn: z.string(),
  type: z.string(),
  id: z.string().optional(),
  outputs: z.record(z.string(), z.unknown()).optional(),
});
const exported = z.object({
  deployment: z
    .object({
      resources: z.array(resource).default([]),
      pending_operations: z.array(z.object({ type: z.string(), resource })).default([]),
    })
    .nullable(),
});

/** What `start` needs of a stack's state. */
export interface Deployment {
  /** Number of resources. */
  readonly resources: number;
  /** Ids that the state knows, of every resource. */
  readonly ids: ReadonlySet<string>;
  readonly containers: readonly { readonly id: string; readonly name: string }[];
  /** The stack's output of this name; undefined where no `up` has got as far. */
  readonly lifetime: string | undefined;
  /** Names of what Pulumi was creating when it was killed: it may exist or not. */
  readonly interruptedCreates: readonly string[];
  /** Whether one of these is in the server: a role, a database, a right. */
  readonly interruptedInServer: boolean;
}

/** @param json What `pulumi stack export` printed. */
export function parseDeployment(json: string): Deployment {
  const state = exported.parse(JSON.parse(json)).deployment;
  const resources = state?.resources ?? [];
  const stackOutputs = resources.find(({ type }) => type === "pulumi:pulumi:Stack")?.outputs;
  const creates = (state?.pending_operations ?? [])
    .filter(({ type }) => type === "creating")
    .map((operation) => operation.resource);
  return {
    resources: resources.length,
    ids: new Set(resources.flatMap(({ id }) => id ?? [])),
    containers: resources.flatMap(({ type, id, outputs }) =>
      type === "docker:index/container:Container" && id !== undefined
        ? [{ id, name: String(outputs?.name) }]
        : [],
    ),
    lifetime: typeof stackOutputs?.lifetime === "string" ? stackOutputs.lifetime : undefined,
    interruptedCreates: creates.map(({ urn }) => urn.slice(urn.lastIndexOf("::") + 2)),
    interruptedInServer: creates.some(({ type }) => type.startsWith("postgresql:")),
  };
}
