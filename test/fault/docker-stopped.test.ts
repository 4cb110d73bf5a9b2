import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diagnostics, hasStackTrace } from "../support/output.ts";
import { OwnDockerEngine } from "../support/own-dockerd.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
  untilPrinted,
} from "../support/project.ts";
import { query, untilWaiting, value } from "../support/sql.ts";

let engine: OwnDockerEngine;
let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let port: number;

function told({ code, output }: Finished): string {
  expect(code, output).not.toBe(0);
  expect(hasStackTrace(output), output).toBe(false);
  return diagnostics(output, { [stack.name]: "STACK", [String(port)]: "PORT" });
}

/** Runs `up` and, once it has printed something, what is to happen then. */
async function upInterrupted(when: RegExp, then: () => Promise<void>): Promise<Finished> {
  const running = stack.start("up", "--yes", "--skip-preview");
  await untilPrinted(running, when);
  await then();
  return running.finished;
}

async function untilAnswers(): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await query(outputs.DB_SOURCE, "SELECT 1");
      return;
    } catch (error) {
      if (tries > 1_000) throw error;
      await sleep(200);
    }
  }
}

beforeAll(async () => {
  engine = new OwnDockerEngine();
  project = new TestProject({ DOCKER_HOST: engine.host });
  port = await freePort();
  stack = await project.stack("production", { settings: { port, memory: "256MB", backups: false } });
});

afterAll(async () => {
  await engine?.remove();
  await project?.remove();
});

describe("where Docker is stopped", () => {
  it("up says so, and makes nothing in it", async () => {
    // Which resource is the first to meet it differs from run to run.
    const text = told(await stack.up());
    expect(text).toMatch(/docker:index:(?:Volume|Network) \(postgres-(?:data|network)\)/);
    expect(text).toMatch(/connect.*docker|docker.*connect/i);
  });

  it("up ends well once Docker runs", async () => {
    await engine.start();
    await engine.loadImage();
    succeeded(await stack.up());
    outputs = await stack.outputs();
    await query(
      outputs.DB_SOURCE,
      "INSERT INTO customer (email, full_name) SELECT i || '@x', 'C' FROM generate_series(1, 100) i",
    );
  });
});

describe("where Docker is stopped in the middle of up", () => {
  beforeAll(() => {
    project.write("migrations/0008_slow.up.sql", "CREATE TABLE slow ();\nSELECT pg_sleep(60);\n");
    project.write("migrations/0008_slow.down.sql", "DROP TABLE slow;\n");
  });

  it("up says that the connection was lost", async () => {
    const finished = await upInterrupted(/1 migration to apply/, async () => {
      await untilWaiting(outputs.connections.superuser.host.source, "PgSleep");
      await engine.stop();
    });
    expect(told(finished)).toMatchInlineSnapshot(`
      "  command:local:Command (postgres-migrations-run):
          error: exit status 3: running "node migrator/main.ts":
          database "shop" at 127.0.0.1:PORT as "shop_migrator": 1 migration to apply
          The connection to database "shop" at 127.0.0.1:PORT as "shop_migrator" was lost while 0008_slow was applied.
          That is in place as a whole or not at all; the record in the database tells which.
          What to do: see whether the server runs, then run again: it goes on from there."
    `);
  });

  it("the container comes back with Docker, and the next up goes on, with every row there", async () => {
    await engine.start();
    await untilAnswers();
    expect(await value(outputs.DB_SOURCE, "SELECT to_regclass('slow') IS NULL")).toBe(true);
    project.write("migrations/0008_slow.up.sql", "CREATE TABLE slow ();\n");
    expect(succeeded(await stack.up())).toMatch(/applied 0008_slow/);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("while the container is being replaced, the next up ends well too", async () => {
    await stack.set({ serverSettings: { max_connections: 60 } });
    const finished = await upInterrupted(/postgres-ready (?:updat|creat)ing/, () => engine.stop());
    expect(finished.code).not.toBe(0);
    expect(hasStackTrace(finished.output)).toBe(false);
    await engine.start();
    succeeded(await stack.up());
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("100");
    expect(await value(outputs.DB_SOURCE, "SHOW max_connections")).toBe("60");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});
