import { monitorClient } from "./server-report.ts";
import type { StackOutputs } from "./stack-outputs.ts";

/** What the backups note in the database, newest first. Times are ISO 8601. */
export interface BackupReport {
  /** Whether the environment is backed up. */
  readonly made: boolean;
  /** End of the newest base backup; undefined: there is none yet. */
  readonly newest: string | undefined;
  readonly kind: string | undefined;
  /** The last that was tried: a restore to a throwaway server. */
  readonly drill: { readonly ended: string; readonly ok: boolean; readonly seconds: number } | undefined;
}

export const noBackups: BackupReport = { made: false, newest: undefined, kind: undefined, drill: undefined };

/** Asks as the monitor. What the repository itself has, `./db backup list` tells. */
export async function readBackups(outputs: StackOutputs): Promise<BackupReport> {
  if (outputs.backupRepository === undefined) return noBackups;
  const client = monitorClient(outputs);
  try {
    await client.connect();
    const made = { ...noBackups, made: true };
    const [tables] = (await client.query("SELECT to_regclass('backups.drill') IS NOT NULL AS there")).rows;
    if (!tables?.there) return made;
    const [backup] = (
      await client.query("SELECT ended, kind FROM backups.backup WHERE ok ORDER BY started DESC LIMIT 1")
    ).rows;
    const [drill] = (
      await client.query(
        "SELECT ended, ok, seconds::float8 AS seconds FROM backups.drill ORDER BY started DESC LIMIT 1",
      )
    ).rows;
    return {
      ...made,
      newest: backup?.ended.toISOString(),
      kind: backup?.kind,
      drill: drill && { ended: drill.ended.toISOString(), ok: drill.ok, seconds: drill.seconds },
    };
  } finally {
    await client.end().catch(() => {});
  }
}
