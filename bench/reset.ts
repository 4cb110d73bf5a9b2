import { spawn } from "node:child_process";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { accessOf, openServer } from "../cli/server-access.ts";
import { ownDatabases } from "../reset/names.ts";
import { connectServer, dropStatement } from "../reset/server.ts";
import { createTestDatabase } from "../testing/index.ts";

const help = `Usage: node bench/reset.ts [STACK [ROUNDS]]

Times ./db reset and databases for tests against plain createdb -T in the same server, in turn, and prints a table.
STACK: an environment that is up, with profile development; its database is reset. Default: development.
ROUNDS: how often, 20 by default.
`;

/** One line of the table. */
export interface Row {
  readonly name: string;
  /** Milliseconds of one round. */
  run(): Promise<number>;
}

export interface Measured {
  readonly name: string;
  /** Milliseconds, in the order of the rounds. */
  readonly took: readonly number[];
}

/** The rows of this file; what else is to be measured beside them is added to the list. */
export async function resetRows(stack: string): Promise<{ rows: Row[]; close(): Promise<void> }> {
  const { client, connections } = await openServer(stack);
  const project = join(import.meta.dirname, "..");
  const createdb = (strategy: string) => ({
    name: `createdb -T (${strategy.toLowerCase()}), on an open connection`,
    run: async () => {
      const begin = performance.now();
      await client.query(`CREATE DATABASE "bench#one" TEMPLATE "${ownDatabases.ready}" STRATEGY ${strategy}`);
      const took = performance.now() - begin;
      await client.query(dropStatement("bench#one"));
      return took;
    },
  });
  const rows: Row[] = [
    {
      name: "./db reset, from the process's start to its end",
      run: () => timed(join(project, "db"), ["reset", stack], project),
    },
    {
      name: "node that does nothing",
      run: () => timed(process.execPath, ["--eval", "0"], tmpdir()),
    },
    {
      name: "createTestDatabase",
      run: async () => {
        const begin = performance.now();
        const database = await createTestDatabase({ stack });
        const took = performance.now() - begin;
        await database.drop();
        return took;
      },
    },
    {
      name: "a new connection of the superuser",
      run: async () => {
        const begin = performance.now();
        await (await connectServer(accessOf(connections.superuser))).end();
        return performance.now() - begin;
      },
    },
    createdb("FILE_COPY"),
    createdb("WAL_LOG"),
  ];
  return { rows, close: () => client.end() };
}

/** Runs each row once in every round, so that noise of the machine meets all of them. */
export async function measure(rows: readonly Row[], rounds: number): Promise<Measured[]> {
  const took = rows.map((): number[] => []);
  // The first round fills caches.
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, row] of rows.entries()) {
      const milliseconds = await row.run();
      if (round >= 0) took[index]?.push(milliseconds);
    }
  }
  return rows.map(({ name }, index) => ({ name, took: took[index] ?? [] }));
}

export function formatMeasured(measured: readonly Measured[]): string {
  const width = Math.max(...measured.map(({ name }) => name.length));
  const line = (name: string, cells: readonly string[]) =>
    `${name.padEnd(width)}${cells.map((cell) => cell.padStart(10)).join("")}`;
  return [
    line("milliseconds", ["min", "median", "max"]),
    ...measured.map(({ name, took }) => {
      const sorted = took.toSorted((a, b) => a - b);
      const shown = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)];
      return line(
        name,
        shown.map((value) => (value ?? Number.NaN).toFixed(1)),
      );
    }),
  ].join("\n");
}

/** How long a hundred databases take that are asked for at once, until the last is there. */
export async function hundredAtOnce(stack: string): Promise<number> {
  const begin = performance.now();
  const made = await Promise.allSettled(Array.from({ length: 100 }, () => createTestDatabase({ stack })));
  const took = performance.now() - begin;
  for (const each of made) if (each.status === "fulfilled") await each.value.drop();
  for (const each of made) if (each.status === "rejected") throw each.reason;
  return took;
}

async function timed(program: string, args: readonly string[], cwd: string): Promise<number> {
  const begin = performance.now();
  const child = spawn(program, args, { cwd, stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}`);
  return performance.now() - begin;
}

async function main(stack = "development", count = "20", ...more: readonly string[]): Promise<void> {
  const rounds = Number(count);
  if (more.length > 0 || stack.startsWith("-") || !Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write(help);
    process.exitCode = 2;
    return;
  }
  const load = loadavg()[0]?.toFixed(1);
  const { rows, close } = await resetRows(stack);
  try {
    const measured = await measure(rows, rounds);
    process.stdout.write(
      `${formatMeasured(measured)}\n${rounds} rounds, ${cpus().length} processors, load ${load} before and ${loadavg()[0]?.toFixed(1)} after\n`,
    );
  } finally {
    await close();
  }
  const hundred = await hundredAtOnce(stack).catch((error: Error) => error.message.split("\n")[0]);
  process.stdout.write(
    `100 databases at once: ${typeof hundred === "number" ? `${(hundred / 1000).toFixed(2)} s` : hundred}\n`,
  );
}

if (import.meta.main) await main(...process.argv.slice(2));
