import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docker, inspect, stackObjects } from "../support/docker.ts";
import { diagnostics, hasStackTrace } from "../support/output.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  type Running,
  succeeded,
  TestProject,
  type TestStack,
  untilPrinted,
} from "../support/project.ts";
import { open, query, untilWaiting, value } from "../support/sql.ts";

let project: TestProject;

function told(
  { code, output }: Finished,
  stack: TestStack,
  replace: Readonly<Record<string, string>> = {},
): string {
  expect(code, output).not.toBe(0);
  expect(hasStackTrace(output), output).toBe(false);
  return diagnostics(output, { [stack.name]: "STACK", [project.folder]: "FOLDER", ...replace });
}

/** Starts `up` and returns once it has printed something. */
async function upUntil(stack: TestStack, when: RegExp): Promise<Running> {
  const running = stack.start("up", "--yes", "--skip-preview");
  await untilPrinted(running, when);
  return running;
}

/** A session that has the lock, in the application's database. */
async function hold({ connections, DB_SOURCE }: Outputs, lock: number): Promise<Client> {
  const superuser = new URL(connections.superuser.host.source);
  superuser.pathname = new URL(DB_SOURCE).pathname;
  const client = await open(superuser.href);
  await client.query("SELECT pg_advisory_lock($1)", [lock]);
  return client;
}

/** Writes a migration that waits for as long as another session has the lock; without one, it waits for nobody. */
function writeWaiting(lock: number): void {
  project.write(
    "migrations/0008_slow.up.sql",
    `-- migrate: lock_timeout = 0\nCREATE TABLE slow ();\nSELECT pg_advisory_xact_lock(${lock});\n`,
  );
}

beforeAll(() => {
  project = new TestProject();
  writeWaiting(8);
  project.write("migrations/0008_slow.down.sql", "DROP TABLE slow;\n");
});

afterAll(async () => {
  await project?.remove();
});

describe("a persistent environment", () => {
  let stack: TestStack;
  let outputs: Outputs;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    stack = await project.stack("production", {
      settings: { port, memory: "256MB", migrationsTarget: "0007", backups: false },
    });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    await query(
      outputs.DB_SOURCE,
      "INSERT INTO customer (email, full_name) SELECT i || '@x', 'C' FROM generate_series(1, 100) i",
    );
    await stack.unset("migrationsTarget");
  });

  it("whose server is killed in the middle of a migration says so, and has nothing of it", async () => {
    const holder = await hold(outputs, 8);
    const running = await upUntil(stack, /1 migration to apply/);
    await untilWaiting(outputs.connections.superuser.host.source, "advisory");
    await docker("kill", "--signal", "KILL", outputs.containerName);
    expect(told(await running.finished, stack, { [String(port)]: "PORT" })).toMatchInlineSnapshot(`
      "  command:local:Command (postgres-migrations-run):
          error: exit status 3: running "node migrator/main.ts":
          database "shop" at 127.0.0.1:PORT as "shop_migrator": 1 migration to apply
          The connection to database "shop" at 127.0.0.1:PORT as "shop_migrator" was lost while 0008_slow was applied.
          That is in place as a whole or not at all; the record in the database tells which.
          What to do: see whether the server runs, then run again: it goes on from there."
    `);
    await holder.end().catch(() => {});
    // docker kill counts as stopped by hand: the restart policy does not start it again.
    await docker("start", outputs.containerName);
    for (let tries = 0; tries < 1_500; tries += 1) {
      if ((await inspect(outputs.containerName)).State.Health?.Status === "healthy") break;
      await sleep(200);
    }
    expect(await value(outputs.DB_SOURCE, "SELECT to_regclass('slow') IS NULL")).toBe(true);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
  });

  it("takes one up at a time: the second says who is at work, and the first ends well", async () => {
    const holder = await hold(outputs, 8);
    const first = await upUntil(stack, /1 migration to apply/);
    expect(
      told(await stack.up(), stack).replace(/\.json\S*: created by .*/, ".json: created by WHO"),
    ).toMatchInlineSnapshot(`
      "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file with \`pulumi cancel\`.
        file://FOLDER/.pulumi-state/.pulumi/locks/organization/postgres-environments/STACK/UUID.json: created by WHO"
    `);
    await holder.end();
    expect(succeeded(await first.finished)).toMatch(/applied 0008_slow/);
    expect(await value(outputs.DB_SOURCE, "SELECT to_regclass('slow') IS NOT NULL")).toBe(true);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("an up that was killed", () => {
  it.each([
    ["while the container was made", /docker:index:Container postgres-container creating/, "anew"],
    ["while roles were made", /postgresql:index:Role \S+ created/, "anew"],
    ["while migrations were applied", /applied 0002/, "on"],
  ])("%s is locked until pulumi cancel, and then ends well with the next up", async (_, when, goes) => {
    const stack = await project.stack("development");
    if (goes === "on") project.write("migrations/0008_slow.up.sql", "SELECT pg_sleep(600);\n");
    const running = await upUntil(stack, when);
    process.kill(-(running.child.pid ?? Number.NaN), "SIGKILL");
    if (goes === "on") {
      // The runner may outlive its Pulumi, and would wait for its migration to end.
      const [container = ""] = (await stackObjects(stack.name)).containers;
      const end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'";
      await docker("exec", container, "psql", "-U", "postgres", "-c", end);
      writeWaiting(8);
    }
    await running.finished;

    const refused = await stack.up();
    expect(refused.code).not.toBe(0);
    // Killed while it wrote its state, it leaves a checksum that breaks off.
    if (!refused.output.includes("failed to load checkpoint: EOF")) {
      expect(refused.output).toContain("pulumi cancel");
    }
    await stack.unlock();
    if (goes === "anew") {
      // A container or a role may be there that the state knows nothing of, so that it can't be made again.
      const { containers } = await stackObjects(stack.name);
      if (containers.length > 0) await docker("rm", "--force", ...containers);
      succeeded(await stack.up("--refresh", "--run-program"));
    } else {
      succeeded(await stack.up());
    }
    const outputs = await stack.outputs();
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("0");
    expect(
      await value(outputs.connections.migrator.host.source, "SELECT count(*) FROM migrations.applied"),
    ).toBe("8");
    succeeded(await stack.preview("--expect-no-changes"));
    expect((await stackObjects(stack.name)).containers).toEqual([outputs.containerName]);
    succeeded(await stack.destroy("--skip-preview"));
    expect(await stackObjects(stack.name)).toEqual({ containers: [], networks: [], volumes: [] });
  });

  it("by Ctrl-C ends in good order, and the next up goes on without cancel", async () => {
    const stack = await project.stack("development");
    const running = await upUntil(stack, /postgresql:index:Role \S+ created/);
    process.kill(-(running.child.pid ?? Number.NaN), "SIGINT");
    expect((await running.finished).code).not.toBe(0);
    succeeded(await stack.up());
    const outputs = await stack.outputs();
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("0");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});
