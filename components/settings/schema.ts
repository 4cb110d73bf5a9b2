import { z } from "zod";
import { isImageReference, supportedMajorVersions } from "./image.ts";
import { monitoringImages, prometheusLimits } from "./monitoring-defaults.ts";
import { monitoringLevels } from "./profiles.ts";
import { rcloneConfigMistake } from "./rclone-config.ts";
import { parseTimeWindow, timeWindowExample } from "./time-window.ts";
import { ageExample, durationExample, parseAge, parseDuration, parseSize } from "./units.ts";

/** One setting: how its value is checked, and what people are told about it (README, Pulumi.yaml, errors). */
export interface SettingKey {
  readonly schema: z.ZodType;
  /** Completes «expected …» in an error message. */
  readonly expected: string;
  /** Text as `pulumi config set KEY` takes it. */
  readonly example: string;
  readonly description: string;
  /** The default as people read it, where it isn't the same for each profile. */
  readonly default: string;
  /**
   * How Pulumi.yaml declares the key. Only keys whose default is the same everywhere: Pulumi takes a declared key
   * without a default for required, and would hand on an empty text for one that isn't set.
   */
  readonly declared?: {
    readonly type: "string" | "boolean" | "object";
    readonly default?: unknown;
  };
  /** Must be set with `--secret`. */
  readonly secret?: true;
  /** The value is an object or a list: set it in the stack's file or with `--path`. */
  readonly structured?: true;
}

/** PostgreSQL cuts longer names off silently (NAMEDATALEN - 1). */
const maxNameBytes = 63;

const name = (longestSuffix = "") =>
  z
    .string()
    .refine((text) => text.length > 0)
    .refine((text) => Buffer.byteLength(text) <= maxNameBytes - Buffer.byteLength(longestSuffix))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a control character can't be written in pg_hba.conf
    .refine((text) => !/[\u0000-\u001f\u007f]/.test(text))
    .refine((text) => text.trim() === text);
const size = z.string().transform((text, context) => {
  const bytes = parseSize(text);
  if (bytes === undefined) context.addIssue("not a size");
  return bytes ?? z.NEVER;
});
const port = z.int().min(1).max(65535);
const seconds = z.int().min(1).max(86400);
const folder = z
  .string()
  .min(1)
  .refine((path) => !path.includes("\0"));
const duration = z.string().refine((text) => parseDuration(text) !== undefined);
/** A time that is more than none. */
const age = z.string().refine((text) => (parseAge(text) ?? 0) > 0);
const pem = (label: string) =>
  z.string().regex(new RegExp(`-----BEGIN ${label}-----[^]+-----END ${label}-----\\s*$`));

/**
 * A moment as PostgreSQL reads it, with its zone: what a time without one means depends on who reads it.
 * `2026-11-25T12:30:00Z`, `2026-11-25 12:30:00.5+01`
 */
const moment = z
  .string()
  .transform(asInStackFile)
  .pipe(
    z
      .string()
      .regex(/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$/)
      .refine((text) => !Number.isNaN(Date.parse(`${text.slice(0, 10)}T${text.slice(11, 16)}Z`))),
  );

/**
 * YAML takes a time without quotes for one, and Pulumi hands it on in Go's form: `2026-11-25 12:30:00.5 +0000 UTC`
 * (time.Time's String method). People write it either way.
 */
function asInStackFile(text: string): string {
  const go = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?) ([+-]\d\d)(\d\d) \S+$/.exec(text);
  if (!go) return text;
  const [, date, time, hours, minutes] = go;
  return `${date}T${time}${hours === "+00" && minutes === "00" ? "Z" : `${hours}:${minutes}`}`;
}
const stackName = z.string().regex(/^[\w.-]{1,100}$/);

/** Where data comes from, and how far: one of time, name, lsn and latest. */
const restore = z
  .strictObject({
    from: z.union([z.literal("copy"), z.strictObject({ stack: stackName })]).optional(),
    backup: z
      .string()
      .regex(/^\d{8}T\d{6}Z-(full|incr)$/)
      .optional(),
    time: moment.optional(),
    name: z.string().min(1).max(63).optional(),
    lsn: z
      .string()
      .regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/)
      .optional(),
    latest: z.literal(true).optional(),
    timeline: z.int().min(1).optional(),
    maskingFile: folder.optional(),
  })
  .refine(
    ({ latest, lsn, name, time }) =>
      [latest, lsn, name, time].filter((target) => target !== undefined).length === 1,
  );

/** Server settings that the program itself decides; setting them elsewhere would break its promises. */
const ownedServerSettings = [
  "config_file",
  "data_directory",
  "external_pid_file",
  "hba_file",
  "ident_file",
  "listen_addresses",
  "password_encryption",
  "port",
  "ssl",
  "ssl_ca_file",
  "ssl_cert_file",
  "ssl_key_file",
  "unix_socket_directories",
];

const serverSettings = z.record(
  z
    .string()
    .regex(/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_$]*)?$/)
    .refine((key) => !ownedServerSettings.includes(key)),
  z.union([
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a line break would split the server's command line in logs
    z.string().regex(/^[^\u0000-\u001f]*$/),
    z.number(),
    z.boolean(),
  ]),
);

/** What can be rotated. */
export const rotatedKeys = [
  "app",
  "migrator",
  "readonly",
  "monitor",
  "backup",
  "superuser",
  "authority",
] as const;
const generation = z.int().min(1).max(1_000_000).optional();

/** Classes of pgaudit.log (pgaudit's README, «Settings»). */
const auditClasses = ["read", "write", "function", "role", "ddl", "misc", "misc_set", "all"] as const;

const extension = z.union([
  z.string().min(1),
  z.strictObject({
    name: z.string().min(1),
    schema: z.string().min(1).optional(),
    version: z.string().min(1).optional(),
  }),
]);

/** Role names are `<appName>_<role>`; this is the longest ending. */
const longestRoleSuffix = "_readwrite";

export const settingKeys = {
  profile: {
    declared: { type: "string" },
    schema: z.enum(["production", "development"]),
    expected: "production or development",
    example: "production",
    default: "none: must be set",
    description:
      "What the environment is for. `production` keeps its data in a protected volume and serves TLS; `development` lives in memory and is made anew each time.",
  },
  image: {
    declared: { type: "string", default: "postgres:17-trixie" },
    schema: z.string().refine(isImageReference),
    expected: "an image reference such as postgres:17-trixie",
    example: "postgres:17-trixie",
    default: "`postgres:17-trixie`",
    description: "Docker image of the server: the official `postgres` image or one that keeps its contract.",
  },
  majorVersion: {
    schema: z.literal(supportedMajorVersions),
    expected: `one of ${supportedMajorVersions.join(", ")}`,
    example: "17",
    default: "read from the image's tag",
    description:
      "Major version of PostgreSQL in the image. Only needed where the tag does not begin with it.",
  },
  appName: {
    declared: { type: "string", default: "app" },
    // The postgresql plugin can't read back that a role is a member of one with a backslash in its name.
    schema: name(longestRoleSuffix).refine((text) => !text.includes("\\")),
    expected: `1 to ${maxNameBytes - longestRoleSuffix.length} bytes without backslashes, control characters or outer spaces`,
    example: "shop",
    default: "`app`",
    description: "Name of the application: prefix of every role (`shop_owner`, `shop_app_a`, …).",
  },
  databaseName: {
    // The postgresql plugin puts the name into a URL as it is: with one of these characters it reaches no database,
    // or another one.
    schema: name().refine(
      (text) =>
        !["postgres", "template0", "template1", "template_building"].includes(text) && !/[%?#]/.test(text),
    ),
    expected: `1 to ${maxNameBytes} bytes without %, ?, #, control characters or outer spaces, other than postgres, template0, template1 and template_building`,
    example: "shop",
    default: "the application's name",
    description: "Name of the application's database.",
  },
  schemaName: {
    declared: { type: "string", default: "app" },
    schema: z
      .string()
      .regex(/^[a-z_][a-z0-9_]{0,62}$/)
      .refine(
        (text) =>
          !text.startsWith("pg_") &&
          !["public", "extensions", "migrations", "information_schema"].includes(text),
      ),
    expected:
      "a lower-case SQL identifier other than public, extensions, migrations, information_schema and pg_…",
    example: "shop",
    default: "`app`",
    description: "Schema that holds the application's objects; first on the search path of its roles.",
  },
  superuserName: {
    declared: { type: "string", default: "postgres" },
    // The server refuses these in the name of an extension's owner (the comment marks since 17.12), and initdb makes an
    // extension.
    schema: name().refine((text) => !text.startsWith("pg_") && !/["$'\\]|--|\/\*|\*\//.test(text)),
    expected: `1 to ${maxNameBytes} bytes without control characters, outer spaces, any of " $ ' \\, or the comment marks -- /* */, not beginning with pg_`,
    example: "postgres",
    default: "`postgres`",
    description:
      "Bootstrap superuser (POSTGRES_USER), used by the postgresql provider alone. Fixed once the data directory exists.",
  },
  superuserPassword: {
    schema: z
      .string()
      .min(8)
      .max(512)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the image reads the password from a one-line file
      .refine((text) => !/[\u0000-\u001f\u007f]/.test(text))
      // A client and the server may otherwise not agree on what was typed (SASLprep, RFC 4013).
      .refine((text) => text.normalize("NFKC") === text && !/\p{Default_Ignorable_Code_Point}/u.test(text)),
    expected:
      "8 to 512 characters, Unicode-normalised (NFKC), without line breaks or other control characters",
    example: "'…'",
    default: "generated",
    description: "Password of the bootstrap superuser.",
    secret: true,
  },
  port: {
    schema: port,
    expected: "a whole number from 1 to 65535",
    example: "5432",
    default: "production: 5432; development: a free port chosen by Docker",
    description: "Port on the Docker host.",
  },
  bindAddress: {
    declared: { type: "string", default: "127.0.0.1" },
    schema: z.union([z.ipv4(), z.ipv6()]),
    expected: "an IPv4 or IPv6 address of the Docker host",
    example: "127.0.0.1",
    default: "`127.0.0.1` (loopback only)",
    description:
      "Address of the Docker host that the port is published on. `0.0.0.0` opens it to every network of the host.",
  },
  host: {
    schema: z.union([z.hostname(), z.ipv4(), z.ipv6()]),
    expected: "a host name or an IP address",
    example: "db.example.com",
    default: "the bind address, or 127.0.0.1 where that is 0.0.0.0",
    description:
      "Name or address by which clients outside Docker, this program included, reach the Docker host. It is in DB_SOURCE and in the server's certificate.",
  },
  accessRules: {
    // Checked rule by rule, so that a mistake names its rule: components/settings/access-rules.ts.
    schema: z.array(z.unknown()),
    expected: "a list of {role, database, address, method}",
    example: "[{role: app, address: 10.1.0.0/16}]",
    default: "production: the stack's network and the Docker host; development: whoever reaches the port",
    description:
      "Who may connect from where, beside the stack's own network and the Docker host. `role`: app, readonly, migrator, monitor or backup; `address`: an IP address, a range, or `network` for those two; `database`: the application's by default; `method`: `password` (default, with TLS where it is served) or `reject`. The first rule that fits decides.",
    structured: true,
  },
  programNetworks: {
    schema: z.array(z.string()),
    expected: "a list of IP addresses and ranges",
    example: "[10.1.2.3]",
    default: "the Docker host",
    description:
      "From where `pulumi` and `./db` reach the server, where that isn't the Docker host itself: the superuser, the migrator, the monitor and the backup are let in from there.",
    structured: true,
  },
  extensions: {
    schema: z.array(extension),
    expected: "a list of names, or of {name, schema, version}",
    example: "[citext, pg_trgm]",
    default: "none",
    description:
      "Extensions of the application's database. They go into the schema `extensions` unless one is named.",
    structured: true,
  },
  memory: {
    schema: size.refine((bytes) => bytes >= 128 * 1024 ** 2),
    expected: "a size of at least 128MB with its unit, such as 512MB or 4GB",
    example: "4GB",
    default: "production: 2GB; development: 1GB",
    description: "Memory limit of the container, without swap. The server's memory settings follow from it.",
  },
  cpus: {
    schema: z.number().min(0.01).max(1024),
    expected: "a number from 0.01 to 1024",
    example: "2",
    default: "no limit",
    description: "CPU limit of the container, in cores.",
  },
  shmSize: {
    schema: size.refine((bytes) => bytes >= 1024 ** 2),
    expected: "a size of at least 1MB with its unit, such as 256MB",
    example: "256MB",
    default: "a quarter of the memory limit",
    description: "Size of /dev/shm, which parallel queries use.",
  },
  tmpfsSize: {
    schema: size.refine((bytes) => bytes >= 64 * 1024 ** 2),
    expected: "a size of at least 64MB with its unit, such as 512MB",
    example: "512MB",
    default: "half of the memory limit",
    description:
      "Size of the tmpfs that holds the data of a development environment. It counts towards the memory limit.",
  },
  serverSettings: {
    declared: { type: "object", default: {} },
    schema: serverSettings,
    expected: `a map from PostgreSQL parameters to strings, numbers or booleans, without ${ownedServerSettings.join(", ")}`,
    example: "{max_connections: 200}",
    default: "follow from memory and profile",
    description: "PostgreSQL server parameters; they win over the program's own defaults.",
    structured: true,
  },
  restartWindow: {
    schema: z.string().transform((text, context) => {
      const window = parseTimeWindow(text);
      if (window === undefined) context.addIssue("not a time of the day");
      return window ?? z.NEVER;
    }),
    expected: timeWindowExample,
    example: "'sun 02:00-04:00'",
    default: "at any time",
    description:
      "When an update may restart a production server. Outside of it, `pulumi up` refuses an update that needs a restart.",
  },
  healthCheck: {
    declared: { type: "object", default: {} },
    schema: z.strictObject({
      interval: seconds.optional(),
      timeout: seconds.optional(),
      retries: z.int().min(1).max(1000).optional(),
      startPeriod: seconds.optional(),
    }),
    expected: "a map of interval, timeout, startPeriod (seconds, 1 to 86400) and retries (1 to 1000)",
    example: "{interval: 10}",
    default: "production: every 5 s; development: every second",
    description: "Docker's health check: SQL over TCP in the application's database.",
    structured: true,
  },
  logging: {
    declared: { type: "object", default: {} },
    schema: z.strictObject({
      ddl: z.boolean().optional(),
      slowStatements: z.union([duration, z.literal(false)]).optional(),
      lockWaits: z.boolean().optional(),
      connections: z.boolean().optional(),
      temporaryFiles: z
        .union([z.string().refine((text) => parseSize(text) !== undefined), z.literal(false)])
        .optional(),
      audit: z.array(z.enum(auditClasses)).optional(),
    }),
    expected: `a map of ddl, lockWaits, connections (true or false), slowStatements (a time such as 500ms, or false), temporaryFiles (a size such as 10MB, or false) and audit (a list of ${auditClasses.join(", ")})`,
    example: "{slowStatements: 500ms, connections: true}",
    default:
      "production: statements that define something or take a second, waits for locks, temporary files from 10MB; development: none",
    description:
      "What the server logs beside errors; never the values that a client binds. `audit` needs an image with pgaudit, and a restart.",
    structured: true,
  },
  initdbFolder: {
    declared: { type: "string", default: "initdb" },
    schema: folder,
    expected: "a folder's path, relative to the project",
    example: "initdb",
    default: "`initdb`",
    description: "Scripts (.sql, .sql.gz, .sh) that run once, on an empty data directory.",
  },
  migrationsFolder: {
    declared: { type: "string", default: "migrations" },
    schema: folder,
    expected: "a folder's path, relative to the project",
    example: "migrations",
    default: "`migrations`",
    description: "Folder of the migrations: `0001_name.up.sql` and `0001_name.down.sql`.",
  },
  migrationsTarget: {
    schema: z.string().min(1),
    expected: "the name or number of a migration",
    example: "0003",
    default: "the newest",
    description: "Migration that the database is brought to, forwards or backwards.",
  },
  allowDataLoss: {
    schema: z.string().min(1),
    expected: "the name or number of the migration that migrationsTarget names",
    example: "0003",
    default: "none",
    description:
      "The migration to which the way back may lose data. Without it, a persistent environment refuses to revert what drops tables, columns or rows.",
  },
  migrationsLockTimeout: {
    schema: duration,
    expected: durationExample,
    example: "2s",
    default: "`5s`",
    description:
      "How long a migration waits for a lock before it gives up and is tried again: while it waits, the application waits behind it. A file's header wins.",
  },
  migrationsLockRetries: {
    schema: z.int().min(0).max(99),
    expected: "a whole number from 0 to 99",
    example: "10",
    default: "4",
    description:
      "How often a migration that did not get its lock is tried again, after 1 s, 2 s, 4 s and so on.",
  },
  migrationsStatementTimeout: {
    schema: duration,
    expected: durationExample,
    example: "10min",
    default: "`0` (no limit)",
    description: "How long a statement of a migration may run. A file's header wins.",
  },
  seeds: {
    schema: z.string().regex(/^[\w-][\w.-]*$/),
    expected: "the name of a folder in seeds/",
    example: "demo",
    default: "none",
    description:
      "Set of seed data that a new database of `profile: development` begins with: the files of `seeds/<name>`, after the migrations.",
  },
  deletionProtection: {
    schema: z.boolean(),
    expected: "true or false",
    example: "false",
    default: "production: true; development: false",
    description:
      "Whether `pulumi destroy` is refused. Set it to false and run `pulumi up` before a production environment can be destroyed; its volume stays even then.",
  },
  adoptVolume: {
    declared: { type: "boolean", default: false },
    schema: z.boolean(),
    expected: "true or false",
    example: "true",
    default: "false",
    description:
      "Take over the volume that a destroyed production environment left behind, with its roles, database and rows.",
  },
  backups: {
    schema: z.boolean(),
    expected: "true or false",
    example: "false",
    default: "production: true; development: false",
    description:
      "Whether the environment is backed up: base backups and all of its WAL, in a place of their own (docs/backups.md).",
  },
  backupFolder: {
    schema: z.string().regex(/^\/[^:\0]+$/),
    expected: "an absolute path of the Docker host without a colon",
    example: "/mnt/backups/shop",
    default: "a volume, `<project>-<stack>-backups`",
    description: "Folder of the Docker host that the backups are kept in, such as one on another disk.",
  },
  backupEvery: {
    schema: age,
    expected: ageExample,
    example: "12h",
    default: "`1d`",
    description: "Age of the newest base backup at which the next one is taken.",
  },
  backupFullEvery: {
    schema: age,
    expected: ageExample,
    example: "3d",
    default: "`7d`",
    description:
      "Age of the newest full base backup at which the next one is full again; those in between have what changed. PostgreSQL 16 and older always take full ones.",
  },
  backupWindow: {
    schema: age,
    expected: ageExample,
    example: "30d",
    default: "`14d`",
    description: "How far back the environment can be restored to any moment. What is older is removed.",
  },
  backupMinimum: {
    schema: z.int().min(1).max(1000),
    expected: "a whole number from 1 to 1000",
    example: "3",
    default: "2",
    description: "Number of full base backups that are kept, however old they are.",
  },
  backupSynchronous: {
    schema: z.boolean(),
    expected: "true or false",
    example: "true",
    default: "false",
    description:
      "Whether a commit waits until the backup has it too: no committed row is lost even with the volume, but nothing can be written while the backup container is down.",
  },
  backupWalLimit: {
    schema: size.refine((bytes) => bytes >= 64 * 1024 ** 2),
    expected: "a size of at least 64MB with its unit, such as 10GB",
    example: "50GB",
    default: "`10GB`",
    description:
      "How much WAL the server keeps for a backup container that is down (max_slot_wal_keep_size). Beyond that, the backup begins anew with a base backup, rather than that the server's disk fills up.",
  },
  backupCopyConfig: {
    schema: z
      .string()
      .max(64 * 1024)
      .refine((text) => rcloneConfigMistake(text) === undefined),
    expected:
      "the text of an rclone.conf, without passphrase, with one remote that is a storage elsewhere (not local, crypt, alias or another that stands on a second one)",
    example: "< rclone.conf",
    default: "none: no copy off the host",
    description:
      "Storage off the host that the backups are copied to, as `rclone config` writes it: S3, SFTP, WebDAV and whatever else rclone knows. Needs backupCopyPath.",
    secret: true,
  },
  backupCopyPath: {
    schema: z
      .string()
      .min(1)
      .max(1024)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: rclone.conf has one line for it
      .refine((text) => !/[\u0000-\u001f\u007f]/.test(text) && text.trim() === text && !text.endsWith("/")),
    expected: "a path without outer spaces, control characters or a slash at its end",
    example: "shop-backups/production",
    default: "none",
    description:
      "Folder in that storage, with the bucket before it where it has buckets. It must be empty, or have this environment's copy in it.",
  },
  backupCopyEvery: {
    schema: age.refine((text) => (parseAge(text) ?? 0) >= 5_000),
    expected: `${ageExample}, of at least 5s`,
    example: "5min",
    default: "`1min`",
    description: "How often the copy is brought up to date: that far it may be behind.",
  },
  backupCopyEncryption: {
    schema: z.boolean(),
    expected: "true or false",
    example: "false",
    default: "true",
    description: "Whether the copy is encrypted before it leaves the host (rclone crypt).",
  },
  backupCopyKey: {
    schema: z
      .string()
      .min(16)
      .max(512)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the key is a line of a file
      .refine((text) => !/[\u0000-\u001f\u007f]/.test(text) && text.trim() === text),
    expected: "16 to 512 characters without line breaks, other control characters or outer spaces",
    example: "'…'",
    default: "generated; the output `backupCopyKey`",
    description:
      "Key of the copy's encryption. Without it, nothing can be restored from the copy: keep it in another place than this host.",
    secret: true,
  },
  drillEvery: {
    schema: z.string().refine((text) => parseAge(text) !== undefined),
    expected: `${ageExample}, or 0 for never`,
    example: "7d",
    default: "`1d`",
    description: "How often the newest backup is restored to a throwaway server and checked.",
  },
  drillQuery: {
    schema: z.string().min(1),
    expected: "a SQL query that returns true",
    example: "'SELECT count(*) > 0 FROM app.customer'",
    default: "none",
    description: "What must be true of the database in such a restore, beside the checks that there are.",
  },
  finalBackup: {
    schema: z.boolean(),
    expected: "true or false",
    example: "false",
    default: "true",
    description: "Whether `pulumi destroy` takes a last backup first.",
  },
  restore: {
    schema: restore,
    expected:
      "a map with one of time (2026-11-25T12:30:00Z), name, lsn and latest: true; beside it from ({stack: NAME} or copy), backup, timeline, maskingFile",
    example: '{time: "2026-11-25T12:30:00Z"}',
    default: "none",
    description:
      "State that the data is brought to, once, in a new volume: docs/backups.md. The volume before it is kept. Removing the setting changes nothing.",
    structured: true,
  },
  upgradeFrom: {
    schema: z.literal(supportedMajorVersions),
    expected: `one of ${supportedMajorVersions.join(", ")}, lower than the image's`,
    example: "15",
    default: "none",
    description:
      "Major version that the data is brought from, to the image's, once, in a new volume: docs/operations.md, «Another major version». The volume before it is kept. Removing the setting changes nothing.",
  },
  dataGeneration: {
    schema: z.int().min(0).max(9999),
    expected: "a whole number from 0 to 9999",
    example: "0",
    default: "the newest",
    description:
      "Which of its volumes the server is on: 0 for `…-data`, 1 for `…-data-1` and so on. To go back after an upgrade or a restore.",
  },
  certificateValidity: {
    schema: z.string().refine((text) => (parseAge(text) ?? 0) >= 3 * 3_600_000),
    expected: `at least three hours: ${ageExample}`,
    example: "90d",
    default: "`820d`",
    description:
      "How long the server's certificate is valid, where the program makes it. `pulumi up` renews it in the last third of that time, in the last 60 days at the most.",
  },
  rotation: {
    declared: { type: "object", default: {} },
    schema: z.strictObject(
      Object.fromEntries(rotatedKeys.map((key) => [key, generation])) as Record<
        (typeof rotatedKeys)[number],
        typeof generation
      >,
    ),
    expected: `a map from ${rotatedKeys.join(", ")} to whole numbers from 1`,
    example: "{app: 2}",
    default: "1 each",
    description:
      "Which password of a login, or which certificate authority, is the current one; `./db rotate` counts it up.",
    structured: true,
  },
  rotationOverlap: {
    schema: z.array(z.enum(["app", "authority"])),
    expected: "a list of app and authority",
    example: "[app]",
    default: "none",
    description:
      "What is still taken from before its last rotation: the application's other login, the other authority. `./db rotate` adds to it, `./db rotate --finish` takes out.",
    structured: true,
  },
  passwordMaxAge: {
    schema: z.string().refine((text) => (parseAge(text) ?? 0) > 0),
    expected: ageExample,
    example: "90d",
    default: "none",
    description: "Age of a password from which on previews remind of its rotation.",
  },
  tlsCertificate: {
    schema: pem("CERTIFICATE"),
    expected: "a PEM certificate, followed by those of its intermediate authorities",
    example: "< server.crt",
    default: "made by the program",
    description: "Own server certificate, for `profile: production`; needs tlsKey and tlsCa.",
  },
  tlsKey: {
    schema: pem("(?:RSA |EC )?PRIVATE KEY"),
    expected: "a PEM private key without passphrase",
    example: "< server.key",
    default: "made by the program",
    description: "Private key of tlsCertificate.",
    secret: true,
  },
  tlsCa: {
    schema: pem("CERTIFICATE"),
    expected: "a PEM certificate",
    example: "< ca.crt",
    default: "made by the program",
    description: "Certificate of the authority that clients verify tlsCertificate with.",
  },
  exceptions: {
    schema: z.record(z.string(), z.string().regex(/\S+\s+\S+/)),
    expected: "a map from names of risks to reasons in words",
    example: '{unpinnedImage: "the registry mirror has tags only"}',
    default: "none",
    description:
      "Reasons for what a production environment is not to have (docs/security.md, «Guard rails»), for `profile: production`. Without one, `noBackup`, `plainTextSecret`, `weakTls` and `unsafeServerSetting` stop a preview; `noProtection` and `unpinnedImage` warn.",
    structured: true,
  },
  monitoring: {
    schema: z.enum(monitoringLevels),
    expected: "none, exporter, prometheus or grafana",
    example: "prometheus",
    default: "production: exporter; development: none",
    description:
      "How a production environment is watched. `exporter`: containers that offer the server's and its disks' numbers to a Prometheus of yours; `prometheus`: one that gathers them and evaluates the alert rules as well; `grafana`: dashboards as well.",
  },
  exporterImage: {
    schema: z.string().refine(isImageReference),
    expected: "an image reference",
    example: monitoringImages.exporter,
    default: `\`${monitoringImages.exporter}\``,
    description: "Docker image of the PostgreSQL exporter. A digest (`…@sha256:…`) pins it.",
  },
  exporterPort: {
    schema: port,
    expected: "a whole number from 1 to 65535",
    example: "9187",
    default: "not published",
    description:
      "Port of the bind address that the exporter is published on, for a Prometheus outside of the environment's network. It asks for no password.",
  },
  nodeExporterImage: {
    schema: z.string().refine(isImageReference),
    expected: "an image reference",
    example: monitoringImages.nodeExporter,
    default: `\`${monitoringImages.nodeExporter}\``,
    description: "Docker image of the node exporter, which tells how full the volumes' disks are.",
  },
  nodeExporterPort: {
    schema: port,
    expected: "a whole number from 1 to 65535",
    example: "9100",
    default: "not published",
    description: "The same for the node exporter.",
  },
  prometheusImage: {
    schema: z.string().refine(isImageReference),
    expected: "an image reference",
    example: monitoringImages.prometheus,
    default: `\`${monitoringImages.prometheus}\``,
    description: "Docker image of Prometheus.",
  },
  prometheusPort: {
    schema: port,
    expected: "a whole number from 1 to 65535",
    example: "9090",
    default: "not published",
    description: "Port of the bind address that Prometheus is published on. It asks for no password.",
  },
  prometheusRetention: {
    schema: z.string().refine((text) => (parseAge(text) ?? 0) > 0),
    expected: ageExample,
    example: "90d",
    default: `\`${prometheusLimits.retention}\``,
    description: "How long Prometheus keeps what it has gathered.",
  },
  prometheusSize: {
    schema: size.refine((bytes) => bytes >= 512 * 1024 ** 2),
    expected: "a size of at least 512MB with its unit, such as 5GB",
    example: "20GB",
    default: `\`${prometheusLimits.size}\``,
    description: "How large that may become on disk; the oldest goes first.",
  },
  alertmanager: {
    schema: z.url({ protocol: /^https?$/ }).refine((text) => {
      // Asked of what is no address too.
      if (!URL.canParse(text)) return false;
      const { hash, password, search, username } = new URL(text);
      return hash + password + search + username === "";
    }),
    expected: "an http or https address without a password, such as http://alertmanager.example.com:9093",
    example: "http://alertmanager.example.com:9093",
    default: "none: alerts are shown, and sent to nobody",
    description: "Alertmanager that Prometheus sends alerts to.",
  },
  grafanaImage: {
    schema: z.string().refine(isImageReference),
    expected: "an image reference",
    example: monitoringImages.grafana,
    default: `\`${monitoringImages.grafana}\``,
    description: "Docker image of Grafana.",
  },
  grafanaPort: {
    schema: port,
    expected: "a whole number from 1 to 65535",
    example: "3000",
    default: "none: must be set with `monitoring: grafana`",
    description: "Port of the bind address that Grafana is published on.",
  },
  grafanaPassword: {
    schema: z
      .string()
      .min(8)
      .max(512)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: Grafana reads the password from a one-line file
      .refine((text) => !/[\u0000-\u001f\u007f]/.test(text) && text.trim() === text),
    expected: "8 to 512 characters without line breaks, other control characters or outer spaces",
    example: "'…'",
    default: "generated",
    description: "Password of Grafana's user `admin`.",
    secret: true,
  },
  keepFor: {
    schema: z.string().refine((text) => parseAge(text) !== undefined),
    expected: ageExample,
    example: "7d",
    default: "for ever; `./db start` sets 7d for a stack that it makes itself",
    description:
      "How long after its last update `./db prune` leaves a development environment alone. Without it, it is never removed.",
  },
  labels: {
    declared: { type: "object", default: {} },
    schema: z.record(z.string().min(1).max(255), z.string().max(4096)),
    expected: "a map from label names to texts",
    example: "{team: payments}",
    default: "none",
    description:
      "Labels on every Docker object of the stack, beside the program's own. Network and volume keep those that they were made with.",
    structured: true,
  },
} as const satisfies Record<string, SettingKey>;

export type SettingName = keyof typeof settingKeys;
export type RawSettings = { readonly [Key in SettingName]?: z.output<(typeof settingKeys)[Key]["schema"]> };
