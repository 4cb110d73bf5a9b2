import { readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { isImageReference, majorVersionOfImage } from "../../components/settings/image.ts";
import { type SettingKey, settingKeys } from "../../components/settings/schema.ts";
import { formatSize, parseSize, toMebibytes } from "../../components/settings/units.ts";
import { type ConfigValue, parseSettings } from "../../components/settings.ts";

const config = (values: Record<string, string>): Record<string, ConfigValue> =>
  Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }]));

function accepted(values: Record<string, string>) {
  const result = parseSettings(config(values), pulumi.secret);
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  return result.settings;
}

function refused(values: Record<string, string>): string[] {
  const result = parseSettings(config(values), pulumi.secret);
  if (!("mistakes" in result)) throw new Error("the settings were accepted");
  return result.mistakes;
}

describe("what a profile gives for keys that are left out", () => {
  it("keeps production's data, protects it and serves TLS", () => {
    expect(accepted({ profile: "production" })).toMatchObject({
      lifetime: "persistent",
      deletionProtection: true,
      tls: true,
      sslMode: "require",
      port: 5432,
      bindAddress: "127.0.0.1",
      host: "127.0.0.1",
      memory: 2 * 1024 ** 3,
      shmSize: 512 * 1024 ** 2,
      stopTimeout: 120,
    });
  });

  it("throws development's data away and leaves the port to Docker", () => {
    expect(accepted({ profile: "development" })).toMatchObject({
      lifetime: "ephemeral",
      deletionProtection: false,
      tls: false,
      sslMode: "disable",
      port: undefined,
      memory: 1024 ** 3,
      tmpfsSize: 512 * 1024 ** 2,
    });
  });

  it("names the database after the application, and everything else after nothing", () => {
    expect(accepted({ profile: "development", appName: "shop" })).toMatchObject({
      appName: "shop",
      databaseName: "shop",
      schemaName: "app",
      superuserName: "postgres",
      image: "postgres:17-trixie",
      majorVersion: 17,
      extensions: [],
      initdbFolder: "initdb",
      migrationsFolder: "migrations",
    });
  });
});

describe("values", () => {
  it("reads texts as they are, also when they look like numbers or JSON", () => {
    expect(accepted({ profile: "development", databaseName: "0123" }).databaseName).toBe("0123");
    expect(accepted({ profile: "development", databaseName: "true" }).databaseName).toBe("true");
    expect(accepted({ profile: "development", migrationsTarget: "0003" }).migrationsTarget).toBe("0003");
  });

  it("takes an extension by name or with a schema and a version", () => {
    const text = '["citext", {"name": "pg_cron", "schema": "pg_catalog", "version": "1.6"}]';
    expect(accepted({ profile: "development", extensions: text }).extensions).toEqual([
      { name: "citext", schema: "extensions", version: undefined },
      { name: "pg_cron", schema: "pg_catalog", version: "1.6" },
    ]);
  });

  it("writes switches of the server in PostgreSQL's words", () => {
    const serverSettings = '{"jit": false, "max_connections": 50, "work_mem": "8MB"}';
    expect(accepted({ profile: "development", serverSettings }).serverSettings).toEqual({
      jit: "off",
      max_connections: "50",
      work_mem: "8MB",
    });
  });

  it("changes only the named parts of the health check", () => {
    expect(accepted({ profile: "production", healthCheck: '{"interval": 30}' }).healthCheck).toEqual({
      interval: 30,
      timeout: 5,
      retries: 3,
      startPeriod: 300,
    });
  });

  it.each([
    ["0.0.0.0", "127.0.0.1"],
    ["::", "::1"],
    ["192.0.2.7", "192.0.2.7"],
  ])("reaches a port that is bound to %s at %s", (bindAddress, host) => {
    const accessRules = '[{"role": "app", "address": "10.0.0.0/8"}]';
    expect(accepted({ profile: "production", bindAddress, accessRules }).host).toBe(host);
  });

  it("takes names that only quoting makes safe", () => {
    const appName = `o'clock "é" 100% $HOME`;
    const databaseName = `o'clock "é" $HOME`;
    expect(accepted({ profile: "development", appName, databaseName })).toMatchObject({
      appName,
      databaseName,
    });
  });

  it("takes a database name of 63 bytes and refuses one of 64", () => {
    expect(
      accepted({ profile: "development", databaseName: `${"é".repeat(31)}x` }).databaseName,
    ).toHaveLength(32);
    expect(refused({ profile: "development", databaseName: "é".repeat(32) })).toHaveLength(1);
  });

  it("leaves room in the application's name for the longest role", () => {
    expect(accepted({ profile: "development", appName: "a".repeat(53) }).appName).toHaveLength(53);
    expect(refused({ profile: "development", appName: "a".repeat(54), databaseName: "x" })).toHaveLength(1);
  });
});

describe("mistakes", () => {
  it("are all reported at once, each with the value got, what is expected and the fix", () => {
    expect(
      refused({
        profile: "staging",
        port: "70000",
        memory: "2",
        memroy: "2GB",
        databaseName: "",
        labels: "team",
      }),
    ).toMatchInlineSnapshot(`
      [
        "profile: got "staging", expected production or development. Fix: pulumi config set profile production",
        "port: got "70000", expected a whole number from 1 to 65535. Fix: pulumi config set port 5432",
        "memory: got "2", expected a size of at least 128MB with its unit, such as 512MB or 4GB. Fix: pulumi config set memory 4GB",
        "memroy: is not a setting. Did you mean memory? Fix: pulumi config rm memroy",
        "databaseName: got "", expected 1 to 63 bytes without %, ?, #, control characters or outer spaces, other than postgres, template0, template1 and template_building. Fix: pulumi config set databaseName shop",
        "labels: got "team", expected a map from label names to texts. Fix: correct it in the stack's file, for example labels: {team: payments}",
      ]
    `);
  });

  it("say that the profile is missing", () => {
    expect(refused({})).toEqual([
      "profile: is not set, expected production or development. Fix: pulumi config set profile development",
    ]);
  });

  it("never print a secret, and refuse one in plain text", () => {
    const short = parseSettings(
      { ...config({ profile: "production" }), superuserPassword: { text: "hunter2", secret: true } },
      pulumi.secret,
    );
    expect(short).toEqual({ mistakes: [expect.not.stringContaining("hunter2")] });
    expect(refused({ profile: "production", superuserPassword: "correct horse" })).toEqual([
      expect.stringMatching(/^superuserPassword: is in plain text(?!.*correct horse)/),
    ]);
  });

  it.each([
    [{ profile: "production", serverSettings: '{"fsync": "off"}' }, /fsync is off/],
    [{ profile: "production", serverSettings: '{"synchronous_commit": false}' }, /synchronous_commit is off/],
    [{ profile: "production", serverSettings: '{"hba_file": "/tmp/x"}' }, /serverSettings: got/],
    [{ profile: "production", serverSettings: '{"a b": 1}' }, /serverSettings: got/],
    [{ profile: "production", tmpfsSize: "1GB" }, /tmpfsSize: has no effect/],
    [{ profile: "production", seeds: "demo" }, /seeds: is for profile development only/],
    [{ profile: "development", seeds: "../demo" }, /seeds: got "..\/demo", expected the name of a folder/],
    [{ profile: "development", tmpfsSize: "4GB" }, /larger than memory/],
    [{ profile: "development", adoptVolume: "true" }, /adoptVolume: has no effect/],
    [{ profile: "development", allowDataLoss: "0003" }, /allowDataLoss: has no effect/],
    [{ profile: "production", keepFor: "7d" }, /keepFor: has no effect/],
    [{ profile: "development", keepFor: "7" }, /keepFor: got .*expected a time with its unit/],
    [{ profile: "development", deletionProtection: "true" }, /deletionProtection: has no effect/],
    [{ profile: "development", image: "postgres:14" }, /PostgreSQL 14 is not supported/],
    [{ profile: "development", image: "postgres" }, /has no tag that begins with/],
    [{ profile: "development", image: "postgres:17", majorVersion: "16" }, /majorVersion: is 16, but/],
    [{ profile: "development", image: "Postgres 17" }, /image: got/],
    [{ profile: "development", databaseName: "template1" }, /databaseName: got/],
    [{ profile: "development", appName: "a\\b" }, /appName: got/],
    [{ profile: "development", appName: "postgres" }, /databaseName: follows appName/],
    [{ profile: "development", databaseName: "a%20b" }, /databaseName: got/],
    [{ profile: "development", appName: "a#b" }, /databaseName: follows appName/],
    [{ profile: "development", superuserName: 'a"b' }, /superuserName: got/],
    [{ profile: "development", superuserName: "a'b" }, /superuserName: got/],
    [{ profile: "development", superuserName: "a$b" }, /superuserName: got/],
    [{ profile: "development", superuserName: "a\\b" }, /superuserName: got/],
    [{ profile: "development", superuserName: "a--b" }, /superuserName: got/],
    [{ profile: "development", superuserName: "a/*b" }, /superuserName: got/],
    [{ profile: "development", superuserName: "a*/b" }, /superuserName: got/],
    [{ profile: "development", schemaName: "public" }, /schemaName: got/],
    [{ profile: "development", extensions: '["citext", {"name": "citext"}]' }, /citext is listed twice/],
    [{ profile: "development", tlsCa: "x" }, /tlsCa: got/],
    [{ profile: "development", bindAddress: "localhost" }, /bindAddress: got/],
  ])("are found in %j", (values, message) => {
    expect(refused(values)).toEqual([expect.stringMatching(message)]);
  });

  it("name the access rule that they are in, and what is wrong with it", () => {
    const accessRules = JSON.stringify([
      { role: "app", address: "10.1.0.0/16" },
      { role: "apps", address: "10.1.0.0/16" },
      { role: "app" },
      { role: "app", address: "db.example.com" },
      { role: "app", address: "10.1.2.3/16" },
      { role: "app", address: "fd00::/129" },
      { role: "app", address: "10.1.0.0/16", method: "trust" },
      { role: "app", address: "10.1.0.0/16", method: "reject" },
      { role: "monitor", address: "network", method: "reject" },
      { role: "app", address: "fd00::1/64", user: "x" },
      { role: "app", address: "0.0.0.0/0", database: 'a"' },
      "app",
    ]);
    expect(
      refused({ profile: "production", accessRules, programNetworks: '["10.1.2.3/8"]' }),
    ).toMatchInlineSnapshot(`
      [
        "accessRules: rule 2, {"role":"apps","address":"10.1.0.0/16"}, has no role that there is, expected app, readonly, migrator, monitor, backup. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 3, {"role":"app"}, has no address, expected network, an IP address, or a range such as 10.1.0.0/16. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 4, {"role":"app","address":"db.example.com"}, has an address that is neither an IP address nor a range, expected network, an IP address, or a range such as 10.1.0.0/16. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 5, {"role":"app","address":"10.1.2.3/16"}, has an address that has more bits than its prefix of 16, expected network, an IP address, or a range such as 10.1.0.0/16. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 6, {"role":"app","address":"fd00::/129"}, has an address that has a prefix above 128, expected network, an IP address, or a range such as 10.1.0.0/16. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 7, {"role":"app","address":"10.1.0.0/16","method":"trust"}, has a method other than password and reject. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 8, {"role":"app","address":"10.1.0.0/16","method":"reject"}, is about the same as rule 1, which decides. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 9, {"role":"monitor","address":"network","method":"reject"}, would have no effect: from there, this login is let in before any rule is looked at. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 10, {"role":"app","address":"fd00::1/64","user":"x"}, has the key user, expected role, database, address, method. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 11, {"role":"app","address":"0.0.0.0/0","database":"a\\""}, has a database that is no plain name. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "accessRules: rule 12, "app", is no map of role, database, address, method. Fix: correct it in the stack's file, for example accessRules: [{role: app, address: 10.1.0.0/16}]",
        "programNetworks: "10.1.2.3/8" has more bits than its prefix of 8, expected IP addresses, or ranges such as 10.1.0.0/16. Fix: correct it in the stack's file, for example programNetworks: [10.1.2.3]",
      ]
    `);
  });

  it("are a port on other addresses than loopback where nobody is let in, or the program might not be", () => {
    expect(refused({ profile: "production", bindAddress: "0.0.0.0" })).toMatchInlineSnapshot(`
      [
        "bindAddress: publishes the port on 0.0.0.0, and accessRules lets nobody in from another machine. Fix: add accessRules for those who are to come from there, or run: pulumi config rm bindAddress",
      ]
    `);
    const accessRules = '[{"role": "app", "address": "10.0.0.0/8"}]';
    const open = { profile: "production", bindAddress: "0.0.0.0", accessRules };
    expect(refused({ ...open, host: "db.example.com" })).toMatchInlineSnapshot(`
      [
        "programNetworks: is not set, and from which address db.example.com is reached by this program can't be told. Fix: pulumi config set --path 'programNetworks[0]' followed by the Docker host's own address, or by that of the machine that runs Pulumi",
      ]
    `);
    expect(
      accepted({ ...open, host: "db.example.com", programNetworks: '["10.1.2.3"]' }).programNetworks,
    ).toEqual(["10.1.2.3/32"]);
    expect(accepted({ profile: "development", bindAddress: "0.0.0.0" }).accessRules).toEqual([]);
  });

  it("ask for certificate, key and authority together", () => {
    const pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    expect(refused({ profile: "production", tlsCertificate: pem })).toEqual([
      expect.stringContaining("needs tlsCertificate, tlsKey and tlsCa together"),
    ]);
    expect(refused({ profile: "development", tlsCa: pem })).toEqual([expect.stringContaining("no effect")]);
  });
});

describe("monitoring", () => {
  it("is an exporter in production, and nothing in development", () => {
    const { monitoring } = accepted({ profile: "production" });
    expect(monitoring).toMatchObject({
      exporter: { port: undefined },
      nodeExporter: { port: undefined },
      prometheus: undefined,
      grafana: undefined,
    });
    expect(accepted({ profile: "development" }).monitoring).toBeUndefined();
    expect(accepted({ profile: "production", monitoring: "none" }).monitoring).toBeUndefined();
  });

  it("has of each level what the levels before it have", () => {
    const { monitoring } = accepted({
      profile: "production",
      monitoring: "grafana",
      grafanaPort: "3000",
      prometheusRetention: "7d",
      prometheusSize: "1GB",
      exporterImage: `example.com/exporter@sha256:${"a".repeat(64)}`,
    });
    expect(monitoring).toMatchObject({
      exporter: { image: `example.com/exporter@sha256:${"a".repeat(64)}` },
      prometheus: { retention: 7 * 86_400, size: 1024 ** 3, alertmanager: undefined },
      grafana: { port: 3000, password: undefined },
    });
  });

  it("refuses what its level makes no use of, ports that are taken, and dashboards that nobody could open", () => {
    expect(
      refused({
        profile: "production",
        prometheusPort: "9090",
        alertmanager: "http://alerts:9093",
        exporterPort: "5432",
      }),
    ).toMatchInlineSnapshot(`
      [
        "prometheusPort: has no effect with monitoring exporter, expected prometheus or more. Fix: pulumi config set monitoring prometheus, or pulumi config rm prometheusPort",
        "alertmanager: has no effect with monitoring exporter, expected prometheus or more. Fix: pulumi config set monitoring prometheus, or pulumi config rm alertmanager",
        "exporterPort: is 5432, which port is too. Fix: choose another port for one of them",
      ]
    `);
    expect(refused({ profile: "production", monitoring: "grafana" })).toMatchInlineSnapshot(`
      [
        "grafanaPort: is not set, so that nobody could open the dashboards of monitoring grafana. Fix: pulumi config set grafanaPort 3000",
      ]
    `);
    expect(refused({ profile: "development", monitoring: "exporter" })).toMatchInlineSnapshot(`
      [
        "monitoring: has no effect with profile development, which nobody watches. Fix: pulumi config rm monitoring",
      ]
    `);
  });

  it.each([
    [{ monitoring: "all" }, /monitoring: got/],
    [{ monitoring: "prometheus", prometheusRetention: "0" }, /prometheusRetention: got/],
    [{ monitoring: "prometheus", prometheusSize: "1MB" }, /prometheusSize: got/],
    [{ monitoring: "prometheus", alertmanager: "http://:9093" }, /alertmanager: got/],
    [{ monitoring: "prometheus", alertmanager: "alerts:9093" }, /alertmanager: got/],
    [{ monitoring: "prometheus", alertmanager: "http://user:secret@alerts" }, /alertmanager: got/],
    [
      { monitoring: "grafana", grafanaPort: "3000", grafanaPassword: "plain text" },
      /grafanaPassword: is in plain text/,
    ],
    [{ exporterImage: "no image" }, /exporterImage: got/],
    [{ nodeExporterImage: "no image" }, /nodeExporterImage: got/],
    [{ nodeExporterPort: "0" }, /nodeExporterPort: got/],
  ])("is refused with %j", (values, message) => {
    expect(refused({ profile: "production", ...values })).toEqual([expect.stringMatching(message)]);
  });
});

describe("images", () => {
  it.each([
    ["postgres:17-trixie", 17],
    ["postgres:18", 18],
    ["registry.example.com:5000/team/postgres:15.4-bookworm", 15],
    [`postgres:16@sha256:${"a".repeat(64)}`, 16],
    ["postgres:latest", undefined],
    ["postgres", undefined],
  ])("%s is PostgreSQL %s", (image, major) => {
    expect(isImageReference(image)).toBe(true);
    expect(majorVersionOfImage(image)).toBe(major);
  });

  it.each(["", "postgres 17", "Postgres:17", "postgres:", "postgres@sha256:12", "-postgres:17"])(
    "%j is none",
    (image) => {
      expect(isImageReference(image)).toBe(false);
    },
  );
});

describe("sizes", () => {
  it.each([
    ["512MB", 512 * 1024 ** 2],
    ["2 GB", 2 * 1024 ** 3],
    ["64kB", 64 * 1024],
    ["2", undefined],
    ["2gb", undefined],
    ["0GB", undefined],
    ["-1GB", undefined],
  ])("%s is %s bytes", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it("are written in the largest unit that loses nothing", () => {
    expect([2 * 1024 ** 3, 1536 * 1024 ** 2, 4096].map(formatSize)).toEqual(["2GB", "1536MB", "4kB"]);
    expect(toMebibytes(1.9 * 1024 ** 2)).toBe(1);
  });
});

describe("Pulumi.yaml", () => {
  const project = parse(readFileSync(new URL("../../Pulumi.yaml", import.meta.url), "utf8"));
  const keys: [string, SettingKey][] = Object.entries(settingKeys);

  it("declares just the keys whose default is the same everywhere, with that default", () => {
    const declared = Object.fromEntries(
      keys.filter(([, key]) => key.declared).map(([name, key]) => [name, key.declared]),
    );
    const entries = Object.entries(project.config as Record<string, { description: string }>);
    const inFile = Object.fromEntries(
      entries
        // `pulumi new` adds a key of Pulumi's own to a project made from this one.
        .filter(([name]) => !name.startsWith("pulumi:"))
        .map(([name, { description: _, ...rest }]) => [name, rest]),
    );
    expect(inFile).toEqual(declared);
  });
});

describe("backups", () => {
  it("are made in production, with these defaults, and not in development", () => {
    expect(accepted({ profile: "development" }).backup).toBeUndefined();
    const exceptions = '{"noBackup": "a copy of another system"}';
    expect(accepted({ profile: "production", backups: "false", exceptions }).backup).toBeUndefined();
    expect(accepted({ profile: "production" }).backup).toEqual({
      folder: undefined,
      every: 86_400,
      fullEvery: 7 * 86_400,
      window: 14 * 86_400,
      minimum: 2,
      synchronous: false,
      walLimit: 10 * 1024 ** 3,
      drillEvery: 86_400,
      drillQuery: undefined,
      final: true,
      copy: undefined,
    });
  });

  it("are what the settings say, with ages in seconds", () => {
    const settings = accepted({
      profile: "production",
      backupFolder: "/mnt/backups",
      backupEvery: "12h",
      backupFullEvery: "3d",
      backupWindow: "30d",
      backupMinimum: "3",
      backupSynchronous: "true",
      backupWalLimit: "50GB",
      drillEvery: "0",
      drillQuery: "SELECT true",
      finalBackup: "false",
    });
    expect(settings.backup).toEqual({
      folder: "/mnt/backups",
      every: 43_200,
      fullEvery: 3 * 86_400,
      window: 30 * 86_400,
      minimum: 3,
      synchronous: true,
      walLimit: 50 * 1024 ** 3,
      drillEvery: 0,
      drillQuery: "SELECT true",
      final: false,
      copy: undefined,
    });
  });

  it.each([
    { restore: '{"latest": true}' },
    { restore: '{"time": "2026-11-25 12:00:00.5+01", "backup": "20261125T100000Z-incr"}' },
    { restore: '{"name": "before 0007_order_number_required", "timeline": 2}' },
    { restore: '{"from": {"stack": "production"}, "lsn": "0/3000060", "maskingFile": "masking.sql"}' },
  ])("can be restored to one moment: %j", (values) => {
    expect(accepted({ profile: "production", ...values }).restore).toEqual(JSON.parse(values.restore));
  });
  it.each([
    ["2026-11-25 12:00:00 +0000 UTC", "2026-11-25T12:00:00Z"],
    ["2026-11-25 12:00:00.25 +0530 +0530", "2026-11-25T12:00:00.25+05:30"],
  ])("takes a time without quotes, which Pulumi hands on as %s", (time, meant) => {
    const values = { profile: "production", restore: JSON.stringify({ time }) };
    expect(accepted(values).restore).toEqual({ time: meant });
  });

  it.each([
    [{ backupFolder: "backups" }],
    [{ backupEvery: "0" }],
    [{ restore: "{}" }],
    [{ restore: '{"latest": true, "time": "2026-11-25T12:00:00Z"}' }],
    [{ restore: '{"time": "2026-11-25 12:00:00"}' }],
    [{ restore: '{"time": "2026-13-25T12:00:00Z"}' }],
    [{ restore: '{"latest": true, "form": "copy"}' }],
    [{ backups: "false", exceptions: '{"noBackup": "a copy"}', backupEvery: "1d" }],
    [{ backups: "false", exceptions: '{"noBackup": "a copy"}', restore: '{"latest": true}' }],
    [{ restore: '{"latest": true, "maskingFile": "masking.sql"}' }],
    [{ restore: '{"latest": true}', adoptVolume: "true" }],
    [{ profile: "development", backups: "true", drillEvery: "1d" }],
    [{ profile: "development", restore: '{"latest": true}' }],
    [{ serverSettings: '{"wal_level": "minimal", "max_wal_senders": 2}' }],
    [{ serverSettings: '{"max_slot_wal_keep_size": "1GB"}', backupWalLimit: "2GB" }],
  ])("are refused with the way out: %j", (values) => {
    expect(refused({ profile: "production", ...values })).toMatchSnapshot();
  });
});
