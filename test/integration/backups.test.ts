import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docker, image, inspect, stackObjects, testLabel, testRun } from "../support/docker.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { exposed, generatedSecrets, watchProcesses } from "../support/secrets.ts";
import { query, show, value } from "../support/sql.ts";

/** One production stack from its first `up` to its end, and two that begin with its backup. */
let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
/** The application's URL as it was in the beginning: every restore has to leave it as it is. */
let source: string;
/** Repository of a stack that keeps it in a folder of the host. */
let folder: string;

const prefix = () => `postgres-environments-${stack.name}`;
const superuserIn = (database: string) =>
  outputs.connections.superuser.host.source.replace(/\/postgres\?/, `/${database}?`);
const backup = (...args: string[]) => docker("exec", `${prefix()}-backup`, ...args);
const db = (...args: string[]): Promise<Finished> =>
  project.start(process.execPath, ["cli/main.ts", ...args], { passphrase: stack.passphrase }).finished;

async function until(what: string, condition: () => Promise<boolean>, seconds = 60): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) {
    if (await condition()) return;
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

/** Names of the complete base backups. */
async function baseBackups(): Promise<string[]> {
  const names = await backup("ls", "/repository/backups");
  return names.split("\n").filter((name) => /^\d{8}T\d{6}Z-/.test(name));
}

async function rows(): Promise<unknown> {
  return value(source, "SELECT string_agg(email::text, ' ' ORDER BY email) FROM customer");
}

async function addCustomers(...emails: string[]): Promise<void> {
  for (const email of emails) {
    await query(source, "INSERT INTO customer (email, full_name) VALUES ($1, 'Full Name')", [email]);
  }
}

/** All that is committed by now is in the repository: without `backupSynchronous`, the last moment may be on its way. */
async function received(): Promise<void> {
  const superuser = outputs.connections.superuser.host.source;
  const lsn = await value(superuser, "SELECT pg_current_wal_flush_lsn()");
  // A position at the beginning of a page counts as the end of the one before it.
  const slot = "SELECT active AND restart_lsn >= $1::pg_lsn - 40 FROM pg_replication_slots";
  await until("the backup has it", async () => Boolean((await query(superuser, slot, [lsn]))[0]?.[0]));
}

/** The server's clock, in a form that the setting takes, and that YAML leaves as it is. */
async function now(): Promise<string> {
  const text = await value(
    source,
    `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
  );
  return String(text).replace(/\.?0*Z$/, "Z");
}

async function dataVolume(): Promise<string | undefined> {
  const { Mounts } = await inspect(`${prefix()}-postgres`);
  return Mounts.find(({ Destination }) => Destination === "/var/lib/postgresql/data")?.Name;
}

/** Replaces the setting as a whole: `set` alone would leave the keys of an earlier one. */
async function setRestore(on: TestStack, restore: Record<string, unknown>): Promise<void> {
  await on.set({ restore });
}

beforeAll(async () => {
  project = new TestProject();
  folder = mkdtempSync(join(tmpdir(), "postgres-environments-backups-"));
  stack = await project.stack("production", {
    passphrase: "a passphrase",
    settings: { port: await freePort(), memory: "256MB" },
  });
});

afterAll(async () => {
  await project?.remove();
  // What is in there belongs to the image's user.
  await docker(
    ...[
      "run",
      "--rm",
      "--label",
      `${testLabel}=${testRun}`,
      "--volume",
      `${folder}:/folder`,
      "--entrypoint",
      "sh",
    ],
    ...[image, "-c", "rm -rf /folder/*"],
  );
  rmSync(folder, { recursive: true, force: true });
});

describe("a first up", () => {
  it("brings backups with it: WAL is streaming when it ends, and a base backup is taken", async () => {
    const watch = watchProcesses();
    let processes = "";
    try {
      succeeded(await stack.up());
    } finally {
      processes = await watch.stop();
    }
    outputs = await stack.outputs();
    source = outputs.DB_SOURCE;
    const slots = "SELECT slot_name, active FROM pg_replication_slots WHERE NOT temporary";
    expect(await query(superuserIn("shop"), slots)).toEqual([["backup", true]]);
    await until("a base backup", async () => (await baseBackups()).length > 0);
    const secrets = generatedSecrets(await stack.deployment("--show-secrets"));
    expect(exposed(secrets, processes)).toEqual([]);
    expect(exposed(secrets, await docker("inspect", `${prefix()}-backup`, `${prefix()}-drill`))).toEqual([]);
  });

  it("sets the server up for them", async () => {
    expect(await show(source, "wal_level", "summarize_wal", "max_slot_wal_keep_size")).toEqual({
      wal_level: "replica",
      summarize_wal: "on",
      max_slot_wal_keep_size: "10GB",
    });
  });

  it("keeps them in a volume of their own, which only the backup container may write to", async () => {
    expect(outputs).toMatchObject({ backupRepository: `${prefix()}-backups`, dataGeneration: 0 });
    const mounts = async (role: string) =>
      (await inspect(`${prefix()}-${role}`)).HostConfig.Binds?.filter((bind) => bind.includes("/repository"));
    expect(await mounts("backup")).toEqual([`${prefix()}-backups:/repository:rw`]);
    expect(await mounts("drill")).toEqual([`${prefix()}-backups:/repository:ro`]);
    for (const role of ["backup", "drill"]) {
      const { HostConfig } = await inspect(`${prefix()}-${role}`);
      expect(HostConfig.RestartPolicy.Name).toBe("unless-stopped");
      expect(HostConfig.Memory).toBeGreaterThan(0);
    }
  });

  it("gives the backup role a schema, and no right on a row of the application's", async () => {
    const rights = await query(
      superuserIn("shop"),
      `SELECT pg_get_userbyid(nspowner), has_schema_privilege('shop_monitor', oid, 'USAGE'),
              has_table_privilege('shop_backup', 'app.customer', 'SELECT'),
              has_table_privilege('shop_monitor', 'backups.restore_point', 'SELECT'),
              has_table_privilege('shop_app_a', 'backups.restore_point', 'SELECT')
         FROM pg_namespace WHERE nspname = 'backups'`,
    );
    expect(rights).toEqual([["shop_backup", true, false, true, false]]);
  });

  it("made a restore point before each migration", async () => {
    const names = await query(superuserIn("shop"), "SELECT name FROM backups.restore_point ORDER BY lsn");
    expect(names.flat()[0]).toBe("before 0001_customer");
    expect(names).toHaveLength(outputs.migrations.length);
  });

  it("is followed by a preview and a refresh without changes", async () => {
    succeeded(await stack.preview("--expect-no-changes"));
    succeeded(await stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"));
  });
});

describe("a restore to the second before", () => {
  it("is announced by preview: the new volume, from when the data will be, what is kept and what is lost", async () => {
    await addCustomers("a@x", "b@x");
    project.write("migrations/0008_note.up.sql", "CREATE TABLE note (id int); INSERT INTO note VALUES (1);");
    project.write("migrations/0008_note.down.sql", "DROP TABLE note;");
    succeeded(await stack.up());
    await addCustomers("c@x");
    const before = await now();
    await query(superuserIn("shop"), "DROP TABLE app.customer CASCADE");
    await setRestore(stack, { time: before });
    const text = succeeded(await stack.preview());
    for (const words of [
      `the data will be as of ${before}`,
      `from volume ${prefix()}-data to a new one, ${prefix()}-data-1`,
      "Whatever was written after that moment will not be there",
      `docker volume rm ${prefix()}-data`,
      "-full",
    ]) {
      expect(text).toContain(words);
    }
    expect(await dataVolume()).toBe(`${prefix()}-data`);
  });

  it("brings exactly the rows of then, for applications with their URL of before", async () => {
    const log = succeeded(await stack.up());
    expect(log).not.toMatch(/random:|tls:|postgresql:index/);
    expect(await rows()).toBe("a@x b@x c@x");
    expect(await value(source, "SELECT count(*) FROM note")).toBe("1");
    expect(await dataVolume()).toBe(`${prefix()}-data-1`);
  });

  it("leaves nothing to do, keeps the old volume, and streams again with a new base backup", async () => {
    succeeded(await stack.preview("--expect-no-changes"));
    const { volumes } = await stackObjects(stack.name);
    expect(volumes).toEqual(expect.arrayContaining([`${prefix()}-data`, `${prefix()}-data-1`]));
    outputs = await stack.outputs();
    expect(outputs).toMatchObject({ dataGeneration: 1, volumeName: `${prefix()}-data-1` });
    const listed = succeeded(await db("restore", stack.name, "--list-volumes"));
    expect(listed).toMatch(new RegExp(`${prefix()}-data-1 .* in use by ${prefix()}-postgres`));
    expect(listed).toContain(`docker volume rm ${prefix()}-data\n`);
  });

  it("is no reason to move again when the setting goes", async () => {
    await stack.unset("restore");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("a restore by name", () => {
  it("brings back what was before a migration, which migrationsTarget keeps out", async () => {
    await addCustomers("d@x");
    await setRestore(stack, { name: "before 0008_note" });
    await stack.set({ migrationsTarget: "0007" });
    succeeded(await stack.up());
    expect(await rows()).toBe("a@x b@x");
    expect(await value(source, "SELECT to_regclass('note')")).toBeNull();
    expect(await dataVolume()).toBe(`${prefix()}-data-2`);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("a moment that the backup does not have", () => {
  it("is refused with the window, and nothing is changed", async () => {
    const container = (await inspect(`${prefix()}-postgres`)).Id;
    await setRestore(stack, { time: "2020-01-01T00:00:00Z" });
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toMatch(/Can be restored: any point from 20\S+Z to 20\S+Z/);
    expect(output).toContain("The environment is as it was");
    expect((await inspect(`${prefix()}-postgres`)).Id).toBe(container);
    expect(await rows()).toBe("a@x b@x");
    await setRestore(stack, { name: "before 0008_note" });
    succeeded(await stack.up());
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("a lost volume", () => {
  it("is made good with every committed row", async () => {
    await addCustomers("e@x", "f@x");
    await received();
    const volume = `${prefix()}-data-2`;
    await docker("rm", "--force", `${prefix()}-postgres`);
    await docker("volume", "rm", volume);
    await setRestore(stack, { latest: true });
    succeeded(await stack.up());
    expect(await rows()).toBe("a@x b@x e@x f@x");
    succeeded(await stack.preview("--expect-no-changes"));
    outputs = await stack.outputs();
  });
});

describe("the command line", () => {
  it("takes a backup, lists it, and says that all is well", async () => {
    const made = await db("backup", "now", stack.name, "--json");
    expect(made.code, made.output).toBe(0);
    const { id } = JSON.parse(made.stdout);
    expect(await baseBackups()).toContain(id);
    expect(succeeded(await db("backup", "list", stack.name))).toContain(id);
    expect(succeeded(await db("backup", "check", stack.name))).toContain("All is well");
    expect(succeeded(await db("status", stack.name))).toMatch(
      /Backups +the newest base backup \(\w+\) is of/,
    );
  });

  it("proves a restore, tells what it found, and reads everything that there is", async () => {
    const drilled = await db("backup", "drill", stack.name, "--json");
    expect(drilled.code, drilled.output).toBe(0);
    const result = JSON.parse(drilled.stdout);
    expect(result).toMatchObject({ ok: true, checks: expect.stringContaining("page checksums right") });
    expect(result.rtoSeconds).toBeGreaterThan(0);
    const { source: monitor } = outputs.connections.monitor.host;
    const recorded = "SELECT id, ok, rto_seconds::float FROM backups.drill ORDER BY started DESC LIMIT 1";
    expect(await query(monitor, recorded)).toEqual([[result.id, true, result.rtoSeconds]]);
    await until("the list has it", async () =>
      succeeded(await db("backup", "list", stack.name)).includes(`Last drill: ${result.message}`),
    );
    const verified = await db("backup", "verify", stack.name, "--json");
    expect(JSON.parse(verified.stdout), verified.output).toEqual({ ok: true, problems: [] });
    expect(succeeded(await db("backup", "verify", stack.name))).toMatch(/^Whole: \d+ backups/m);
  });

  it("restores beside the environment, to a server that only Docker reaches", async () => {
    const finished = await db("restore", stack.name, "--to", "before 0001_customer (2)", "--server");
    expect(finished.code).not.toBe(0);
    expect(finished.output).toContain("There is no restore point");
    const restored = await db("restore", stack.name, "--to", "latest", "--server", "--json");
    expect(restored.code, restored.output).toBe(0);
    const { container } = JSON.parse(restored.stdout);
    const sql = "SELECT count(*) FROM app.customer";
    expect(await docker("exec", container, "psql", "-U", "postgres", "-At", "-c", sql, "shop")).toBe("4");
    expect((await inspect(container)).NetworkSettings.Networks).toEqual({ none: expect.anything() });
    await docker("rm", "--force", container);
    await docker("volume", "rm", container);
  });
});

describe("a development environment that begins with the backup", () => {
  it("has the rows, masked before anybody could read them, and the migrations that they do not have yet", async () => {
    project.write("masking.sql", "UPDATE app.customer SET full_name = 'masked ' || id;");
    const development = await project.stack("development", {
      settings: { restore: { from: { stack: stack.name }, latest: true, maskingFile: "masking.sql" } },
    });
    const log = succeeded(await development.up());
    expect(log).toMatch(/applied 0008_note/);
    expect(log).not.toMatch(/applied 0007/);
    const { DB_SOURCE: copy } = await development.outputs();
    const names =
      "SELECT string_agg(email || ' ' || (full_name LIKE 'masked %')::text, ', ' ORDER BY email) FROM customer";
    expect(await value(copy, names)).toBe("a@x true, b@x true, e@x true, f@x true");
    expect(await value(source, "SELECT count(*) FROM customer WHERE full_name LIKE 'masked%'")).toBe("0");
    await query(copy, "DELETE FROM customer");
    succeeded(await db("reset", development.name));
    expect(await value(copy, names)).toBe("a@x true, b@x true, e@x true, f@x true");
    succeeded(await development.preview("--expect-no-changes"));
    succeeded(await development.destroy());
  });
});

describe("a new production environment that begins with the backup", () => {
  let twin: TestStack;
  let theirs: Outputs;
  const name = () => `postgres-environments-${twin.name}`;

  it("has roles, rows and migrations of the other, and passwords of its own", async () => {
    twin = await project.stack("production", {
      settings: {
        port: await freePort(),
        memory: "256MB",
        migrationsTarget: "0007",
        restore: { from: { stack: stack.name }, latest: true },
        backupFolder: folder,
        backupSynchronous: true,
        backupWalLimit: "64MB",
        drillEvery: "0",
        finalBackup: false,
      },
    });
    succeeded(await twin.up());
    theirs = await twin.outputs();
    expect(await value(theirs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("4");
    expect(theirs.connections.app.password).not.toBe(outputs.connections.app.password);
    succeeded(await twin.preview("--expect-no-changes"));
  });

  it("keeps its own backups where its settings say, and nothing tries them", async () => {
    await until("a base backup", async () => {
      const names = await docker("exec", `${name()}-backup`, "ls", "/repository/backups");
      return /^\d{8}T\d{6}Z-/m.test(names);
    });
    expect((await inspect(`${name()}-backup`)).HostConfig.Binds).toEqual([`${folder}:/repository:rw`]);
    const { containers, volumes } = await stackObjects(twin.name);
    expect(containers.sort()).toEqual([`${name()}-backup`, `${name()}-postgres`]);
    expect(volumes.sort()).toEqual([`${name()}-data`, `${name()}-data-1`]);
  });

  it("lets a commit wait until the backup has it, and no longer", async () => {
    expect(await show(theirs.DB_SOURCE, "synchronous_standby_names", "max_slot_wal_keep_size")).toEqual({
      synchronous_standby_names: "backup",
      max_slot_wal_keep_size: "64MB",
    });
    const superuser = theirs.connections.superuser.host.source;
    await docker("stop", `${name()}-backup`);
    const insert = query(theirs.DB_SOURCE, "INSERT INTO customer (email, full_name) VALUES ('g@x', 'G')");
    const waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    await until("a commit that waits", async () => (await value(superuser, waiting)) === "1");
    await docker("start", `${name()}-backup`);
    await insert;
    expect(await value(superuser, waiting)).toBe("0");
  });

  it("settles passwords when the setting is gone, and ends without a last backup where none is wanted", async () => {
    await twin.unset("restore");
    await twin.set({ deletionProtection: false });
    succeeded(await twin.up());
    succeeded(await twin.preview("--expect-no-changes"));
    expect(await value(theirs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("5");
    expect(succeeded(await twin.destroy())).toContain("the setting finalBackup is false");
  });
});

describe("drills that are given up", () => {
  it("go with what they had in Docker, also where the environment is protected", async () => {
    await stack.set({ drillEvery: "0" });
    succeeded(await stack.up());
    const { containers, volumes } = await stackObjects(stack.name);
    expect([...containers, ...volumes].filter((object) => object.endsWith("-drill"))).toEqual([]);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("the end", () => {
  it("takes a last backup first, and leaves the repository behind", async () => {
    const before = await baseBackups();
    await stack.set({ deletionProtection: false });
    succeeded(await stack.up());
    succeeded(await stack.destroy());
    const { containers, volumes } = await stackObjects(stack.name);
    expect(containers).toEqual([]);
    expect(volumes).toContain(`${prefix()}-backups`);
    const names = await docker(
      ...[
        "run",
        "--rm",
        "--label",
        `${testLabel}=${testRun}`,
        "--volume",
        `${prefix()}-backups:/repository:ro`,
      ],
      ...["--entrypoint", "ls", image, "/repository/backups"],
    );
    expect(names.split("\n").filter((name) => !before.includes(name))).toHaveLength(1);
  });
});
