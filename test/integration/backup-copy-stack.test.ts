import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { copyImage } from "../../components/backups/copy-image.ts";
import { containerLog, docker, removeStackObjects, testLabel, testRun } from "../support/docker.ts";
import { freePort, type Outputs, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { exposed, generatedSecrets } from "../support/secrets.ts";
import { query, value } from "../support/sql.ts";

// The copy off the host as Pulumi makes it, and a production stack that comes back from it alone.

const password = randomBytes(12).toString("hex");
const program = "/opt/postgresql-environment/copy/copy";
const label = ["--label", `${testLabel}=${testRun}`];

let project: TestProject;
let stack: TestStack;
let outputs: Outputs & { readonly backupCopyKey?: string };
let storage: string;
let config: string;
let settings: Record<string, unknown>;
const name = `production-${randomBytes(3).toString("hex")}`;
const copy = (...args: string[]) => docker("exec", `postgres-environments-${name}-copy`, program, ...args);

async function until(what: string, condition: () => Promise<boolean>, seconds = 240): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(500)) {
    if (await condition()) return;
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

beforeAll(async () => {
  project = new TestProject();
  // The stack's containers reach it by the host's address in Docker's own network.
  const route = await docker("run", "--rm", ...label, "--entrypoint", "ip", copyImage, "route");
  const gateway = /^default via (\S+)/m.exec(route)?.[1];
  const port = await freePort();
  storage = await docker(
    ...["run", "--detach", ...label, "--publish", `${gateway}:${port}:8080`],
    ...["--env", "RCLONE_USER=shop", "--env", `RCLONE_PASS=${password}`],
    ...[copyImage, "serve", "webdav", "/data", "--addr", ":8080", "--log-level", "ERROR"],
  );
  const obscured = await docker("run", "--rm", ...label, copyImage, "obscure", password);
  config = `[office]\ntype = webdav\nurl = http://${gateway}:${port}\nvendor = other\nuser = shop\npass = ${obscured}\n`;
  settings = {
    port: await freePort(),
    memory: "256MB",
    drillEvery: "0",
    backupCopyPath: "shop/production",
    backupCopyEvery: "5s",
  };
  stack = await project.stack("production", { name, settings });
  await stack.setByPulumi({ backupCopyConfig: config }, { secret: true });
});

afterAll(async () => {
  await docker("rm", "--force", "--volumes", storage);
  await project?.remove();
});

vi.setConfig({ testTimeout: 900_000 });

it("is part of a production stack, says how important the key is, and is followed by no changes", async () => {
  const printed = succeeded(await stack.up());
  outputs = await stack.outputs();
  expect(printed).toContain("pulumi stack output backupCopyKey --show-secrets");
  expect(outputs.backupCopyKey).toMatch(/^[A-Za-z0-9]{40}$/);
  expect(printed).not.toContain(String(outputs.backupCopyKey));
  succeeded(await stack.preview("--expect-no-changes"));
  succeeded(await stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"));
});

it("copies the backups, and shows no secret in Docker, logs or the state", async () => {
  await until("a backup in the copy", async () => JSON.parse(await copy("status", "--json")).backups > 0);
  const secrets = [
    ...generatedSecrets(await stack.deployment("--show-secrets")),
    password,
    String(outputs.backupCopyKey),
    /pass = (.*)/.exec(config)?.[1] ?? "",
  ];
  const container = `postgres-environments-${name}-copy`;
  expect(exposed(secrets, await docker("inspect", container))).toEqual([]);
  expect(exposed(secrets, await containerLog(container))).toEqual([]);
  expect(exposed(secrets, await stack.export())).toEqual([]);
  expect(await copy("check")).toMatch(/whole backups/);
});

it("is all that a new host needs, with the stack's file and the key", async () => {
  const { source } = outputs.connections.app.host;
  await query(
    source,
    "INSERT INTO customer (email, full_name) SELECT i || '@x', 'Full Name' FROM generate_series(1, 500) i",
  );
  const lsn = await value(outputs.connections.superuser.host.source, "SELECT pg_current_wal_flush_lsn()");
  await until("the backup has it", async () => {
    const backup = `postgres-environments-${name}-backup`;
    const text = await docker("exec", backup, "cat", "/repository/state/status.conf");
    const received = /^received_lsn=(.*)$/m.exec(text)?.[1];
    const compare = "SELECT $1::pg_lsn >= $2::pg_lsn";
    return Boolean(
      (await query(outputs.connections.superuser.host.source, compare, [received, lsn]))[0]?.[0],
    );
  });
  await copy("now");

  // The host is lost: containers, volumes, networks and the state.
  await removeStackObjects(name);
  await project.remove();
  project = new TestProject();
  stack = await project.stack("production", {
    name,
    settings: { ...settings, restore: { from: "copy", latest: true } },
  });
  await stack.setByPulumi(
    { backupCopyConfig: config, backupCopyKey: outputs.backupCopyKey },
    { secret: true },
  );
  const printed = succeeded(await stack.up());
  expect(printed).toContain("from the copy off the host");
  const restored = await stack.outputs();
  expect(await value(restored.DB_SOURCE, "SELECT count(*)::int FROM customer")).toBe(500);

  await stack.unset("restore");
  succeeded(await stack.up());
  succeeded(await stack.preview("--expect-no-changes"));
  expect(await value(restored.DB_SOURCE, "SELECT count(*)::int FROM customer")).toBe(500);
  // And the copy goes on, of the restored server.
  await copy("now");
  expect(JSON.parse(await copy("status", "--json"))).toMatchObject({ state: "current", last_error: null });
});

it("gets the last backup of an environment that is destroyed", async () => {
  const backups = async () => JSON.parse(await copy("status", "--json")).backups as number;
  const before = await backups();
  await stack.set({ deletionProtection: false });
  succeeded(await stack.up());
  const listed = await docker(
    ...["exec", `postgres-environments-${name}-backup`],
    ...["/opt/postgresql-environment/backup/pgbackup", "list"],
  );
  expect(listed).toMatch(
    /^Copy off the host: \d+ backups at office:shop\/production, with everything until 20/m,
  );
  succeeded(await stack.destroy());
  const files = await docker(
    "exec",
    storage,
    "sh",
    "-c",
    "ls /data/shop/production/backups/*/backup.conf.bin",
  );
  expect(files.split("\n")).toHaveLength(before + 1);
});
