import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import type { DataGeneration } from "../../components/backups/data-generation.ts";
import type { LoginConnection } from "../../components/connection-url.ts";
import { formatCheckoutMark, ownCheckout } from "../../components/labels.ts";
import { mockEngine, type Registered, resolved } from "../support/mocks.ts";

const registered: Registered[] = await mockEngine("postgres-environments", "test");
const { PostgresEnvironment } = await import("../../components/postgres-environment.ts");
const { planMigrations } = await import("../../components/migrations/planned-migrations.ts");
const { parseSettings } = await import("../../components/settings.ts");

const noRestore = { generation: 0, restored: undefined, pending: false, adopt: false };

async function environment(name: string, values: Record<string, string>, data: DataGeneration = noRestore) {
  const result = parseSettings(
    Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }])),
    pulumi.secret,
  );
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  const start = registered.length;
  const component = new PostgresEnvironment(name, {
    settings: result.settings,
    migrations: await planMigrations(result.settings),
    data,
  });
  await resolved(component.migrations);
  await resolved(component.connections.app);
  if (component.backups) await resolved(component.backups.final.id);
  const resources = registered
    .slice(start)
    .filter((resource) => !resource.type.startsWith("postgresql-environments:"));
  return { component, resources };
}

const ofType = (resources: Registered[], type: string) =>
  resources.filter((resource) => resource.type.endsWith(`:${type}`));
const inputsOf = (resources: Registered[], type: string) =>
  ofType(resources, type).map(({ inputs }) => inputs);
const theOnly = (resources: Registered[], type: string) => {
  const [only, ...others] = ofType(resources, type);
  expect(others).toEqual([]);
  if (!only) throw new Error(`no ${type} was registered`);
  return only.inputs;
};

const named = (resources: Registered[], name: string) => {
  const found = resources.find((resource) => resource.name === name);
  if (!found) throw new Error(`${name} was not registered`);
  return found.inputs;
};

describe("a production environment", () => {
  let resources: Registered[];
  let app: LoginConnection;

  beforeAll(async () => {
    const made = await environment("production", {
      profile: "production",
      appName: "shop",
      port: "6432",
      memory: "1GB",
      // monitoring.test.ts is about it.
      monitoring: "none",
      extensions: '["citext"]',
      labels: '{"team": "payments"}',
    });
    resources = made.resources;
    app = await resolved(made.component.connections.app);
    // What reviews migrations is loaded here for the first time.
  }, 60_000);

  it("keeps its data in one named volume, and nothing in memory", () => {
    expect(named(resources, "production-data").name).toBe("postgres-environments-test-data");
    const container = named(resources, "production-container");
    expect(container.volumes).toEqual([
      { volumeName: "postgres-environments-test-data", containerPath: "/var/lib/postgresql/data" },
    ]);
    expect(container).not.toHaveProperty("tmpfs");
  });

  it("publishes one port, on the bind address, and answers to its alias in a network of its own", () => {
    const container = named(resources, "production-container");
    expect(container.ports).toEqual([{ internal: 5432, external: 6432, ip: "127.0.0.1" }]);
    expect(container.networksAdvanced).toEqual([
      { name: "postgres-environments-test-network", aliases: ["postgres"] },
    ]);
    expect(theOnly(resources, "Network")).toMatchObject({ driver: "bridge" });
  });

  it("comes up again with the host, and shuts down cleanly", () => {
    expect(named(resources, "production-container")).toMatchObject({
      restart: "unless-stopped",
      stopSignal: "SIGINT",
      stopTimeout: 120,
      destroyGraceSeconds: 120,
      memory: 1024,
      memorySwap: 1024,
      shmSize: 256,
    });
  });

  it("puts no password into the container's environment or command line", () => {
    const { envs, command, labels, uploads } = named(resources, "production-container");
    expect(JSON.stringify([envs, command, labels])).not.toContain("generated-password");
    // Not in a file either: the running server gets what it keeps in a password's place.
    expect(JSON.stringify(uploads)).not.toContain("generated-password");
    expect(JSON.stringify(envs)).not.toContain("POSTGRES_PASSWORD");
  });

  it("labels every Docker object with project, stack, role and the stack's own", () => {
    const objects = ["Network", "Volume", "Container"].flatMap((type) => inputsOf(resources, type));
    expect(objects).toHaveLength(7);
    for (const { labels: given } of objects) {
      const labels = given as { label: string; value: string }[];
      const byName = Object.fromEntries(labels.map(({ label, value }) => [label, value]));
      expect(byName).toMatchObject({
        "postgresql-environments.project": "postgres-environments",
        "postgresql-environments.stack": "test",
        team: "payments",
      });
    }
  });

  it("marks no network of a production environment as one that may be removed", () => {
    expect(JSON.stringify(theOnly(resources, "Network").labels)).not.toMatch(/checkout|keep-for/);
  });

  it("makes exactly the roles of the design, none of them a superuser", () => {
    const roles = inputsOf(resources, "Role").map(
      ({ name, login, roles: groups, superuser, replication }) => ({
        name,
        login,
        ...(groups ? { groups } : {}),
        ...(superuser ? { superuser } : {}),
        ...(replication ? { replication } : {}),
      }),
    );
    expect(roles.sort((a, b) => String(a.name).localeCompare(String(b.name)))).toEqual([
      { name: "shop_app_a", login: true, groups: ["shop_readwrite"] },
      { name: "shop_app_b", login: false, groups: ["shop_readwrite"] },
      { name: "shop_backup", login: true, replication: true },
      { name: "shop_migrator", login: true, groups: ["shop_owner"] },
      { name: "shop_monitor", login: true, groups: ["pg_monitor"] },
      { name: "shop_owner", login: false },
      { name: "shop_reader", login: true, groups: ["shop_readonly"] },
      { name: "shop_readonly", login: false },
      { name: "shop_readwrite", login: false },
    ]);
  });

  it("gives no login to a role without a password, and no password to one without a login", () => {
    for (const { login, password } of inputsOf(resources, "Role")) expect(Boolean(password)).toBe(login);
  });

  it("grants PUBLIC nothing", () => {
    const rules = [...inputsOf(resources, "Grant"), ...inputsOf(resources, "DefaultPrivileges")].filter(
      ({ role }) => role === "public",
    );
    expect(
      rules.map(({ objectType, database, schema, privileges }) => [objectType, database, schema, privileges]),
    ).toEqual(
      expect.arrayContaining([
        ["database", "shop", undefined, []],
        ["database", "postgres", undefined, []],
        ["database", "template1", undefined, []],
        ["schema", "shop", "public", []],
        ["function", "shop", undefined, []],
      ]),
    );
    expect(rules).toHaveLength(5);
  });

  it("lets readonly select, and nothing else", () => {
    const granted = inputsOf(resources, "DefaultPrivileges")
      .filter(({ role }) => role === "shop_readonly")
      .map(({ objectType, privileges }) => [objectType, privileges]);
    expect(granted.sort()).toEqual([
      ["function", ["EXECUTE"]],
      ["sequence", ["SELECT"]],
      ["table", ["SELECT"]],
    ]);
  });

  it("makes the database from the template that the init scripts wrote to, for the owner", () => {
    expect(theOnly(resources, "Database")).toEqual({
      name: "shop",
      owner: "shop_owner",
      template: "template1",
    });
  });

  it("looks for the extensions in the image before it makes them, apart from the application's schema", () => {
    expect(theOnly(resources, "Extension")).toEqual({
      name: "citext",
      database: "shop",
      schema: "extensions",
    });
    const check = ofType(resources, "Command").find(({ name }) => name.endsWith("extensions-check"));
    // A secret as a whole, since the migrator's password is in it.
    expect(check?.inputs.environment).toMatchObject({ value: { EXTENSIONS: '[{"name":"citext"}]' } });
  });

  it("starts with what only a restart changes, and closed to everybody outside the container", () => {
    const { command, uploads } = named(resources, "production-container") as {
      command: string[];
      uploads: { file: string; content?: string }[];
    };
    expect(command.filter((word) => word !== "-c")).toEqual([
      "postgres",
      "config_file=/var/lib/postgresql/data/configuration/current/postgresql.conf",
      "hba_file=/var/lib/postgresql/data/configuration/current/pg_hba.conf",
      "ident_file=/var/lib/postgresql/data/configuration/current/pg_ident.conf",
      "listen_addresses=*",
      "max_connections=100",
      "shared_buffers=256MB",
      "wal_level=replica",
    ]);
    const rules = uploads.find(({ file }) => file.endsWith("/pg_hba.conf"))?.content;
    expect(rules?.split("\n").filter((line) => line.startsWith("host"))).toEqual([
      'host    all          "shop_health"  127.0.0.1/32  trust',
    ]);
    expect(JSON.stringify(uploads)).not.toContain("private key");
  });

  it("brings all else into the running server: shown in previews but for key and passwords", () => {
    const command = ofType(resources, "Command").find(({ name }) => name.endsWith("-configuration"));
    if (!command) throw new Error("nothing brings the configuration");
    const { environment, stdin } = command.inputs as {
      environment: { value: Record<string, string> };
      stdin: string;
    };
    expect(JSON.parse(stdin)).toMatchObject({
      parameters: { work_mem: "2MB", ssl: "on", max_connections: "100" },
      accessRules: expect.arrayContaining(["hostssl all          all  samenet  scram-sha-256"]),
      certificate: "certificate",
    });
    // Without a setting that opens one, no network but the stack's own.
    expect(stdin).not.toMatch(/all {2}all {2}scram/);
    expect(stdin).not.toMatch(/private key|generated-password|SCRAM/);
    const verifiers = JSON.parse(environment.value.PASSWORD_VERIFIERS ?? "");
    expect(verifiers).toEqual({ postgres: expect.stringMatching(/^SCRAM-SHA-256\$4096:/) });
    expect(JSON.stringify(environment)).not.toContain("generated-password");
  });

  it("gives the server no role's password as it is", () => {
    const passwords = inputsOf(resources, "Role").flatMap(({ password }) => (password ? [password] : []));
    expect(passwords).toHaveLength(5);
    for (const password of passwords)
      expect((password as { value: string }).value).toMatch(/^SCRAM-SHA-256\$4096:/);
  });

  it("runs six commands, none with a value in its text, and one of them at its end only", () => {
    const commands = inputsOf(resources, "Command").map(({ create, delete: onDelete }) =>
      [create ?? "nothing", onDelete ?? "nothing"].join(", then "),
    );
    expect(commands.sort()).toEqual([
      "node backup/await-streaming.ts, then nothing",
      "node migrator/check-extensions.ts, then nothing",
      "node migrator/main.ts, then nothing",
      "node readiness/await-healthy.ts, then nothing",
      "node reload/main.ts, then nothing",
      "nothing, then node backup/final-backup.ts",
    ]);
  });

  it("signs a server certificate for every name that it is reached by", () => {
    expect(theOnly(resources, "CertRequest")).toMatchObject({
      dnsNames: ["postgres", "localhost"],
      ipAddresses: ["127.0.0.1", "::1"],
    });
    expect(theOnly(resources, "SelfSignedCert")).toMatchObject({ isCaCertificate: true });
  });

  it("tells the application how to connect from the host and from the network", () => {
    expect(app).toMatchObject({
      username: "shop_app_a",
      database: "shop",
      host: {
        host: "127.0.0.1",
        port: 6432,
        source: "postgresql://shop_app_a:generated-password@127.0.0.1:6432/shop?sslmode=require",
      },
      network: {
        host: "postgres",
        port: 5432,
        source: "postgresql://shop_app_a:generated-password@postgres:5432/shop?sslmode=require",
      },
    });
  });

  it("registers nothing beyond that", () => {
    const counts: Record<string, number> = {};
    for (const { type } of resources) counts[type] = (counts[type] ?? 0) + 1;
    expect(counts).toEqual({
      "command:local:Command": 6,
      "docker:index/container:Container": 3,
      "docker:index/network:Network": 1,
      "docker:index/remoteImage:RemoteImage": 1,
      "docker:index/volume:Volume": 3,
      "postgresql:index/database:Database": 1,
      "postgresql:index/defaultPrivileges:DefaultPrivileges": 8,
      "postgresql:index/extension:Extension": 1,
      "postgresql:index/grant:Grant": 18,
      "postgresql:index/role:Role": 9,
      "postgresql:index/schema:Schema": 3,
      "pulumi:providers:postgresql": 1,
      "random:index/randomPassword:RandomPassword": 8,
      "tls:index/certRequest:CertRequest": 1,
      "tls:index/locallySignedCert:LocallySignedCert": 1,
      "tls:index/privateKey:PrivateKey": 2,
      "tls:index/selfSignedCert:SelfSignedCert": 1,
    });
  });
});

describe("a development environment", () => {
  let resources: Registered[];
  let app: LoginConnection;

  beforeAll(async () => {
    const made = await environment("development", {
      profile: "development",
      appName: "shop",
      tmpfsSize: "256MB",
    });
    resources = made.resources;
    app = await resolved(made.component.connections.app);
  });

  it("keeps its data in memory, and makes no volume and no certificate", () => {
    expect(theOnly(resources, "Container")).toMatchObject({
      tmpfs: { "/var/lib/postgresql/data": `size=${256 * 1024 ** 2},mode=0755` },
    });
    for (const type of ["Volume", "PrivateKey", "LocallySignedCert"])
      expect(ofType(resources, type)).toEqual([]);
  });

  it("has names that a second checkout can't clash with", () => {
    expect(theOnly(resources, "Container").name).toBe("postgres-environments-test-abc123-postgres");
    expect(theOnly(resources, "Network").name).toBe("postgres-environments-test-abc123-network");
  });

  it("leaves the port to Docker, and says which one it got", () => {
    expect(theOnly(resources, "Container").ports).toEqual([{ internal: 5432, ip: "127.0.0.1" }]);
    expect(app.host.source).toBe(
      "postgresql://shop_app_a:generated-password@127.0.0.1:49153/shop?sslmode=disable",
    );
  });

  it("has on its network who made it, and after which age it may be removed", async () => {
    const labelsOf = async (name: string, values: Record<string, string>) => {
      const made = await environment(name, { profile: "development", ...values });
      const labels = theOnly(made.resources, "Network").labels as { label: string; value: string }[];
      return Object.fromEntries(labels.map(({ label, value }) => [label, value]));
    };
    const checkout = formatCheckoutMark(ownCheckout(process.cwd()));
    expect(await labelsOf("kept", { keepFor: "3d" })).toMatchObject({
      "postgresql-environments.checkout": checkout,
      "postgresql-environments.keep-for": "3d",
    });
    expect(Object.keys(await labelsOf("for-ever", {}))).not.toContain("postgresql-environments.keep-for");
  });

  it("is not started again by Docker, since its data would be gone", () => {
    expect(theOnly(resources, "Container").restart).toBe("no");
  });

  it("asks for no extension check where there are no extensions", () => {
    expect(ofType(resources, "Extension")).toEqual([]);
    expect(inputsOf(resources, "Command")).toHaveLength(2);
  });
});

describe("what makes a new container", () => {
  const label = async (name: string, values: Record<string, string>) => {
    const { resources } = await environment(name, values);
    const labels = named(resources, `${name}-container`).labels as { label: string; value: string }[];
    return labels.find((entry) => entry.label === "postgresql-environments.configuration")?.value;
  };

  it("is a changed health check or tmpfs, and in development other names or extensions", async () => {
    const base = { profile: "development", appName: "shop" };
    const changes: Record<string, string>[] = [
      { healthCheck: '{"interval": 9}' },
      { tmpfsSize: "128MB" },
      { databaseName: "other" },
      { extensions: '["citext"]' },
    ];
    const first = await label("base", base);
    expect(await label("base-again", base)).toBe(first);
    for (const [index, change] of changes.entries()) {
      expect(await label(`changed-${index}`, { ...base, ...change })).not.toBe(first);
    }
  });

  it("is not another extension in production", async () => {
    const base = { profile: "production", appName: "shop", monitoring: "none" };
    expect(await label("p1", base)).toBe(await label("p2", { ...base, extensions: '["citext"]' }));
  });
});

describe("the migrator", () => {
  const theValue = (secret: unknown) => (secret as { value: Record<string, string> }).value;
  const variables = async (name: string, values: Record<string, string>) => {
    const { resources } = await environment(name, values);
    const command = ofType(resources, "Command").find(
      ({ inputs }) =>
        inputs.create === (values.profile === "production" ? "node migrator/main.ts" : "node reset/main.ts"),
    );
    // A secret as a whole, since the migrator's password is in it.
    return theValue(command?.inputs.environment);
  };

  it("gets the limits and the target that are set, and chooses the others itself", async () => {
    const base = { profile: "production", appName: "shop" };
    const given = await variables("limits", {
      ...base,
      migrationsLockTimeout: "500ms",
      migrationsLockRetries: "9",
      migrationsStatementTimeout: "0",
      migrationsTarget: "1",
    });
    expect(given).toMatchObject({
      MIGRATIONS_LOCK_TIMEOUT: "500ms",
      MIGRATIONS_LOCK_RETRIES: "9",
      MIGRATIONS_STATEMENT_TIMEOUT: "0",
      MIGRATIONS_TARGET: "1",
    });
    expect(Object.keys(await variables("no-limits", base)).toSorted()).toEqual([
      "DB_SOURCE",
      "DB_SSLROOTCERT_PEM",
      "MIGRATIONS_DIR",
      "MIGRATIONS_MONITOR",
      "MIGRATIONS_OWNER",
      "MIGRATIONS_SCHEMA",
      "NODE_COMPILE_CACHE",
      "RESTORE_POINT_SOURCE",
    ]);
  });

  it("reverts what has no files any more in a development environment only", async () => {
    expect(await variables("thrown-away", { profile: "development" })).toMatchObject({
      MIGRATIONS_MISSING: "revert",
    });
  });

  it("gets the superuser's connection, and the seed data that is chosen, in a development environment", async () => {
    const given = await variables("seeded", { profile: "development", seeds: "demo" });
    expect(given).toMatchObject({ SEEDS: "demo", STACK: "test", INITDB_DIR: "initdb" });
    expect(Object.keys(JSON.parse(given.DB_CONNECTIONS ?? ""))).toEqual([
      "app",
      "migrator",
      "readonly",
      "monitor",
      "superuser",
    ]);
  });
});

describe("seed data", () => {
  const listed = async (name: string, seeds: Record<string, string>) => {
    const { resources } = await environment(name, { profile: "development", ...seeds });
    const command = ofType(resources, "Command").find(({ inputs }) => inputs.create === "node reset/main.ts");
    return String(command?.inputs.stdin).split("\n");
  };

  it("is listed with its checksums after the migrations, so that a preview shows what changed", async () => {
    const without = await listed("unseeded", {});
    const withSeeds = await listed("with-seeds", { seeds: "demo" });
    expect(withSeeds.slice(0, without.length)).toEqual(without);
    expect(withSeeds.slice(without.length).map((line) => line.replace(/[0-9a-f]{12}$/, "CHECKSUM"))).toEqual([
      "seeds/demo/10_customers.sql CHECKSUM",
      "seeds/demo/20_products.sql CHECKSUM",
      "seeds/demo/30_orders.sql CHECKSUM",
    ]);
  });
});

describe("mistakes in the folders", () => {
  it.each([
    [{ migrationsFolder: "no-such-folder" }, /no-such-folder/],
    [{ migrationsTarget: "9999" }, /9999/],
    [{ profile: "production", allowDataLoss: "9999" }, /The setting allowDataLoss is "9999"/],
    [{ initdbFolder: "no-such-folder" }, /no-such-folder/],
    [{ seeds: "no-such-set" }, /seeds\/no-such-set/],
  ])("stop the program: %j", async (change, message) => {
    const attempt = environment("mistake", { profile: "development", ...change });
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toSatisfy(pulumi.RunError.isInstance);
  });
});

describe("an image of another major version", () => {
  it("is taken for a new volume", async () => {
    const { resources } = await environment("next-major", { profile: "production", image: "postgres:18" });
    expect(named(resources, "next-major-container")).toMatchObject({
      image: "sha256:content of postgres:18",
      volumes: [{ containerPath: "/var/lib/postgresql" }],
    });
  });
});

describe("backups", () => {
  const production = { profile: "production", appName: "shop" };
  const variables = (inputs: Record<string, unknown>) =>
    Object.fromEntries((inputs.envs as string[]).map((line) => line.split("=", 2)));

  it("are made by two containers that have the settings, and no password but in a closed file", async () => {
    const { resources } = await environment("backed-up", {
      ...production,
      backupEvery: "12h",
      backupWindow: "30d",
      backupMinimum: "3",
      drillEvery: "7d",
      drillQuery: "SELECT true",
    });
    const backup = named(resources, "backed-up-backups-container");
    const drill = named(resources, "backed-up-backups-drill");
    for (const [container, role] of [
      [backup, "run"],
      [drill, "drill"],
    ] as const) {
      expect(container).toMatchObject({
        image: "sha256:content of postgres:17-trixie",
        entrypoints: ["/opt/postgresql-environment/backup/entrypoint"],
        command: [role],
        restart: "unless-stopped",
        networksAdvanced: [{ name: "postgres-environments-test-network" }],
      });
      expect(container.memorySwap).toBe(container.memory);
      expect(variables(container)).toMatchObject({
        PGUSER: "shop_backup",
        PGDATABASE: "shop",
        PGSSLMODE: "verify-ca",
        BACKUP_EVERY: "43200",
        BACKUP_WINDOW: "2592000",
        BACKUP_MINIMUM: "3",
        BACKUP_SYNCHRONOUS: "off",
        DRILL_EVERY: "604800",
        DRILL_QUERY: "/run/postgresql-environment/drill-query.sql",
      });
      expect(JSON.stringify([container.envs, container.command, container.labels])).not.toContain(
        "generated-password",
      );
      // Secret as a whole, since the password file is among them.
      const uploads = (container.uploads as { value: { file: string; permissions: string }[] }).value;
      expect(uploads.find(({ file }) => file.endsWith("/pgpass"))?.permissions).toBe("0600");
      expect(uploads.find(({ file }) => file.endsWith("/pgbackup"))?.permissions).toBe("0755");
    }
    expect(backup.volumes).toEqual([
      { volumeName: "postgres-environments-test-backups", containerPath: "/repository" },
    ]);
    expect(drill.volumes).toEqual([
      { volumeName: "postgres-environments-test-backups", containerPath: "/repository", readOnly: true },
      { volumeName: "postgres-environments-test-drill", containerPath: "/scratch" },
    ]);
  });

  it("are in a folder of the host where the settings name one, and then in no volume", async () => {
    const { resources } = await environment("in-folder", { ...production, backupFolder: "/mnt/b" });
    expect(named(resources, "in-folder-backups-container").volumes).toEqual([
      { hostPath: "/mnt/b", containerPath: "/repository" },
    ]);
    expect(resources.some(({ name }) => name === "in-folder-backups-repository")).toBe(false);
  });

  it("are tried by no container where drillEvery is 0", async () => {
    const { resources } = await environment("untried", {
      ...production,
      drillEvery: "0",
      monitoring: "none",
    });
    expect(ofType(resources, "Container").map(({ name }) => name)).toEqual([
      "untried-container",
      "untried-backups-container",
    ]);
  });

  it("change nothing of the server, its roles and commands where they are off", async () => {
    const { resources } = await environment("off", {
      ...production,
      backups: "false",
      exceptions: '{"noBackup": "a copy of another system"}',
    });
    expect(resources.filter(({ name }) => /backups|drill|restore/.test(name))).toEqual([]);
    expect(JSON.stringify(theOnly(resources, "Container").command)).not.toMatch(/slot|summarize/);
  });

  it("let commits wait for them where that is wanted, except the superuser's", async () => {
    const { resources } = await environment("waiting", { ...production, backupSynchronous: "true" });
    const { stdin } = named(resources, "waiting-configuration") as { stdin: string };
    expect(JSON.parse(stdin).parameters).toMatchObject({ synchronous_standby_names: "backup" });
  });
});

describe("restored data", () => {
  const production = { profile: "production", appName: "shop" };
  const restored = { time: "2026-11-25T12:00:00Z" };

  it("is in a volume of its own beside the first, filled once, before the server gets it", async () => {
    const data = { generation: 2, restored, pending: true, adopt: false };
    const { component, resources } = await environment("restored", production, data);
    expect(
      inputsOf(resources, "Volume")
        .map(({ name }) => String(name))
        .sort(),
    ).toEqual([
      "postgres-environments-test-backups",
      "postgres-environments-test-data",
      "postgres-environments-test-data-2",
      "postgres-environments-test-drill",
    ]);
    expect(named(resources, "restored-container").volumes).toMatchObject([
      { volumeName: "postgres-environments-test-data-2" },
    ]);
    const filled = named(resources, "restored-restored-2-filled");
    expect(filled).toMatchObject({
      create: "node backup/restore-job.ts",
      update: "true",
      environment: {
        VOLUME: "postgres-environments-test-data-2",
        REPOSITORY: "postgres-environments-test-backups",
        RESTORE: '{"time":"2026-11-25T12:00:00Z"}',
        ADOPT_VOLUME: "off",
      },
    });
    expect(filled.delete).toBeUndefined();
    expect(JSON.stringify(filled.environment)).not.toContain("generated-password");
    const run = ofType(resources, "Command").find(({ inputs }) => inputs.create === "node migrator/main.ts");
    expect(run?.inputs.environment).toMatchObject({ value: { DATA_GENERATION: "2" } });
    expect(component.dataGeneration && (await resolved(component.dataGeneration))).toBe(2);
    expect(component.restored && (await resolved(component.restored))).toBe(
      '{"time":"2026-11-25T12:00:00Z"}',
    );
    expect(component.adopted).toBeUndefined();
  });

  it("has no sign in outputs and resources of a development environment", async () => {
    const { component } = await environment("none", { profile: "development" });
    expect([component.dataGeneration, component.restored, component.backups]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("of another stack comes into a development environment before its migrations", async () => {
    const { resources } = await environment("like-production", {
      profile: "development",
      restore: '{"from": {"stack": "production"}, "latest": true, "maskingFile": "masking.sql"}',
    });
    expect(named(resources, "like-production-restored-copied")).toMatchObject({
      create: "node backup/copy-database.ts",
      environment: {
        RESTORE: '{"from":{"stack":"production"},"latest":true,"maskingFile":"masking.sql"}',
        OWNER: "app_owner",
      },
    });
    expect(ofType(resources, "Volume")).toEqual([]);
  });
});
