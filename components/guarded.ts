import * as pulumi from "@pulumi/pulumi";
import { roleLabel } from "./labels.ts";

/**
 * Refuses resources that a production environment is not to have, whichever component declares them. It sees each one
 * before the engine does, in previews too.
 */
export const guardResources: pulumi.ResourceTransformation = ({ name, opts, props, type }) => {
  const faults = resourceFaults(type, props, opts);
  if (faults.length > 0) {
    throw new pulumi.RunError(
      `${type} ${name}, of a production environment, ${faults.join(", and ")}. Nothing has been changed. This is a mistake in the program, not in the settings: correct the component that declares it.`,
    );
  }
  return undefined;
};

/** What is wrong with a resource. Values that are known only later are not looked at. */
export function resourceFaults(
  type: string,
  props: Readonly<Record<string, unknown>>,
  opts: pulumi.ResourceOptions = {},
): string[] {
  switch (type) {
    case "docker:index/container:Container":
      return containerFaults(props);
    case "docker:index/volume:Volume":
      return (opts as pulumi.CustomResourceOptions).retainOnDelete || !isKept(props)
        ? []
        : ["is a volume whose data would go with the resource (retainOnDelete)"];
    case "postgresql:index/role:Role":
      return ["superuser", "createRole", "createDatabase", "bypassRowLevelSecurity"]
        .filter((attribute) => props[attribute] !== undefined && props[attribute] !== false)
        .map((attribute) => `is a role with ${attribute}`);
    default:
      return [];
  }
}

/** Whether a volume has what can't be made again: the data, and its backups. Others are scratch space and measurements. */
function isKept({ labels }: Readonly<Record<string, unknown>>): boolean {
  const roles = (Array.isArray(labels) ? (labels as { label?: unknown; value?: unknown }[]) : [])
    .filter(({ label }) => label === roleLabel)
    .map(({ value }) => value);
  return roles.length === 0 || roles.some((role) => role === "data" || role === "backups");
}

function containerFaults(props: Readonly<Record<string, unknown>>): string[] {
  const faults: string[] = [];
  if (typeof props.image === "string" && !props.image.includes("sha256:")) {
    faults.push("is made from a tag, which may be another image tomorrow (RemoteImage's imageId)");
  }
  if (!props.memory || props.memorySwap !== props.memory) {
    faults.push("has no memory limit (memory, and the same as memorySwap)");
  }
  const logOptions = (props.logOpts ?? {}) as Record<string, unknown>;
  if (logOptions["max-size"] === undefined) faults.push("has a log without a limit (logOpts, max-size)");
  if (props.privileged) faults.push("is privileged");
  const volumes = Array.isArray(props.volumes) ? (props.volumes as { hostPath?: unknown }[]) : [];
  if (volumes.some(({ hostPath }) => typeof hostPath === "string" && /docker\.sock$/.test(hostPath))) {
    faults.push("has Docker's socket, which is root on the host");
  }
  const variables = Array.isArray(props.envs) ? (props.envs as unknown[]) : [];
  for (const variable of variables) {
    // Variables are in plain text in `docker inspect`, secret in the state or not.
    const [, name] = /^([A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|TOKEN))=./.exec(String(variable)) ?? [];
    if (typeof variable === "string" && name !== undefined)
      faults.push(`has a secret in the variable ${name}`);
  }
  return faults;
}
