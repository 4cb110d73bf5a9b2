import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { ListedStack } from "../../cli/commands/list.ts";
import type { StatusReport } from "../../cli/commands/status.ts";
import { findServers } from "../../cli/servers.ts";
import { docker, removeStackObjects, stackObjects, testLabel, testRun } from "../support/docker.ts";
import { type Finished, succeeded, TestProject, untilPrinted } from "../support/project.ts";

const run = promisify(execFile);

let project: TestProject;
/** Names that are nowhere else on this host. */
const name = `stacks-${randomBytes(3).toString("hex")}`;
/** As many as this machine brings up within a test's time; all that is shared is shared by two. */
const branches = ["one", "two", "three"].map((branch) => `${name}-${branch}`);
const [first = "", second = "", third = ""] = branches;

const main = () => project.path("cli", "main.ts");

/** With a passphrase in the shell that is another stack's. */
function db(...args: string[]): Promise<Finished> {
  return project.start(process.execPath, [main(), ...args], { passphrase: "production's" }).finished;
}

async function json<T>(...args: string[]): Promise<T> {
  const finished = await db(...args, "--json");
  succeeded(finished);
  return JSON.parse(finished.stdout);
}

async function listed(stack: string): Promise<ListedStack | undefined> {
  return (await json<ListedStack[]>("list")).find((each) => each.stack === stack);
}

async function git(...args: string[]): Promise<string> {
  const identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
  return (await run("git", [...identity, ...args], { cwd: project.folder })).stdout;
}

async function serverOf(stack: string) {
  return (await findServers(name)).find((server) => server.stack === stack);
}

beforeAll(async () => {
  project = new TestProject();
  project.write("Pulumi.yaml", project.read("Pulumi.yaml").replace(/^name: .*/m, `name: ${name}`));
  const committed = parse(readFileSync(new URL("../../Pulumi.development.yaml", import.meta.url), "utf8"));
  const config = {
    ...committed.config,
    labels: { [testLabel]: testRun },
    extensions: [...committed.config.extensions, "pg_stat_statements"],
    serverSettings: { shared_preload_libraries: "pg_stat_statements" },
  };
  project.write("Pulumi.development.yaml", stringify({ ...committed, config }));
  project.write(".gitignore", "node_modules\nairgap\n.airgap\n.pulumi-state/\n.environments/\n");
  await git("init", "--quiet");
  await git("add", ".");
  await git("commit", "--quiet", "--message", "all");
  // At the same time, from one folder, with one state.
  for (const finished of await Promise.all(
    branches.map((stack) => db("start", "--stack", stack, "--json")),
  )) {
    succeeded(finished);
  }
});

afterAll(async () => {
  for (const stack of branches) await removeStackObjects(stack);
  await project?.remove();
});

describe("stacks for branches", () => {
  it("come up at the same time without files, with a port and data of their own each", async () => {
    const rows = await Promise.all(branches.map(listed));
    for (const row of rows)
      expect(row).toMatchObject({ state: "running", profile: "development", keepFor: "7d" });
    expect(new Set(rows.map((row) => row?.port)).size).toBe(branches.length);

    succeeded(await db("psql", first, "--role", "migrator", "--", "-c", "CREATE TABLE only_here ()"));
    const { stdout } = await db("psql", second, "--", "-Atc", "SELECT to_regclass('only_here') IS NULL");
    expect(stdout).toBe("t\n");
  });

  it("have files that git does not show, and that plain Pulumi works with", async () => {
    expect(existsSync(project.path(`Pulumi.${first}.yaml`))).toBe(true);
    expect(await git("status", "--porcelain")).toBe("");
    const preview = await project.pulumi(["preview", "--stack", first, "--expect-no-changes"]);
    succeeded(preview);
  });

  it("keep their data when they are kept for longer", async () => {
    const before = await listed(second);
    succeeded(await db("start", "--stack", second, "--keep-for", "30d"));
    const after = await listed(second);
    expect(after).toMatchObject({ keepFor: "30d", container: before?.container, created: before?.created });
    expect(Date.parse(after?.prunable ?? "")).toBeGreaterThan(Date.now() + 29 * 86_400_000);
  });

  it("are never made in the place of production or of a stack that keeps its data", async () => {
    const { code, output } = await db("start", "--stack", "production");
    expect({ code, output }).toMatchInlineSnapshot(`
      {
        "code": 3,
        "output": "db: there is no Pulumi.production.yaml, which holds the settings of stack production.
          Make it with Pulumi's own commands, then run this again:
            pulumi stack init production
            pulumi config set profile production --stack production
      ",
      }
    `);
  });
});

describe("db list", () => {
  it("shows state, age and size, quickly and without a passphrase", async () => {
    const began = performance.now();
    const row = await listed(first);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(row?.data).toBeGreaterThan(10 * 1024 ** 2);
    expect(row?.memory).toBeGreaterThan(row?.data ?? 0);
    expect(Date.parse(row?.created ?? "")).toBeGreaterThan(Date.now() - 600_000);
    expect(await listed("development")).toMatchObject({ state: "never up", lifetime: "ephemeral" });
  });

  it("tells a stopped server from one that is gone", async () => {
    const container = (await serverOf(third))?.container?.name ?? "";
    await docker("stop", container);
    expect(await listed(third)).toMatchObject({ state: "stopped" });
    await docker("rm", container);
    expect(await listed(third)).toMatchObject({ state: "gone" });
  });
});

describe("db status", () => {
  it("tells sessions, the longest transaction, slow queries and migrations", async () => {
    const app = (await json<{ DB_SOURCE: string }>("env", first, "--format", "json", "--out", "-")).DB_SOURCE;
    const client = new pg.Client({ connectionString: app });
    await client.connect();
    try {
      await client.query("BEGIN");
      await client.query("SELECT pg_sleep(0.3)");
      const status = await json<StatusReport>("status", first);
      expect(status).toMatchObject({
        state: "running",
        lifetime: "ephemeral",
        migrations: { applied: 7, newest: "0007_order_number_required", pending: [], problems: [] },
        backups: {},
      });
      const { connections, longestTransaction, slowQueries, databaseSize } = status.server ?? {};
      expect(connections).toMatchObject({
        max: 100,
        sessions: [{ role: "shop_app_a", state: "idle in transaction", count: 1 }],
      });
      expect(longestTransaction).toMatchObject({ role: "shop_app_a", query: "SELECT pg_sleep(0.3)" });
      expect(longestTransaction?.milliseconds).toBeGreaterThanOrEqual(300);
      expect(databaseSize).toBeGreaterThan(1024 ** 2);
      const statements = slowQueries?.available ? slowQueries.statements : [];
      expect(statements).toContainEqual(
        expect.objectContaining({ role: "shop_app_a", calls: 1, query: "SELECT pg_sleep($1)" }),
      );
    } finally {
      await client.end();
    }
  });

  it("names pending migrations, and prints all of it for people", async () => {
    project.write("migrations/0008_later.up.sql", "CREATE TABLE later ();\n");
    project.write("migrations/0008_later.down.sql", "DROP TABLE later;\n");
    const output = succeeded(await db("status", first));
    rmSync(project.path("migrations", "0008_later.up.sql"));
    rmSync(project.path("migrations", "0008_later.down.sql"));
    expect(output).toMatch(
      /^Migrations +0007_order_number_required is the newest .*, 1 pending: 0008_later$/m,
    );
    expect(output).toMatch(/^Queries that took most time:$/m);
  });

  it("ends with 1 where the server does not answer, and says what to do", async () => {
    const { code, output } = await db("status", third);
    expect(code).toBe(1);
    expect(output).toMatch(/^Server +gone, /m);
    expect(output).toContain(`./db start --stack ${third} brings it up`);
  });
});

describe("db logs", () => {
  it("prints the server's log without passwords", async () => {
    await db("psql", first, "--", "-c", "ALTER ROLE nobody PASSWORD 'geheim'");
    const output = succeeded(await db("logs", first, "--tail", "20"));
    expect(output).toContain("STATEMENT:  ALTER ROLE nobody PASSWORD '***'");
    expect(output).not.toContain("geheim");
  });

  it("goes on with what comes, until it is interrupted", async () => {
    const following = project.start(process.execPath, [main(), "logs", first, "--follow", "--since", "1h"]);
    await untilPrinted(following, /ready to accept connections/);
    await db("psql", first, "--", "-c", "SELECT 1 / 0");
    await expect.poll(following.output, { timeout: 120_000 }).toContain("division by zero");
    process.kill(following.child.pid ?? 0, "SIGINT");
    expect((await following.finished).code).toBe(130);
  });

  it("says what is wrong with a stack that has no container", async () => {
    const { code, output } = await db("logs", third);
    expect(code).toBe(1);
    expect(output).toContain(`db: stack ${third} has no container: it is gone.`);
  });
});

describe("db prune", () => {
  it("removes nothing that is young, and nothing without being told to", async () => {
    expect(await json("prune", "--yes")).toEqual([]);
    const { code, output } = await db("prune", "--older-than", "0");
    expect(code).toBe(2);
    expect(output).toContain("nobody can be asked here, and nothing was removed");
    expect(await json("prune", "--older-than", "0", "--dry-run")).toHaveLength(branches.length);
    for (const stack of [first, second]) expect(await listed(stack)).toMatchObject({ state: "running" });
  });

  it("goes on where a prune was killed, and removes stack, file and all that there is in Docker", async () => {
    const container = (await serverOf(first))?.container?.id ?? "";
    const killed = project.start(process.execPath, [main(), "prune", "--older-than", "0", "--yes"]);
    // Once Docker has begun to lose what the first one has.
    await docker("wait", container);
    process.kill(-(killed.child.pid ?? 0), "SIGKILL");
    await killed.finished;

    const outcomes = await json<{ stack: string; outcome: string }[]>("prune", "--older-than", "1h", "--yes");
    expect(outcomes.map(({ stack, outcome }) => [stack, outcome])).toEqual([[first, "removed"]]);
    expect(await stackObjects(first)).toEqual({ containers: [], networks: [], volumes: [] });
    expect(existsSync(project.path(`Pulumi.${first}.yaml`))).toBe(false);
    expect(await git("check-ignore", `Pulumi.${second}.yaml`)).toContain(second);
    await expect(git("check-ignore", `Pulumi.${first}.yaml`)).rejects.toThrow();
    expect(await listed(first)).toBeUndefined();
    expect(await listed(second)).toMatchObject({ state: "running" });
  });

  it("removes what is in Docker when the state is gone, and leaves other checkouts' alone", async () => {
    const other = new TestProject();
    try {
      other.write("Pulumi.yaml", project.read("Pulumi.yaml"));
      const elsewhere = await other.start(process.execPath, [
        main().replace(project.folder, other.folder),
        "list",
        "--json",
      ]).finished;
      const rows: ListedStack[] = JSON.parse(elsewhere.stdout);
      expect(rows.find(({ stack }) => stack === second)).toMatchObject({
        state: "running",
        folder: project.folder,
      });
    } finally {
      await other.remove();
    }
    rmSync(project.path(".pulumi-state"), { recursive: true });
    expect(await listed(second)).toMatchObject({ state: "never up" });
    await json("prune", "--older-than", "0", "--yes");
    for (const stack of branches) {
      expect(await stackObjects(stack)).toEqual({ containers: [], networks: [], volumes: [] });
      expect(await listed(stack)).toBeUndefined();
    }
    expect(existsSync(project.path("Pulumi.development.yaml"))).toBe(true);
  });
});
