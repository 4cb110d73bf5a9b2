import { formatSize } from "../settings/units.ts";
import type { Settings } from "../settings.ts";
import { serverFiles } from "./files.ts";

const MB = 1024 ** 2;
const GB = 1024 ** 3;

/**
 * Memory settings for a server that has its container's limit to itself.
 *
 * A quarter for shared_buffers and three quarters as effective_cache_size are the manual's starting points
 * (chapters «Resource Consumption» and «Query Planning»). work_mem may be taken several times by each session:
 * what shared_buffers leaves is divided by three times max_connections. maintenance_work_mem is taken by few
 * sessions, but up to autovacuum_max_workers times: a sixteenth, 1 GB at the most.
 * @param memory limit of the container in bytes
 */
export function memorySettings(memory: number, maxConnections: number): Record<string, string> {
  const wholeMegabytes = (bytes: number, least: number) =>
    formatSize(Math.max(least, Math.floor(bytes / MB)) * MB);
  const sharedBuffers = memory / 4;
  return {
    shared_buffers: wholeMegabytes(sharedBuffers, 32),
    effective_cache_size: wholeMegabytes((memory * 3) / 4, 64),
    maintenance_work_mem: wholeMegabytes(Math.min(memory / 16, GB), 16),
    work_mem: wholeMegabytes((memory - sharedBuffers) / (maxConnections * 3), 1),
  };
}

/**
 * A crash costs an ephemeral environment everything anyway, so nothing is paid for surviving one. Its WAL shares the
 * tmpfs with the data: an eighth of it, and not the usual 1 GB, which would fill it and stop the server.
 */
function ephemeralSettings(tmpfsSize: number): Record<string, string> {
  // Two segments, the least that the server takes.
  const leastWal = 32 * MB;
  return {
    fsync: "off",
    synchronous_commit: "off",
    full_page_writes: "off",
    wal_level: "minimal",
    max_wal_senders: "0",
    min_wal_size: formatSize(leastWal),
    max_wal_size: formatSize(Math.max(leastWal, Math.floor(tmpfsSize / 8 / MB) * MB)),
  };
}

/** Name by which the server knows the backup container: its replication slot and its application_name. */
export const backupStandby = "backup";

/** What backups need of the server. WAL summaries are what an incremental base backup is made from; 17 has them. */
function backupParameters({ backup, majorVersion }: Settings): Record<string, string> {
  if (!backup) return {};
  return {
    wal_level: "replica",
    ...(majorVersion >= 17 ? { summarize_wal: "on" } : {}),
    // A slot that nobody reads keeps WAL, without a limit until the disk is full.
    max_slot_wal_keep_size: formatSize(backup.walLimit),
    ...(backup.synchronous ? { synchronous_standby_names: backupStandby } : {}),
  };
}

/** Every server parameter of the environment, in the order of precedence: the program's, the memory's, the stack's own. */
export function serverParameters(settings: Settings): Record<string, string> {
  const maxConnections = Number(settings.serverSettings.max_connections ?? 100);
  return {
    ...(Number.isInteger(maxConnections) && maxConnections > 0
      ? memorySettings(settings.memory, maxConnections)
      : {}),
    max_connections: "100",
    ...(settings.lifetime === "ephemeral" ? ephemeralSettings(settings.tmpfsSize) : {}),
    ...backupParameters(settings),
    // 17 and older write the password of CREATE ROLE to no log at this level; nothing more is logged by default.
    log_statement: "none",
    ...settings.serverSettings,
    password_encryption: "scram-sha-256",
    listen_addresses: "*",
    hba_file: serverFiles.hba,
    ident_file: serverFiles.ident,
    ...(settings.tls
      ? {
          ssl: "on",
          ssl_min_protocol_version: settings.serverSettings.ssl_min_protocol_version ?? "TLSv1.2",
          ssl_cert_file: serverFiles.certificate,
          ssl_key_file: serverFiles.key,
        }
      : { ssl: "off" }),
  };
}

/** The server's command line. Sorted, so that the order of the settings is no difference. */
export function serverCommand(parameters: Readonly<Record<string, string>>): string[] {
  const flags = Object.entries(parameters)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, value]) => ["-c", `${key}=${value}`]);
  return ["postgres", ...flags];
}
