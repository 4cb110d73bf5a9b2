import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import type { LoginConnection } from "../../components/connections.ts";
import { formatCheckoutMark, ownCheckout } from "../../components/labels.ts";
import { mockEngine, type Registered, resolved } from "../support/mocks.ts";

const registered: Registered[] = await mockEngine("postgres-environments", "test");
const { PostgresEnvironment } = await import("../../components/postgres-environment.ts");
const { planMigrations } = await import("../../components/migrations/planned-migrations.ts");
const { parseSettings } = await import("../../components/settings.ts");

async function environment(name: string, values: Record<string, string>) {
  const result = parseSettings(
    Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }])),
    pulumi.secret,
  );
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  const start = registered.length;
  const component = new PostgresEnvironment(name, {
    settings: result.settings,
    migrations: await planMigrations(result.settings),
  });
  await resolved(component.migrations);
  await resolved(component.connections.app);
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

describe("a production environment", () => {
  let resources: Registered[];
  let app: LoginConnection;

  beforeAll(async () => {
    const made = await environment("production", {
      profile: "production",
      appName: "shop",
      port: "6432",
      memory: "1GB",
      extensions: '["citext"]',
      labels: '{"team": "payments"}',
    });
    resources = made.resources;
    app = await resolved(made.component.connections.app);
  });

  it("keeps its data in one named volume, and nothing in memory", () => {
    expect(theOnly(resources, "Volume").name).toBe("postgres-environments-test-data");
    const container = theOnly(resources, "Container");
    expect(container.volumes).toEqual([
      { volumeName: "postgres-environments-test-data", containerPath: "/var/lib/postgresql/data" },
    ]);
    expect(container).not.toHaveProperty("tmpfs");
  });

  it("publishes one port, on the bind address, and answers to its alias in a network of its own", () => {
    const container = theOnly(resources, "Container");
    expect(container.ports).toEqual([{ internal: 5432, external: 6432, ip: "127.0.0.1" }]);
    expect(container.networksAdvanced).toEqual([
      { name: "postgres-environments-test-network", aliases: ["postgres"] },
    ]);
    expect(theOnly(resources, "Network")).toMatchObject({ driver: "bridge" });
  });

  it("comes up again with the host, and shuts down cleanly", () => {
    expect(theOnly(resources, "Container")).toMatchObject({
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
    const { envs, command, labels } = theOnly(resources, "Container");
    expect(JSON.stringify([envs, command, labels])).not.toContain("generated-password");
    expect(envs).toContain("POSTGRES_PASSWORD_FILE=/opt/postgresql-environment/superuser-password");
  });

  it("labels every Docker object with project, stack, role and the stack's own", () => {
    for (const type of ["Network", "Volume", "Container"]) {
      const labels = theOnly(resources, type).labels as { label: string; value: string }[];
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

  it("runs three commands, none with a value in its text", () => {
    expect(
      inputsOf(resources, "Command")
        .map(({ create }) => create)
        .sort(),
    ).toEqual([
      "node migrator/check-extensions.ts",
      "node migrator/main.ts",
      "node readiness/await-healthy.ts",
    ]);
    for (const { delete: onDelete } of inputsOf(resources, "Command")) expect(onDelete).toBeUndefined();
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
      "command:local:Command": 3,
      "docker:index/container:Container": 1,
      "docker:index/network:Network": 1,
      "docker:index/remoteImage:RemoteImage": 1,
      "docker:index/volume:Volume": 1,
      "postgresql:index/database:Database": 1,
      "postgresql:index/defaultPrivileges:DefaultPrivileges": 7,
      "postgresql:index/extension:Extension": 1,
      "postgresql:index/grant:Grant": 15,
      "postgresql:index/role:Role": 9,
      "postgresql:index/schema:Schema": 2,
      "pulumi:providers:postgresql": 1,
      "random:index/randomPassword:RandomPassword": 6,
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
    const labels = theOnly(resources, "Container").labels as { label: string; value: string }[];
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
    const base = { profile: "production", appName: "shop" };
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
      "MIGRATIONS_OWNER",
      "MIGRATIONS_SCHEMA",
      "NODE_COMPILE_CACHE",
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
    expect(theOnly(resources, "Container")).toMatchObject({
      image: "postgres:18",
      volumes: [{ containerPath: "/var/lib/postgresql" }],
    });
  });
});
