import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareToolchain } from "../airgap/setup.ts";
import { type DockerObject, findObjects, removeObjects } from "../cli/docker.ts";
import { describeError, exitCode, UserError } from "../cli/errors.ts";
import { consoleReporter, seconds } from "../cli/steps.ts";
import { copyImage } from "../components/backups/copy-image.ts";
import { monitoringImages } from "../components/settings/monitoring-defaults.ts";
import { type Level, levels } from "./levels.ts";
import { add, formatCounts, none, type Summary, summarize, type VitestReport } from "./summary.ts";
import { testLabel } from "./support/docker.ts";

const help = `Usage: npm test -- [--level LEVEL[,LEVEL…]] [vitest's own filters and options]

Prepares what the levels need, runs them with vitest, and ends with the line «N passed, N failed».
Levels: ${levels.map(({ name, needsDocker }) => `${name}${needsDocker ? " (Docker)" : ""}`).join(", ")}. Default: all.
Levels that need Docker are named and count as a failure where no Docker Engine can be had.

Examples:
  npm test -- --level unit,component,program
  npm test -- --level integration production
  npm test -- --level unit -t passphrase

Exit codes: 0 all passed, 1 a test failed or a level could not run, 2 wrong argument.
`;

/** The images that tests run. */
const images = [
  ...["postgres:17-trixie", "postgres:15-bookworm", copyImage],
  ...[monitoringImages.exporter, monitoringImages.nodeExporter, monitoringImages.prometheus],
];
// With a letter in front, or YAML might take it for a number.
const run = `run${randomBytes(4).toString("hex")}`;
const runLabel = `${testLabel}=${run}`;

const began = performance.now();
const log = consoleReporter();
const project = join(import.meta.dirname, "..");

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  let chosen: { levels: readonly Level[]; rest: readonly string[] };
  try {
    if (args.includes("--help") || args.includes("-h")) {
      process.stdout.write(help);
      return exitCode.ok;
    }
    chosen = chooseLevels(args);
  } catch (error) {
    log.note(describeError(error, false).replace(/^db:/, "npm test:"));
    return exitCode.usage;
  }
  const problem = chosen.levels.some(({ needsDocker }) => needsDocker) ? await prepareDocker() : undefined;
  const runnable = chosen.levels.filter(({ needsDocker }) => !needsDocker || problem === undefined);
  const left = chosen.levels.filter((level) => !runnable.includes(level));

  const withDocker = runnable.some(({ needsDocker }) => needsDocker);
  const { summary, code } = await runVitest(runnable, chosen.rest);
  const leftovers = withDocker ? await removeLeftovers() : [];

  for (const [level, counts] of summary.levels) log.note(`${level.padEnd(12)} ${formatCounts(counts)}`);
  // With a filter, what is left out was left out on purpose.
  if (chosen.rest.length === 0) for (const name of summary.skipped) log.note(`Skipped: ${name}`);
  for (const { kind, name } of leftovers) log.note(`Left behind by a test, and now removed: ${kind} ${name}`);
  if (left.length > 0) {
    log.note(`NOT RUN, for want of Docker and a toolchain: ${left.map(({ name }) => name).join(", ")}`);
    log.note(describeError(problem, Boolean(process.env.DEBUG)).replace(/^db: /, ""));
  }
  const outside = code !== 0 && summary.total.failed === 0 ? 1 : 0;
  if (outside > 0) log.note("vitest failed outside of any test: see above");
  const total = add(summary.total, { ...none, failed: leftovers.length + outside });
  const ran = total.passed + total.failed > 0;
  if (!ran) log.note("No test was run");
  log.note(`Time: ${seconds(performance.now() - began)}`);
  process.stdout.write(`${formatCounts(total)}\n`);
  return total.failed === 0 && left.length === 0 && ran ? exitCode.ok : exitCode.failure;
}

function chooseLevels(args: readonly string[]): { levels: readonly Level[]; rest: readonly string[] } {
  const names: string[] = [];
  const rest: string[] = [];
  const remaining = [...args];
  for (let arg = remaining.shift(); arg !== undefined; arg = remaining.shift()) {
    const value = arg === "--level" ? (remaining.shift() ?? "") : /^--level=(.*)$/s.exec(arg)?.[1];
    if (value === undefined) rest.push(arg);
    else names.push(...value.split(","));
  }
  const unknown = names.find((name) => !levels.some((level) => level.name === name));
  if (unknown !== undefined) {
    throw new UserError(`there is no level of test «${unknown}».`, {
      next: `Levels: ${levels.map(({ name }) => name).join(", ")}`,
    });
  }
  return { levels: names.length === 0 ? levels : levels.filter(({ name }) => names.includes(name)), rest };
}

/** @returns What keeps the levels that need Docker from being run. */
async function prepareDocker(): Promise<unknown> {
  try {
    const { env, reason } = await prepareToolchain({ log, needDocker: true, needImages: images });
    log.note(`Toolchain: ${reason}`);
    Object.assign(process.env, env);
    return undefined;
  } catch (error) {
    return error;
  }
}

async function runVitest(
  runnable: readonly Level[],
  args: readonly string[],
): Promise<{ summary: Summary; code: number }> {
  const empty = { summary: summarize({ testResults: [] }, project), code: 0 };
  if (runnable.length === 0) return empty;
  const folder = await mkdtemp(join(tmpdir(), "postgresql-environments-test-"));
  const file = join(folder, "report.json");
  try {
    const child = spawn(
      process.execPath,
      [
        join(project, "node_modules", "vitest", "vitest.mjs"),
        "run",
        ...runnable.map(({ name }) => `--project=${name}`),
        "--reporter=default",
        "--reporter=json",
        `--outputFile.json=${file}`,
        ...args,
      ],
      {
        cwd: project,
        env: { ...process.env, POSTGRESQL_ENVIRONMENTS_TEST_RUN: run },
        stdio: ["ignore", "inherit", "inherit"],
      },
    );
    // What tests have made is removed after an interruption too.
    const forward = (signal: NodeJS.Signals) => void child.kill(signal);
    process.on("SIGTERM", forward).on("SIGINT", () => {});
    const code = await new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status) => resolve(status ?? exitCode.failure));
    });
    const report = await readFile(file, "utf8").catch(() => undefined);
    if (report === undefined) return { ...empty, code: code || exitCode.failure };
    return { summary: summarize(JSON.parse(report) as VitestReport, join(project, "test")), code };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function removeLeftovers(): Promise<DockerObject[]> {
  const objects = await findObjects([runLabel]);
  await removeObjects(objects);
  return objects;
}
