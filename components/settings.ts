import { isIP } from "node:net";
import type * as pulumi from "@pulumi/pulumi";
import { roleNames } from "./names.ts";
import { type AccessRule, isLoopback, parseAccessRules, parseNetworks } from "./settings/access-rules.ts";
import { applyExceptions, findRisks, superuserMistake } from "./settings/guard-rails.ts";
import { type MajorVersion, majorVersionOfImage, supportedMajorVersions } from "./settings/image.ts";
import { monitoringImages, prometheusLimits } from "./settings/monitoring-defaults.ts";
import {
  type HealthCheck,
  type Lifetime,
  type Logging,
  type Monitoring,
  monitoringLevels,
  type Profile,
  type ProfileName,
  profiles,
} from "./settings/profiles.ts";
import {
  type RawSettings,
  rotatedKeys,
  type SettingKey,
  type SettingName,
  settingKeys,
} from "./settings/schema.ts";
import type { TimeWindow } from "./settings/time-window.ts";
import { parseAge, parseSize } from "./settings/units.ts";

/** An extension of the application's database. */
export interface ExtensionSetting {
  readonly name: string;
  /** Default: the schema `extensions`. */
  readonly schema: string;
  /** Default: the image's newest. */
  readonly version: string | undefined;
}

/** Certificate, key and authority that a team brings along. PEM. */
export interface OwnCertificate {
  readonly certificate: string;
  readonly key: pulumi.Output<string>;
  readonly ca: string;
}

/** The copy of the backups off the host. */
export interface CopySettings {
  /** An rclone.conf with one remote. */
  readonly config: pulumi.Output<string>;
  /** Folder in that remote. */
  readonly path: string;
  /** Seconds. */
  readonly every: number;
  readonly encryption: boolean;
  /** Undefined: generated. */
  readonly key: pulumi.Output<string> | undefined;
}

/** How an environment is backed up. Ages are in seconds. */
export interface BackupSettings {
  /** Of the Docker host; undefined: a volume. */
  readonly folder: string | undefined;
  readonly every: number;
  readonly fullEvery: number;
  readonly window: number;
  /** Full base backups that are kept whatever their age. */
  readonly minimum: number;
  readonly synchronous: boolean;
  /** Bytes of WAL. */
  readonly walLimit: number;
  /** 0: never. */
  readonly drillEvery: number;
  readonly drillQuery: string | undefined;
  readonly final: boolean;
  /** Undefined: the backups stay on the host. */
  readonly copy: CopySettings | undefined;
}

/** What the data is to be restored from, and to: one of time, name, lsn and latest. */
export type RestoreSetting = NonNullable<RawSettings["restore"]>;

/** One of the programs that watch an environment. */
export interface MonitoringProgram {
  readonly image: string;
  /** On the bind address; undefined: reached in the environment's network alone. */
  readonly port: number | undefined;
}

/** What watches an environment. Undefined: not there. */
export interface MonitoringSettings {
  readonly exporter: MonitoringProgram;
  readonly nodeExporter: MonitoringProgram;
  readonly prometheus:
    | (MonitoringProgram & {
        /** In seconds. */
        readonly retention: number;
        /** In bytes. */
        readonly size: number;
        /** Address of the Alertmanager; undefined: none. */
        readonly alertmanager: string | undefined;
      })
    | undefined;
  readonly grafana:
    | (MonitoringProgram & {
        /** Undefined: generated. */
        readonly password: pulumi.Output<string> | undefined;
      })
    | undefined;
}
export type RotatedKey = (typeof rotatedKeys)[number];

/** Everything that a stack's settings decide, checked and complete. Sizes are in bytes, durations in seconds. */
export interface Settings {
  readonly profile: ProfileName;
  readonly lifetime: Lifetime;
  readonly image: string;
  readonly majorVersion: MajorVersion;
  readonly appName: string;
  readonly databaseName: string;
  readonly schemaName: string;
  readonly superuserName: string;
  /** Undefined: generated. */
  readonly superuserPassword: pulumi.Output<string> | undefined;
  /** Undefined: a free port chosen by Docker. */
  readonly port: number | undefined;
  readonly bindAddress: string;
  readonly host: string;
  /** In order: the first that fits decides. */
  readonly accessRules: readonly AccessRule[];
  /** CIDR. */
  readonly programNetworks: readonly string[];
  readonly extensions: readonly ExtensionSetting[];
  readonly memory: number;
  /** In cores; undefined: no limit. */
  readonly cpus: number | undefined;
  readonly shmSize: number;
  readonly tmpfsSize: number;
  readonly serverSettings: Readonly<Record<string, string>>;
  /** When an update may restart the server; undefined: at any time. */
  readonly restartWindow: TimeWindow | undefined;
  readonly logging: Logging;
  readonly healthCheck: HealthCheck;
  readonly stopTimeout: number;
  readonly initdbFolder: string;
  readonly migrationsFolder: string;
  /** Undefined: the newest migration. */
  readonly migrationsTarget: string | undefined;
  /** A time with its unit, or 0. Undefined, here and below: the migrator's default. */
  readonly migrationsLockTimeout: string | undefined;
  readonly migrationsLockRetries: number | undefined;
  readonly migrationsStatementTimeout: string | undefined;
  /** Name or number of the migration to which the way back may lose data. */
  readonly allowDataLoss: string | undefined;
  /** Name of the set of seed data; undefined: none. */
  readonly seeds: string | undefined;
  readonly deletionProtection: boolean;
  readonly adoptVolume: boolean;
  readonly tls: boolean;
  readonly sslMode: "disable" | "require";
  readonly ownCertificate: OwnCertificate | undefined;
  /** Undefined: the environment is not backed up. */
  readonly backup: BackupSettings | undefined;
  readonly restore: RestoreSetting | undefined;
  /** Undefined: nothing watches it. */
  readonly monitoring: MonitoringSettings | undefined;
  /** Major version that the data is brought from. */
  readonly upgradeFrom: MajorVersion | undefined;
  /** Volume that the server is to be on; undefined: the newest. */
  readonly dataGeneration: number | undefined;
  /** Of the server's certificate, where the program makes it, in hours. */
  readonly certificateValidity: number;
  /** How often each was rotated, counted from 1. */
  readonly rotation: Readonly<Record<RotatedKey, number>>;
  /** What is still taken from before its last rotation. */
  readonly rotationOverlap: readonly ("app" | "authority")[];
  /** In milliseconds; undefined: previews remind of nothing. */
  readonly passwordMaxAge: number | undefined;
  /** As the setting has it; undefined: for ever. */
  readonly keepFor: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** What is risky in these settings, and accepted: shown in each preview. */
  readonly warnings: readonly string[];
}

/** A setting as the stack's configuration has it: text, and whether it is encrypted there. */
export interface ConfigValue {
  readonly text: string;
  readonly secret: boolean;
}

/**
 * Checks raw configuration values and fills in defaults. Pure, and without loading Pulumi, so that every rule can be
 * tested without an engine, and `./db` can read a stack's file.
 *
 * @param secret `pulumi.secret`, which the password and the key of the settings are handed to.
 */
export function parseSettings(
  values: Readonly<Record<string, ConfigValue>>,
  secret: typeof pulumi.secret,
): { settings: Settings } | { mistakes: string[] } {
  const mistakes: string[] = [];
  const raw: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(settingKeys, key)) {
      mistakes.push(unknownKeyMistake(key));
      continue;
    }
    const setting: SettingKey = settingKeys[key as SettingName];
    if (setting.secret && !value.secret) {
      mistakes.push(
        `${key}: is in plain text, expected an encrypted value. Fix: take it out of the file, choose another value and run: pulumi config set --secret ${key}`,
      );
      continue;
    }
    const parsed = setting.schema.safeParse(decode(value.text, setting));
    if (parsed.success) raw[key] = parsed.data;
    else mistakes.push(valueMistake(key, setting, value));
  }
  if (raw.profile === undefined && !Object.hasOwn(values, "profile")) {
    mistakes.push(
      "profile: is not set, expected production or development. Fix: pulumi config set profile development",
    );
  }
  if (mistakes.length > 0) return { mistakes };
  const plainTexts = Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (value.secret ? [] : [[key, value.text]])),
  );
  const settings = complete(raw as RawSettings & { profile: ProfileName }, plainTexts, secret, mistakes);
  return settings && mistakes.length === 0 ? { settings } : { mistakes };
}

/** Configuration arrives as text; only keys that aren't texts themselves are read as JSON (so that «0123» stays a name). */
function decode(text: string, setting: SettingKey): unknown {
  if (setting.schema.safeParse(text).success) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function valueMistake(key: string, setting: SettingKey, value: ConfigValue): string {
  const got =
    value.secret || setting.secret ? "got a secret value that does not fit" : `got ${excerpt(value.text)}`;
  const option = setting.secret ? "--secret " : "";
  const fix = setting.structured
    ? `correct it in the stack's file, for example ${key}: ${setting.example}`
    : `pulumi config set ${option}${key} ${setting.example}`;
  return `${key}: ${got}, expected ${setting.expected}. Fix: ${fix}`;
}

function excerpt(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function unknownKeyMistake(key: string): string {
  const nearest = Object.keys(settingKeys)
    .map((known) => ({ known, distance: editDistance(key.toLowerCase(), known.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint =
    nearest && nearest.distance <= 3
      ? `Did you mean ${nearest.known}?`
      : `Known keys: ${Object.keys(settingKeys).join(", ")}.`;
  return `${key}: is not a setting. ${hint} Fix: pulumi config rm ${key}`;
}

/** Number of single-character edits between two words (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      next.push(
        Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (letter === other ? 0 : 1)),
      );
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

function complete(
  raw: RawSettings & { profile: ProfileName },
  plainTexts: Readonly<Record<string, string>>,
  secret: typeof pulumi.secret,
  mistakes: string[],
): Settings | undefined {
  const profile = profiles[raw.profile];
  const persistent = profile.lifetime === "persistent";
  const image = raw.image ?? settingKeys.image.declared.default;
  const majorVersion = resolveMajorVersion(image, raw.majorVersion, mistakes);
  const memory = raw.memory ?? parseSize(profile.memory) ?? 0;
  const tmpfsSize = raw.tmpfsSize ?? Math.floor(memory / 2);
  const bindAddress = raw.bindAddress ?? settingKeys.bindAddress.declared.default;
  const appName = raw.appName ?? settingKeys.appName.declared.default;
  const databaseName = raw.databaseName ?? appName;
  const serverSettings = Object.fromEntries(
    Object.entries(raw.serverSettings ?? {}).map(([key, value]) => [key, settingText(value)]),
  );

  const reject = (text: string) => mistakes.push(text);
  if (!settingKeys.databaseName.schema.safeParse(databaseName).success) {
    reject(
      `databaseName: follows appName and would be ${excerpt(databaseName)}, expected ${settingKeys.databaseName.expected}. Fix: pulumi config set databaseName shop`,
    );
  }
  if (!persistent && tmpfsSize > memory) {
    reject("tmpfsSize: is larger than memory, which it counts towards. Fix: raise memory or lower tmpfsSize");
  }
  if (persistent && raw.tmpfsSize !== undefined) {
    reject(
      "tmpfsSize: has no effect with profile production, whose data is in a volume. Fix: pulumi config rm tmpfsSize",
    );
  }
  if (persistent && raw.seeds !== undefined) {
    reject(
      "seeds: is for profile development only: seed data has no place in a database that is kept. Fix: pulumi config rm seeds",
    );
  }
  if (!persistent && raw.adoptVolume) {
    reject(
      "adoptVolume: has no effect with profile development, which has no volume. Fix: pulumi config rm adoptVolume",
    );
  }
  if (persistent && raw.keepFor !== undefined) {
    reject(
      "keepFor: has no effect with profile production, which is never removed by itself. Fix: pulumi config rm keepFor",
    );
  }
  if (!persistent && raw.restartWindow !== undefined) {
    reject(
      "restartWindow: has no effect with profile development, whose container is made anew for any change. Fix: pulumi config rm restartWindow",
    );
  }
  if (!persistent && raw.deletionProtection) {
    reject(
      "deletionProtection: has no effect with profile development, whose data is thrown away. Fix: pulumi config rm deletionProtection",
    );
  }
  for (const key of ["fsync", "full_page_writes", "synchronous_commit"] as const) {
    const off = ["off", "false", "no", "0"].includes(serverSettings[key] ?? "");
    if (persistent && off) {
      reject(
        `serverSettings: ${key} is off, which loses data of a production environment in a crash. Fix: remove it from serverSettings`,
      );
    }
  }
  const ownKeys = (["tlsCertificate", "tlsKey", "tlsCa"] as const).filter((key) => raw[key] !== undefined);
  if (ownKeys.length > 0 && !profile.tls) {
    reject(
      `${ownKeys.join(", ")}: no effect with profile development, which serves no TLS. Fix: remove the setting`,
    );
  } else if (ownKeys.length > 0 && ownKeys.length < 3) {
    reject(
      `${ownKeys.join(", ")}: an own certificate needs tlsCertificate, tlsKey and tlsCa together. Fix: set all three or none`,
    );
  }
  const rotation = Object.fromEntries(rotatedKeys.map((key) => [key, raw.rotation?.[key] ?? 1])) as Record<
    RotatedKey,
    number
  >;
  rejectRotation(raw, rotation, profile, reject);
  if (!persistent && raw.allowDataLoss !== undefined) {
    reject(
      "allowDataLoss: has no effect with profile development, whose data is thrown away anyway. Fix: pulumi config rm allowDataLoss",
    );
  }
  const backedUp = raw.backups ?? profile.backups;
  const deletionProtection = raw.deletionProtection ?? profile.deletionProtection;
  const guard = persistent
    ? applyExceptions(
        findRisks({ backedUp, deletionProtection, image, plainTexts, serverSettings }),
        raw.exceptions ?? {},
      )
    : { mistakes: [], warnings: [] };
  for (const mistake of guard.mistakes) reject(mistake);
  if (!persistent && raw.exceptions !== undefined) {
    reject(
      "exceptions: has no effect with profile development, whose data is thrown away. Fix: pulumi config rm exceptions",
    );
  }
  const superuser = superuserMistake(
    raw.superuserName ?? settingKeys.superuserName.declared.default,
    roleNames(appName),
  );
  if (superuser !== undefined) reject(superuser);
  const access = parseAccessRules(raw.accessRules ?? []);
  const program = parseNetworks(raw.programNetworks ?? []);
  for (const mistake of [...access.mistakes, ...program.mistakes]) reject(mistake);
  if (persistent && !isLoopback(bindAddress)) {
    if ((raw.accessRules ?? []).length === 0) {
      reject(
        `bindAddress: publishes the port on ${bindAddress}, and accessRules lets nobody in from another machine. Fix: add accessRules for those who are to come from there, or run: pulumi config rm bindAddress`,
      );
    }
    if (isIP(raw.host ?? reachableAddress(bindAddress)) === 0 && program.networks.length === 0) {
      reject(
        `programNetworks: is not set, and from which address ${raw.host} is reached by this program can't be told. Fix: pulumi config set --path 'programNetworks[0]' followed by the Docker host's own address, or by that of the machine that runs Pulumi`,
      );
    }
  }
  const moves = (["upgradeFrom", "dataGeneration", "restore", "adoptVolume"] as const).filter(
    (key) => raw[key] !== undefined && raw[key] !== false,
  );
  const toVolume = raw.upgradeFrom !== undefined || raw.dataGeneration !== undefined;
  if (toVolume && !persistent) {
    reject(
      "upgradeFrom, dataGeneration: no effect with profile development, which has no volume. Fix: remove the setting",
    );
  } else if (toVolume && moves.length > 1) {
    reject(
      `${moves.join(", ")}: each moves the server to a volume of its own. Fix: do one after the other, and remove a setting that has done its work`,
    );
  }
  if (raw.upgradeFrom !== undefined && majorVersion !== undefined && raw.upgradeFrom >= majorVersion) {
    reject(
      `upgradeFrom: is ${raw.upgradeFrom}, and the image is PostgreSQL ${majorVersion}, expected a later one. Fix: pulumi config set image postgres:17-trixie, or pulumi config rm upgradeFrom`,
    );
  }
  rejectBackupSettings(raw, { persistent, backedUp, serverSettings }, reject);
  const extensionNames = (raw.extensions ?? []).map((entry) =>
    typeof entry === "string" ? entry : entry.name,
  );
  const twice = extensionNames.find((name, index) => extensionNames.indexOf(name) !== index);
  if (twice !== undefined) reject(`extensions: ${twice} is listed twice. Fix: remove one of the two`);
  const monitoring = completeMonitoring(raw, raw.monitoring ?? profile.monitoring, secret, reject);
  if (majorVersion === undefined || mistakes.length > 0) return undefined;

  return {
    profile: raw.profile,
    lifetime: profile.lifetime,
    image,
    majorVersion,
    appName,
    databaseName,
    schemaName: raw.schemaName ?? settingKeys.schemaName.declared.default,
    superuserName: raw.superuserName ?? settingKeys.superuserName.declared.default,
    superuserPassword: raw.superuserPassword === undefined ? undefined : secret(raw.superuserPassword),
    port: raw.port ?? profile.port,
    bindAddress,
    host: raw.host ?? reachableAddress(bindAddress),
    accessRules: access.rules,
    programNetworks: program.networks,
    extensions: (raw.extensions ?? []).map((entry) => ({
      name: typeof entry === "string" ? entry : entry.name,
      schema: (typeof entry === "string" ? undefined : entry.schema) ?? "extensions",
      version: typeof entry === "string" ? undefined : entry.version,
    })),
    memory,
    cpus: raw.cpus,
    shmSize: raw.shmSize ?? Math.floor(memory / 4),
    tmpfsSize,
    serverSettings,
    restartWindow: raw.restartWindow,
    logging: loggingOf(profile.logging, raw.logging ?? {}),
    healthCheck: { ...profile.healthCheck, ...definedEntries(raw.healthCheck ?? {}) },
    stopTimeout: profile.stopTimeout,
    initdbFolder: raw.initdbFolder ?? settingKeys.initdbFolder.declared.default,
    migrationsFolder: raw.migrationsFolder ?? settingKeys.migrationsFolder.declared.default,
    migrationsTarget: raw.migrationsTarget,
    migrationsLockTimeout: raw.migrationsLockTimeout,
    migrationsLockRetries: raw.migrationsLockRetries,
    migrationsStatementTimeout: raw.migrationsStatementTimeout,
    allowDataLoss: raw.allowDataLoss,
    seeds: raw.seeds,
    deletionProtection,
    adoptVolume: raw.adoptVolume ?? settingKeys.adoptVolume.declared.default,
    tls: profile.tls,
    sslMode: profile.sslMode,
    ownCertificate:
      raw.tlsCertificate !== undefined && raw.tlsKey !== undefined && raw.tlsCa !== undefined
        ? { certificate: raw.tlsCertificate, key: secret(raw.tlsKey), ca: raw.tlsCa }
        : undefined,
    backup: backedUp ? backupSettings(raw, secret) : undefined,
    restore: raw.restore,
    monitoring,
    upgradeFrom: raw.upgradeFrom,
    dataGeneration: raw.dataGeneration,
    certificateValidity: Math.floor((parseAge(raw.certificateValidity ?? "820d") ?? 0) / 3_600_000),
    rotation,
    rotationOverlap: raw.rotationOverlap ?? [],
    passwordMaxAge: raw.passwordMaxAge === undefined ? undefined : parseAge(raw.passwordMaxAge),
    keepFor: raw.keepFor,
    labels: raw.labels ?? {},
    warnings: guard.warnings,
  };
}

function backupSettings(raw: RawSettings, secret: typeof pulumi.secret): BackupSettings {
  const seconds = (text: string) => (parseAge(text) ?? 0) / 1000;
  return {
    folder: raw.backupFolder,
    every: seconds(raw.backupEvery ?? "1d"),
    fullEvery: seconds(raw.backupFullEvery ?? "7d"),
    window: seconds(raw.backupWindow ?? "14d"),
    minimum: raw.backupMinimum ?? 2,
    synchronous: raw.backupSynchronous ?? false,
    walLimit: raw.backupWalLimit ?? 10 * 1024 ** 3,
    drillEvery: seconds(raw.drillEvery ?? "1d"),
    drillQuery: raw.drillQuery,
    final: raw.finalBackup ?? true,
    copy:
      raw.backupCopyConfig !== undefined && raw.backupCopyPath !== undefined
        ? {
            config: secret(raw.backupCopyConfig),
            path: raw.backupCopyPath,
            every: seconds(raw.backupCopyEvery ?? "1min"),
            encryption: raw.backupCopyEncryption ?? true,
            key: raw.backupCopyKey === undefined ? undefined : secret(raw.backupCopyKey),
          }
        : undefined,
  };
}

/** Settings that mean nothing without `backups`. */
const backupKeys = [
  "backupFolder",
  "backupEvery",
  "backupFullEvery",
  "backupWindow",
  "backupMinimum",
  "backupSynchronous",
  "backupWalLimit",
  "backupCopyConfig",
  "backupCopyPath",
  "backupCopyEvery",
  "backupCopyEncryption",
  "backupCopyKey",
  "drillEvery",
  "drillQuery",
  "finalBackup",
] as const satisfies readonly SettingName[];

/** Streaming takes one of them, a base backup two more. */
const leastWalSenders = 4;

function rejectBackupSettings(
  raw: RawSettings,
  given: {
    readonly persistent: boolean;
    readonly backedUp: boolean;
    readonly serverSettings: Readonly<Record<string, string>>;
  },
  reject: (mistake: string) => void,
): void {
  const { backedUp, persistent, serverSettings } = given;
  if (!persistent && raw.backups) {
    reject(
      "backups: has no effect with profile development, whose data is thrown away. Fix: pulumi config rm backups",
    );
  }
  const idle = backedUp ? [] : backupKeys.filter((key) => raw[key] !== undefined);
  if (idle.length > 0) {
    reject(
      `${idle.join(", ")}: no effect where nothing is backed up. Fix: ${persistent ? "pulumi config set backups true, or remove the setting" : "remove the setting"}`,
    );
  }
  if (raw.restore) {
    const { from, maskingFile } = raw.restore;
    const otherStack = typeof from === "object";
    if (!persistent && !otherStack) {
      reject(
        "restore: profile development has no backups of its own. Fix: name the stack whose backup it is, as in restore: {from: {stack: production}, latest: true}",
      );
    } else if (!otherStack && !backedUp) {
      reject("restore: there is no backup where backups is false. Fix: pulumi config set backups true");
    }
    if (maskingFile !== undefined && !otherStack) {
      reject(
        "restore: maskingFile changes rows, and is for copies of another stack's data: it needs from: {stack: NAME}. Fix: take maskingFile out of restore",
      );
    }
    if (from === "copy" && raw.backupCopyConfig === undefined) {
      reject(
        "restore: from is copy, but no copy is set. Fix: set backupCopyConfig, backupCopyPath and backupCopyKey as they were when it was made",
      );
    }
    if (raw.adoptVolume) {
      reject(
        "restore, adoptVolume: the data can come from a backup or from a volume, not from both. Fix: pulumi config rm adoptVolume",
      );
    }
  }
  if (!backedUp) return;
  rejectCopySettings(raw, reject);
  if (serverSettings.wal_level === "minimal") {
    reject(
      "serverSettings: wal_level is minimal, of which no backup can be taken. Fix: remove it, or set backups to false",
    );
  }
  for (const [key, least] of [
    ["max_wal_senders", leastWalSenders],
    ["max_replication_slots", 1],
  ] as const) {
    const text = serverSettings[key];
    if (text !== undefined && !(Number(text) >= least)) {
      reject(
        `serverSettings: ${key} is ${excerpt(text)}, expected at least ${least}, which backups need. Fix: raise it, or remove it`,
      );
    }
  }
  for (const [key, setting] of [
    ["max_slot_wal_keep_size", "backupWalLimit"],
    ["synchronous_standby_names", "backupSynchronous"],
  ] as const) {
    if (serverSettings[key] !== undefined && raw[setting] !== undefined) {
      reject(`serverSettings: ${key} is what ${setting} decides. Fix: remove one of the two`);
    }
  }
}

function rejectCopySettings(raw: RawSettings, reject: (mistake: string) => void): void {
  const { backupCopyConfig, backupCopyEncryption, backupCopyKey, backupCopyPath } = raw;
  if (backupCopyConfig !== undefined && backupCopyPath === undefined) {
    reject(
      "backupCopyConfig: needs backupCopyPath, the folder of the copy in that storage. Fix: pulumi config set backupCopyPath shop-backups/production",
    );
  }
  const keys = ["backupCopyPath", "backupCopyEvery", "backupCopyEncryption", "backupCopyKey"] as const;
  const idle = backupCopyConfig === undefined ? keys.filter((key) => raw[key] !== undefined) : [];
  if (idle.length > 0) {
    reject(
      `${idle.join(", ")}: no effect without backupCopyConfig, the storage that the copy goes to. Fix: pulumi config set --secret backupCopyConfig < rclone.conf`,
    );
  } else if (backupCopyKey !== undefined && backupCopyEncryption === false) {
    reject("backupCopyKey: no effect where backupCopyEncryption is false. Fix: remove one of the two");
  }
}

/** The level that a setting of monitoring needs, by setting. */
const neededLevel = {
  exporterImage: "exporter",
  exporterPort: "exporter",
  nodeExporterImage: "exporter",
  nodeExporterPort: "exporter",
  prometheusImage: "prometheus",
  prometheusPort: "prometheus",
  prometheusRetention: "prometheus",
  prometheusSize: "prometheus",
  alertmanager: "prometheus",
  grafanaImage: "grafana",
  grafanaPort: "grafana",
  grafanaPassword: "grafana",
} as const satisfies Partial<Record<SettingName, Monitoring>>;

function completeMonitoring(
  raw: RawSettings & { profile: ProfileName },
  level: Monitoring,
  secret: typeof pulumi.secret,
  reject: (mistake: string) => void,
): MonitoringSettings | undefined {
  const reaches = (needed: Monitoring) => monitoringLevels.indexOf(level) >= monitoringLevels.indexOf(needed);
  if (profiles[raw.profile].lifetime === "ephemeral" && reaches("exporter")) {
    reject(
      "monitoring: has no effect with profile development, which nobody watches. Fix: pulumi config rm monitoring",
    );
    return undefined;
  }
  for (const [key, needed] of Object.entries(neededLevel) as [keyof typeof neededLevel, Monitoring][]) {
    if (raw[key] === undefined || reaches(needed)) continue;
    reject(
      `${key}: has no effect with monitoring ${level}, expected ${needed} or more. Fix: pulumi config set monitoring ${needed}, or pulumi config rm ${key}`,
    );
  }
  if (reaches("grafana") && raw.grafanaPort === undefined) {
    reject(
      "grafanaPort: is not set, so that nobody could open the dashboards of monitoring grafana. Fix: pulumi config set grafanaPort 3000",
    );
  }
  const ports = (["port", "exporterPort", "nodeExporterPort", "prometheusPort", "grafanaPort"] as const).map(
    (key) => ({ key, port: raw[key] ?? (key === "port" ? profiles[raw.profile].port : undefined) }),
  );
  for (const [index, { key, port }] of ports.entries()) {
    const first = ports.slice(0, index).find((other) => port !== undefined && other.port === port);
    if (first)
      reject(`${key}: is ${port}, which ${first.key} is too. Fix: choose another port for one of them`);
  }
  if (!reaches("exporter")) return undefined;
  return {
    exporter: { image: raw.exporterImage ?? monitoringImages.exporter, port: raw.exporterPort },
    nodeExporter: {
      image: raw.nodeExporterImage ?? monitoringImages.nodeExporter,
      port: raw.nodeExporterPort,
    },
    prometheus: reaches("prometheus")
      ? {
          image: raw.prometheusImage ?? monitoringImages.prometheus,
          port: raw.prometheusPort,
          retention: (parseAge(raw.prometheusRetention ?? prometheusLimits.retention) ?? 0) / 1000,
          size: raw.prometheusSize ?? parseSize(prometheusLimits.size) ?? 0,
          alertmanager: raw.alertmanager,
        }
      : undefined,
    grafana: reaches("grafana")
      ? {
          image: raw.grafanaImage ?? monitoringImages.grafana,
          port: raw.grafanaPort,
          password: raw.grafanaPassword === undefined ? undefined : secret(raw.grafanaPassword),
        }
      : undefined,
  };
}

/** False switches off what a profile has on. */
function loggingOf(standard: Logging, given: NonNullable<RawSettings["logging"]>): Logging {
  const limit = (value: string | false | undefined, otherwise: string | undefined) =>
    value === undefined ? otherwise : value || undefined;
  return {
    ...standard,
    ...definedEntries(given),
    slowStatements: limit(given.slowStatements, standard.slowStatements),
    temporaryFiles: limit(given.temporaryFiles, standard.temporaryFiles),
  };
}

function rejectRotation(
  raw: RawSettings,
  rotation: Readonly<Record<RotatedKey, number>>,
  { lifetime, tls }: Profile,
  reject: (text: string) => void,
): void {
  if (lifetime === "ephemeral") {
    for (const key of ["rotation", "rotationOverlap", "passwordMaxAge", "certificateValidity"] as const) {
      const value = raw[key];
      if (value === undefined || Object.keys(value).length === 0) continue;
      reject(
        `${key}: has no effect with profile development, which serves no TLS and gets new passwords by destroy and up. Fix: pulumi config rm ${key}`,
      );
    }
  }
  if (raw.superuserPassword !== undefined && rotation.superuser > 1) {
    reject(
      "rotation: superuser has no effect beside superuserPassword, which is the superuser's password. Fix: pulumi config rm --path rotation.superuser, and set another superuserPassword instead",
    );
  }
  for (const key of raw.rotationOverlap ?? []) {
    if (rotation[key] > 1) continue;
    reject(
      `rotationOverlap: has ${key}, which was never rotated: there is nothing from before. Fix: pulumi config rm rotationOverlap`,
    );
  }
  const own = raw.tlsCertificate !== undefined && tls;
  if (own && (rotation.authority > 1 || raw.certificateValidity !== undefined)) {
    reject(
      "rotation, certificateValidity: have no effect on an own certificate (tlsCertificate). Fix: remove authority from rotation, and certificateValidity",
    );
  }
}

function resolveMajorVersion(
  image: string,
  given: MajorVersion | undefined,
  mistakes: string[],
): MajorVersion | undefined {
  const fromTag = majorVersionOfImage(image);
  const supported = supportedMajorVersions.find((major) => major === (given ?? fromTag));
  if (given !== undefined && fromTag !== undefined && given !== fromTag) {
    mistakes.push(
      `majorVersion: is ${given}, but the image's tag says ${fromTag}. Fix: pulumi config rm majorVersion`,
    );
  } else if (given === undefined && fromTag === undefined) {
    mistakes.push(
      `image: ${excerpt(image)} has no tag that begins with PostgreSQL's major version. Fix: pulumi config set majorVersion 17`,
    );
  } else if (supported === undefined) {
    mistakes.push(
      `image: PostgreSQL ${fromTag} is not supported, expected ${supportedMajorVersions.join(", ")}. Fix: pulumi config set image postgres:17-trixie`,
    );
  }
  return supported;
}

/** Where clients on the Docker host reach a port that is bound to this address. */
function reachableAddress(bindAddress: string): string {
  if (bindAddress === "0.0.0.0") return "127.0.0.1";
  return bindAddress === "::" ? "::1" : bindAddress;
}

/** PostgreSQL's words for a value from YAML, where an unquoted on, off, yes or no may arrive as a boolean. */
function settingText(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value);
}

function definedEntries<T extends object>(object: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
