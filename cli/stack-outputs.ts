import { z } from "zod";
import { UserError } from "./errors.ts";

const endpoint = z.object({ host: z.string(), port: z.int(), source: z.string() });
const connection = z.object({
  username: z.string(),
  password: z.string(),
  database: z.string(),
  host: endpoint,
  network: endpoint,
});
/** Pulumi prints an output without a value as null, or not at all. */
const optionalText = z
  .string()
  .nullish()
  .transform((text) => text ?? undefined);
const outputs = z.object({
  DB_DRIVER: z.string(),
  connections: z.object({
    app: connection,
    migrator: connection,
    readonly: connection,
    monitor: connection,
    superuser: connection,
  }),
  tls: z.object({ mode: z.enum(["disable", "require"]), ca: optionalText }),
  lifetime: z.enum(["ephemeral", "persistent"]),
  image: z.string(),
  containerName: z.string(),
  networkName: z.string(),
  volumeName: optionalText,
  /** Undefined: nothing is backed up. */
  backupRepository: optionalText,
  backupConnection: connection.nullish().transform((value) => value ?? undefined),
  rotation: z.record(z.string(), z.object({ generation: z.int(), since: z.string() })).nullish(),
});

/** What index.ts exports, as `pulumi stack output --json --show-secrets` prints it. */
export type StackOutputs = z.output<typeof outputs>;
export type Role = keyof StackOutputs["connections"];
export type Connection = z.output<typeof connection>;
export type Viewpoint = "host" | "network";

/**
 * @param json What `pulumi stack output --json --show-secrets` printed.
 * @throws UserError where the stack was never brought up, was destroyed, or comes from another version.
 */
export function parseStackOutputs(json: string, stack: string): StackOutputs {
  const value: unknown = JSON.parse(json);
  const parsed = outputs.safeParse(value);
  if (parsed.success) return parsed.data;
  const empty = typeof value === "object" && value !== null && Object.keys(value).length === 0;
  if (empty) {
    throw new UserError(`stack ${stack} has no outputs: it was never brought up, or was destroyed.`, {
      next: `Bring it up: pulumi up -s ${stack}`,
    });
  }
  const places = parsed.error.issues.map((issue) => issue.path.join(".")).join(", ");
  throw new UserError(`the outputs of stack ${stack} are not the expected ones (${places}).`, {
    next: `They may come from an earlier version of the program or from an «up» that failed: pulumi up -s ${stack}`,
  });
}
