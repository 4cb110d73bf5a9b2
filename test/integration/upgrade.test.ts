import { afterAll, beforeAll, expect, it } from "vitest";
import type { TransferReport } from "../../upgrade/transfer.ts";
import { docker, stackObjects } from "../support/docker.ts";
import {
  type Finished,
  freePort,
  type Outputs,
  succeeded,
  TestProject,
  type TestStack,
} from "../support/project.ts";
import { open, query, value } from "../support/sql.ts";

const passphrase = "a passphrase of one's own";
let project: TestProject;
let stack: TestStack;
let outputs: Outputs;

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase,
    settings: {
      port: await freePort(),
      memory: "512MB",
      image: "postgres:15-bookworm",
      extensions: ["citext", "pg_trgm"],
    },
  });
  succeeded(await stack.up());
  outputs = await stack.outputs();
  const client = await open(outputs.connections.app.host.source);
  await client.query(
    "INSERT INTO customer (email, full_name) SELECT 'c' || n || '@example.com', 'Customer ' || n FROM generate_series(1, 5000) AS n",
  );
  await client.end();
});

afterAll(async () => {
  await project?.remove();
});

function db(...args: string[]): Promise<Finished> {
  return project.start(process.execPath, [project.path("cli", "main.ts"), ...args], { passphrase }).finished;
}

it("a rehearsal loads everything into the next major version, and leaves nothing but its report", async () => {
  const before = await stackObjects(stack.name);
  const finished = await db("upgrade", "rehearse", stack.name, "--image", "postgres:17-trixie", "--json");
  succeeded(finished);
  const report: TransferReport = JSON.parse(finished.stdout);
  expect(report.from).toMatch(/^15\./);
  expect(report.to).toMatch(/^17\./);
  expect(report.differences).toEqual([]);
  const shop = report.databases.find(({ name }) => name === "shop");
  expect(shop?.rows).toBeGreaterThanOrEqual(5000);
  expect(report.databases.flatMap(({ differences }) => differences)).toEqual([]);
  expect(await stackObjects(stack.name)).toEqual(before);
});

it("a preview says that the server moves, and is away meanwhile; without upgradeFrom, another major version is refused", async () => {
  await stack.set({ image: "postgres:17-trixie" });
  const refused = await stack.preview();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain("or upgrade: pulumi config set upgradeFrom 15");
  await stack.set({ upgradeFrom: 15 });
  const preview = succeeded(await stack.preview());
  expect(preview).toContain(`moves from volume ${outputs.volumeName} to a new one, ${outputs.volumeName}-1`);
  expect(preview).toContain("The server is stopped first");
});

it("an upgrade brings rows, sequences, roles and rights to a new volume, and sets the backups aside", async () => {
  const log = succeeded(await stack.up());
  expect(log).toContain("Rows, sequences, objects, owners, privileges and roles are the same.");
  const app = outputs.connections.app.host.source;
  expect(await value(app, "SELECT current_setting('server_version_num')::int / 10000")).toBe(17);
  expect(await value(app, "SELECT count(*)::int FROM customer")).toBe(5000);
  await query(app, "INSERT INTO customer (email, full_name) VALUES ('new@example.com', 'New')");
  expect(await value(app, "SELECT max(id)::int FROM customer")).toBe(5001);
  expect((await stack.outputs()).volumeName).toBe(`${outputs.volumeName}-1`);

  await stack.unset("upgradeFrom");
  succeeded(await stack.preview("--expect-no-changes"));
  const verified = await db("verify", stack.name);
  expect(verified.stdout).toMatch(/ is as the code says/);
  const repository = await docker(
    "exec",
    `${outputs.containerName.replace(/-postgres$/, "")}-backup`,
    "ls",
    "/repository",
  );
  expect(repository.split("\n")).toEqual(expect.arrayContaining(["postgresql-15", "backups"]));
});

it("the old volume is the way back", async () => {
  await stack.set({ image: "postgres:15-bookworm", dataGeneration: 0 });
  const prefix = outputs.containerName.replace(/-postgres$/, "");
  await docker("stop", `${prefix}-drill`, `${prefix}-backup`);
  // As docs/operations.md has it, for these versions.
  const swap =
    "shopt -s dotglob; cd /repository; mkdir postgresql-17; mv !(postgresql-*) postgresql-17; mv postgresql-15/* .; rmdir postgresql-15";
  await docker(
    ...["run", "--rm", "--user", "root", "--volume", `${prefix}-backups:/repository`],
    ...["--entrypoint", "bash", "postgres:15-bookworm", "-O", "extglob", "-euc", swap],
  );
  succeeded(await stack.up());
  const app = outputs.connections.app.host.source;
  expect(await value(app, "SELECT current_setting('server_version_num')::int / 10000")).toBe(15);
  expect(await value(app, "SELECT max(id)::int FROM customer")).toBe(5000);
  expect((await stack.outputs()).volumeName).toBe(outputs.volumeName);
});
