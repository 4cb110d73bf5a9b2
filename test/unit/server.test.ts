import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectionUrl } from "../../components/connection-url.ts";
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
      ssl_cert_file: "/var/lib/postgresql/data/configuration/current/server.crt",
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
  ])("of PostgreSQL %s are %s and %s, with the configuration beside", (major, mount, dataDirectory) => {
    expect(dataPaths(major)).toEqual({ mount, dataDirectory, configuration: `${mount}/configuration` });
  });
});

describe("access rules", () => {
  const lines = (values: Record<string, string>) =>
    hostBasedAuthentication(settings({ appName: "shop", ...values }))
      .trim()
      .split("\n");
  const fromNetwork = (values: Record<string, string>) =>
    lines(values).filter((line) => !/^local|^#|health|hostnossl/.test(line));

  it("of production take TLS connections with a password only, from the stack's network and the Docker host", () => {
    expect(
      hostBasedAuthentication(settings({ profile: "production", appName: "shop" })),
    ).toMatchInlineSnapshot(`
      "# Made by the program; changes here are lost.
      local   all          "postgres"  peer map=superuser
      local   all          all  scram-sha-256
      host    all          "shop_health"  127.0.0.1/32  trust
      host    all          "shop_health"  all  reject
      hostnossl all        all  all  reject
      hostssl all          "postgres","shop_migrator","shop_monitor","shop_backup"  samenet  scram-sha-256
      hostssl replication  "shop_backup"  samenet  scram-sha-256
      hostssl all          all  samenet  scram-sha-256
      "
    `);
  });

  it("of development are open to whoever reaches the port, until there is a rule", () => {
    expect(fromNetwork({ profile: "development" })).toMatchInlineSnapshot(`
      [
        "host all          all  all  scram-sha-256",
        "host replication  all  all  scram-sha-256",
      ]
    `);
    const accessRules = '[{"role": "app", "address": "10.1.2.3"}]';
    expect(fromNetwork({ profile: "development", accessRules })).toMatchInlineSnapshot(`
      [
        "host all          "postgres","shop_migrator","shop_monitor","shop_backup"  samenet  scram-sha-256",
        "host replication  "shop_backup"  samenet  scram-sha-256",
        "host "shop"  "shop_app_a","shop_app_b"  10.1.2.3/32  scram-sha-256",
        "host all          all  samenet  scram-sha-256",
      ]
    `);
  });

  it("of the settings come in their order, after the program's own logins and before all others", () => {
    expect(
      fromNetwork({
        profile: "production",
        bindAddress: "10.1.0.5",
        programNetworks: '["10.9.0.0/24", "fd00::1"]',
        accessRules: JSON.stringify([
          { role: "readonly", address: "10.1.2.0/24", method: "reject" },
          { role: "readonly", address: "10.1.0.0/16" },
          { role: "app", address: "fd00:1::/32" },
          { role: "backup", address: "10.1.0.7" },
          { role: "app", address: "network", database: "postgres", method: "reject" },
        ]),
      }),
    ).toMatchInlineSnapshot(`
      [
        "hostssl all          "postgres","shop_migrator","shop_monitor","shop_backup"  samenet  scram-sha-256",
        "hostssl replication  "shop_backup"  samenet  scram-sha-256",
        "hostssl all          "postgres","shop_migrator","shop_monitor","shop_backup"  10.1.0.5/32  scram-sha-256",
        "hostssl replication  "shop_backup"  10.1.0.5/32  scram-sha-256",
        "hostssl all          "postgres","shop_migrator","shop_monitor","shop_backup"  10.9.0.0/24  scram-sha-256",
        "hostssl replication  "shop_backup"  10.9.0.0/24  scram-sha-256",
        "hostssl all          "postgres","shop_migrator","shop_monitor","shop_backup"  fd00::1/128  scram-sha-256",
        "hostssl replication  "shop_backup"  fd00::1/128  scram-sha-256",
        "hostssl "shop"  "shop_reader"  10.1.2.0/24  reject",
        "hostssl "shop"  "shop_reader"  10.1.0.0/16  scram-sha-256",
        "hostssl "shop"  "shop_app_a","shop_app_b"  fd00:1::/32  scram-sha-256",
        "hostssl "shop"  "shop_backup"  10.1.0.7/32  scram-sha-256",
        "hostssl replication  "shop_backup"  10.1.0.7/32  scram-sha-256",
        "hostssl "postgres"  "shop_app_a","shop_app_b"  samenet  reject",
        "hostssl all          all  samenet  scram-sha-256",
      ]
    `);
  });

  it("let the program in from the host's own addresses", () => {
    const rules = '[{"role": "app", "address": "0.0.0.0/0"}]';
    const own = fromNetwork({
      profile: "production",
      bindAddress: "0.0.0.0",
      host: "192.0.2.7",
      accessRules: rules,
    }).filter((line) => line.includes('"postgres"'));
    expect(own.map((line) => line.split("  ").at(-2))).toEqual(["samenet", "192.0.2.7/32"]);
  });

  it("never ask for less than a password from the network, without TLS either", () => {
    expect(lines({ profile: "development" }).filter((line) => /trust|peer/.test(line))).toEqual([
      'local   all          "postgres"  peer map=superuser',
      'host    all          "shop_health"  127.0.0.1/32  trust',
    ]);
  });

  it("quote names, so that none is taken for a keyword or a pattern", () => {
    const text = hostBasedAuthentication(
      settings({
        profile: "production",
        appName: 'a"b',
        superuserName: "all",
        accessRules: '[{"role": "app", "database": "all", "address": "10.1.2.3"}]',
      }),
    );
    expect(text).toContain('"a""b_health"');
    expect(text).toContain('hostssl "all"  "a""b_app_a","a""b_app_b"  10.1.2.3/32  scram-sha-256');
    expect(identityMap("all")).toBe('superuser root "all"\nsuperuser postgres "all"\n');
  });
});

describe("bootstrap SQL", () => {
  const sql = bootstrapSql({ superuserName: "postgres", roles: roleNames('sh"op'), majorVersion: 17 });

  it("has one statement a line, as single-user mode reads it", () => {
    for (const line of sql.trimEnd().split("\n")) expect(line).toMatch(/^(ALTER|GRANT|DO) .*;$/);
  });

  it("quotes names", () => {
    expect(sql).toContain('"sh""op_health"');
  });

  it("reserves a connection for the health check where PostgreSQL can", () => {
    const options = { superuserName: "postgres", roles: roleNames("c") };
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
