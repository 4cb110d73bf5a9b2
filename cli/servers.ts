import { existsSync } from "node:fs";
import { z } from "zod";
import {
  type CheckoutMark,
  checkoutLabel,
  formatCheckoutMark,
  keepForLabel,
  ownCheckout,
  parseCheckoutMark,
  projectLabel,
  roleLabel,
  stackLabel,
} from "../components/labels.ts";
import { type DockerObject, engineError } from "./docker.ts";
import { capture } from "./processes.ts";
import { projectRoot } from "./project.ts";

/** A server's container as the Engine sees it. */
export interface ServerContainer {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly status: string;
  readonly health: string | undefined;
  readonly created: Date;
  /** Of the last start. */
  readonly started: Date;
  readonly ephemeral: boolean;
  /** On the Docker host; undefined where it isn't running. */
  readonly port: number | undefined;
}

/** What one environment has in Docker, network and container together. */
export interface Server {
  readonly stack: string;
  readonly network: DockerObject | undefined;
  readonly container: ServerContainer | undefined;
  /** Who made it; undefined: a persistent environment, or one of an earlier version of the program. */
  readonly checkout: CheckoutMark | undefined;
  readonly keepFor: string | undefined;
}

const inspected = z.array(
  z.object({
    Id: z.string(),
    Name: z.string(),
    Created: z.string(),
    Config: z.object({ Image: z.string(), Labels: z.record(z.string(), z.string()) }),
    HostConfig: z.object({ Tmpfs: z.record(z.string(), z.string()).nullish() }),
    NetworkSettings: z.object({
      Networks: z.record(z.string(), z.unknown()).nullish(),
      Ports: z.record(z.string(), z.array(z.object({ HostPort: z.string() })).nullable()).nullish(),
    }),
    State: z.object({
      Status: z.string(),
      StartedAt: z.string(),
      Health: z.object({ Status: z.string() }).nullish(),
    }),
  }),
);

/** Everything that the project has on this Docker Engine, of every checkout. */
export async function findServers(project: string): Promise<Server[]> {
  const [containers, networks] = await Promise.all([findContainers(project), findNetworks(project)]);
  const servers: Server[] = networks.map(({ checkout, keepFor, network, stack }) => ({
    stack,
    network,
    container: containers.find((found) => found.networks.includes(network.name))?.container,
    checkout: parseCheckoutMark(checkout),
    keepFor: keepFor || undefined,
  }));
  const paired = new Set(servers.map(({ container }) => container?.id));
  const alone = containers.filter(({ container }) => !paired.has(container.id));
  return [
    ...servers,
    ...alone.map(({ container, stack }) => ({
      stack,
      network: undefined,
      container,
      checkout: undefined,
      keepFor: undefined,
    })),
  ];
}

async function findContainers(project: string) {
  const filters = ["--filter", `label=${projectLabel}=${project}`, "--filter", `label=${roleLabel}=postgres`];
  const ids = await lines(["container", "ls", "--all", "--quiet", "--no-trunc", ...filters]);
  if (ids.length === 0) return [];
  // One that has gone in between is missing in the answer, which counts as a failure.
  const { stdout, stderr } = await capture("docker", ["container", "inspect", ...ids]);
  if (stdout.trim() === "") throw engineError(stderr);
  return inspected.parse(JSON.parse(stdout)).map((found) => {
    const { Config, NetworkSettings, State } = found;
    const port = Number(
      Object.values(NetworkSettings.Ports ?? {}).flatMap((ports) => ports ?? [])[0]?.HostPort,
    );
    return {
      stack: Config.Labels[stackLabel] ?? "",
      networks: Object.keys(NetworkSettings.Networks ?? {}),
      container: {
        id: found.Id,
        name: found.Name.replace(/^\//, ""),
        image: Config.Image,
        status: State.Status,
        health: State.Health?.Status,
        created: new Date(found.Created),
        started: new Date(State.StartedAt),
        ephemeral: Object.keys(found.HostConfig.Tmpfs ?? {}).length > 0,
        port: Number.isInteger(port) ? port : undefined,
      } satisfies ServerContainer,
    };
  });
}

async function findNetworks(project: string) {
  const labels = [stackLabel, checkoutLabel, keepForLabel].map((label) => `{{.Label "${label}"}}`);
  const found = await lines([
    ...["network", "ls", "--no-trunc", "--filter", `label=${projectLabel}=${project}`],
    ...["--format", ["{{.ID}}", "{{.Name}}", ...labels].join("\t")],
  ]);
  return found.map((line) => {
    const [id = "", name = "", stack = "", checkout = "", keepFor = ""] = line.split("\t");
    return { network: { kind: "network" as const, id, name }, stack, checkout, keepFor };
  });
}

async function lines(args: readonly string[]): Promise<string[]> {
  const { code, stdout, stderr } = await capture("docker", args);
  if (code !== 0) throw engineError(stderr);
  return stdout.split("\n").filter(Boolean);
}

/**
 * Whether a server that no state of this backend knows belongs to nobody any more: this checkout made it, or one that is
 * gone, with a state in the same place. Persistent environments never count.
 */
export function isLeftOver({ checkout, container }: Server): boolean {
  if (checkout === undefined || container?.ephemeral === false) return false;
  const own = ownCheckout(projectRoot);
  if (checkout.host !== own.host || checkout.backend !== own.backend) return false;
  return checkout.folder === own.folder || !existsSync(checkout.folder);
}

/** Ids of what another checkout has made, whose stacks may have the same names. */
export function idsOfOtherCheckouts(servers: readonly Server[]): ReadonlySet<string> {
  const own = formatCheckoutMark(ownCheckout(projectRoot));
  const others = servers.filter(({ checkout }) => checkout && formatCheckoutMark(checkout) !== own);
  return new Set(others.flatMap(({ container, network }) => [container?.id ?? [], network?.id ?? []].flat()));
}

export interface Usage {
  /** Bytes of the data directory. */
  readonly data: number;
  /** Bytes of the container's memory, data in memory included. */
  readonly memory: number | undefined;
}

// The first line is memory, of either version of control groups; `timeout` because a large directory takes long.
const measure = `cat /sys/fs/cgroup/memory.current 2>/dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null || echo -
timeout 2 du -sk "$PGDATA"`;

/** @returns Undefined where the container is not running, or too slow to tell. */
export async function measureUsage(container: ServerContainer): Promise<Usage | undefined> {
  if (container.status !== "running") return undefined;
  const { code, stdout } = await capture("docker", ["exec", container.id, "sh", "-c", measure]);
  const [memory = "", data = ""] = stdout.split("\n");
  const kilobytes = Number.parseInt(data, 10);
  if (code !== 0 || !Number.isInteger(kilobytes)) return undefined;
  return { data: kilobytes * 1024, memory: /^\d+$/.test(memory) ? Number(memory) : undefined };
}
