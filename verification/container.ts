import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { z } from "zod";
import type { Catalogue, CatalogueObject } from "../catalogue/read.ts";
import { engineError } from "../cli/docker.ts";
import { capture } from "../cli/processes.ts";

/** What the stack's state says of a container: the inputs of docker:index/container:Container. */
const declared = z.object({
  name: z.string(),
  command: z.array(z.string()).default([]),
  entrypoints: z.array(z.string()).default([]),
  envs: z.array(z.string()).default([]),
  labels: z.array(z.object({ label: z.string(), value: z.string() })).default([]),
  uploads: z
    .array(
      z.object({
        file: z.string(),
        content: z.string().optional(),
        contentBase64: z.string().optional(),
      }),
    )
    .default([]),
  networksAdvanced: z
    .array(z.object({ name: z.string(), aliases: z.array(z.string()).default([]) }))
    .default([]),
  ports: z
    .array(
      z.object({ internal: z.number(), external: z.number().optional(), ip: z.string().default("0.0.0.0") }),
    )
    .default([]),
  volumes: z
    .array(
      z.object({
        volumeName: z.string().optional(),
        hostPath: z.string().optional(),
        containerPath: z.string(),
        readOnly: z.boolean().default(false),
      }),
    )
    .default([]),
  tmpfs: z.record(z.string(), z.string()).default({}),
  healthcheck: z.object({ tests: z.array(z.string()) }).optional(),
  init: z.boolean().default(false),
  restart: z.string().default("no"),
  stopSignal: z.string().optional(),
  stopTimeout: z.number().optional(),
  memory: z.number().default(0),
  memorySwap: z.number().default(0),
  cpuPeriod: z.number().default(0),
  cpuQuota: z.number().default(0),
  shmSize: z.number().optional(),
  logDriver: z.string().default("json-file"),
  logOpts: z.record(z.string(), z.string()).default({}),
  privileged: z.boolean().default(false),
});
export type DeclaredContainer = z.output<typeof declared>;

const list = z
  .array(z.string())
  .nullish()
  .transform((found) => found ?? []);
const map = z
  .record(z.string(), z.string())
  .nullish()
  .transform((found) => found ?? {});
/** `docker container inspect` and `docker image inspect`, as far as they matter. */
const configuration = z.object({
  Cmd: list,
  Entrypoint: list,
  Env: list,
  Labels: map,
  User: z.string().default(""),
});
const inspected = z.object({
  Id: z.string(),
  Image: z.string(),
  Config: configuration.extend({
    StopSignal: z.string().optional(),
    StopTimeout: z.number().nullish(),
    Healthcheck: z.object({ Test: list }).nullish(),
  }),
  HostConfig: z.object({
    CapAdd: list,
    CpuPeriod: z.number(),
    CpuQuota: z.number(),
    Init: z.boolean().nullish(),
    LogConfig: z.object({ Type: z.string(), Config: map }),
    Memory: z.number(),
    MemorySwap: z.number(),
    PortBindings: z
      .record(z.string(), z.array(z.object({ HostIp: z.string(), HostPort: z.string() })).nullable())
      .nullish(),
    Privileged: z.boolean(),
    RestartPolicy: z.object({ Name: z.string() }),
    ShmSize: z.number(),
    Tmpfs: map,
  }),
  Mounts: z.array(
    z.object({
      Type: z.string(),
      Name: z.string().optional(),
      Source: z.string(),
      Destination: z.string(),
      RW: z.boolean(),
    }),
  ),
  NetworkSettings: z.object({ Networks: z.record(z.string(), z.object({ Aliases: list })) }),
  State: z.object({ Status: z.string() }),
});
export type InspectedContainer = z.output<typeof inspected>;
/** What an image gives to its containers. */
export type ImageConfiguration = z.output<typeof configuration>;

export function parseDeclared(inputs: unknown): DeclaredContainer {
  return declared.parse(inputs);
}

export function parseInspected(json: string): InspectedContainer {
  return inspected.parse(JSON.parse(json)[0]);
}

const MB = 1024 ** 2;
/** Docker's own, where nothing is asked for (moby, daemon/config). */
const defaultShmSize = 64;

/** How a container should be: as the state has it, on an image that brings variables and labels along. */
export function declaredObject(
  container: DeclaredContainer,
  state: { readonly id: string; readonly imageId: string | undefined },
  image: ImageConfiguration,
): CatalogueObject {
  const names = container.envs.map(variableName);
  const labels = { ...image.Labels, ...Object.fromEntries(container.labels.map((l) => [l.label, l.value])) };
  return object(container.name, {
    id: state.id,
    ...(state.imageId === undefined ? {} : { image: state.imageId }),
    state: "running",
    command: words(container.command.length > 0 ? container.command : image.Cmd),
    entrypoint: words(container.entrypoints.length > 0 ? container.entrypoints : image.Entrypoint),
    ...variables([...image.Env.filter((each) => !names.includes(variableName(each))), ...container.envs]),
    ...prefixed("label", labels),
    user: image.User,
    mounts: sorted([
      ...container.volumes.map(
        ({ containerPath, hostPath, readOnly, volumeName }) =>
          `${hostPath || volumeName} at ${containerPath}${readOnly ? " (read only)" : ""}`,
      ),
      ...Object.entries(container.tmpfs).map(([path, options]) => `tmpfs at ${path} (${options})`),
    ]),
    ports: sorted(
      container.ports.map(({ external, internal, ip }) => `${ip}:${external ?? "any"} to ${internal}/tcp`),
    ),
    networks: sorted(container.networksAdvanced.map(({ name }) => name)),
    "network aliases": sorted(container.networksAdvanced.flatMap(({ aliases }) => aliases)),
    "health check": words(container.healthcheck?.tests ?? []),
    memory: `${container.memory} MB`,
    "memory and swap": `${container.memorySwap} MB`,
    "CPU quota": `${container.cpuQuota} of ${container.cpuPeriod}`,
    "/dev/shm": `${container.shmSize ?? defaultShmSize} MB`,
    init: yes(container.init),
    restart: container.restart,
    "stop signal": container.stopSignal ?? "",
    "stop timeout": String(container.stopTimeout ?? ""),
    log: `${container.logDriver} ${pairs(container.logOpts)}`,
    privileged: yes(container.privileged),
    "added capabilities": "",
  });
}

/** How a container is. */
export function inspectedObject(
  name: string,
  container: InspectedContainer,
  declaredContainer: Pick<DeclaredContainer, "networksAdvanced" | "ports">,
): CatalogueObject {
  const { Config, HostConfig, Mounts, NetworkSettings } = container;
  // Docker gives each container its id and name as aliases too; those of a network it was put into later are its own matter.
  const wanted = declaredContainer.networksAdvanced.flatMap(({ aliases }) => aliases);
  const aliases = Object.values(NetworkSettings.Networks).flatMap(({ Aliases }) => Aliases);
  const free = new Set(
    declaredContainer.ports.flatMap(({ external, internal }) => (external === undefined ? [internal] : [])),
  );
  return object(name, {
    id: container.Id,
    image: container.Image,
    state: container.State.Status,
    command: words(Config.Cmd),
    entrypoint: words(Config.Entrypoint),
    ...variables(Config.Env),
    ...prefixed("label", Config.Labels),
    user: Config.User,
    mounts: sorted([
      ...Mounts.filter(({ Name = "", Type }) => Type !== "tmpfs" && !anonymous.test(Name)).map(
        ({ Destination, Name, RW, Source }) =>
          `${Name ?? Source} at ${Destination}${RW ? "" : " (read only)"}`,
      ),
      ...Object.entries(HostConfig.Tmpfs).map(([path, options]) => `tmpfs at ${path} (${options})`),
    ]),
    ports: sorted(
      Object.entries(HostConfig.PortBindings ?? {}).flatMap(([internal, bindings]) =>
        (bindings ?? []).map(({ HostIp, HostPort }) => {
          const chosen = free.has(Number.parseInt(internal, 10)) ? "any" : HostPort;
          return `${HostIp || "0.0.0.0"}:${chosen} to ${internal}`;
        }),
      ),
    ),
    networks: sorted(Object.keys(NetworkSettings.Networks)),
    "network aliases": sorted(wanted.filter((alias) => aliases.includes(alias))),
    "health check": words(Config.Healthcheck?.Test ?? []),
    memory: `${HostConfig.Memory / MB} MB`,
    "memory and swap": `${HostConfig.MemorySwap / MB} MB`,
    "CPU quota": `${HostConfig.CpuQuota} of ${HostConfig.CpuPeriod}`,
    "/dev/shm": `${HostConfig.ShmSize / MB} MB`,
    init: yes(HostConfig.Init ?? false),
    restart: HostConfig.RestartPolicy.Name || "no",
    "stop signal": Config.StopSignal ?? "",
    "stop timeout": String(Config.StopTimeout ?? ""),
    log: `${HostConfig.LogConfig.Type} ${pairs(HostConfig.LogConfig.Config)}`,
    privileged: yes(HostConfig.Privileged),
    "added capabilities": sorted(HostConfig.CapAdd),
  });
}

/** Docker's names for the volumes of an image's VOLUME, where nothing is mounted in their place. */
const anonymous = /^[0-9a-f]{64}$/;

function object(name: string, properties: Readonly<Record<string, string>>): CatalogueObject {
  return {
    name: `container ${name}`,
    parent: undefined,
    properties: Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== "")),
    privileges: {},
    columns: undefined,
  };
}

function variableName(assignment: string): string {
  return assignment.split("=", 1)[0] ?? "";
}

function variables(assignments: readonly string[]): Record<string, string> {
  return prefixed(
    "variable",
    Object.fromEntries(assignments.map((text) => [variableName(text), text.slice(text.indexOf("=") + 1)])),
  );
}

function prefixed(kind: string, values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${kind} ${key}`, value]));
}

function words(list: readonly string[]): string {
  return list.join(" ");
}

function sorted(list: readonly string[]): string {
  return [...new Set(list)].toSorted().join(", ");
}

function pairs(values: Readonly<Record<string, string>>): string {
  return sorted(Object.entries(values).map(([key, value]) => `${key}=${value}`));
}

function yes(value: boolean): string {
  return value ? "yes" : "";
}

/** A container's uploads as objects whose one property is a hash: their content may be secret. */
export function declaredFiles({ name, uploads }: DeclaredContainer): CatalogueObject[] {
  return uploads.map(({ content, contentBase64, file }) =>
    fileObject(
      name,
      file,
      createHash("sha256")
        .update(
          contentBase64 === undefined ? Buffer.from(content ?? "") : Buffer.from(contentBase64, "base64"),
        )
        .digest("hex"),
    ),
  );
}

function fileObject(container: string, file: string, hash: string): CatalogueObject {
  return {
    name: `file ${file}`,
    parent: `container ${container}`,
    properties: { content: `SHA-256 ${hash.slice(0, 16)}` },
    privileges: {},
    columns: undefined,
  };
}

/** The same files in the container as it is now, running or not. */
export async function readFiles(
  id: string,
  { name, uploads }: DeclaredContainer,
): Promise<CatalogueObject[]> {
  const objects = await Promise.all(
    uploads.map(async ({ file }) => {
      const content = await readFile(id, file);
      return content && fileObject(name, file, createHash("sha256").update(content).digest("hex"));
    }),
  );
  return objects.filter((object) => object !== undefined);
}

/**
 * By Docker and not by a program in the container: an image of one program has no other.
 * @returns Undefined where there is no such file.
 */
async function readFile(id: string, file: string): Promise<Buffer | undefined> {
  // To standard output, as a tar archive: what is secret comes into no file of this machine.
  const args = ["container", "cp", "--follow-link", `${id}:${file}`, "-"];
  try {
    return firstFile(
      (await promisify(execFile)("docker", args, { encoding: "buffer", maxBuffer: 64 * MB })).stdout,
    );
  } catch (error) {
    const stderr = String((error as { stderr?: Buffer }).stderr ?? error);
    if (/no such container:path|could not find the file/i.test(stderr)) return undefined;
    throw engineError(stderr);
  }
}

/** Bytes of a header and of what contents are filled up to (pax, «ustar Interchange Format»). */
const tarBlock = 512;

/** The content of the first file in a tar archive. */
export function firstFile(archive: Buffer): Buffer | undefined {
  let at = 0;
  while (at + tarBlock <= archive.length) {
    const size = Number.parseInt(archive.toString("latin1", at + 124, at + 136), 8);
    const kind = archive.toString("latin1", at + 156, at + 157);
    if (Number.isNaN(size)) return undefined;
    // "0" is a file, of old "\0"; others are folders, links, and the extended headers before a file.
    if (kind === "0" || kind === "\0") return archive.subarray(at + tarBlock, at + tarBlock + size);
    at += tarBlock + Math.ceil(size / tarBlock) * tarBlock;
  }
  return undefined;
}

/** @returns Undefined where there is no such container. */
export async function inspectServer(name: string): Promise<InspectedContainer | undefined> {
  const { code, stdout, stderr } = await capture("docker", ["container", "inspect", name]);
  if (code === 0) return parseInspected(stdout);
  if (/no such container/i.test(stderr)) return undefined;
  throw engineError(stderr);
}

export async function inspectImage(image: string): Promise<ImageConfiguration> {
  const { code, stdout, stderr } = await capture("docker", ["image", "inspect", image]);
  if (code !== 0) throw engineError(stderr);
  return z.object({ Config: configuration }).parse(JSON.parse(stdout)[0]).Config;
}

export function asCatalogue(objects: readonly CatalogueObject[]): Catalogue {
  return new Map(objects.map((each) => [each.name, each]));
}
