import type Docker from "dockerode";
import { refreshedState, sortSet } from "../common/terraform.ts";
import type { Properties, Value } from "../common/values.ts";
import { containerSchema } from "./container-schema.ts";
import { formatDuration } from "./duration.ts";
import { flag, objects, text } from "./values.ts";

const megabyte = 1024 * 1024;

/**
 * The state of a container after reading it: what the engine tells goes over what the state has. Environment,
 * labels, uploads, volumes and networks are not read back, as an image can add to them.
 */
export function readContainerState(container: Docker.ContainerInspectInfo, state: Properties): Properties {
  const { State: run, HostConfig: host } = container;
  const config = container.Config as typeof container.Config & { StopSignal?: string; StopTimeout?: number };
  const health = config.Healthcheck;
  const mustRun = flag(state, "mustRun");
  const hasPorts = objects(state, "ports").length > 0 && (run.Running || mustRun);
  return {
    ...state,
    bridge: (container.NetworkSettings as { Bridge?: string }).Bridge ?? "",
    networkDatas: networksOf(container),
    ...(hasPorts ? { ports: portsOf(container) } : {}),
    // A stopped container that must run is a difference, which the next update heals by starting it.
    ...(run.Running ? {} : { exitCode: run.ExitCode, ...(mustRun ? { mustRun: false } : {}) }),
    name: container.Name.replace(/^\/+/, ""),
    rm: host.AutoRemove ?? false,
    readOnly: host.ReadonlyRootfs ?? false,
    image: text(state, "image").startsWith("sha256:") ? container.Image : config.Image,
    hostname: config.Hostname,
    domainname: config.Domainname,
    command: config.Cmd ?? [],
    entrypoints: listed(config.Entrypoint),
    user: config.User,
    dns: sorted(host.Dns),
    dnsOpts: sorted(host.DnsOptions),
    dnsSearches: sorted(host.DnsSearch),
    securityOpts: sorted(host.SecurityOpt),
    publishAllPorts: host.PublishAllPorts ?? false,
    restart: host.RestartPolicy?.Name ?? "",
    maxRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    init: host.Init ?? false,
    workingDir: config.WorkingDir,
    ...((host.CapAdd?.length ?? 0) + (host.CapDrop?.length ?? 0) > 0
      ? { capabilities: { adds: sorted(host.CapAdd), drops: sorted(host.CapDrop) } }
      : {}),
    runtime: host.Runtime ?? "",
    platform: container.Platform,
    mounts: mountsOf(host),
    tmpfs: host.Tmpfs ?? {},
    hosts: sortSet(containerSchema.hosts?.element ?? { kind: "object" }, (host.ExtraHosts ?? []).map(hostOf)),
    ...(objects(state, "ulimits").length > 0 ? { ulimits: (host.Ulimits ?? []).map(ulimitOf) } : {}),
    privileged: host.Privileged ?? false,
    memory: inMegabytes(host.Memory),
    memoryReservation: inMegabytes(host.MemoryReservation),
    memorySwap: inMegabytes(host.MemorySwap),
    shmSize: inMegabytes(host.ShmSize),
    ...((host.NanoCpus ?? 0) > 0 ? { cpus: cpusText(host.NanoCpus ?? 0) } : {}),
    cpuShares: host.CpuShares ?? 0,
    cpuSet: host.CpusetCpus ?? "",
    logDriver: host.LogConfig?.Type ?? "",
    logOpts: state.logOpts === undefined ? {} : (host.LogConfig?.Config ?? {}),
    storageOpts: host.StorageOpt ?? {},
    networkMode: host.NetworkMode ?? "",
    usernsMode: host.UsernsMode ?? "",
    ...(health
      ? {
          healthcheck: {
            tests: listed(health.Test),
            interval: formatDuration(health.Interval ?? 0),
            timeout: formatDuration(health.Timeout ?? 0),
            startPeriod: formatDuration(health.StartPeriod ?? 0),
            startInterval: formatDuration((health as { StartInterval?: number }).StartInterval ?? 0),
            retries: health.Retries ?? 0,
          },
        }
      : {}),
    sysctls: host.Sysctls ?? {},
    ipcMode: host.IpcMode ?? "",
    groupAdds: sorted(host.GroupAdd),
    tty: config.Tty,
    stdinOpen: config.OpenStdin,
    stopSignal: config.StopSignal ?? "",
    stopTimeout: config.StopTimeout ?? 0,
  };
}

/**
 * The state after a creation. Where nothing is planned, an empty collection that was read is left out, and a set
 * that was planned stays as it was planned.
 */
export function createdContainerState(
  container: Docker.ContainerInspectInfo,
  planned: Properties,
): Properties {
  const read = readContainerState(container, withoutNullValues(planned));
  const state: Properties = {};
  for (const [name, property] of Object.entries(containerSchema)) {
    const now = read[name] ?? null;
    const plan = planned[name] ?? null;
    const isEmpty = Array.isArray(now) ? now.length === 0 : isEmptyMap(now);
    const isPlannedSet = property.kind === "set" || property.singleSet === true;
    if (name === "envs" && plan === null) state[name] = [];
    else if (plan === null && isEmpty && property.computed !== true) state[name] = null;
    else if (plan !== null && isPlannedSet && !isEmptyList(plan)) state[name] = plan;
    else state[name] = now;
  }
  return state;
}

export function refreshedContainerState(
  container: Docker.ContainerInspectInfo,
  state: Properties,
): Properties {
  return refreshedState(containerSchema, readContainerState(container, state));
}

function withoutNullValues(values: Properties): Properties {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

function isEmptyList(value: Value): boolean {
  return Array.isArray(value) && value.length === 0;
}

function isEmptyMap(value: Value): boolean {
  return value !== null && typeof value === "object" && Object.keys(value).length === 0;
}

function listed(value: string | string[] | undefined | null): Value[] {
  return typeof value === "string" ? [value] : [...(value ?? [])];
}

function sorted(values: string[] | undefined | null): Value[] {
  return sortSet({ kind: "string" }, values ?? []);
}

function inMegabytes(bytes: number | undefined): number {
  return bytes !== undefined && bytes > 0 ? Math.floor(bytes / megabyte) : (bytes ?? 0);
}

/** With the genuine plugin's own rounding, by which `1` comes back as `1.0`, and `0.05` as `0.1`. */
export function cpusText(nanoCpus: number): string {
  const text = (nanoCpus / 1e9).toFixed(9);
  if (text.split("0").length - 1 === 9) return (Math.round(nanoCpus / 1e8) / 10).toFixed(1);
  return text.replace(/0+$/, "");
}

function portsOf(container: Docker.ContainerInspectInfo): Value[] {
  const ports = Object.entries(container.NetworkSettings.Ports ?? {}).map(([name, bindings]) => {
    const [internal = "", protocol = ""] = name.split("/");
    return { internal: Number(internal), protocol, bindings: bindings ?? [] };
  });
  ports.sort((a, b) => a.internal - b.internal || (a.protocol < b.protocol ? -1 : 1));
  return ports.flatMap(({ internal, protocol, bindings }) =>
    bindings.map((binding) => ({
      internal,
      external: Number(binding.HostPort),
      ip: (binding as { HostIp?: string }).HostIp ?? "",
      protocol,
    })),
  );
}

function networksOf(container: Docker.ContainerInspectInfo): Value[] {
  return Object.entries(container.NetworkSettings.Networks ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([networkName, network]) => ({
      networkName,
      ipAddress: network.IPAddress,
      ipPrefixLength: network.IPPrefixLen,
      gateway: network.Gateway,
      globalIpv6Address: network.GlobalIPv6Address,
      globalIpv6PrefixLength: network.GlobalIPv6PrefixLen,
      ipv6Gateway: network.IPv6Gateway,
      macAddress: network.MacAddress,
    }));
}

function mountsOf(host: Docker.HostConfig): Value[] {
  const mounts = (host.Mounts ?? []).map((mount) => ({
    target: mount.Target,
    source: mount.Source ?? "",
    type: mount.Type,
    readOnly: mount.ReadOnly ?? false,
    ...(mount.TmpfsOptions && {
      tmpfsOptions: { sizeBytes: mount.TmpfsOptions.SizeBytes ?? 0, mode: mount.TmpfsOptions.Mode ?? 0 },
    }),
  }));
  return sortSet(containerSchema.mounts?.element ?? { kind: "object" }, mounts);
}

function hostOf(entry: string): Value {
  const [host = "", ip = ""] = entry.split(":");
  return { host, ip };
}

function ulimitOf(limit: object): Value {
  const { Name, Soft, Hard } = limit as { Name?: string; Soft?: number; Hard?: number };
  return { name: Name ?? "", soft: Soft ?? 0, hard: Hard ?? 0 };
}
