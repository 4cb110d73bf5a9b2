import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseConnection } from "../../migrator/connection.ts";
import { repair } from "../../migrator/repair.ts";
import { docker } from "../support/docker.ts";
import { type MigrationsLab, makeLab } from "../support/migrations-lab.ts";
import { freePort, succeeded, TestProject } from "../support/project.ts";
import {
  contradictions,
  slowMigrations,
  slowMigrationsNeed,
  snapshot,
  untilNoRunner,
} from "../support/slow-migrations.ts";
import { open } from "../support/sql.ts";
import { startThrowawayServer, type ThrowawayServer } from "../support/throwaway-server.ts";

/** Repeats the choices of an earlier run; the moments of the kills are as near as the machine allows. */
const seed = Number(process.env.KILL_SEED || randomInt(2 ** 31));
const runnerName = "postgresql-environments migrator";

/** In milliseconds: far more than the one or two minutes that it takes, for a machine with much else to do. */
const patience = 900_000;

const kills = { runner: 76, backend: 10, server: 10, pulumi: 4 };
/** Where the kills hit, as the server saw it a moment before. */
const hits = new Map<string, number>();

function hit(victim: string, where: string): void {
  const key = `${victim.padEnd(8)} ${where}`;
  hits.set(key, (hits.get(key) ?? 0) + 1);
}

/** mulberry32: small, and the same everywhere. */
function generator(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Activity {
  readonly pid: number;
  readonly state: string;
  readonly query: string;
}

async function activity(client: Client): Promise<Activity | undefined> {
  const { rows } = await client.query<Activity>(
    "SELECT pid, state, query FROM pg_stat_activity WHERE application_name = $1",
    [runnerName],
  );
  return rows[0];
}

function whereabouts(seen: Activity | undefined, begun: boolean, way: string): string {
  if (!seen) return begun ? "after the last migration" : "before it was connected";
  const { query, state } = seen;
  if (!begun) return "connected, before the first migration";
  if (state === "idle" && /^\s*SELECT/.test(query)) return `${way}: before the first migration`;
  if (state === "idle") return `${way}: between two migrations`;
  if (state !== "active") return `${way}: between a script and its entry in the record`;
  if (/CONCURRENTLY/.test(query)) return `${way}: in CREATE or DROP INDEX CONCURRENTLY`;
  if (/in_progress/.test(query)) return `${way}: at the mark of a migration without a transaction`;
  if (/COMMIT/.test(query)) return `${way}: at the entry in the record, and the COMMIT`;
  return `${way}: in a script`;
}

afterAll(() => {
  const lines = [...hits].sort().map(([key, count]) => `${String(count).padStart(5)}  ${key}`);
  console.log(
    [`KILL_SEED=${seed}: where the kills hit`, ...lines, `${sum([...hits.values()])} kills`].join("\n"),
  );
});

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

describe.concurrent("migrations on a server of their own", { timeout: patience }, () => {
  const random = generator(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  let server: ThrowawayServer;
  let lab: MigrationsLab;
  let watcher: Client;
  /** The snapshot after each migration of an undisturbed run; the first is that of no migration. */
  const undisturbed: string[] = [];
  /** How long a whole run takes, without the start of the process. */
  let span = 0;

  async function prepare(): Promise<MigrationsLab> {
    const made = await makeLab(server);
    for (const { down, name, up } of slowMigrations) made.write(name, up, down);
    await made.query(`SET ROLE ${made.owner}; ${slowMigrationsNeed} RESET ROLE`);
    return made;
  }

  beforeAll(async () => {
    server = await startThrowawayServer({ persistentPort: await freePort() });
    const reference = await prepare();
    const client = await server.connect(reference.connection.database);
    for (const target of [0, ...slowMigrations.map(({ number }) => number)]) {
      expect((await reference.run({ target: String(target) })).error).toBe("");
      undisturbed.push(await snapshot(client, "app"));
    }
    expect((await reference.run({ target: "0" })).error).toBe("");
    const begin = performance.now();
    expect((await reference.run()).error).toBe("");
    span = performance.now() - begin;
    expect(await contradictions(client, "app")).toEqual([]);
    await client.end();
    await reference.dispose();
    lab = await prepare();
    watcher = await server.connect(lab.connection.database);
  });

  afterAll(async () => {
    await watcher?.end().catch(() => {});
    await lab?.dispose().catch(() => {});
    await server?.remove();
  });

  async function reconnect(): Promise<void> {
    await watcher.end().catch(() => {});
    watcher = await server.connect(lab.connection.database);
  }

  /** Starts the runner, as `pulumi up` does. */
  function start(target: number) {
    const child: ChildProcess = spawn(process.execPath, ["migrator/main.ts"], {
      env: {
        PATH: process.env.PATH,
        // A hundred starts: as quick as they can be.
        NODE_COMPILE_CACHE: join(import.meta.dirname, "../../node_modules/.cache/db"),
        DB_SOURCE: lab.source,
        MIGRATIONS_DIR: lab.folder,
        MIGRATIONS_OWNER: lab.owner,
        MIGRATIONS_SCHEMA: "app",
        MIGRATIONS_TARGET: String(target),
        MIGRATIONS_DATA_LOSS: "allow",
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let heard = () => {};
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        heard();
      });
    }
    let over = false;
    const ended = new Promise<number | null>((resolve) => {
      child.on("close", (code) => {
        over = true;
        heard();
        resolve(code);
      });
    });
    const until = async (pattern: RegExp) => {
      while (!over && !pattern.test(output)) {
        await new Promise<void>((resolve) => {
          heard = resolve;
        });
      }
    };
    return { child, ended, until, isOver: () => over, output: () => output };
  }

  /** @returns Whether there was somebody to kill. */
  async function killOne(victim: "runner" | "backend" | "server", target: number): Promise<boolean> {
    const [before] = (await watcher.query("SELECT count(*)::int AS count FROM migrations.applied")).rows;
    const way = target < before.count ? "down" : "up";
    const run = start(target);
    const when = random();
    const moment = random();
    if (victim === "runner" && when < 0.08) {
      await sleep(moment * 400);
    } else {
      await run.until(/to apply|to revert/);
      // At once after a migration was completed, or at any time.
      if (when < 0.2) await run.until(new RegExp(`(applied|reverted) 00\\d\\d_(.*\\n){${1 + below(4)}}`));
      else await sleep((moment * span * Math.abs(target - before.count)) / slowMigrations.length);
    }
    const seen = await activity(watcher);
    const begun = /to apply|to revert/.test(run.output());
    // Too late: the session has ended already.
    if (run.isOver() || (!seen && (begun || victim !== "runner"))) {
      const code = await run.ended;
      expect(code, run.output()).toBe(0);
      return false;
    }
    if (victim === "runner") {
      run.child.kill("SIGKILL");
    } else if (victim === "server") {
      await docker("kill", "--signal", "KILL", server.id);
    } else if (moment < 0.5) {
      await watcher.query("SELECT pg_terminate_backend($1)", [seen?.pid]);
    } else {
      await server.exec("sh", "-c", `kill -9 ${seen?.pid} || true`);
    }
    const code = await run.ended;
    hit(victim, whereabouts(seen, begun, way));
    // A run that was just ending may have got away.
    if (victim === "runner") expect([null, 0]).toContain(code);
    else {
      expect([0, 3], run.output()).toContain(code);
      if (code === 3) expect(run.output()).toMatch(/The connection to .* was lost|Cannot connect to/);
    }
    if (victim === "server") await docker("start", server.id);
    if (victim !== "runner") await reconnect();
    return true;
  }

  /** The next run may begin while the server still works for the one that was killed. */
  async function runAtOnce(target: number): Promise<void> {
    const { code, error } = await lab.run({ target: String(target) });
    if (code === 0) return;
    expect(code, error).toBe(1);
    expect(error).toContain("No migration was run: a part of one is in place.\n");
  }

  /** Where a migration without a transaction is in doubt: sees that a run refuses, and settles it as the log says. */
  async function settle(target: number): Promise<void> {
    const { rows } = await watcher.query<{ name: string; direction: "up" | "down" }>(
      "SELECT name, direction FROM migrations.in_progress",
    );
    const [unfinished] = rows;
    if (!unfinished) return;
    const before = await snapshot(watcher, "app");
    const refused = await lab.run({ target: String(target) });
    expect(refused.code).toBe(1);
    expect(refused.error).toContain("No migration was run: a part of one is in place.\n");
    expect(refused.error).toContain(`./db migrate repair ${unfinished.name} --status`);
    expect(await snapshot(watcher, "app")).toBe(before);

    const { connection, folder } = lab;
    for (const [, statement] of refused.error.matchAll(/clean it up by: (.*;)/g)) {
      await watcher.query(statement ?? "");
    }
    const migration = slowMigrations.find(({ name }) => name === unfinished.name);
    if (!migration) throw new Error(`unknown migration ${unfinished.name}`);
    const status =
      migration.kind === "index"
        ? await statusOfIndex(migration.number)
        : await settleParts(migration.number, unfinished.direction);
    await repair({ connection, folder, schema: "app", name: unfinished.name, status, log: () => {} });
  }

  async function statusOfIndex(number: number): Promise<"applied" | "reverted"> {
    const { rows } = await watcher.query("SELECT to_regclass($1) AS there", [`app.i${number}`]);
    return rows[0].there === null ? "reverted" : "applied";
  }

  /** Does the rest by hand, or undoes what was done. */
  async function settleParts(number: number, direction: "up" | "down"): Promise<"applied" | "reverted"> {
    const state = async () => {
      const { rows } = await watcher.query(
        `SELECT to_regclass('app.t${number}') IS NOT NULL AS there,
                coalesce((SELECT way FROM app.log WHERE number = $1 ORDER BY id DESC LIMIT 1), 'down') AS way`,
        [number],
      );
      return rows[0] as { there: boolean; way: string };
    };
    const { there, way } = await state();
    const wanted = (direction === "up") === random() < 0.5;
    await watcher.query(`SET ROLE ${lab.owner}`);
    if (there && !wanted) await watcher.query(`DROP TABLE app.t${number}`);
    if (!there && wanted) await watcher.query(`CREATE TABLE app.t${number} (a int)`);
    await watcher.query("RESET ROLE");
    const log = wanted ? "up" : "down";
    if (way !== log) await watcher.query("INSERT INTO app.log (number, way) VALUES ($1, $2)", [number, log]);
    return wanted ? "applied" : "reverted";
  }

  /** The record must be what is in place, and both what an undisturbed run has at that point. */
  async function check(): Promise<number> {
    expect(await contradictions(watcher, "app")).toEqual([]);
    const { rows } = await watcher.query("SELECT count(*)::int AS count FROM migrations.applied");
    const [{ count }] = rows;
    expect(await snapshot(watcher, "app")).toBe(undisturbed[count]);
    return count;
  }

  it("go on from what is in place wherever they are killed, and end as an undisturbed run does", async () => {
    expect((await lab.run({ target: "0" })).error).toBe("");
    const victims = (["runner", "backend", "server"] as const).flatMap((victim) =>
      Array.from({ length: kills[victim] }, () => ({ victim, order: random() })),
    );
    const newest = slowMigrations.length;
    let place = 0;
    let target = newest;
    for (const { victim } of victims.toSorted((a, b) => a.order - b.order)) {
      for (let killed = false; !killed; ) {
        // Now and then with another aim than before, forwards or back.
        if (place === target || random() < 0.2) {
          const other = below(newest);
          target = place === newest ? other : random() < 0.6 ? newest : other === place ? 0 : other;
          if (target === place) target = place === 0 ? newest : 0;
        }
        killed = await killOne(victim, target);
        if (killed && random() < 0.2) await runAtOnce(target);
        await untilNoRunner(watcher, runnerName);
        await settle(target);
        place = await check();
      }
    }
    for (const end of ["", "0", ""]) expect((await lab.run({ target: end })).error).toBe("");
    expect(await check()).toBe(newest);
  });
});

describe.concurrent("migrations of a stack", { timeout: patience }, () => {
  const random = generator(seed + 1);
  let project: TestProject;

  beforeAll(() => {
    project = new TestProject();
    for (const file of readdirSync(project.path("migrations"))) rmSync(project.path("migrations", file));
    for (const { down, name, number, up } of slowMigrations) {
      // The stack's template for resets has nothing but what the migrations make.
      project.write(`migrations/${name}.up.sql`, number === 1 ? `${slowMigrationsNeed}\n${up}` : up);
      project.write(`migrations/${name}.down.sql`, down);
    }
  });

  afterAll(async () => {
    await project?.remove();
  });

  it("go on from what is in place when Pulumi is killed", async () => {
    const stack = await project.stack("development", { settings: { migrationsTarget: "0" } });
    succeeded(await stack.up());
    const { connections } = await stack.outputs();
    const superuser = new URL(connections.superuser.host.source);
    superuser.pathname = new URL(connections.migrator.host.source).pathname;
    const watcher = await open(superuser.href);
    const { rows } = await watcher.query(
      "SELECT nspowner::regrole::text AS owner FROM pg_namespace WHERE nspname = 'app'",
    );
    await watcher.query(
      `SET search_path TO app; SET ROLE ${rows[0].owner}; ${slowMigrationsNeed} RESET ROLE`,
    );

    for (let killed = 0, target = slowMigrations.length; killed < kills.pulumi; ) {
      await stack.set({ migrationsTarget: String(target) });
      const running = stack.start("up", "--yes", "--skip-preview");
      let over = false;
      void running.finished.then(() => {
        over = true;
      });
      while (!over && !(await activity(watcher))) await sleep(10);
      await sleep(random() * 700);
      const seen = await activity(watcher);
      if (!over) {
        process.kill(-(running.child.pid ?? Number.NaN), "SIGKILL");
        killed += 1;
        hit("pulumi", whereabouts(seen, true, target === 0 ? "down" : "up"));
      }
      await running.finished;
      // What a killed Pulumi had started may live on to its end, and has a template to build besides.
      await untilNoRunner(watcher, "postgresql-environments up");
      await untilNoRunner(watcher, runnerName);
      await stack.unlock();
      for (const { name } of (await watcher.query("SELECT name FROM migrations.in_progress")).rows) {
        const refused = await stack.up();
        expect(refused.code).not.toBe(0);
        expect(refused.output).toContain(`./db migrate repair ${name} --status`);
        await watcher.query(`SET ROLE ${rows[0].owner}`);
        // Undone by hand, whatever there is of it.
        const number = Number.parseInt(name, 10);
        await watcher.query(`DROP INDEX IF EXISTS app.i${number}; DROP TABLE IF EXISTS app.t${number};
          DELETE FROM app.log WHERE number = ${number}; RESET ROLE`);
        const source = connections.migrator.host.source;
        await repair({
          connection: parseConnection(source, { applicationName: "test" }),
          folder: project.path("migrations"),
          schema: "app",
          name,
          status: "reverted",
          log: () => {},
        });
      }
      expect(await contradictions(watcher, "app")).toEqual([]);
      succeeded(await stack.up());
      expect(await contradictions(watcher, "app")).toEqual([]);
      expect((await watcher.query("SELECT FROM migrations.applied")).rowCount).toBe(target);
      target = target === 0 ? slowMigrations.length : 0;
    }
    succeeded(await stack.preview("--expect-no-changes"));
    await watcher.end();
  });
});
