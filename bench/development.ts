import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";
import pg from "pg";
import { cliFolder } from "../airgap/folders.ts";
import { prepareToolchain } from "../airgap/setup.ts";
import { consoleReporter } from "../cli/steps.ts";
import { ownDatabases } from "../reset/names.ts";
import { dropStatement } from "../reset/server.ts";
import { TestProject } from "../test/support/project.ts";
import { barChart } from "./bar-chart.ts";
import { buildGolangMigrate, golangMigrateVersion } from "./golang-migrate.ts";
import { type Measured, measure, type Row } from "./reset.ts";

const help = `Usage: npm run bench:development [-- OPTIONS]

Times what a developer waits for, in turn, against docker-compose and golang-migrate ${golangMigrateVersion}, a fresh container for each
run as Testcontainers does it, and createdb -T, all with the same image and the same migrations. Prints a table.

  --rounds N   how often each is run, 5 by default; one more round before fills caches
  --home DIR   use the Pulumi CLI and plugins of this PULUMI_HOME, not those that are found or made
  --write      write the table and a chart to docs/development-times.md and .svg, which README.md shows

Needs Docker; Go, with which golang-migrate is built the first time; docker-compose, which is installed on Debian.
`;

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const image = "postgres:17-trixie";
const documents = join(root, "docs");
/** The development profile's, so that all are waited for in the same way. */
const memoryOnly = [
  "postgres",
  "-c",
  "fsync=off",
  "-c",
  "synchronous_commit=off",
  "-c",
  "full_page_writes=off",
];

/** What the stack has before its first migration. */
const initScript = `CREATE SCHEMA app;
CREATE EXTENSION citext;
CREATE EXTENSION pg_trgm;
`;

const names = {
  cycle: "pulumi destroy && pulumi up",
  bare: "pulumi destroy && pulumi up of a bare container, healthy",
  compose: "docker-compose down, up, healthy, migrate",
  fresh: "a fresh container, healthy, migrate (Testcontainers)",
  preview: "pulumi preview, nothing to change",
  reset: "./db reset",
  testDatabase: "createTestDatabase",
  createdb: "CREATE DATABASE … TEMPLATE (createdb -T)",
} as const;

class Lab {
  readonly project: TestProject;
  private readonly folder = mkdtempSync(join(tmpdir(), "bench-"));
  private readonly golangMigrate: string;
  private readonly compose: readonly [string, ...string[]];
  private readonly password = randomBytes(12).toString("hex");

  constructor(
    env: Readonly<Record<string, string>>,
    golangMigrate: string,
    compose: readonly [string, ...string[]],
  ) {
    this.golangMigrate = golangMigrate;
    this.compose = compose;
    this.project = new TestProject(env);
    cpSync(join(root, "db"), this.project.path("db"));
    // A name of its own: its stack «development» is nobody else's.
    const settings = this.project.read("Pulumi.yaml");
    const name = `bench-${randomBytes(3).toString("hex")}`;
    this.project.write("Pulumi.yaml", settings.replace(/^name: .*/m, `name: ${name}`));
    cpSync(join(root, "Pulumi.development.yaml"), this.project.path("Pulumi.development.yaml"));
    cpSync(join(import.meta.dirname, "bare-stack"), this.project.path("bare"), { recursive: true });
    mkdirSync(join(this.folder, "initdb"));
    writeFileSync(join(this.folder, "initdb", "00.sql"), initScript);
    writeFileSync(
      join(this.folder, "docker-compose.yml"),
      JSON.stringify({
        version: "3.7",
        services: {
          postgres: {
            image,
            command: memoryOnly,
            environment: { POSTGRES_USER: "shop", POSTGRES_PASSWORD: this.password, POSTGRES_DB: "shop" },
            tmpfs: ["/var/lib/postgresql/data"],
            ports: ["127.0.0.1::5432"],
            volumes: [`${join(this.folder, "initdb")}:/docker-entrypoint-initdb.d:ro`],
            // As often as the development profile asks.
            healthcheck: {
              test: ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "shop"],
              interval: "1s",
              timeout: "5s",
              retries: 30,
            },
          },
        },
      }),
    );
  }

  async pulumi(...args: string[]): Promise<void> {
    const { code, output } = await this.project.pulumi([...args, "--stack", "development"]);
    if (code !== 0) throw new Error(`pulumi ${args.join(" ")}:\n${output}`);
  }

  async cycle(): Promise<void> {
    await this.pulumi("destroy", "--yes");
    await this.pulumi("up", "--yes");
  }

  /** What Pulumi takes by itself, with the same CLI and plugins: the part that no change of the program can save. */
  async bareCycle(): Promise<void> {
    await this.bare("destroy", "--yes");
    await this.bare("up", "--yes");
  }

  async bare(...args: string[]): Promise<void> {
    const where = ["--cwd", this.project.path("bare")];
    const { code, output } = await this.project.pulumi([...args, ...where]);
    if (code !== 0) throw new Error(`pulumi ${args.join(" ")} of a bare container:\n${output}`);
  }

  async composeCycle(): Promise<void> {
    await this.runCompose("down", "--volumes");
    await this.runCompose("up", "--detach");
    const id = (await this.runCompose("ps", "--quiet", "postgres")).trim();
    while ((await this.inspect(id, "{{.State.Health.Status}}")) !== "healthy") await sleep(100);
    await this.migrate(id);
  }

  async freshContainer(): Promise<void> {
    const { stdout } = await run(
      "docker",
      [
        ...["run", "--detach", "--rm", "--tmpfs", "/var/lib/postgresql/data", "--publish", "127.0.0.1::5432"],
        ...["--volume", `${join(this.folder, "initdb")}:/docker-entrypoint-initdb.d:ro`],
        ...["--env", "POSTGRES_USER=shop", "--env", "POSTGRES_PASSWORD", "--env", "POSTGRES_DB=shop"],
        ...[image, ...memoryOnly],
      ],
      { env: { ...process.env, POSTGRES_PASSWORD: this.password } },
    );
    const id = stdout.trim();
    try {
      const connectionString = await this.urlOf(id);
      for (;;) {
        const client = new pg.Client({ connectionString });
        client.on("error", () => {});
        const answered = await client.connect().then(
          () => true,
          () => false,
        );
        await client.end().catch(() => {});
        if (answered) break;
        await sleep(100);
      }
      await this.migrate(id);
    } finally {
      await run("docker", ["rm", "--force", "--volumes", id]);
    }
  }

  async reset(): Promise<void> {
    const { code, output } = await this.project.start(this.project.path("db"), ["reset"]).finished;
    if (code !== 0) throw new Error(`./db reset:\n${output}`);
  }

  async remove(): Promise<void> {
    await this.runCompose("down", "--volumes").catch(() => {});
    rmSync(this.folder, { recursive: true, force: true });
    await this.project.pulumi(["destroy", "--yes", "--stack", "development"]);
    await this.bare("destroy", "--yes").catch(() => {});
    await this.project.remove();
  }

  private async runCompose(...args: readonly string[]): Promise<string> {
    const [program, ...before] = this.compose;
    return (await run(program, [...before, ...args], { cwd: this.folder })).stdout;
  }

  private async inspect(id: string, format: string): Promise<string> {
    return (await run("docker", ["container", "inspect", "--format", format, id])).stdout.trim();
  }

  private async urlOf(id: string): Promise<string> {
    const port = await this.inspect(id, '{{(index (index .NetworkSettings.Ports "5432/tcp") 0).HostPort}}');
    return `postgres://shop:${this.password}@127.0.0.1:${port}/shop?sslmode=disable`;
  }

  private async migrate(id: string): Promise<void> {
    const url = `${await this.urlOf(id)}&search_path=app%2Cpublic`;
    await run(this.golangMigrate, ["-path", join(root, "migrations"), "-database", url, "up"]);
  }
}

/** docker-compose as it is called here. It is not needed but for this comparison, so that nothing else installs it. */
async function findCompose(): Promise<readonly [string, ...string[]]> {
  const ways = [["docker-compose"], ["docker", "compose"]] as const;
  for (const way of ways) {
    const [program, ...args] = way;
    if (
      await run(program, [...args, "version"]).then(
        () => true,
        () => false,
      )
    )
      return way;
  }
  process.stderr.write(
    "Installing docker-compose (apt-get install docker-compose), for this comparison alone\n",
  );
  const args = ["install", "--yes", "--no-install-recommends", "docker-compose"];
  await run("apt-get", args).catch((error: Error) => {
    throw new Error(`docker-compose is missing, and could not be installed: ${error.message}`);
  });
  return ways[0];
}

async function pulumiEnvironment(
  home: string | undefined,
): Promise<{ env: Record<string, string>; used: string }> {
  const toolchain = await prepareToolchain({
    log: consoleReporter(),
    needDocker: true,
    needImages: [image],
    again: false,
  });
  if (home === undefined) return { env: toolchain.env, used: toolchain.reason };
  const path = [cliFolder(home), toolchain.env.PATH ?? process.env.PATH].join(delimiter);
  return { env: { ...toolchain.env, PULUMI_HOME: home, PATH: path }, used: "the CLI and plugins of --home" };
}

async function rowsOf(lab: Lab): Promise<Row[]> {
  const timed = (name: string, work: () => Promise<unknown>): Row => ({
    name,
    run: async () => {
      const begin = performance.now();
      await work();
      return performance.now() - begin;
    },
  });
  // The lab's own copies, which look for their stack beside themselves.
  const copy = (...path: string[]) => import(pathToFileURL(lab.project.path(...path)).href);
  const { createTestDatabase }: typeof import("../testing/index.ts") = await copy("testing", "index.ts");
  const { openServer }: typeof import("../cli/server-access.ts") = await copy("cli", "server-access.ts");
  return [
    timed(names.cycle, () => lab.cycle()),
    timed(names.bare, () => lab.bareCycle()),
    timed(names.compose, () => lab.composeCycle()),
    timed(names.fresh, () => lab.freshContainer()),
    timed(names.preview, () => lab.pulumi("preview", "--expect-no-changes")),
    timed(names.reset, () => lab.reset()),
    {
      name: names.testDatabase,
      run: async () => {
        // Its session is the process's; the first one is not counted.
        await (await createTestDatabase()).drop();
        const begin = performance.now();
        const database = await createTestDatabase();
        const took = performance.now() - begin;
        await database.drop();
        return took;
      },
    },
    {
      name: names.createdb,
      run: async () => {
        const { client } = await openServer("development");
        try {
          const begin = performance.now();
          await client.query(`CREATE DATABASE "bench#one" TEMPLATE "${ownDatabases.ready}"`);
          const took = performance.now() - begin;
          await client.query(dropStatement("bench#one"));
          return took;
        } finally {
          await client.end();
        }
      },
    },
  ];
}

interface Summary {
  readonly name: string;
  /** Milliseconds. */
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Median of each round's time divided by compose's in the same round. */
  readonly ofCompose: number;
}

function summarize(measured: readonly Measured[]): Summary[] {
  const compose = measured.find(({ name }) => name === names.compose)?.took ?? [];
  return measured.map(({ name, took }) => ({
    name,
    min: Math.min(...took),
    median: medianOf(took),
    max: Math.max(...took),
    ofCompose: medianOf(took.map((time, round) => time / (compose[round] ?? Number.NaN))),
  }));
}

function medianOf(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const [low = Number.NaN, high = low] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return (low + high) / 2;
}

function table(summaries: readonly Summary[]): string {
  const seconds = (milliseconds: number) => (milliseconds / 1_000).toFixed(milliseconds < 1_000 ? 3 : 2);
  const cells = [
    ["", "min", "median", "max", "of compose's cycle"],
    ["---", "--:", "--:", "--:", "--:"],
    ...summaries.map(({ max, median, min, name, ofCompose }) => [
      name.startsWith("a ") ? name : `\`${name}\``,
      ...[min, median, max].map(seconds),
      ofCompose.toFixed(ofCompose < 0.1 ? 3 : 2),
    ]),
  ];
  return cells.map((row) => `| ${row.join(" | ")} |`).join("\n");
}

async function main(): Promise<void> {
  const options = {
    rounds: { type: "string", default: "5" },
    home: { type: "string" },
    write: { type: "boolean", default: false },
  } as const;
  const { home, rounds: count, write } = parseArgs({ options }).values;
  const rounds = Number(count);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(help);
  const { env, used } = await pulumiEnvironment(home);
  const lab = new Lab(env, await buildGolangMigrate(), await findCompose());
  try {
    const { code, output } = await lab.project.pulumi(["stack", "init", "development"]);
    if (code !== 0) throw new Error(output);
    await lab.pulumi("up", "--yes");
    await lab.bare("stack", "init", "bare");
    const before = loadavg()[0] ?? 0;
    const summaries = summarize(await measure(await rowsOf(lab), rounds));
    const noise =
      `Seconds; ${rounds} rounds, each of which runs every line once; ${cpus().length} processors, ` +
      `load ${before.toFixed(1)} before and ${(loadavg()[0] ?? 0).toFixed(1)} after. ` +
      `The last column is the median of the rounds' ratios. Pulumi: ${used}.`;
    process.stdout.write(`${table(summaries)}\n\n${noise}\n`);
    if (write) {
      writeFileSync(join(documents, "development-times.md"), document(table(summaries), noise));
      writeFileSync(
        join(documents, "development-times.svg"),
        barChart({
          title: "What a developer waits for, in seconds (logarithmic): median, and from minimum to maximum",
          bars: summaries.map(({ max, median, min, name }) => ({
            name,
            value: median / 1_000,
            from: min / 1_000,
            to: max / 1_000,
            strong: name.startsWith("pulumi") || name.startsWith("./db") || name === names.testDatabase,
          })),
        }),
      );
    }
  } finally {
    await lab.remove();
  }
}

function document(lines: string, noise: string): string {
  return `# How long it takes

Written by \`npm run bench:development -- --write\`, from one run on one machine.

![The table as a chart](development-times.svg)

${lines}

${noise}
`;
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
