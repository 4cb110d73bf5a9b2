import { spawn } from "node:child_process";
import { join } from "node:path";
import { makeLab } from "../test/support/migrations-lab.ts";
import { startThrowawayServer } from "../test/support/throwaway-server.ts";
import { buildGolangMigrate, golangMigrateVersion } from "./golang-migrate.ts";

const help = `Usage: npm run bench:migrations [-- ROUNDS]

Applies 1,000 migrations of two statements to an empty database, by this runner and by golang-migrate ${golangMigrateVersion} in turn,
on the same server and from the same files; then times status, verify and an up with nothing to do, against a process
that only starts Node, loads pg and connects. Prints a table. ROUNDS: how often, 5 by default.
Needs Docker; builds golang-migrate from its Go module the first time, for which it needs Go.
`;

const migrationsCount = 1_000;
const root = join(import.meta.dirname, "..");

const connectOnly = `
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: process.env.DB_SOURCE });
  await client.connect();
  await client.end();`;

const [rounds = 5, ...others] = process.argv.slice(2).map(Number);
if (others.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write(help);
  process.exitCode = 2;
} else {
  await bench(rounds);
}

async function bench(times: number): Promise<void> {
  const golangMigrate = await buildGolangMigrate();
  const server = await startThrowawayServer();
  try {
    const lab = await makeLab(server);
    for (let number = 1; number <= migrationsCount; number += 1) {
      const table = `t${number}`;
      lab.write(
        `${String(number).padStart(4, "0")}_${table}`,
        // Small ones, so that what the runners add to them shows.
        `CREATE TABLE ${table} (id integer);\nINSERT INTO ${table} VALUES (1);\n`,
        `DROP TABLE ${table};\n`,
      );
    }
    const env = {
      PATH: process.env.PATH,
      DB_SOURCE: lab.source,
      MIGRATIONS_DIR: lab.folder,
      MIGRATIONS_OWNER: lab.owner,
      MIGRATIONS_SCHEMA: "app",
    };
    const run = (...args: readonly [string, ...string[]]) => timed(args, env);
    // The locks of a thousand tables do not fit into one transaction.
    const empty = async () => {
      await lab.query("DROP SCHEMA IF EXISTS migrations CASCADE");
      const { rows } = await lab.query("SELECT tablename FROM pg_tables WHERE schemaname = 'app'");
      for (let first = 0; first < rows.length; first += 100) {
        const some = rows.slice(first, first + 100).map(({ tablename }) => `app.${tablename}`);
        await lab.query(`DROP TABLE ${some.join(", ")}`);
      }
      // Else autovacuum's clean-up of the last round would be part of the next one.
      await lab.query(
        "VACUUM pg_catalog.pg_attribute, pg_catalog.pg_class, pg_catalog.pg_type, pg_catalog.pg_depend",
      );
      await lab.query("CHECKPOINT");
    };
    await lab.query(`GRANT ALL ON SCHEMA app TO ${lab.connection.user}`);

    const took: Record<string, number[]> = {};
    const note = (what: string, milliseconds: number) => {
      took[what] ??= [];
      took[what].push(milliseconds);
    };
    const url = `${lab.source}&search_path=app`;
    const theirs = async () => {
      await empty();
      note("golang-migrate up", await run(golangMigrate, "-path", lab.folder, "-database", url, "up"));
    };
    const ours = async () => {
      await empty();
      note("up", await run(process.execPath, "migrator/main.ts"));
      for (let time = 0; time < 2; time += 1) {
        note("connecting alone", await run(process.execPath, "--input-type=module", "--eval", connectOnly));
        note("up, nothing to do", await run("./db", "migrate", "up"));
        note("status", await run("./db", "migrate", "status"));
        note("verify", await run("./db", "migrate", "verify"));
      }
    };
    for (let round = 0; round < times; round += 1) {
      // In turn, so that neither is always the first.
      for (const part of round % 2 === 0 ? [ours, theirs] : [theirs, ours]) await part();
    }
    print(took);
    await lab.dispose();
  } finally {
    await server.remove();
  }
}

/** How long a program runs, in milliseconds. */
async function timed(
  [program, ...args]: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const begin = performance.now();
  const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${code}\n${errors}`);
  return performance.now() - begin;
}

function print(took: Readonly<Record<string, readonly number[]>>): void {
  const of = (what: string) => (took[what] ?? []).toSorted((a, b) => a - b);
  const median = (what: string) => of(what)[Math.floor(of(what).length / 2)] ?? Number.NaN;
  const seconds = (milliseconds: number | undefined) => ((milliseconds ?? 0) / 1_000).toFixed(2).padStart(8);
  const line = (what: string, note: string) => {
    const all = of(what);
    const cells = [all[0], median(what), all.at(-1)].map(seconds).join("");
    return `${what.padEnd(20)}${cells}  ${note}`;
  };
  const ups = took.up ?? [];
  const ratios = ups.map((time, round) => time / (took["golang-migrate up"]?.[round] ?? Number.NaN));
  const ratio = ratios.toSorted((a, b) => a - b)[Math.floor(ratios.length / 2)] ?? Number.NaN;
  const more = (what: string) =>
    `${((median(what) - median("connecting alone")) / 1_000).toFixed(2)} s more than connecting`;
  const lines = [
    `${migrationsCount} migrations, ${ups.length} rounds; seconds${" ".repeat(9)}`,
    `${" ".repeat(20)}${["min", "median", "max"].map((head) => head.padStart(8)).join("")}`,
    line("up", `${ratio.toFixed(2)} of golang-migrate's (median of the rounds' ratios)`),
    line("golang-migrate up", golangMigrateVersion),
    line("connecting alone", "Node starts, loads pg, connects"),
    ...["up, nothing to do", "status", "verify"].map((what) => line(what, more(what))),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
