import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectionUrl } from "../../components/connections.ts";
import { objectLabels } from "../../components/labels.ts";
import { roleNames } from "../../components/names.ts";
import { hostBasedAuthentication, identityMap } from "../../components/server/access-rules.ts";
import { bootstrapSql } from "../../components/server/bootstrap.ts";
import { dataPaths } from "../../components/server/files.ts";
import { readInitScripts } from "../../components/server/init-scripts.ts";
import { cpuLimit, goDuration } from "../../components/server/postgres-server.ts";
import { memorySettings, serverCommand, serverParameters } from "../../components/server/server-settings.ts";
import { parseSettings, type Settings } from "../../components/settings.ts";

const GB = 1024 ** 3;

function settings(values: Record<string, string>): Settings {
  const result = parseSettings(
    Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }])),
    pulumi.secret,
  );
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  return result.settings;
}

describe("server settings", () => {
  it("follow from the container's memory", () => {
    expect(memorySettings(4 * GB, 100)).toEqual({
      shared_buffers: "1GB",
      effective_cache_size: "3GB",
      maintenance_work_mem: "256MB",
      work_mem: "10MB",
    });
  });

  it("never fall below what the server needs, nor above what helps", () => {
    expect(memorySettings(128 * 1024 ** 2, 1000)).toMatchObject({ shared_buffers: "32MB", work_mem: "1MB" });
    expect(memorySettings(256 * GB, 100).maintenance_work_mem).toBe("1GB");
  });

  it("divide working memory among more connections", () => {
    const parameters = serverParameters(
      settings({ profile: "production", memory: "4GB", serverSettings: '{"max_connections": 400}' }),
    );
    expect(parameters).toMatchObject({ max_connections: "400", work_mem: "2MB" });
  });

  it("switch durability off in an ephemeral environment only", () => {
    const durability = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };
    expect(serverParameters(settings({ profile: "development" }))).toMatchObject(durability);
    const production = serverParameters(settings({ profile: "production" }));
    for (const key of Object.keys(durability)) expect(production).not.toHaveProperty(key);
  });

  it("keep the WAL of an ephemeral environment to an eighth of its tmpfs", () => {
    const wal = (tmpfsSize: string) => serverParameters(settings({ profile: "development", tmpfsSize }));
    expect(wal("1GB")).toMatchObject({ min_wal_size: "32MB", max_wal_size: "128MB" });
    expect(wal("64MB")).toMatchObject({ min_wal_size: "32MB", max_wal_size: "32MB" });
    expect(serverParameters(settings({ profile: "production" }))).not.toHaveProperty("max_wal_size");
  });

  it("give way to the stack's own", () => {
    const serverSettings = '{"shared_buffers": "64MB", "fsync": true}';
    expect(serverParameters(settings({ profile: "development", serverSettings }))).toMatchObject({
      shared_buffers: "64MB",
      fsync: "on",
    });
  });

  it("serve TLS in production and not in development", () => {
    expect(serverParameters(settings({ profile: "production" }))).toMatchObject({
      ssl: "on",
      ssl_cert_file: "/run/postgresql-environment/server.crt",
    });
    expect(serverParameters(settings({ profile: "development" })).ssl).toBe("off");
  });

  it("are the same command line in whatever order they were given", () => {
    expect(serverCommand({ b: "2", a: "1 1" })).toEqual(["postgres", "-c", "a=1 1", "-c", "b=2"]);
  });
});

describe("data paths", () => {
  it.each([
    [15, "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"],
    [17, "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"],
    [18, "/var/lib/postgresql", "/var/lib/postgresql/18/docker"],
  ])("of PostgreSQL %s are %s and %s", (major, mount, dataDirectory) => {
    expect(dataPaths(major)).toEqual({ mount, dataDirectory });
  });
});

describe("access rules", () => {
  it("take TLS connections with a password only, where TLS is served", () => {
    expect(
      hostBasedAuthentication({ appName: "shop", superuserName: "postgres", tls: true }),
    ).toMatchInlineSnapshot(`
      "# Made by the program at every start; changes here are lost.
      local   all          "postgres"  peer map=superuser
      local   all          all  scram-sha-256
      host    all          "shop_health"  127.0.0.1/32  trust
      host    all          "shop_health"  all  reject
      hostnossl all        all  all  reject
      hostssl all          all  all  scram-sha-256
      hostssl replication  all  all  scram-sha-256
      "
    `);
  });

  it("never ask for less than a password from the network, without TLS either", () => {
    const rules = hostBasedAuthentication({ appName: "shop", superuserName: "postgres", tls: false });
    const open = rules.split("\n").filter((line) => /trust|peer/.test(line));
    expect(open).toEqual([
      'local   all          "postgres"  peer map=superuser',
      'host    all          "shop_health"  127.0.0.1/32  trust',
    ]);
  });

  it("quote names, so that none is taken for a keyword or a pattern", () => {
    expect(hostBasedAuthentication({ appName: 'a"b', superuserName: "all", tls: false })).toContain(
      '"a""b_health"',
    );
    expect(identityMap("all")).toBe('superuser root "all"\nsuperuser postgres "all"\n');
  });
});

describe("bootstrap SQL", () => {
  const sql = bootstrapSql({
    superuserName: "po'st",
    superuserPassword: "it's \\ 100%",
    roles: roleNames('sh"op'),
    majorVersion: 17,
    passwords: { app: "it's" },
  });

  it("has one statement a line, as single-user mode reads it", () => {
    for (const line of sql.trimEnd().split("\n")) expect(line).toMatch(/^(ALTER|GRANT|DO) .*;$/);
  });

  it("quotes names and passwords", () => {
    expect(sql).toContain(`ALTER ROLE "po'st" PASSWORD  E'it''s \\\\ 100%';`);
    expect(sql).toContain('"sh""op_health"');
    expect(sql).toContain(`rolname = ''app''`);
  });

  it("reserves a connection for the health check where PostgreSQL can", () => {
    const options = { superuserName: "a", superuserPassword: "b", roles: roleNames("c"), passwords: {} };
    expect(bootstrapSql({ ...options, majorVersion: 16 })).toContain("pg_use_reserved_connections");
    expect(bootstrapSql({ ...options, majorVersion: 15 })).not.toContain("pg_use_reserved_connections");
  });
});

describe("init scripts", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "initdb-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("are read in the order in which the image runs them, with their mode", () => {
    writeFileSync(join(folder, "20_b.sql"), "SELECT 1;");
    writeFileSync(join(folder, "10_a.sh"), "true", { mode: 0o755 });
    writeFileSync(join(folder, "README.md"), "notes");
    expect(readInitScripts(folder)).toEqual([
      { name: "10_a.sh", contentBase64: Buffer.from("true").toString("base64"), executable: true },
      { name: "20_b.sql", contentBase64: Buffer.from("SELECT 1;").toString("base64"), executable: false },
    ]);
  });

  it("may not be files that would silently never run", () => {
    writeFileSync(join(folder, "setup.psql"), "");
    mkdirSync(join(folder, "nested"));
    expect(() => readInitScripts(folder)).toThrow(/nested, .*setup\.psql would never run/);
  });

  it("need a folder that exists where a setting names it", () => {
    expect(() => readInitScripts(join(folder, "none"))).toThrow(/does not exist/);
  });
});

describe("connection URLs", () => {
  it("carry any character in any part", () => {
    const parts = {
      username: "a@b",
      password: "p%/:?# $é",
      host: "::1",
      port: 5432,
      database: "sh/op 100%",
      sslMode: "require" as const,
    };
    const url = new URL(connectionUrl(parts));
    expect(decodeURIComponent(url.username)).toBe(parts.username);
    expect(decodeURIComponent(url.password)).toBe(parts.password);
    expect(decodeURIComponent(url.pathname.slice(1))).toBe(parts.database);
    expect(url.hostname).toBe("[::1]");
    expect(url.searchParams.get("sslmode")).toBe("require");
  });
});

describe("labels", () => {
  it("of the stack never replace the program's own", () => {
    const labels = objectLabels({
      project: "p",
      stack: "s",
      role: "data",
      custom: { team: "x", "postgresql-environments.stack": "other" },
    });
    expect(labels).toEqual([
      { label: "postgresql-environments.project", value: "p" },
      { label: "postgresql-environments.role", value: "data" },
      { label: "postgresql-environments.stack", value: "s" },
      { label: "team", value: "x" },
    ]);
  });
});

describe("a CPU limit", () => {
  it("is a share of a period, and absent where there is none", () => {
    expect(cpuLimit(1.5)).toEqual({ cpuPeriod: 100_000, cpuQuota: 150_000 });
    expect(cpuLimit(0.01)).toEqual({ cpuPeriod: 100_000, cpuQuota: 1_000 });
    expect(cpuLimit(undefined)).toEqual({});
  });
});

describe("durations", () => {
  it.each([
    [1, "1s"],
    [60, "1m0s"],
    [300, "5m0s"],
    [3725, "1h2m5s"],
    [86400, "24h0m0s"],
  ])("%s seconds are %s, as Go writes them", (seconds, text) => {
    expect(goDuration(seconds)).toBe(text);
  });
});
