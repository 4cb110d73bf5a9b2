import type { MajorVersion } from "../settings/image.ts";

/**
 * Parameters that PostgreSQL reads at its start only: those of context `postmaster` in pg_settings, with those of the
 * contrib modules, pgaudit and pg_cron. Every other one can be changed in a running server.
 *
 * A test compares this with servers of 15 and 17. What 16 and 18 changed is from their release notes.
 */
const sinceFifteen = `
archive_mode autovacuum_freeze_max_age autovacuum_multixact_freeze_max_age bonjour bonjour_name cluster_name
config_file cron.database_name cron.enable_superuser_jobs cron.host cron.log_run cron.log_statement
cron.max_running_jobs cron.timezone cron.use_background_workers data_directory data_sync_retry
dynamic_shared_memory_type event_source external_pid_file hba_file hot_standby huge_page_size huge_pages ident_file
ignore_invalid_pages jit_provider listen_addresses logging_collector max_connections max_files_per_process
max_locks_per_transaction max_logical_replication_workers max_pred_locks_per_transaction max_prepared_transactions
max_replication_slots max_wal_senders max_worker_processes min_dynamic_shared_memory pg_prewarm.autoprewarm
pg_stat_statements.max port recovery_target recovery_target_action recovery_target_inclusive recovery_target_lsn
recovery_target_name recovery_target_time recovery_target_timeline recovery_target_xid shared_buffers
shared_memory_type shared_preload_libraries superuser_reserved_connections track_activity_query_size
track_commit_timestamp unix_socket_directories unix_socket_group unix_socket_permissions wal_buffers
wal_decode_buffer_size wal_level wal_log_hints`;

/** With the first and, where there is one, the last major version in which they are such. */
const others: readonly [names: string, first: number, last?: number][] = [
  ["old_snapshot_threshold", 15, 16],
  ["autovacuum_max_workers", 15, 17],
  ["reserved_connections debug_io_direct", 16],
  [
    `commit_timestamp_buffers max_notify_queue_pages multixact_member_buffers multixact_offset_buffers notify_buffers
     serializable_buffers subtransaction_buffers trace_connection_negotiation transaction_buffers`,
    17,
  ],
  [
    "autovacuum_worker_slots io_max_combine_limit io_max_concurrency io_method max_active_replication_origins",
    18,
  ],
];

/** Names of the parameters that a server of this major version reads at its start only. */
export function restartParameters(majorVersion: MajorVersion): ReadonlySet<string> {
  const words = (text: string) => text.trim().split(/\s+/);
  return new Set([
    ...words(sinceFifteen),
    ...others.flatMap(([names, first, last = 99]) =>
      first <= majorVersion && majorVersion <= last ? words(names) : [],
    ),
  ]);
}

/** Modules whose parameters the table knows; `plpgsql` is always there. */
const knownModules = new Set(
  "plpgsql auth_delay auto_explain basic_archive cron pg_prewarm pg_stat_statements pgaudit".split(" "),
);

/**
 * Divides parameters into those that only a restart changes and those that the running server reads again.
 * A parameter of a preloaded module that the table doesn't know may be of either kind; with a restart it takes effect.
 */
export function divideParameters(
  parameters: Readonly<Record<string, string>>,
  majorVersion: MajorVersion,
): { restart: Record<string, string>; reload: Record<string, string> } {
  const known = restartParameters(majorVersion);
  const preloaded = (parameters.shared_preload_libraries ?? "").split(",").map((name) => name.trim());
  const needsRestart = (name: string) => {
    const [module = "", rest] = name.split(".");
    if (known.has(name)) return true;
    return rest !== undefined && !knownModules.has(module) && preloaded.includes(module);
  };
  const part = (wanted: boolean) =>
    Object.fromEntries(Object.entries(parameters).filter(([name]) => needsRestart(name) === wanted));
  return { restart: part(true), reload: part(false) };
}
