import { z } from "zod";
import { objectLabels } from "../components/labels.ts";
import { UserError } from "./errors.ts";
import { capture } from "./processes.ts";

/** One container as the Engine sees it. */
export interface ContainerState {
  readonly running: boolean;
  /** Undefined: it has no health check. */
  readonly health: "starting" | "healthy" | "unhealthy" | undefined;
}

const inspected = z.object({
  Running: z.boolean(),
  Health: z.object({ Status: z.enum(["none", "starting", "healthy", "unhealthy"]) }).optional(),
});

/** @returns Undefined where there is no such container. */
export async function inspectContainer(name: string): Promise<ContainerState | undefined> {
  const { code, stdout, stderr } = await capture("docker", [
    "container",
    "inspect",
    "--format",
    "{{json .State}}",
    name,
  ]);
  if (code !== 0) {
    if (/no such container/i.test(stderr)) return undefined;
    throw engineError(stderr);
  }
  const state = inspected.parse(JSON.parse(stdout));
  const health = state.Health?.Status;
  return { running: state.Running, health: health === "none" ? undefined : health };
}

export type ObjectKind = "container" | "network" | "volume";

export interface DockerObject {
  readonly kind: ObjectKind;
  /** The Engine's id; a volume has none but its name. */
  readonly id: string;
  readonly name: string;
}

/** Every Docker object that carries all of these labels. */
export async function findObjects(labels: readonly string[]): Promise<DockerObject[]> {
  const filters = labels.flatMap((label) => ["--filter", `label=${label}`]);
  const list = async (kind: ObjectKind, args: readonly string[], format: string): Promise<DockerObject[]> => {
    const { code, stdout, stderr } = await capture("docker", [
      kind,
      "ls",
      ...args,
      ...filters,
      "--format",
      format,
    ]);
    if (code !== 0) throw engineError(stderr);
    return stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [id = "", name = ""] = line.split("\t");
        return { kind, id, name };
      });
  };
  // Containers first: networks and volumes in use can't be removed.
  return (
    await Promise.all([
      list("container", ["--all", "--no-trunc"], "{{.ID}}\t{{.Names}}"),
      list("network", ["--no-trunc"], "{{.ID}}\t{{.Name}}"),
      list("volume", [], "{{.Name}}\t{{.Name}}"),
    ])
  ).flat();
}

/** Labels that the program puts on every object of a stack. */
export function stackLabels(project: string, stack: string): string[] {
  return objectLabels({ project, stack, role: "", custom: {} })
    .filter(({ value }) => value !== "")
    .map(({ label, value }) => `${label}=${value}`);
}

/** Removes objects for good: a container with its anonymous volumes, running or not. */
export async function removeObjects(objects: readonly DockerObject[]): Promise<void> {
  for (const { kind, id } of objects) {
    const options = kind === "container" ? ["--force", "--volumes"] : [];
    const { code, stderr } = await capture("docker", [kind, "rm", ...options, id]);
    if (code !== 0 && !/no such|not found/i.test(stderr)) throw engineError(stderr);
  }
}

/** What to tell where the docker command failed. */
export function engineError(stderr: string): UserError {
  return new UserError(`Docker says: ${stderr.trim()}`, { next: "./db doctor says what is missing." });
}
