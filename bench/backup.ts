import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BackupLab, type Ended } from "../test/support/backup-lab.ts";
import { docker } from "../test/support/docker.ts";

const help = `Usage: npm run bench:backup [-- OPTIONS]

Times the backup of a database that pgbench has filled, in turn with what PostgreSQL's own programs and cp take for the
same: a full base backup against pg_basebackup, a restore against a copy of the same files. Then pgbench's transactions
per second without backups, while WAL is streamed, and while a base backup is taken. Prints a table.

  --size GB    of the database, 5 by default; twelve times as much room is needed on Docker's disk
  --rounds N   how often each is run, 3 by default
  --seconds N  how long pgbench runs each time, 20 by default
  --write      write the table to docs/backups-times.md

Needs Docker.
`;

/** Gigabytes that pgbench makes of one unit of its scale: 100,000 accounts with their index. */
const gigabytesPerScale = 0.015;

const names = {
  backup: "./db backup now (full)",
  compressed: "pg_basebackup, compressed the same way",
  plain: "pg_basebackup, uncompressed",
  restore: "restore to the newest point, until it is whole",
  copy: "cp -a of the same files, and sync",
} as const;
const loads = {
  alone: "without backups",
  streaming: "while WAL is streamed",
  backup: "while a base backup is taken as well",
} as const;

/** As the backup container calls it. */
const compressed = [
  "-Ft",
  "--compress",
  `client-zstd:level=1${cpus().length > 1 ? `,workers=${Math.min(cpus().length, 4)}` : ""}`,
];

type Took = Map<string, number[]>;

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "20" },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
const size = Number(values.size);
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
if (values.help || !(size > 0) || !(rounds >= 1) || !(seconds >= 1)) {
  process.stderr.write(help);
  process.exitCode = values.help ? 0 : 2;
} else {
  const loadBefore = loadavg()[0] ?? 0;
  const table = formatTable(await bench(), loadBefore);
  process.stdout.write(`${table}\n`);
  if (values.write) {
    const heading =
      "# How long backups take\n\nWritten by `npm run bench:backup -- --write`, from one run on one machine.";
    writeFileSync(join(import.meta.dirname, "..", "docs", "backups-times.md"), `${heading}\n\n${table}\n`);
  }
}

async function bench(): Promise<Took> {
  const lab = new BackupLab({ onDisk: true, server: { max_wal_size: "4GB", summarize_wal: "on" } });
  const took: Took = new Map();
  const note = (name: string, value: number) => took.set(name, [...(took.get(name) ?? []), value]);
  try {
    await lab.start();
    await inServer(lab, "pgbench", "-i", "-q", "-s", String(Math.ceil(size / gigabytesPerScale)), "shop");
    await lab.sql("CHECKPOINT");
    for (let round = 0; round < rounds; round += 1) {
      // In turn, so that none is always the first.
      const parts = [
        async () => note(names.backup, await timed(() => takeBackup(lab))),
        async () => note(names.compressed, await timed(() => baseBackup(lab, compressed))),
        async () => note(names.plain, await timed(() => baseBackup(lab, ["-Fp"]))),
      ];
      for (let part = 0; part < parts.length; part += 1) {
        await parts[(part + round) % parts.length]?.();
        await lab.shell("rm -rf /repository/bench && sync");
      }
    }
    for (let round = 0; round < rounds; round += 1) {
      note(
        names.restore,
        await timed(() => ok(lab.pgbackup("helper", "restore", "--into", "/data/restored", "latest"))),
      );
      await lab.shell("sync");
      note(names.copy, await timed(() => lab.shell("cp -a /data/restored /data/copied && sync")));
      await lab.shell("rm -rf /data/restored* /data/copied && sync");
    }
    for (let round = 0; round < rounds; round += 1) {
      await docker("stop", lab.backup);
      note(loads.alone, await pgbench(lab));
      await docker("start", lab.backup);
      await lab.untilReceived();
      note(loads.streaming, await pgbench(lab));
      const [rate] = await Promise.all([pgbench(lab), takeBackup(lab)]);
      note(loads.backup, rate);
    }
    return took;
  } finally {
    await lab.remove();
  }
}

async function takeBackup(lab: BackupLab): Promise<void> {
  const command = ["/opt/postgresql-environment/backup/pgbackup", "now", "--full"];
  await ok(lab.run("backup", command, "", ["BACKUP_WINDOW=0", "BACKUP_MINIMUM=1"]));
}

async function baseBackup(lab: BackupLab, format: readonly string[]): Promise<void> {
  const command = [
    "pg_basebackup",
    "-w",
    "-D",
    "/repository/bench",
    "-X",
    "stream",
    "--checkpoint",
    "fast",
    ...format,
  ];
  await ok(lab.run("backup", ["gosu", "postgres", ...command]));
}

async function ok(running: Promise<Ended>): Promise<void> {
  const { code, output } = await running;
  if (code !== 0) throw new Error(output);
}

/** @returns Transactions per second. */
async function pgbench(lab: BackupLab): Promise<number> {
  const text = await inServer(lab, "pgbench", "-n", "-c", "4", "-j", "2", "-T", String(seconds), "shop");
  return Number(/^tps = ([\d.]+)/m.exec(text)?.[1]);
}

function inServer(lab: BackupLab, ...command: string[]): Promise<string> {
  return docker("exec", "--user", "postgres", lab.server, ...command);
}

/** Seconds. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

function formatTable(took: Took, loadBefore: number): string {
  const of = (name: string) => took.get(name) ?? [];
  /** Of the median of the rounds' ratios. */
  const ratio = (name: string, to: string) =>
    median(of(name).map((value, round) => value / (of(to)[round] ?? Number.NaN))).toFixed(2);
  const row = (name: string, digits: number, ratios: readonly string[]) => {
    const sorted = of(name).toSorted((a, b) => a - b);
    const cells = [sorted[0], median(sorted), sorted.at(-1)].map((value) =>
      (value ?? Number.NaN).toFixed(digits),
    );
    return `| ${[name, ...cells, ...ratios].join(" | ")} |`;
  };
  const head = (unit: string, compared: string) => [
    `| ${unit} | min | median | max | ${compared} |`,
    "| --- | --: | --: | --: | --: |",
  ];
  const { backup, compressed: archive, copy, plain, restore } = names;
  return [
    ...head("seconds", "ratio"),
    row(backup, 1, [`${ratio(backup, archive)} of the next, ${ratio(backup, plain)} of the uncompressed`]),
    row(archive, 1, [""]),
    row(plain, 1, [""]),
    row(restore, 1, [`${ratio(restore, copy)} of the copy`]),
    row(copy, 1, [""]),
    "",
    ...head("pgbench, transactions per second", "of without backups"),
    row(loads.alone, 0, ["1.00"]),
    ...[loads.streaming, loads.backup].map((name) => row(name, 0, [ratio(name, loads.alone)])),
    "",
    `${size} GB, ${rounds} rounds in turn, ratios are the median of the rounds'; pgbench with 4 clients for ${seconds} s each; ${cpus().length} processors, load ${loadBefore.toFixed(1)} before and ${(loadavg()[0] ?? 0).toFixed(1)} after.`,
  ].join("\n");
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
