import { copyFileSync, globSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
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
} from "../support/project.ts";
import { query, untilSleeping, value } from "../support/sql.ts";

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
  for (let tries = 0; tries < 1_200 && !when.test(running.output()); tries += 1) await sleep(50);
  expect(running.output()).toMatch(when);
  return running;
}

beforeAll(() => {
  project = new TestProject();
  project.write("migrations/0008_slow.up.sql", "CREATE TABLE slow ();\nSELECT pg_sleep(3);\n");
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
      settings: { port, memory: "256MB", migrationsTarget: "0007" },
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
    const running = await upUntil(stack, /1 migration to apply/);
    await untilSleeping(outputs.connections.superuser.host.source);
    await docker("kill", "--signal", "KILL", outputs.containerName);
    expect(told(await running.finished, stack, { [String(port)]: "PORT" })).toMatchInlineSnapshot(`
      "  command:local:Command (postgres-migrations-run):
          error: exit status 3: running "node migrator/main.ts":
          database "shop" at 127.0.0.1:PORT as "shop_migrator": 1 migration to apply
          The connection to database "shop" at 127.0.0.1:PORT as "shop_migrator" was lost while 0008_slow was applied.
          That is in place as a whole or not at all; the record in the database tells which.
          What to do: see whether the server runs, then run again: it goes on from there."
    `);
    // docker kill counts as stopped by hand: the restart policy does not start it again.
    await docker("start", outputs.containerName);
    for (let tries = 0; tries < 300; tries += 1) {
      if ((await inspect(outputs.containerName)).State.Health?.Status === "healthy") break;
      await sleep(200);
    }
    expect(await value(outputs.DB_SOURCE, "SELECT to_regclass('slow') IS NULL")).toBe(true);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
  });

  it("takes one up at a time: the second says who is at work, and the first ends well", async () => {
    const first = await upUntil(stack, /1 migration to apply/);
    expect(
      told(await stack.up(), stack).replace(/\.json\S*: created by .*/, ".json: created by WHO"),
    ).toMatchInlineSnapshot(`
      "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file with \`pulumi cancel\`.
        file://FOLDER/.pulumi-state/.pulumi/locks/organization/postgres-environments/STACK/UUID.json: created by WHO"
    `);
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
    const running = await upUntil(stack, when);
    process.kill(-(running.child.pid ?? Number.NaN), "SIGKILL");
    await running.finished;

    let refused = await stack.up();
    if (refused.output.includes("failed to load checkpoint")) {
      // Killed while it wrote its state: Pulumi keeps the one before beside it (docs/operations.md).
      const [state = ""] = globSync(project.path(`.pulumi-state/.pulumi/stacks/*/${stack.name}.json`));
      copyFileSync(`${state}.bak`, state);
      refused = await stack.up();
    }
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("pulumi cancel");
    succeeded(await stack.pulumi("cancel", "--yes"));
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
