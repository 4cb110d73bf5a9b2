import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { exitCodes, MigratorError } from "./errors.ts";

/** The advisory lock that node-pg-migrate itself takes (its PG_MIGRATE_LOCK_ID), so that its command line is kept out too. */
const lockId = 7241865325823964n;

interface Holder {
  readonly pid: number;
  readonly applicationName: string;
  readonly since: Date;
}

/**
 * Takes the lock that lets one run at a time into a database; it goes with the session, also when the process
 * is killed. While another run has it, says whom it waits for.
 *
 * @param patience How long to wait, in milliseconds.
 * @throws MigratorError with exit code `busy` when the wait is over.
 */
export async function takeLock(client: Client, log: (line: string) => void, patience: number): Promise<void> {
  const begin = performance.now();
  let announced: number | undefined;
  // Polled: a session that waits inside pg_advisory_lock holds a snapshot, on which CREATE INDEX CONCURRENTLY
  // of the run that has the lock would wait in turn, for ever.
  for (let pause = 50; ; pause = Math.min(2 * pause, 1_000)) {
    const { rows } = await client.query<{ taken: boolean }>("SELECT pg_try_advisory_lock($1) AS taken", [
      lockId,
    ]);
    if (rows[0]?.taken) return;
    const holder = await findHolder(client);
    const elapsed = performance.now() - begin;
    if (elapsed + pause > patience) throw new MigratorError(exitCodes.busy, describeBusy(holder, elapsed));
    if (holder && holder.pid !== announced) {
      log(`waiting for ${describeHolder(holder)}`);
      announced = holder.pid;
    }
    await sleep(pause);
  }
}

async function findHolder(client: Client): Promise<Holder | undefined> {
  // A bigint key is split over classid and objid, with objsubid 1 (manual, pg_locks).
  const { rows } = await client.query<Holder>(
    `SELECT activity.pid, activity.application_name AS "applicationName", activity.backend_start AS since
       FROM pg_catalog.pg_locks AS lock
       JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
      WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
        AND lock.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND (lock.classid::bigint << 32) | lock.objid::bigint = $1`,
    [lockId],
  );
  return rows[0];
}

function describeHolder({ pid, applicationName, since }: Holder): string {
  const name = applicationName ? `"${applicationName}", ` : "";
  // A session of another role hides its start from those without pg_read_all_stats.
  const start = since ? `, connected since ${since.toISOString()}` : "";
  return `another run of migrations: ${name}pid ${pid}${start}`;
}

function describeBusy(holder: Holder | undefined, elapsed: number): string {
  const who = holder ? describeHolder(holder) : "another run of migrations";
  const pid = holder ? holder.pid : "PID";
  return [
    `Waited ${Math.round(elapsed / 1_000)} s for ${who}; nothing was changed.`,
    `What to do: run again when it has ended; SELECT pg_terminate_backend(${pid}) ends it, and rolls its migration back.`,
  ].join("\n");
}
