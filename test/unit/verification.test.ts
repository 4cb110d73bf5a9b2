import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { compareCatalogues, describeDeviation } from "../../catalogue/compare.ts";
import { parseDeployment } from "../../cli/stack-deployment.ts";
import { compareAccessFile } from "../../verification/access-files.ts";
import {
  asCatalogue,
  declaredObject,
  firstFile,
  inspectedObject,
  parseDeclared,
  parseInspected,
} from "../../verification/container.ts";
import { fitsVerifier } from "../../verification/passwords.ts";
import { formatReport, reportOf } from "../../verification/report.ts";
import {
  canonicalValue,
  compareSettings,
  type FileEntry,
  type Parameter,
} from "../../verification/server-settings.ts";

function parameter(name: string, setting: string, more: Partial<Parameter> = {}): Parameter {
  return {
    name,
    setting,
    shown: setting,
    unit: null,
    vartype: "string",
    source: "default",
    bootValue: setting,
    pendingRestart: false,
    ...more,
  };
}

describe("a parameter's value", () => {
  it.each([
    ["integer", "8kB", "512MB", "65536"],
    ["integer", "8kB", "65536", "65536"],
    ["integer", "kB", "4MB", "4096"],
    ["integer", "kB", "1.5MB", "1536"],
    ["integer", "ms", "0.5s", "500"],
    ["integer", "ms", "500", "500"],
    ["integer", "s", "5min", "300"],
    ["integer", "min", "1d", "1440"],
    ["integer", null, "200", "200"],
    ["integer", "ms", "-1", "-1"],
    ["real", null, "1.10", "1.1"],
    ["real", "ms", "2s", "2000"],
    ["bool", null, "TRUE", "on"],
    ["bool", null, "no", "off"],
    ["bool", null, "0", "off"],
    ["string", null, " a, B", " a, B"],
  ] as const)("of type %s in %s: %s is %s", (vartype, unit, text, canonical) => {
    expect(canonicalValue(text, { vartype, unit, setting: "x" })).toBe(canonical);
  });

  it("of an enumeration counts in any case, and as a boolean where the server has it so", () => {
    const value = (text: string, setting: string) =>
      canonicalValue(text, { vartype: "enum", unit: null, setting });
    expect(value("tlsv1.2", "TLSv1.2")).toBe("TLSv1.2");
    expect(value("true", "off")).toBe("on");
    expect(value("Replica", "logical")).toBe("replica");
  });
});

describe("a server's settings", () => {
  const auto = (name: string, value: string): FileEntry => ({
    name,
    value,
    file: "/data/postgresql.auto.conf",
    line: 3,
    error: null,
  });

  function differences(
    live: { parameters: Parameter[]; files?: FileEntry[] },
    options: {
      code?: Record<string, string>;
      reference?: Parameter[];
      referenceParameters?: Record<string, string>;
    } = {},
  ): string[] {
    return compareSettings(
      {
        parameters: options.code ?? {},
        reference: { parameters: options.reference ?? [], files: [] },
        referenceParameters: options.referenceParameters ?? {},
      },
      { files: [], ...live },
    ).map(describeDeviation);
  }

  it("are those of the code in whatever unit", () => {
    const memory = parameter("shared_buffers", "65536", { unit: "8kB", vartype: "integer", shown: "512MB" });
    expect(differences({ parameters: [memory] }, { code: { shared_buffers: "0.5GB" } })).toEqual([]);
    expect(differences({ parameters: [memory] }, { code: { shared_buffers: "1GB" } })).toEqual([
      "setting shared_buffers: value should be 1GB, is 512MB",
    ]);
    expect(differences({ parameters: [] }, { code: { shared_buffers: "1GB", "app.mode": "x" } })).toEqual([
      "setting shared_buffers: value should be 1GB, is none",
    ]);
  });

  it("that the server makes of others by itself are nobody's, unless somebody has set them", () => {
    const made = (setting: string, source: string) =>
      parameter("wal_buffers", setting, { vartype: "integer", unit: "8kB", bootValue: "-1", source });
    const reference = [made("512", "default")];
    expect(differences({ parameters: [made("2048", "default")] }, { reference })).toEqual([]);
    expect(differences({ parameters: [made("2048", "configuration file")] }, { reference })).toEqual([
      "setting wal_buffers: value should be 512, is 2048",
    ]);
    expect(
      differences({ parameters: [made("2048", "default")] }, { code: { wal_buffers: "1024" }, reference }),
    ).toEqual(["setting wal_buffers: value should be 1024, is 2048"]);
  });

  it("that the code sets for the throwaway server too are read as that one reads them", () => {
    expect(
      differences(
        { parameters: [parameter("wal_compression", "pglz", { vartype: "enum" })] },
        {
          code: { wal_compression: "on" },
          reference: [parameter("wal_compression", "pglz")],
          referenceParameters: { wal_compression: "on" },
        },
      ),
    ).toEqual([]);
  });

  it("that the code leaves alone are those of the image, or PostgreSQL's own where the throwaway server has others", () => {
    const options = {
      reference: [parameter("work_mem", "4096"), parameter("fsync", "off"), parameter("timezone", "Etc/UTC")],
      referenceParameters: { fsync: "off" },
    };
    expect(
      differences(
        {
          parameters: [
            parameter("work_mem", "8192"),
            parameter("fsync", "on", { bootValue: "on" }),
            parameter("timezone", "Etc/UTC"),
          ],
        },
        options,
      ),
    ).toEqual(["setting work_mem: value should be 4096, is 8192"]);
  });

  it("of the session, or that the server computes, don't count", () => {
    const parameters = ["session", "client", "override", "user", "database"].map((source) =>
      parameter(source, "x", { source }),
    );
    const reference = parameters.map(({ name }) => parameter(name, "y"));
    expect(differences({ parameters }, { reference })).toEqual([]);
  });

  it("by ALTER SYSTEM are told once, also where they are not in force", () => {
    const live = {
      parameters: [parameter("work_mem", "8192"), parameter("port", "5432", { pendingRestart: true })],
      files: [auto("work_mem", "8MB"), auto("max_connections", "50")],
    };
    expect(differences(live, { reference: [parameter("work_mem", "4096")] })).toEqual([
      "setting max_connections: value in postgresql.auto.conf should be none, is 50",
      "setting port: value of the files should be in force, is waiting for a restart",
      "setting work_mem: value should be 4096, is 8192; cause should be the program, is ALTER SYSTEM",
    ]);
  });

  it("are told where a line of the files can't be read", () => {
    const files = [{ name: null, value: null, file: "/data/x.conf", line: 7, error: "syntax error" }];
    expect(differences({ parameters: [], files })).toEqual([
      "line 7 of /data/x.conf: line should be in force, is syntax error",
    ]);
  });
});

describe("an access file", () => {
  const expected = '# Made by the program.\nlocal  all  "postgres"  peer\nhost   all  "a#b"  all  reject\n';
  const differences = (content: string, newerThanLoaded = false) =>
    compareAccessFile(expected, { name: "pg_hba.conf", content, newerThanLoaded }).map(describeDeviation);

  it("is the same whatever comments and spaces it has", () => {
    expect(differences('local all "postgres" peer # yes\n\nhost all "a#b" all reject # no')).toEqual([]);
  });

  it("is told rule by rule, with what comes in another order, and whether it is in force", () => {
    expect(differences('local all "postgres" trust\nhost all "a#b" all reject', true)).toEqual([
      'pg_hba.conf: rule «local all "postgres" peer» should be there, is none; ' +
        'rule «local all "postgres" trust» should be none, is there; ' +
        "file should be loaded, is newer than what the server has read",
    ]);
    expect(differences('host all "a#b" all reject\nlocal all "postgres" peer')[0]).toMatch(
      /^pg_hba\.conf: order of the rules/,
    );
  });
});

it("a password fits the verifier that PostgreSQL made of it, and no other does", () => {
  const salt = Buffer.from("salt and pepper!");
  const salted = pbkdf2Sync("pencil", salt, 4096, 32, "sha256");
  const clientKey = createHmac("sha256", salted).update("Client Key").digest();
  const stored = createHash("sha256").update(clientKey).digest("base64");
  const server = createHmac("sha256", salted).update("Server Key").digest("base64");
  const verifier = `SCRAM-SHA-256$4096:${salt.toString("base64")}$${stored}:${server}`;
  expect(fitsVerifier("pencil", verifier)).toBe(true);
  expect(fitsVerifier("pen", verifier)).toBe(false);
  expect(fitsVerifier("pencil", "md5abc")).toBe(false);
  expect(fitsVerifier("pencil", null)).toBe(false);
});

describe("a container", () => {
  const image = {
    Cmd: ["postgres"],
    Entrypoint: ["e"],
    Env: ["PATH=/bin", "A=1"],
    Labels: { l: "v" },
    User: "",
  };
  const declared = parseDeclared({
    name: "pg",
    command: ["postgres", "-c", "x=1"],
    envs: ["A=2"],
    labels: [{ label: "team", value: "shop" }],
    ports: [{ internal: 5432, ip: "127.0.0.1" }],
    volumes: [{ volumeName: "data", containerPath: "/data" }],
    networksAdvanced: [{ name: "net", aliases: ["postgres"] }],
    memory: 512,
    memorySwap: 512,
    shmSize: 128,
    restart: "unless-stopped",
    init: true,
  });
  const host = {
    CapAdd: null,
    CpuPeriod: 0,
    CpuQuota: 0,
    Init: true,
    LogConfig: { Type: "json-file", Config: {} },
    Memory: 512 * 1024 ** 2,
    MemorySwap: 512 * 1024 ** 2,
    PortBindings: { "5432/tcp": [{ HostIp: "127.0.0.1", HostPort: "0" }] },
    Privileged: false,
    RestartPolicy: { Name: "unless-stopped" },
    ShmSize: 128 * 1024 ** 2,
    Tmpfs: null,
  };
  const live = (hostConfig: object = {}, networks: object = {}) =>
    parseInspected(
      JSON.stringify([
        {
          Id: "1",
          Image: "sha256:a",
          Config: {
            ...image,
            Cmd: ["postgres", "-c", "x=1"],
            Env: ["A=2", "PATH=/bin"],
            Labels: { l: "v", team: "shop" },
          },
          HostConfig: { ...host, ...hostConfig },
          Mounts: [
            { Type: "volume", Name: "data", Source: "/var/x", Destination: "/data", RW: true },
            // What the image declares, and the container does not use.
            { Type: "volume", Name: "a1".repeat(32), Source: "/var/y", Destination: "/unused", RW: true },
          ],
          NetworkSettings: { Networks: { net: { Aliases: ["postgres", "1a2b"] }, ...networks } },
          State: { Status: "running" },
        },
      ]),
    );
  const differences = (found: ReturnType<typeof live>) =>
    compareCatalogues(
      asCatalogue([declaredObject(declared, { id: "1", imageId: "sha256:a" }, image)]),
      asCatalogue([inspectedObject("pg", found, declared)]),
    ).map(describeDeviation);

  it("is as its state and its image say", () => {
    expect(differences(live())).toEqual([]);
  });

  it("is told property by property where it is not", () => {
    expect(
      differences(
        live(
          {
            Memory: 1024 ** 3,
            Privileged: true,
            PortBindings: { "5432/tcp": [{ HostIp: "", HostPort: "0" }] },
          },
          { other: { Aliases: null } },
        ),
      ),
    ).toEqual([
      "container pg: memory should be 512 MB, is 1024 MB; networks should be net, is net, other; " +
        "ports should be 127.0.0.1:any to 5432/tcp, is 0.0.0.0:any to 5432/tcp; privileged should be none, is yes",
    ]);
  });
});

it("a report names the areas in order, and says when all is well", () => {
  const finding = (area: "roles" | "container", object: string) => ({
    area,
    difference: { kind: "missing" as const, object, parts: [] },
  });
  const report = reportOf("production", [finding("roles", "role a"), finding("container", "container b")]);
  expect(formatReport(report, "2.0 s")).toMatchInlineSnapshot(`
    "Container, against the stack's state
      container b is missing
    Roles
      role a is missing

    production is not as the code says: 2 differences (2.0 s). docs/operations.md, «When the server is not as the code says», tells what to do.
    "
  `);
  expect(formatReport(reportOf("production", []), "2.0 s")).toMatchInlineSnapshot(`
    "production is as the code says: container, passwords, roles, settings, access rules, migrations, databases (2.0 s)
    "
  `);
});

it("a deployment's secrets are read through their wrapping", () => {
  const secret = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270" };
  const endpoint = { host: "h", port: 1, source: "s" };
  const login = { username: "u", password: "p", database: "d", host: endpoint, network: endpoint };
  const connections = { app: login, migrator: login, readonly: login, monitor: login, superuser: login };
  const outputs = {
    DB_DRIVER: "postgres",
    connections: { ...secret, plaintext: JSON.stringify(connections) },
    tls: { mode: "disable" },
    lifetime: "persistent",
    image: "i",
    containerName: "c",
    networkName: "n",
  };
  const json = JSON.stringify({
    deployment: {
      resources: [
        { urn: "stack", type: "pulumi:pulumi:Stack", outputs },
        {
          urn: "pw",
          type: "random:index/randomPassword:RandomPassword",
          outputs: { result: { ...secret, plaintext: '"x"' } },
        },
      ],
    },
  });
  const deployment = parseDeployment(json, "production");
  expect(deployment.outputs.connections.app.username).toBe("u");
  expect(deployment.resources[1]?.outputs.result).toBe("x");
});

describe("the first file of a tar archive", () => {
  const entry = (kind: string, content: string) => {
    const header = Buffer.alloc(512);
    header.write("name", 0);
    header.write(`${Buffer.byteLength(content).toString(8).padStart(11, "0")}\0`, 124);
    header.write(kind, 156);
    const body = Buffer.alloc(Math.ceil(Buffer.byteLength(content) / 512) * 512);
    body.write(content);
    return Buffer.concat([header, body]);
  };
  const end = Buffer.alloc(1024);

  it("is found behind extended headers and folders, to the byte", () => {
    const archive = Buffer.concat([
      entry("x", "27 mtime=1.5\n"),
      entry("5", ""),
      entry("0", "Zürich\n"),
      end,
    ]);
    expect(firstFile(archive)?.toString()).toBe("Zürich\n");
    expect(firstFile(Buffer.concat([entry("0", ""), end]))?.length).toBe(0);
  });

  it("is none where there is none", () => {
    expect(firstFile(Buffer.concat([entry("2", ""), end]))).toBeUndefined();
    expect(firstFile(Buffer.alloc(0))).toBeUndefined();
  });
});
