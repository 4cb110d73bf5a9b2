import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { roleNames } from "../names.ts";
import { uploadFolder } from "../server/files.ts";
import type { BackupSettings, Settings } from "../settings.ts";

/** Where the program that makes backups and restores them is in its containers. */
export const programFolder = `${uploadFolder}/backup`;
export const programEntrypoint = `${programFolder}/entrypoint`;
export const programCommand = `${programFolder}/pgbackup`;

/** Where the entrypoint puts what only the program's user may read. */
const runFolder = "/run/postgresql-environment";
/** Where the repository is mounted, and the place for a drill's data. */
export const repositoryMount = "/repository";
export const scratchMount = "/scratch";

/** Seconds between two of the rows by which the backup knows how far behind it is. */
const heartbeatEvery = 60;

/** The program's files on this machine, relative to their folder. */
export function programFiles(): { readonly name: string; readonly content: string }[] {
  const folder = fileURLToPath(new URL("container", import.meta.url));
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { name: relative(folder, path), content: readFileSync(path, "utf8") };
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What the program must know of the database and the repository, in every container that it runs in. */
export function programEnvironment(settings: Settings): Record<string, string> {
  return {
    REPOSITORY: repositoryMount,
    SUPERUSER: settings.superuserName,
    PGDATABASE: settings.databaseName,
  };
}

/** What it must know to make backups. Nothing in here is secret: `docker inspect` shows it. */
export function backupEnvironment(
  settings: Settings,
  backup: BackupSettings,
  server: { readonly host: string; readonly port: number; readonly slot: string },
): Record<string, string> {
  return {
    ...programEnvironment(settings),
    PGHOST: server.host,
    PGPORT: String(server.port),
    PGUSER: roleNames(settings.appName).backup,
    PGPASSFILE: `${runFolder}/pgpass`,
    // A certificate of a team's own need not name the server as the network does.
    ...(settings.tls
      ? { PGSSLMODE: "verify-ca", PGSSLROOTCERT: `${runFolder}/ca.crt` }
      : { PGSSLMODE: "disable" }),
    BACKUP_SLOT: server.slot,
    BACKUP_EVERY: String(backup.every),
    BACKUP_FULL_EVERY: String(backup.fullEvery),
    BACKUP_WINDOW: String(backup.window),
    BACKUP_MINIMUM: String(backup.minimum),
    BACKUP_SYNCHRONOUS: backup.synchronous ? "on" : "off",
    HEARTBEAT_EVERY: String(heartbeatEvery),
    DRILL_EVERY: String(backup.drillEvery),
    SCRATCH: scratchMount,
    ...(backup.drillQuery === undefined ? {} : { DRILL_QUERY: `${runFolder}/drill-query.sql` }),
  };
}

/** A line of a libpq password file, for any server and database; manual, «The Password File». */
export function passwordLine(user: string, password: string): string {
  const escaped = (text: string) => text.replace(/[\\:]/g, "\\$&");
  return `*:*:*:${escaped(user)}:${escaped(password)}\n`;
}

/** Where a stack's backups are: its own volume's name, or the host's folder. */
export function repositoryOf(prefix: string, backup: BackupSettings | undefined): string {
  return backup?.folder ?? `${prefix}-backups`;
}
