import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { hostname } from "node:os";

/** Prefix of every label that the program sets, in the manner that Docker's manual asks for. */
const prefix = "postgresql-environments";

/** Labels by which a stack's Docker objects are found: the stack's own ones win over none of these. */
export function objectLabels(options: {
  project: string;
  stack: string;
  role: string;
  custom: Readonly<Record<string, string>>;
}): { label: string; value: string }[] {
  const labels: Record<string, string> = {
    ...options.custom,
    [projectLabel]: options.project,
    [stackLabel]: options.stack,
    [roleLabel]: options.role,
  };
  return Object.entries(labels)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([label, value]) => ({ label, value }));
}

/**
 * On the network of an ephemeral environment, so that what it has in Docker can be told apart from another checkout's,
 * and is found when its state is gone: the checkout that made it (`formatCheckoutMark`).
 * Not on the container, which a new label would replace.
 */
export const checkoutLabel = `${prefix}.checkout`;
/** The setting `keepFor`, beside it. */
export const keepForLabel = `${prefix}.keep-for`;
/** Of an object's part in its environment, as in `postgres` for the server's container. */
export const roleLabel = `${prefix}.role`;
export const stackLabel = `${prefix}.stack`;
export const projectLabel = `${prefix}.project`;

/** Who made an environment: a checkout on a machine, with its state in some place. */
export interface CheckoutMark {
  readonly host: string;
  readonly folder: string;
  /** Empty: where Pulumi.yaml says. Else a hash of PULUMI_BACKEND_URL, which may have a password in it. */
  readonly backend: string;
}

/** @param folder The project's. */
export function ownCheckout(folder: string): CheckoutMark {
  const url = process.env.PULUMI_BACKEND_URL;
  return {
    host: hostname(),
    // One folder may have several names.
    folder: realpathSync(folder),
    backend: url ? createHash("sha256").update(url).digest("hex").slice(0, 12) : "",
  };
}

export function formatCheckoutMark({ backend, folder, host }: CheckoutMark): string {
  return `${host}:${backend}:${folder}`;
}

/** @returns Undefined for a label that is missing or of another form. */
export function parseCheckoutMark(label: string): CheckoutMark | undefined {
  const [, host, backend, folder] = /^([^:]*):([^:]*):(.+)$/s.exec(label) ?? [];
  return host === undefined || backend === undefined || folder === undefined
    ? undefined
    : { host, backend, folder };
}

/** Major version of the data in a volume, recorded when the volume is made. */
export const majorVersionLabel = `${prefix}.major-version`;
/** Of a volume that was made from a backup: which in the line of the stack's volumes it is, from 1 on. */
export const generationLabel = `${prefix}.generation`;
/** Beside it: the setting that it was made by (`formatRestore`). */
export const restoredLabel = `${prefix}.restored`;
/** Hash of what Docker can only take at a container's creation but the plugin would change silently. */
export const configurationLabel = `${prefix}.configuration`;
