import type Docker from "dockerode";
import type { Properties } from "../common/values.ts";
import { parseDuration } from "./duration.ts";
import { flag, labelMap, object, objects, stringMap, strings, text, whole } from "./values.ts";

const megabyte = 1024 * 1024;

/** The body that creates a container, from its planned state. Throws on what the engine is never asked. */
export function containerSpec(state: Properties): Docker.ContainerCreateOptions {
  const command = strings(state, "command");
  if (command.includes("")) throw new Error("values for command may not be empty");
  const { binds, volumes } = volumesOf(state);
  const { exposed, bindings } = portsOf(state);
  return {
    name: text(state, "name"),
    Image: text(state, "image"),
    Hostname: text(state, "hostname"),
    User: text(state, "user"),
    WorkingDir: text(state, "workingDir"),
    StopSignal: text(state, "stopSignal"),
    Labels: labelMap(state),
    ...(whole(state, "stopTimeout") > 0 ? { StopTimeout: whole(state, "stopTimeout") } : {}),
    ...(strings(state, "envs").length > 0 ? { Env: strings(state, "envs") } : {}),
    ...(command.length > 0 ? { Cmd: command } : {}),
    ...(strings(state, "entrypoints").length > 0 ? { Entrypoint: strings(state, "entrypoints") } : {}),
    ...(Object.keys(exposed).length > 0 ? { ExposedPorts: exposed } : {}),
    ...(Object.keys(volumes).length > 0 ? { Volumes: volumes } : {}),
    ...healthcheckOf(state),
    HostConfig: { ...hostConfig(state), Binds: binds, PortBindings: bindings },
  };
}

function hostConfig(state: Properties): Docker.HostConfig {
  const capabilities = object(state, "capabilities");
  const logOptions = stringMap(state, "logOpts");
  return {
    AutoRemove: flag(state, "rm"),
    CapAdd: capabilities && capabilityNames(strings(capabilities, "adds")),
    CapDrop: capabilities && capabilityNames(strings(capabilities, "drops")),
    CpusetCpus: text(state, "cpuSet"),
    CpuShares: whole(state, "cpuShares"),
    Dns: strings(state, "dns"),
    ExtraHosts: objects(state, "hosts").map((host) => `${text(host, "host")}:${text(host, "ip")}`),
    GroupAdd: strings(state, "groupAdds"),
    Init: flag(state, "init"),
    LogConfig: { Type: text(state, "logDriver"), ...(logOptions && { Config: logOptions }) },
    Memory: whole(state, "memory") * megabyte,
    MemoryReservation: whole(state, "memoryReservation") * megabyte,
    MemorySwap: inBytes(whole(state, "memorySwap")),
    Mounts: objects(state, "mounts").map(mountOf),
    NetworkMode: text(state, "networkMode"),
    ReadonlyRootfs: flag(state, "readOnly"),
    RestartPolicy: restartPolicy(state),
    SecurityOpt: strings(state, "securityOpts"),
    ShmSize: whole(state, "shmSize") * megabyte,
    Sysctls: stringMap(state, "sysctls"),
    Tmpfs: stringMap(state, "tmpfs"),
    Ulimits: objects(state, "ulimits").map((limit) => ({
      Name: text(limit, "name"),
      Soft: whole(limit, "soft"),
      Hard: whole(limit, "hard"),
    })),
    ...processorsOf(state),
  } as Docker.HostConfig;
}

/** What can change while a container runs. Every one of them is sent, as one that is left out would be reset. */
export function containerUpdate(state: Properties): object {
  const swap = whole(state, "memorySwap");
  return {
    CpuShares: whole(state, "cpuShares"),
    CpusetCpus: text(state, "cpuSet"),
    Memory: whole(state, "memory") * megabyte,
    MemoryReservation: whole(state, "memoryReservation") * megabyte,
    ...(swap === 0 ? {} : { MemorySwap: inBytes(swap) }),
    RestartPolicy: restartPolicy(state),
  };
}

function restartPolicy(state: Properties) {
  return { Name: text(state, "restart"), MaximumRetryCount: whole(state, "maxRetryCount") };
}

/** As Docker's client for Go sends them: in capitals, with CAP_ before them. */
function capabilityNames(names: string[]): string[] {
  const full = names.map((name) => {
    const upper = name.trim().toUpperCase();
    return upper === "ALL" || upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  });
  return [...new Set(full)].sort();
}

/** -1 stands for no limit and stays. */
function inBytes(megabytes: number): number {
  return megabytes > 0 ? megabytes * megabyte : megabytes;
}

function processorsOf(state: Properties): object {
  const cpus = text(state, "cpus");
  if (cpus === "") return { CpuPeriod: whole(state, "cpuPeriod"), CpuQuota: whole(state, "cpuQuota") };
  const count = Number(cpus);
  if (Number.isNaN(count))
    throw new Error(`Error setting cpus: failed to parse ${cpus} as a rational number`);
  return { NanoCpus: Math.round(count * 1e9) };
}

function healthcheckOf(state: Properties): object {
  const healthcheck = object(state, "healthcheck");
  if (healthcheck === undefined) return {};
  const nanoseconds = (name: string) => parseDuration(text(healthcheck, name)) ?? 0;
  return {
    Healthcheck: {
      Test: strings(healthcheck, "tests"),
      Interval: nanoseconds("interval"),
      Timeout: nanoseconds("timeout"),
      StartPeriod: nanoseconds("startPeriod"),
      StartInterval: nanoseconds("startInterval"),
      Retries: whole(healthcheck, "retries"),
    },
  };
}

function mountOf(mount: Properties): Docker.MountSettings {
  const tmpfs = object(mount, "tmpfsOptions");
  return {
    Type: text(mount, "type") as Docker.MountType,
    Target: text(mount, "target"),
    Source: text(mount, "source"),
    ReadOnly: flag(mount, "readOnly"),
    ...(tmpfs && { TmpfsOptions: { SizeBytes: whole(tmpfs, "sizeBytes"), Mode: whole(tmpfs, "mode") } }),
  } as Docker.MountSettings;
}

function portsOf(state: Properties) {
  const exposed: Record<string, object> = {};
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const port of objects(state, "ports")) {
    const name = `${whole(port, "internal")}/${text(port, "protocol")}`;
    exposed[name] = {};
    bindings[name] = [
      ...(bindings[name] ?? []),
      // 0 asks the engine for a free port.
      { HostIp: text(port, "ip"), HostPort: String(whole(port, "external")) },
    ];
  }
  return { exposed, bindings };
}

function volumesOf(state: Properties) {
  const volumes: Record<string, object> = {};
  const binds: string[] = [];
  for (const volume of objects(state, "volumes")) {
    const path = text(volume, "containerPath");
    if (path === "") {
      throw new Error("Unable to parse volumes: volume entry without container path or source container");
    }
    volumes[path] = {};
    const source = text(volume, "hostPath") || text(volume, "volumeName");
    if (source !== "") binds.push(`${source}:${path}:${flag(volume, "readOnly") ? "ro" : "rw"}`);
  }
  return { binds, volumes };
}
