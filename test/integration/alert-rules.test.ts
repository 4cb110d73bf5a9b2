import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { ruleFiles } from "../../components/monitoring/prometheus.ts";
import { monitoringImages } from "../../components/settings/monitoring-defaults.ts";
import { containerLog, docker, testLabel, testRun } from "../support/docker.ts";

interface Rule {
  readonly alert?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

const rules = ruleFiles()
  .flatMap(({ text }) => parse(text).groups as { rules: Rule[] }[])
  .flatMap((group) => group.rules)
  .filter((rule) => rule.alert !== undefined);

/** Values by series, one a minute, as promtool writes them: `1x60` is 1 and sixty times the same, `0+1x60` counts up. */
type Series = Readonly<Record<string, string>>;

interface AlertCase {
  readonly alert: string;
  /** What makes it fire. */
  readonly fires: Series;
  /** Minutes from the beginning. Default: 60. */
  readonly at?: number;
  /** The alert's labels beside severity, project and stack. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly summary: string;
  /** What is just short of that: it stays silent. */
  readonly silent: Series;
}

const server = "exporter:9187";
/** Labels of a series that the exporter's collectors give, as the alert has them too. */
const own = { job: "postgresql", instance: server };
const node = { job: "node", instance: "node-exporter:9100" };
const day = 86_400;

const cases: readonly AlertCase[] = [
  {
    alert: "PostgresqlDown",
    fires: { pg_up: "1x5 0x60" },
    at: 10,
    labels: own,
    summary: "The server of production does not answer the exporter.",
    silent: { pg_up: "1x60", 'up{job="node"}': "0x60" },
  },
  {
    alert: "PostgresqlDown",
    fires: { 'up{job="postgresql"}': "0x60" },
    at: 10,
    labels: own,
    summary: "The server of production does not answer the exporter.",
    silent: { 'up{job="postgresql"}': "1x60" },
  },
  {
    alert: "PostgresqlRestarted",
    fires: { pg_postmaster_start_time_seconds: "100x20 2000x60" },
    at: 25,
    labels: own,
    summary: "The server of production has started anew within the last 15 minutes.",
    // The same after a gap in the numbers.
    silent: { pg_postmaster_start_time_seconds: "100x20 _x10 100x60" },
  },
  {
    alert: "PostgresqlConnectionsNearLimit",
    fires: {
      'pg_stat_activity_count{datname="shop",state="idle"}': "60x60",
      'pg_stat_activity_count{datname="shop",state="active"}': "25x60",
      pg_settings_max_connections: "100x60",
      pg_settings_superuser_reserved_connections: "3x60",
    },
    summary: "87.63% of the connections of production are taken.",
    silent: {
      'pg_stat_activity_count{datname="shop",state="idle"}': "77x60",
      pg_settings_max_connections: "100x60",
      pg_settings_superuser_reserved_connections: "3x60",
    },
  },
  {
    alert: "PostgresqlLongTransaction",
    fires: {
      'pg_stat_activity_max_tx_duration{state="active",backend_type="client backend",datname="shop",usename="shop_app_a",application_name="web"}':
        "0+60x60",
    },
    labels: { datname: "shop", usename: "shop_app_a", application_name: "web" },
    summary: "A transaction of shop_app_a in shop of production has been running for 1h 0m 0s.",
    silent: {
      'pg_stat_activity_max_tx_duration{state="active",backend_type="client backend",datname="shop",usename="shop_app_a",application_name="web"}':
        "1800x60",
      'pg_stat_activity_max_tx_duration{state="active",backend_type="walsender",datname="shop",usename="shop_backup",application_name=""}':
        "0+60x60",
    },
  },
  {
    alert: "PostgresqlIdleInTransaction",
    fires: {
      'pg_stat_activity_max_tx_duration{state="idle in transaction (aborted)",datname="shop",usename="shop_app_a",application_name="web"}':
        "0+60x60",
    },
    at: 6,
    labels: { datname: "shop", usename: "shop_app_a", application_name: "web" },
    summary: "A session of shop_app_a in shop of production has left a transaction open for 6m 0s.",
    silent: {
      'pg_stat_activity_max_tx_duration{state="idle in transaction",datname="shop",usename="shop_app_a",application_name="web"}':
        "300x60",
      'pg_stat_activity_max_tx_duration{state="idle",datname="shop",usename="shop_app_a",application_name="web"}':
        "0+60x60",
    },
  },
  {
    alert: "PostgresqlDeadlocks",
    fires: { 'pg_stat_database_deadlocks{datname="shop"}': "3x20 4x60" },
    at: 25,
    labels: { ...own, datname: "shop" },
    summary: "Deadlocks in shop of production within the last 15 minutes.",
    silent: { 'pg_stat_database_deadlocks{datname="shop"}': "3x60" },
  },
  {
    alert: "PostgresqlLockWaits",
    fires: { 'pg_stat_activity_count{datname="shop",wait_event_type="Lock"}': "0x10 2x60" },
    at: 13,
    labels: { datname: "shop" },
    summary: "2 sessions in shop of production wait for locks, for minutes by now.",
    silent: {
      'pg_stat_activity_count{datname="shop",wait_event_type="Lock"}': "0x57 2x1 0x2",
      'pg_stat_activity_count{datname="shop",wait_event_type="IO"}': "2x60",
    },
  },
  {
    alert: "PostgresqlWraparoundNear",
    fires: {
      'pg_database_wraparound_age_datfrozenxid_seconds{datname="shop"}': "400e6x120",
      pg_settings_autovacuum_freeze_max_age: "200e6x120",
    },
    at: 90,
    labels: { datname: "shop" },
    summary: "VACUUM does not get to freeze shop of production; its oldest transaction id is 400M behind.",
    silent: {
      'pg_database_wraparound_age_datfrozenxid_seconds{datname="shop"}': "300e6x120",
      pg_settings_autovacuum_freeze_max_age: "200e6x120",
      'pg_database_wraparound_age_datminmxid_seconds{datname="shop"}': "600e6x120",
      pg_settings_autovacuum_multixact_freeze_max_age: "400e6x120",
    },
  },
  {
    alert: "PostgresqlWraparoundNear",
    fires: {
      'pg_database_wraparound_age_datminmxid_seconds{datname="shop"}': "700e6x120",
      pg_settings_autovacuum_multixact_freeze_max_age: "400e6x120",
    },
    at: 90,
    labels: { datname: "shop" },
    summary: "VACUUM does not get to freeze shop of production; its oldest transaction id is 700M behind.",
    silent: { 'pg_database_wraparound_age_datminmxid_seconds{datname="shop"}': "1x120" },
  },
  {
    alert: "PostgresqlWraparoundImminent",
    fires: { 'pg_database_wraparound_age_datfrozenxid_seconds{datname="shop"}': "1600e6x60" },
    labels: { datname: "shop" },
    summary: "shop of production stops taking writes soon: 1.6G of 2.1 billion transaction ids are used.",
    silent: { 'pg_database_wraparound_age_datfrozenxid_seconds{datname="shop"}': "1400e6x60" },
  },
  {
    alert: "PostgresqlDeadRows",
    fires: {
      'pg_stat_user_tables_n_dead_tup{datname="shop",schemaname="app",relname="purchase"}': "50000x120",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="purchase"}': "50000x120",
    },
    at: 90,
    labels: { ...own, datname: "shop", schemaname: "app", relname: "purchase" },
    summary: "More than 30% of the rows of app.purchase in shop of production are dead.",
    silent: {
      // Enough, but a small part; a large part, but few.
      'pg_stat_user_tables_n_dead_tup{datname="shop",schemaname="app",relname="purchase"}': "50000x120",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="purchase"}': "500000x120",
      'pg_stat_user_tables_n_dead_tup{datname="shop",schemaname="app",relname="country"}': "200x120",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="country"}': "200x120",
    },
  },
  {
    alert: "PostgresqlTableBloat",
    fires: {
      'pg_stat_user_tables_size_bytes{datname="shop",schemaname="app",relname="purchase"}': "1e9x200",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="purchase"}':
        "1000000x60 100000x140",
    },
    at: 190,
    labels: { ...own, datname: "shop", schemaname: "app", relname: "purchase" },
    summary:
      "app.purchase in shop of production takes more than twice the room for a row that it took in the last week.",
    silent: {
      // Grown with its rows, by the names that the exporter has since 0.18; emptied, but small; statistics lost.
      'pg_stat_user_tables_table_size_bytes{datname="shop",schemaname="app",relname="purchase"}':
        "1e9x60 4e9x140",
      'pg_stat_user_tables_index_size_bytes{datname="shop",schemaname="app",relname="purchase"}':
        "1e9x60 4e9x140",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="purchase"}':
        "1000000x60 4000000x140",
      'pg_stat_user_tables_size_bytes{datname="shop",schemaname="app",relname="country"}': "9e7x200",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="country"}':
        "1000000x60 100000x140",
      'pg_stat_user_tables_size_bytes{datname="shop",schemaname="app",relname="customer"}': "1e9x200",
      'pg_stat_user_tables_n_live_tup{datname="shop",schemaname="app",relname="customer"}':
        "1000000x60 7x140",
    },
  },
  {
    alert: "PostgresqlCacheHitLow",
    fires: {
      'pg_stat_database_blks_hit{datname="shop"}': "0+60000x120",
      'pg_stat_database_blks_read{datname="shop"}': "0+60000x120",
    },
    at: 90,
    labels: { datname: "shop" },
    summary: "Only 50% of the pages that shop of production needs are in memory.",
    silent: {
      'pg_stat_database_blks_hit{datname="shop"}': "0+600000x120",
      'pg_stat_database_blks_read{datname="shop"}': "0+60000x120",
      // Little is read at all.
      'pg_stat_database_blks_hit{datname="other"}': "0+6x120",
      'pg_stat_database_blks_read{datname="other"}': "0+60x120",
    },
  },
  {
    alert: "PostgresqlCheckpointsTooOften",
    fires: { pg_stat_checkpointer_num_requested_total: "0+1x120" },
    at: 90,
    labels: own,
    summary: "60 checkpoints within an hour in production because the WAL was full.",
    silent: {
      pg_stat_checkpointer_num_requested_total: "0+0.1x120",
      pg_stat_checkpointer_num_timed_total: "0+1x120",
    },
  },
  {
    alert: "PostgresqlCheckpointsTooOften",
    fires: { pg_stat_bgwriter_checkpoints_req_total: "0+1x120" },
    at: 90,
    labels: own,
    summary: "60 checkpoints within an hour in production because the WAL was full.",
    silent: { pg_stat_bgwriter_checkpoints_req_total: "7x120" },
  },
  {
    alert: "PostgresqlArchivingFailed",
    fires: { pg_stat_archiver_failed_count: "0x20 3x60" },
    at: 25,
    labels: own,
    summary: "archive_command has failed in production.",
    silent: { pg_stat_archiver_failed_count: "3x60", pg_stat_archiver_archived_count: "0+1x60" },
  },
  {
    alert: "PostgresqlReplicationSlotGrowth",
    fires: { 'pg_replication_slots_pg_wal_lsn_diff{slot_name="backup"}': "6442450944x60" },
    labels: { ...own, slot_name: "backup" },
    summary: "The replication slot backup of production keeps 6GiB of WAL.",
    silent: { 'pg_replication_slots_pg_wal_lsn_diff{slot_name="backup"}': "5368709120x60" },
  },
  {
    alert: "PostgresqlReplicationSlotInactive",
    fires: { 'pg_replication_slots_active{slot_name="backup"}': "0x60" },
    labels: { ...own, slot_name: "backup" },
    summary: "Nobody has read the replication slot backup of production for 15 minutes.",
    silent: { 'pg_replication_slots_active{slot_name="backup"}': "0x40 1x8 0x20" },
  },
  {
    alert: "PostgresqlReplicationSlotLost",
    fires: { 'pg_replication_slot_wal_status{slot_name="backup",wal_status="lost"}': "1x60" },
    labels: { ...own, slot_name: "backup", wal_status: "lost" },
    summary:
      "The replication slot backup of production is lost; WAL that its reader has not seen is gone, or about to go.",
    silent: { 'pg_replication_slot_wal_status{slot_name="backup",wal_status="extended"}': "1x60" },
  },
  {
    alert: "PostgresqlReplicationSlotLost",
    fires: { 'pg_replication_slots_wal_status{slot_name="backup",wal_status="unreserved"}': "1x60" },
    labels: { ...own, slot_name: "backup", wal_status: "unreserved" },
    summary:
      "The replication slot backup of production is unreserved; WAL that its reader has not seen is gone, or about to go.",
    silent: { 'pg_replication_slots_wal_status{slot_name="backup",wal_status="reserved"}': "1x60" },
  },
  {
    alert: "PostgresqlNumbersMissing",
    fires: { 'pg_scrape_collector_success{collector="locks"}': "0x60", pg_up: "1x60" },
    labels: { ...own, collector: "locks" },
    summary: "The exporter of production can't read some of its numbers; alerts on them are blind.",
    silent: { pg_exporter_last_scrape_error: "1x60", pg_up: "0x60" },
  },
  {
    alert: "PostgresqlNumbersMissing",
    fires: { pg_exporter_last_scrape_error: "1x60", pg_up: "1x60" },
    labels: own,
    summary: "The exporter of production can't read some of its numbers; alerts on them are blind.",
    silent: { pg_exporter_last_scrape_error: "0x51 1x8 0x9", pg_up: "1x60" },
  },
  {
    alert: "VolumeFilling",
    fires: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/data"}': "12e9x60",
      'node_filesystem_size_bytes{mountpoint="/volumes/data"}': "100e9x60",
    },
    labels: { ...node, mountpoint: "/volumes/data" },
    summary: "The disk of volume data of production has only 12% left.",
    silent: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/data"}': "16e9x60",
      'node_filesystem_size_bytes{mountpoint="/volumes/data"}': "100e9x60",
      'node_filesystem_avail_bytes{mountpoint="/etc/hosts"}': "1e9x60",
      'node_filesystem_size_bytes{mountpoint="/etc/hosts"}': "100e9x60",
    },
  },
  {
    alert: "VolumeFull",
    fires: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/backups"}': "4e9x60",
      'node_filesystem_size_bytes{mountpoint="/volumes/backups"}': "100e9x60",
    },
    labels: { ...node, mountpoint: "/volumes/backups" },
    summary: "The disk of volume backups of production is full but for 4%.",
    silent: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/backups"}': "6e9x60",
      'node_filesystem_size_bytes{mountpoint="/volumes/backups"}': "100e9x60",
    },
  },
  {
    alert: "VolumeFullWithinADay",
    fires: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/data"}': "39e9-30e6x400",
      'node_filesystem_size_bytes{mountpoint="/volumes/data"}': "100e9x400",
    },
    at: 390,
    labels: { ...node, mountpoint: "/volumes/data" },
    summary:
      "The disk of volume data of production will be full within a day if it goes on as in the last six hours.",
    silent: {
      'node_filesystem_avail_bytes{mountpoint="/volumes/data"}': "39e9-3e6x400",
      'node_filesystem_size_bytes{mountpoint="/volumes/data"}': "100e9x400",
      // As fast, but there is room yet.
      'node_filesystem_avail_bytes{mountpoint="/volumes/backups"}': "95e9-100e6x400",
      'node_filesystem_size_bytes{mountpoint="/volumes/backups"}': "100e9x400",
    },
  },
  {
    alert: "DisksUnknown",
    fires: { 'up{job="node",instance="node-exporter:9100"}': "0x60" },
    labels: node,
    summary: "Nobody looks at the disks of production.",
    silent: { 'up{job="node",instance="node-exporter:9100"}': "1x60" },
  },
  {
    alert: "DisksUnknown",
    fires: {
      'node_scrape_collector_success{collector="filesystem",job="node",instance="node-exporter:9100"}':
        "0x60",
    },
    labels: { ...node, collector: "filesystem" },
    summary: "Nobody looks at the disks of production.",
    silent: {
      'node_scrape_collector_success{collector="filesystem",job="node",instance="node-exporter:9100"}':
        "1x60",
    },
  },
  {
    alert: "CertificateExpiring",
    fires: { postgresql_environment_certificate_expires_timestamp_seconds: `${20 * day}x120` },
    at: 90,
    labels: own,
    summary: "The certificate of production ends in 19d 22h 30m 0s.",
    silent: { postgresql_environment_certificate_expires_timestamp_seconds: `${31 * day}x120` },
  },
  {
    alert: "CertificateExpired",
    fires: { postgresql_environment_certificate_expires_timestamp_seconds: `${2 * day}x120` },
    labels: own,
    summary: "The certificate of production ends in 1d 23h 0m 0s; clients that verify it can't connect then.",
    silent: { postgresql_environment_certificate_expires_timestamp_seconds: `${4 * day}x120` },
  },
  {
    alert: "MigrationFailed",
    fires: { postgresql_environment_migrations_failed: "1x60" },
    labels: own,
    summary: "The last run of migrations in production has failed.",
    silent: {
      postgresql_environment_migrations_failed: "0x60",
      postgresql_environment_migrations_pending: "3x60",
    },
  },
  {
    alert: "MigrationPending",
    fires: { postgresql_environment_migrations_pending: "2x60" },
    labels: own,
    summary: "2 migrations of production have been pending for more than 15 minutes.",
    silent: { postgresql_environment_migrations_pending: "0x50 2x9 0x9" },
  },
  {
    alert: "BackupMissing",
    fires: {
      postgresql_environment_backup_newest_timestamp_seconds: "0x120",
      postgresql_environment_backup_every_seconds: `${day}x120`,
    },
    at: 90,
    labels: own,
    summary: "There is no backup of production yet.",
    silent: { postgresql_environment_backup_newest_timestamp_seconds: "0x50 3000x70" },
  },
  {
    alert: "BackupOld",
    fires: {
      postgresql_environment_backup_newest_timestamp_seconds: "60x4000",
      postgresql_environment_backup_every_seconds: `${day}x4000`,
    },
    at: 3000,
    labels: own,
    summary: "The newest backup of production was complete 2d 1h 59m 0s ago.",
    silent: {
      // Twice the age that one may have, but only since half an hour.
      postgresql_environment_backup_newest_timestamp_seconds: `${3000 * 60 - 2 * day - 1800}x4000`,
      postgresql_environment_backup_every_seconds: `${day}x4000`,
    },
  },
  {
    alert: "BackupStopped",
    fires: { postgresql_environment_heartbeat_timestamp_seconds: "60x120" },
    at: 30,
    labels: own,
    summary: "The backup of production has given no sign of life for 29m 0s.",
    silent: { postgresql_environment_heartbeat_timestamp_seconds: "0+60x120" },
  },
  {
    alert: "RestoreDrillMissing",
    fires: { postgresql_environment_drill_success_timestamp_seconds: "0x4000" },
    at: 3000,
    labels: own,
    summary: "No backup of production has ever been restored.",
    silent: { postgresql_environment_drill_success_timestamp_seconds: "0x2000 6000x2000" },
  },
  {
    alert: "RestoreDrillOld",
    fires: {
      postgresql_environment_drill_success_timestamp_seconds: "60x500",
      postgresql_environment_drill_every_seconds: "3600x500",
    },
    at: 300,
    labels: own,
    summary: "The last restore that succeeded in a drill of production was 4h 59m 0s ago.",
    silent: {
      postgresql_environment_drill_success_timestamp_seconds: "60x500",
      postgresql_environment_drill_every_seconds: `${day}x500`,
    },
  },
  {
    alert: "RestoreDrillFailed",
    fires: { postgresql_environment_drill_ok: "0x60" },
    labels: own,
    summary: "The last restore drill of production has failed.",
    silent: { postgresql_environment_drill_ok: "1x60" },
  },
];

const byAlert = (name: string) => rules.find(({ alert }) => alert === name);

/** A series with the labels that Prometheus gives every one of a target, where it has none of them itself. */
function labelled(series: string): string {
  const [, name = "", labels = ""] = /^([^{]+)(?:\{(.*)\})?$/s.exec(series) ?? [];
  const { job, instance } = name.startsWith("node_") ? node : own;
  const missing = [
    ...(/\bjob=/.test(labels) ? [] : [`job="${job}"`]),
    ...(/\binstance=/.test(labels) ? [] : [`instance="${instance}"`]),
  ];
  return `${name}{${[...(labels ? [labels] : []), ...missing, 'project="shop"', 'stack="production"'].join(",")}}`;
}

/** What an annotation says, its labels filled in. */
function rendered(text: string, labels: Readonly<Record<string, string>>): string {
  return text.replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => labels[name] ?? "");
}

const input = (series: Series) =>
  Object.entries(series).map(([name, values]) => ({ series: labelled(name), values }));

/** One rule alone, with the recording rules: promtool evaluates all that it is given, every minute of a test. */
function ruleFileOf(alert: string): string {
  const some = ruleFiles()
    .flatMap(({ text }) => parse(text).groups as { rules: Rule[] }[])
    .flatMap((group) => group.rules)
    .filter((rule) => rule.alert === undefined || rule.alert === alert);
  return JSON.stringify({ groups: [{ name: "tested", rules: some }] });
}

/** promtool's files for a case, by name. */
function promtoolFiles(each: AlertCase, silent: Series = each.silent): Record<string, string> {
  const rule = byAlert(each.alert);
  const labels = { project: "shop", stack: "production", ...each.labels };
  const test = (series: Series, alerts: object[]) => ({
    name: each.alert,
    interval: "1m",
    input_series: input(series),
    alert_rule_test: [{ eval_time: `${each.at ?? 60}m`, alertname: each.alert, exp_alerts: alerts }],
  });
  const firing = {
    exp_labels: { ...rule?.labels, ...labels },
    exp_annotations: { summary: each.summary, action: rendered(rule?.annotations?.action ?? "", labels) },
  };
  const index = cases.indexOf(each);
  return {
    [`rule-${index}.yml`]: ruleFileOf(each.alert),
    [`test-${index}.yml`]: JSON.stringify({
      rule_files: [`rule-${index}.yml`],
      // Each evaluation takes its time: days are passed in larger steps.
      evaluation_interval: (each.at ?? 0) > 1_000 ? "10m" : "1m",
      tests: [test(each.fires, [firing]), test(silent, [])],
    }),
  };
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "alert-rules-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the promtool of Prometheus' own image on files; what it says. Rejects where it finds something wrong. */
async function promtool(files: Readonly<Record<string, string>>, ...args: string[]): Promise<string> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o644 });
  const id = await docker(
    ...["create", "--label", `${testLabel}=${testRun}`, "--network", "none", "--workdir", "/rules"],
    // promtool keeps a database for each test, and waits for the disk otherwise.
    ...["--tmpfs", "/tmp"],
    ...["--entrypoint", "promtool", monitoringImages.prometheus, ...args],
  );
  try {
    await docker("cp", `${folder}/.`, `${id}:/rules`);
    await docker("start", id);
    const code = await docker("wait", id);
    const log = await containerLog(id);
    if (code !== "0") throw new Error(log);
    return log;
  } finally {
    await docker("rm", "--force", "--volumes", id);
  }
}

const ruleTexts = Object.fromEntries(ruleFiles().map(({ name, text }) => [name, text]));

describe("the alert rules", () => {
  it("have a test that makes each of them fire, and one that leaves it silent", () => {
    expect(new Set(cases.map(({ alert }) => alert))).toEqual(new Set(rules.map(({ alert }) => alert)));
  });

  it("are sound", async () => {
    expect(await promtool(ruleTexts, "check", "rules", ...Object.keys(ruleTexts))).toContain("SUCCESS");
  });

  it("fire and stay silent as they should, and say what to do", async () => {
    const files = Object.assign({}, ...cases.map((each) => promtoolFiles(each))) as Record<string, string>;
    const tests = Object.keys(files).filter((name) => name.startsWith("test-"));
    expect(await promtool(files, "test", "rules", ...tests)).toContain("SUCCESS");
  });

  it("would fail that test if they fired where they should be silent", async () => {
    const [down] = cases;
    const wrong = down && promtoolFiles(down, down.fires);
    await expect(promtool(wrong ?? {}, "test", "rules", "test-0.yml")).rejects.toThrow(
      /PostgresqlDown[\s\S]*exp:/,
    );
  });

  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    "%s says how bad it is and what to do",
    (_, rule) => {
      expect(rule.labels?.severity).toMatch(/^(?:warning|critical)$/);
      expect(rule.annotations?.summary).toContain("$labels.stack");
      expect(rule.annotations?.action?.length).toBeGreaterThan(50);
    },
  );
});
