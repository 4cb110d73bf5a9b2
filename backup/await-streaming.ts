/**
 * Waits until the backup container has received all that the server has written; run by the program's command resource
 * after every new container of either. From then on, each committed row is on its way to the repository.
 *
 * Environment: CONTAINER (name).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { programCommand } from "../components/backups/program.ts";
import { ask, BackupError, docker, runProgram, variable } from "./docker.ts";

const patience = 180_000;
const pause = 250;
const logLines = "40";

/** How far the server's log has come. */
const written = "SELECT pg_current_wal_flush_lsn()";
/**
 * What a physical slot's receiver has reported to be on disk. A position at the beginning of a page counts as the end
 * of the one before it: there is only a header between.
 */
const received = (position: string) =>
  `SELECT restart_lsn >= '${position}'::pg_lsn - 40 FROM pg_replication_slots WHERE slot_name = current_setting('my.slot') AND active`;

await runProgram(async () => {
  const container = variable("CONTAINER");
  const started = performance.now();
  let position: string | undefined;
  for (let reason = ""; ; await sleep(pause)) {
    const elapsed = performance.now() - started;
    if (elapsed > patience) {
      throw new BackupError(
        [
          `Container ${container} does not receive the server's WAL: ${reason || "it is behind"}`,
          "Its newest log lines:",
          await lastLines(container),
          `Correct what the log names and run pulumi up again. Whole log: docker logs ${container}`,
        ].join("\n"),
      );
    }
    const healthy = await docker(["exec", container, programCommand, "healthy"]);
    reason = `${healthy.stdout}${healthy.stderr}`.trim();
    if (healthy.code !== 0) continue;
    position ??= await query(container, written);
    if (position && (await query(container, received(position))) === "t") {
      console.log(`${container} receives the server's WAL after ${(elapsed / 1000).toFixed(1)} s`);
      return;
    }
  }
});

/** As the backup role, by what the container has. @returns Undefined where the server does not answer. */
async function query(container: string, sql: string): Promise<string | undefined> {
  const script = 'PGOPTIONS="-c my.slot=$BACKUP_SLOT" psql -XAtqw';
  const { code, stdout } = await docker(["exec", "--interactive", container, "sh", "-c", script], {
    input: sql,
  });
  return code === 0 ? stdout.trim() : undefined;
}

async function lastLines(container: string): Promise<string> {
  await ask(["container", "inspect", "--format", "{{.Id}}", container]);
  const { stderr, stdout } = await docker(["logs", "--tail", logLines, container]);
  return `${stdout}${stderr}`
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => `  ${line}`)
    .join("\n");
}
