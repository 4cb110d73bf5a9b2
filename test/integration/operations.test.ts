import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerLog, docker, stackObjects } from "../support/docker.ts";
import { freePort, type Outputs, succeeded, TestProject, TestStack } from "../support/project.ts";
import { exposed, generatedSecrets } from "../support/secrets.ts";
import { open, query, value } from "../support/sql.ts";

// The procedures of docs/operations.md that no other test performs, in an environment's order of life. It is on
// PostgreSQL 15, the oldest version that the program takes, until its rows move to 17.

const run = promisify(execFile);
const oldImage = "postgres:15-bookworm";
const newImage = "postgres:17-trixie";

let project: TestProject;
let stack: TestStack;
let outputs: Outputs;

const app = () => outputs.connections.app.host.source;
const customers = () => query(app(), "SELECT full_name FROM customer ORDER BY 1");

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase: "the first passphrase",
    settings: { port: await freePort(), memory: "256MB", image: oldImage, backups: false },
  });
});

afterAll(async () => project?.remove());

describe("a production environment on PostgreSQL 15", () => {
  it("comes up with its application's database", async () => {
    succeeded(await stack.up());
    succeeded(await stack.preview("--expect-no-changes"));
    outputs = await stack.outputs();
    expect(await value(app(), "SHOW server_version")).toMatch(/^15\./);
    await query(app(), "INSERT INTO customer (email, full_name) VALUES ('ann@example.com', 'Ann')");
  });

  it("logs how its roles were made, and no password", async () => {
    const log = await containerLog(outputs.containerName);
    expect(log).toMatch(/statement: CREATE ROLE "shop_app_a" .*PASSWORD 'SCRAM-SHA-256\$/);
    expect(exposed(generatedSecrets(await stack.deployment("--show-secrets")), log)).toEqual([]);
  });
});

describe("a process that loses its parent in the container", () => {
  it("ends nobody's session, however it dies", async () => {
    const session = await open(app());
    await docker(
      "exec",
      outputs.containerName,
      "sh",
      "-c",
      'sh -c "sleep 0.3; exit 2" & sh -c "sleep 0.3; kill -9 \\$\\$" & exit 0',
    );
    await sleep(1_500);
    expect((await session.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await session.end();
  });
});

describe("connect as superuser in an emergency", () => {
  it("needs no password over the container's socket", async () => {
    const answer = await docker(
      ...["exec", outputs.containerName, "psql", "-U", "postgres", "-At", "-d", "shop"],
      ...["-c", "SELECT current_user, current_setting('is_superuser')"],
    );
    expect(answer).toBe("postgres|on");
  });

  it("leaves changes that up --refresh puts back", async () => {
    await docker(
      ...["exec", outputs.containerName, "psql", "-U", "postgres", "-d", "shop"],
      ...["-c", "ALTER ROLE shop_reader CREATEDB"],
    );
    succeeded(await stack.up("--refresh"));
    expect(await value(app(), "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'shop_reader'")).toBe(false);
  });
});

describe("the container was removed or stopped", () => {
  it("up --refresh --run-program makes a removed one again, on the same rows", async () => {
    await docker("rm", "--force", outputs.containerName);
    succeeded(await stack.up("--refresh", "--run-program"));
    expect(await customers()).toEqual([["Ann"]]);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("up --refresh --run-program heals a stopped one too", async () => {
    await docker("stop", outputs.containerName);
    succeeded(await stack.up("--refresh", "--run-program"));
    expect(await customers()).toEqual([["Ann"]]);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("a lost passphrase", () => {
  it("costs the state, not the data: a new stack takes the volume over", async () => {
    await docker("rm", "--force", outputs.containerName);
    await docker("network", "rm", outputs.networkName);
    succeeded(await stack.pulumi("stack", "rm", "--force", "--yes", "--preserve-config"));
    const file = `Pulumi.${stack.name}.yaml`;
    project.write(file, project.read(file).replace(/^encryptionsalt:.*\n/m, ""));
    const again = new TestStack(project, stack.name, "the second passphrase");
    succeeded(await again.project.pulumi(["stack", "init", again.name], { passphrase: again.passphrase }));
    stack = again;
  });

  it("without adoptVolume, up stops at the first role that exists, and changes no row", async () => {
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toMatch(/role "shop_\w+" already exists/);
  });

  it("with adoptVolume, up ends well, and so does the next one without it", async () => {
    await stack.set({ adoptVolume: true });
    succeeded(await stack.up());
    await stack.unset("adoptVolume");
    succeeded(await stack.up());
    succeeded(await stack.preview("--expect-no-changes"));
    outputs = await stack.outputs();
    expect(await customers()).toEqual([["Ann"]]);
  });
});

describe("another major version", () => {
  let next: TestStack;
  let nextOutputs: Outputs;

  it("is a second environment beside the first", async () => {
    next = await project.stack("production", {
      name: `${stack.name}-17`,
      settings: { port: await freePort(), memory: "256MB", image: newImage, backups: false },
    });
    succeeded(await next.up());
    nextOutputs = await next.outputs();
  });

  it("gets the rows by dump and restore", async () => {
    const dump = `docker exec "$OLD" pg_dump -U postgres -Fc --data-only --exclude-schema=migrations shop`;
    const restore =
      'docker exec -i "$NEW" pg_restore -U postgres --data-only --disable-triggers --single-transaction --exit-on-error -d shop';
    await run("bash", ["-o", "pipefail", "-c", `${dump} | ${restore}`], {
      env: { ...process.env, OLD: outputs.containerName, NEW: nextOutputs.containerName },
    });
    const source = nextOutputs.connections.app.host.source;
    expect(await value(source, "SHOW server_version")).toMatch(/^17\./);
    expect(await query(source, "SELECT full_name FROM customer")).toEqual([["Ann"]]);
  });
});

describe("remove an environment for good", () => {
  it("takes three steps: lift the protection, destroy, remove the volume", async () => {
    await stack.set({ deletionProtection: false });
    succeeded(await stack.up());
    succeeded(await stack.destroy());
    expect(await stackObjects(stack.name)).toEqual({
      containers: [],
      networks: [],
      volumes: [outputs.volumeName],
    });
    await docker("volume", "rm", outputs.volumeName ?? "");
    succeeded(await stack.pulumi("stack", "rm", "--yes"));
    expect(await stackObjects(stack.name)).toEqual({ containers: [], networks: [], volumes: [] });
  });
});
