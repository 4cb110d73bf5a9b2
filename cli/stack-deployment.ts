import { z } from "zod";
import { type PulumiCommand, pulumiError } from "./pulumi.ts";
import { parseStackOutputs, type StackOutputs } from "./stack-outputs.ts";

/** A resource as the stack's state has it, secrets in plain text. */
export interface StateResource {
  readonly urn: string;
  readonly type: string;
  readonly id: string | undefined;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
}

export interface StackDeployment {
  readonly resources: readonly StateResource[];
  readonly outputs: StackOutputs;
}

const exported = z.object({
  deployment: z.object({
    resources: z
      .array(
        z.object({
          urn: z.string(),
          type: z.string(),
          id: z.string().optional(),
          inputs: z.record(z.string(), z.unknown()).default({}),
          outputs: z.record(z.string(), z.unknown()).default({}),
        }),
      )
      .default([]),
  }),
});

/** @throws UserError where the stack does not exist or is not up, or its passphrase is wrong. */
export async function readDeployment(stack: string, pulumi: PulumiCommand): Promise<StackDeployment> {
  const { code, stdout, stderr } = await pulumi.capture(["stack", "export", "--show-secrets"]);
  if (code !== 0) throw pulumiError(stack, stderr);
  return parseDeployment(stdout, stack);
}

/** @param json What `pulumi stack export --show-secrets` printed. */
export function parseDeployment(json: string, stack: string): StackDeployment {
  const { deployment } = exported.parse(JSON.parse(json));
  const resources = deployment.resources.map(({ id, inputs, outputs, type, urn }) => ({
    urn,
    type,
    id,
    inputs: plain(inputs) as Record<string, unknown>,
    outputs: plain(outputs) as Record<string, unknown>,
  }));
  const outputs = resources.find(({ type }) => type === "pulumi:pulumi:Stack")?.outputs ?? {};
  return { resources, outputs: parseStackOutputs(JSON.stringify(outputs), stack) };
}

/** By this key Pulumi tells a value of a special kind from a map (sdk/go/common/resource/sig). */
const signature = "4dabf18193072939515e22adb298388d";

/** A value without the wrapping that marks secrets. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const map = value as Record<string, unknown>;
  if (signature in map && typeof map.plaintext === "string") return plain(JSON.parse(map.plaintext));
  return Object.fromEntries(Object.entries(map).map(([key, each]) => [key, plain(each)]));
}
