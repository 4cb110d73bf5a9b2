import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { prepareToolchain } from "../airgap/setup.ts";
import { formatBytes } from "../cli/amounts.ts";
import type { ListedStack } from "../cli/commands/list.ts";
import { consoleReporter, seconds } from "../cli/steps.ts";
import { removeStackObjects } from "../test/support/docker.ts";
import { succeeded, TestProject } from "../test/support/project.ts";

const help = `Usage: node bench/stacks.ts [STACKS [AT_ONCE]]

Brings development stacks up in a checkout of their own, so many at once, looks at them with ./db list and removes them
with ./db prune. Prints how long each took, and how much memory was in use at the most and once they were up.
STACKS: 8 by default. AT_ONCE: all by default.
Needs Docker, and Linux for the memory.
`;

const [stacks = 8, atOnce = stacks, ...others] = process.argv.slice(2).map(Number);
if (others.length > 0 || !Number.isInteger(stacks) || stacks < 1 || !Number.isInteger(atOnce) || atOnce < 1) {
  process.stderr.write(help);
  process.exitCode = 2;
} else {
  await bench(stacks, atOnce);
}

async function bench(count: number, together: number): Promise<void> {
  const reporter = consoleReporter();
  const toolchain = await prepareToolchain({
    log: reporter,
    needDocker: true,
    needImages: ["postgres:17-trixie"],
  });
  reporter.note(`Toolchain: ${toolchain.reason}`);
  const project = new TestProject({ ...toolchain.env });
  const name = `many-${randomBytes(3).toString("hex")}`;
  project.write("Pulumi.yaml", project.read("Pulumi.yaml").replace(/^name: .*/m, `name: ${name}`));
  project.write(
    "Pulumi.development.yaml",
    await readFile(new URL("../Pulumi.development.yaml", import.meta.url), "utf8"),
  );
  const names = Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
  const db = async (...args: string[]) =>
    succeeded(await project.start(process.execPath, [project.path("cli", "main.ts"), ...args]).finished);
  try {
    const before = await memoryInUse();
    const watch = watchMemory();
    const began = performance.now();
    const waiting = [...names];
    const each: number[] = [];
    const worker = async () => {
      for (let stack = waiting.shift(); stack !== undefined; stack = waiting.shift()) {
        const start = performance.now();
        await db("start", "--stack", stack);
        each.push(performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: together }, worker));
    const up = performance.now() - began;
    const peak = watch.stop() - before;
    const after = (await memoryInUse()) - before;
    const listing = performance.now();
    const rows = JSON.parse(await db("list", "--json")) as ListedStack[];
    const list = performance.now() - listing;
    const running = rows.filter(({ stack, state }) => names.includes(stack) && state === "running");
    if (running.length !== count) throw new Error(`${running.length} of ${count} are running`);
    if (new Set(running.map(({ port }) => port)).size !== count) throw new Error("two have the same port");
    const pruning = performance.now();
    await db("prune", "--older-than", "0", "--yes");
    const prune = performance.now() - pruning;
    const sum = (values: (number | undefined)[]) =>
      values.reduce<number>((total, value) => total + (value ?? 0), 0);
    const lines = [
      `${count} stacks, ${together} at once; load ${loadavg()[0]?.toFixed(1)} at the end`,
      `up              ${seconds(up)}; each ${seconds(Math.min(...each))} to ${seconds(Math.max(...each))}`,
      `./db list       ${seconds(list)}`,
      `./db prune      ${seconds(prune)}`,
      `memory          ${formatBytes(peak)} at the most while they came up, ${formatBytes(after)} once they were up`,
      `of containers   ${formatBytes(sum(running.map(({ memory }) => memory)))}, of that data ${formatBytes(sum(running.map(({ data }) => data)))}`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  } finally {
    for (const stack of names) await removeStackObjects(stack);
    await project.remove();
  }
}

/** Bytes of this machine's memory that no process could be given without taking it from another. */
async function memoryInUse(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  const field = (key: string) => Number(new RegExp(`^${key}: +(\\d+) kB`, "m").exec(text)?.[1]) * 1024;
  return field("MemTotal") - field("MemAvailable");
}

/** @returns `stop`, which tells the most that was in use. */
function watchMemory(): { stop(): number } {
  let most = 0;
  const timer = setInterval(async () => {
    most = Math.max(most, await memoryInUse());
  }, 200);
  return {
    stop() {
      clearInterval(timer);
      return most;
    },
  };
}
