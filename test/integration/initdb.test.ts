import { mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerLog, docker, inspect, stackObjects } from "../support/docker.ts";
import { hasStackTrace } from "../support/output.ts";
import { freePort, type Outputs, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { query, value } from "../support/sql.ts";

let project: TestProject;

/** Enough of a stack to see the init scripts at work. */
const bare = { initdbFolder: "scripts", extensions: [], migrationsTarget: "0", memory: "256MB" };

const broken = `CREATE TABLE public.from_broken_script ();
SELECT 1 / 0;
`;
const mended = `CREATE TABLE public.from_mended_script ();
`;

function script(name: string, content: string | Buffer, mode = 0o644): void {
  writeFileSync(project.path("scripts", name), content, { mode });
}

/** The superuser's connection to the application's database. */
function inDatabase(outputs: Outputs): string {
  return outputs.connections.superuser.host.source.replace(/\/postgres\?/, "/shop?");
}

async function scriptTables(outputs: Outputs): Promise<unknown[]> {
  const sql = "SELECT relname FROM pg_class WHERE relname LIKE 'from\\_%' ORDER BY relname";
  return (await query(inDatabase(outputs), sql)).flat();
}

async function theContainer(stack: TestStack): Promise<string> {
  const { containers } = await stackObjects(stack.name);
  expect(containers).toHaveLength(1);
  return containers[0] ?? "";
}

beforeAll(() => {
  project = new TestProject();
  mkdirSync(project.path("scripts"));
});

afterAll(async () => {
  await project?.remove();
});

describe("init scripts of an ephemeral environment", () => {
  let stack: TestStack;
  let outputs: Outputs;

  beforeAll(async () => {
    stack = await project.stack("development", { settings: bare });
    script("10_first.sql", "CREATE TABLE public.from_sql AS SELECT 'ünïcode $1 %' AS said;\n");
    script("20_compressed.sql.gz", gzipSync("CREATE TABLE public.from_gzip ();\n"));
    const shell = `psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c 'CREATE TABLE public.from_shell ()'`;
    script("30_executable.sh", `#!/bin/sh\nset -e\ntest $$ -ne 1\n${shell}\n`, 0o755);
    script("90_broken.sql", broken);
  });

  it("stop up where one fails, which names it and has the server's message", async () => {
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toContain("/docker-entrypoint-initdb.d/90_broken.sql:2: ERROR:  division by zero");
    expect(output).toContain("the initialisation failed");
    expect(hasStackTrace(output)).toBe(false);
    expect((await inspect(await theContainer(stack))).State.Status).toBe("exited");
  });

  it("run all of them on the next up, on an empty data directory, before the server is taken for healthy", async () => {
    script("90_broken.sql", mended);
    // Long enough for several health checks while the temporary server of the init phase runs.
    script("95_waiting.sh", "until [ -e /tmp/seen-enough ]; do sleep 0.1; done\n");
    const seen: { health: string | undefined; initialised: boolean }[] = [];
    let running = true;
    const watching = (async () => {
      for (; running; await sleep(200)) {
        const [container] = (await stackObjects(stack.name)).containers;
        if (!container) continue;
        try {
          const { State } = await inspect(container);
          const log = await containerLog(container);
          seen.push({ health: State.Health?.Status, initialised: log.includes("init process complete") });
          if (seen.length > 5 && (State.Health?.Log.length ?? 0) > 2) {
            await docker("exec", container, "touch", "/tmp/seen-enough");
          }
        } catch {
          // It is just being replaced.
        }
      }
    })();
    try {
      succeeded(await stack.up());
    } finally {
      running = false;
      await watching;
    }
    outputs = await stack.outputs();
    expect(await scriptTables(outputs)).toEqual([
      "from_gzip",
      "from_mended_script",
      "from_shell",
      "from_sql",
    ]);
    expect(await value(inDatabase(outputs), "SELECT said FROM from_sql")).toBe("ünïcode $1 %");
    expect(seen.filter(({ initialised }) => !initialised).length).toBeGreaterThan(5);
    // Read in this order, the log may be newer than the state, never older.
    expect(seen.filter(({ health, initialised }) => health === "healthy" && !initialised)).toEqual([]);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("arrive without a bind mount", async () => {
    const { HostConfig, Mounts } = await inspect(outputs.containerName);
    expect(HostConfig.Binds ?? []).toEqual([]);
    expect(Mounts).toEqual([]);
  });
});

describe("init scripts of a persistent environment", () => {
  let stack: TestStack;
  let outputs: Outputs;

  beforeAll(async () => {
    stack = await project.stack("production", {
      settings: { ...bare, port: await freePort(), backups: false },
    });
    script("90_broken.sql", broken);
    script("95_waiting.sh", "true\n");
  });

  it("that failed leave no server behind: started by hand, it initialises anew and fails again", async () => {
    const { code, output } = await stack.up();
    expect(code).not.toBe(0);
    expect(output).toContain("90_broken.sql:2: ERROR:  division by zero");
    const container = await theContainer(stack);
    // Else it would be started again for ever.
    expect((await inspect(container)).State.Status).toBe("exited");

    await docker("update", "--restart", "no", container);
    await docker("start", container);
    expect(await docker("wait", container)).not.toBe("0");
    const log = await containerLog(container);
    expect(log).toContain(
      "the last initialisation did not finish; starting it anew on an empty data directory",
    );
    expect(log).not.toMatch(/listening on IPv4/);
  });

  it("end well with the next up once they are mended, with nothing of the first attempt left", async () => {
    script("90_broken.sql", mended);
    succeeded(await stack.up());
    outputs = await stack.outputs();
    expect(await scriptTables(outputs)).toEqual([
      "from_gzip",
      "from_mended_script",
      "from_shell",
      "from_sql",
    ]);
    succeeded(await stack.preview("--expect-no-changes"));
  });

  it("never run again on data that is there", async () => {
    script("90_broken.sql", broken);
    succeeded(await stack.up());
    expect(await scriptTables(outputs)).toEqual([
      "from_gzip",
      "from_mended_script",
      "from_shell",
      "from_sql",
    ]);
  });
});
