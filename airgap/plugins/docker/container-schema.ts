import type { TerraformProperty, TerraformSchema } from "../common/terraform.ts";
import type { Value } from "../common/values.ts";
import { parseDuration } from "./duration.ts";

/*
 * Every property of docker_container in kreuzwerker/terraform-provider-docker,
 * internal/provider/resource_docker_container.go, under the names that pulumi-docker gives them. Those that no
 * program here uses stand in the state as there, and are refused as inputs.
 */

const string: TerraformProperty = { kind: "string" };
const integer: TerraformProperty = { kind: "integer" };
const boolean: TerraformProperty = { kind: "boolean" };
const strings: TerraformProperty = { kind: "set" };
const map: TerraformProperty = { kind: "map" };

const replacing = (property: TerraformProperty): TerraformProperty => ({ ...property, forceNew: true });
const computed = (property: TerraformProperty): TerraformProperty => ({ ...property, computed: true });
const required = (property: TerraformProperty): TerraformProperty => ({ ...property, required: true });
const output = (property: TerraformProperty): TerraformProperty => ({
  ...property,
  computed: true,
  input: false,
});
const refused = (property: TerraformProperty): TerraformProperty => ({ ...property, input: false });
const named = (terraformName: string, property: TerraformProperty): TerraformProperty => ({
  ...property,
  terraformName,
});
const setOf = (properties: TerraformSchema): TerraformProperty => ({
  kind: "set",
  forceNew: true,
  element: { kind: "object", properties },
});

function atLeast(minimum: number): TerraformProperty {
  return {
    kind: "integer",
    validate: (value) =>
      (value as number) < minimum ? `'${value}' cannot be lower than ${minimum}` : undefined,
  };
}

function matching(pattern: RegExp): TerraformProperty {
  return {
    kind: "string",
    validate: (value) =>
      pattern.test(value as string) ? undefined : `'${value}' doesn't match the pattern '${pattern.source}'`,
  };
}

const duration: TerraformProperty = {
  kind: "string",
  default: "0s",
  validate(value) {
    const nanoseconds = parseDuration(value as string);
    if (nanoseconds === undefined) return `'${value}' is not a valid duration`;
    return nanoseconds < 0 ? `'${value}' duration must not be negative` : undefined;
  },
};

function isBase64(value: Value): string | undefined {
  const valid = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
  const text = (value as string).replace(/[\r\n]/g, "");
  // Unlike the genuine plugin's, this message leaves the value out, as it may be secret.
  return valid.test(text) ? undefined : "It is not base64 decodeable";
}

function isAbsolutePath(value: Value): string | undefined {
  return /^[a-zA-Z]:[\\/]|^\//.test(value as string) ? undefined : `'${value}' must be an absolute path`;
}

const label = { label: required(string), value: required(string) };
const throttle = refused(setOf({ path: required(string), rate: required(integer) }));

export const containerSchema: TerraformSchema = {
  attach: { kind: "boolean", default: false },
  bridge: output(string),
  capabilities: {
    kind: "object",
    singleSet: true,
    forceNew: true,
    properties: { adds: named("add", strings), drops: named("drop", strings) },
  },
  cgroupParent: refused(string),
  cgroupnsMode: refused(string),
  command: replacing(computed({ kind: "list" })),
  containerLogs: output(string),
  containerReadRefreshTimeoutMilliseconds: { kind: "integer", default: 15_000 },
  cpuPeriod: atLeast(0),
  cpuQuota: atLeast(0),
  cpuSet: matching(/^\d+([,-]\d+)*$/),
  cpuShares: atLeast(0),
  cpus: replacing(string),
  destroyGraceSeconds: integer,
  deviceReadBps: throttle,
  deviceReadIops: throttle,
  deviceRequests: refused(
    setOf({ capabilities: strings, count: integer, deviceIds: strings, driver: string, options: map }),
  ),
  deviceWriteBps: throttle,
  deviceWriteIops: throttle,
  devices: refused(setOf({ containerPath: string, hostPath: required(string), permissions: string })),
  dns: replacing(strings),
  dnsOpts: refused(strings),
  dnsSearches: refused(named("dns_search", strings)),
  domainname: refused(string),
  entrypoints: replacing(computed(named("entrypoint", { kind: "list" }))),
  envs: replacing(computed(named("env", strings))),
  exitCode: output(integer),
  gpus: refused(string),
  groupAdds: replacing(named("group_add", strings)),
  healthcheck: {
    kind: "object",
    computed: true,
    properties: {
      interval: duration,
      retries: { ...atLeast(0), default: 0 },
      startInterval: duration,
      startPeriod: duration,
      tests: named("test", { kind: "list" }),
      timeout: duration,
    },
  },
  hostname: replacing(computed(string)),
  hosts: named("host", setOf({ host: required(string), ip: required(string) })),
  image: replacing(required(string)),
  init: computed(boolean),
  ipcMode: { ...output(string), forceNew: true },
  labels: computed(setOf(label)),
  logDriver: replacing(computed(string)),
  logOpts: replacing(map),
  logs: { kind: "boolean", default: false },
  maxRetryCount: integer,
  memory: atLeast(0),
  memoryReservation: { ...atLeast(0), default: 0 },
  memorySwap: atLeast(-1),
  // Here only the number of mounts and a few of their fields force a new container, see mountsForceNew.
  mounts: setOf({
    bindOptions: { kind: "object", properties: { propagation: string }, input: false },
    readOnly: boolean,
    source: string,
    target: required(string),
    tmpfsOptions: { kind: "object", properties: { mode: integer, sizeBytes: integer } },
    type: required(matching(/^(bind|volume|tmpfs)$/)),
    volumeOptions: {
      kind: "object",
      input: false,
      properties: {
        driverName: string,
        driverOptions: map,
        labels: setOf(label),
        noCopy: boolean,
        subpath: string,
      },
    },
  }),
  mustRun: { kind: "boolean", default: true },
  name: replacing({ kind: "string", autoName: true }),
  networkDatas: output({
    kind: "list",
    terraformName: "network_data",
    element: {
      kind: "object",
      properties: {
        gateway: string,
        globalIpv6Address: string,
        globalIpv6PrefixLength: integer,
        ipAddress: string,
        ipPrefixLength: integer,
        ipv6Gateway: string,
        macAddress: string,
        networkName: string,
      },
    },
  }),
  networkMode: { kind: "string", default: "bridge", forceNew: true },
  networksAdvanced: setOf({
    aliases: strings,
    driverOpts: refused(strings),
    gwPriority: refused(integer),
    ipv4Address: refused(string),
    ipv6Address: refused(string),
    linkLocalIps: refused(strings),
    macAddress: refused(string),
    name: required(string),
  }),
  pidMode: refused(string),
  platform: { ...output(string), forceNew: true },
  ports: {
    kind: "list",
    forceNew: true,
    element: {
      kind: "object",
      properties: {
        external: computed(integer),
        internal: required(integer),
        ip: { kind: "string", default: "0.0.0.0" },
        protocol: { kind: "string", default: "tcp" },
      },
    },
  },
  privileged: refused(boolean),
  publishAllPorts: refused(boolean),
  readOnly: { kind: "boolean", default: false, forceNew: true },
  removeVolumes: { kind: "boolean", default: true },
  restart: { ...matching(/^(no|on-failure|always|unless-stopped)$/), default: "no" },
  rm: { kind: "boolean", default: false },
  runtime: { ...output(string), forceNew: true },
  securityOpts: replacing(computed(strings)),
  shmSize: replacing(computed(atLeast(0))),
  start: { kind: "boolean", default: true },
  stdinOpen: { kind: "boolean", default: false, input: false },
  stopSignal: replacing(computed(string)),
  stopTimeout: replacing(computed(integer)),
  storageOpts: refused(map),
  sysctls: replacing(map),
  tmpfs: map,
  tty: { kind: "boolean", default: false, input: false },
  ulimits: named(
    "ulimit",
    setOf({ hard: required(integer), name: required(string), soft: required(integer) }),
  ),
  uploads: named(
    "upload",
    setOf({
      content: string,
      contentBase64: { kind: "string", validate: isBase64 },
      executable: { kind: "boolean", default: false },
      file: required(string),
      permissions: matching(/^0[0-7]{3}$/),
      source: refused(string),
      sourceHash: refused(string),
    }),
  ),
  user: replacing(string),
  usernsMode: refused(string),
  volumes: setOf({
    containerPath: string,
    fromContainer: refused(string),
    hostPath: { kind: "string", validate: isAbsolutePath },
    readOnly: boolean,
    selinuxRelabel: refused(string),
    volumeName: string,
  }),
  wait: { kind: "boolean", default: false },
  waitTimeout: { kind: "integer", default: 60 },
  workingDir: replacing(string),
};
