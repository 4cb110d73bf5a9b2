import { formatSize } from "../settings/units.ts";
import type { Settings } from "../settings.ts";
import { dataPaths, serverFiles } from "./files.ts";
import { divideParameters } from "./restart-parameters.ts";

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

/**
 * What the log has. The values that a client binds are in none of its lines (log_parameter_max_length); statements of the
 * program's own have verifiers in the place of passwords.
 */
function loggingSettings({ lifetime, logging }: Settings): Record<string, string> {
  const { audit, connections, ddl, lockWaits, slowStatements, temporaryFiles } = logging;
  const onOff = (value: boolean) => (value ? "on" : "off");
  return {
    log_statement: ddl ? "ddl" : "none",
    log_parameter_max_length: "0",
    log_parameter_max_length_on_error: "0",
    ...(slowStatements === undefined ? {} : { log_min_duration_statement: slowStatements }),
    ...(temporaryFiles === undefined ? {} : { log_temp_files: temporaryFiles }),
    ...(audit.length === 0 ? {} : { "pgaudit.log": audit.join(", ") }),
    // Time, process; role, database, application and address of whom it concerns.
    ...(lifetime === "persistent"
      ? {
          log_line_prefix: "%m [%p] %q%u@%d %a %h ",
          log_lock_waits: onOff(lockWaits),
          log_connections: onOff(connections),
          log_disconnections: onOff(connections),
        }
      : {
          ...(lockWaits ? { log_lock_waits: "on" } : {}),
          ...(connections ? { log_connections: "on", log_disconnections: "on" } : {}),
        }),
  };
}

/** The stack's own libraries, and those that settings of the program need. */
function preloadedLibraries({ logging, serverSettings }: Settings): Record<string, string> {
  const own = (serverSettings.shared_preload_libraries ?? "").split(",").map((name) => name.trim());
  const libraries = new Set([...own, ...(logging.audit.length > 0 ? ["pgaudit"] : [])].filter(Boolean));
  return libraries.size === 0 ? {} : { shared_preload_libraries: [...libraries].join(",") };
}

/** Where a persistent environment keeps the files that `reload/` brings; undefined: the container has them all. */
export function configurationFolder(settings: Settings): string | undefined {
  return settings.lifetime === "persistent" ? dataPaths(settings.majorVersion).configuration : undefined;
}

/** Every server parameter of the environment, in the order of precedence: the program's, the memory's, the stack's own. */
export function serverParameters(settings: Settings): Record<string, string> {
  const maxConnections = Number(settings.serverSettings.max_connections ?? 100);
  const files = serverFiles(configurationFolder(settings));
  return {
    ...(Number.isInteger(maxConnections) && maxConnections > 0
      ? memorySettings(settings.memory, maxConnections)
      : {}),
    max_connections: "100",
    ...(settings.lifetime === "ephemeral" ? ephemeralSettings(settings.tmpfsSize) : {}),
    ...backupParameters(settings),
    ...loggingSettings(settings),
    ...settings.serverSettings,
    ...preloadedLibraries(settings),
    password_encryption: "scram-sha-256",
    listen_addresses: "*",
    hba_file: files.hba,
    ident_file: files.ident,
    ...(settings.tls
      ? {
          ssl: "on",
          ssl_min_protocol_version: settings.serverSettings.ssl_min_protocol_version ?? "TLSv1.2",
          ssl_cert_file: files.certificate,
          ssl_key_file: files.key,
        }
      : { ssl: "off" }),
  };
}

/**
 * The parameters on the server's command line, which a new container alone changes. In a persistent environment, those
 * that only a restart changes; the others come into the running server.
 */
export function startParameters(settings: Settings): Record<string, string> {
  const parameters = serverParameters(settings);
  const folder = configurationFolder(settings);
  if (folder === undefined) return parameters;
  const { restart } = divideParameters(parameters, settings.majorVersion);
  return { ...restart, config_file: serverFiles(folder).configuration };
}

/** The server's command line. Sorted, so that the order of the settings is no difference. */
export function serverCommand(parameters: Readonly<Record<string, string>>): string[] {
  const flags = Object.entries(parameters)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, value]) => ["-c", `${key}=${value}`]);
  return ["postgres", ...flags];
}
