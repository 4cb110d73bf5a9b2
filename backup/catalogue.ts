/** What `pgbackup` writes, read by programs on the host: `list --json` and the repository's files of "key=value" lines. */

/** A base backup. Times are ISO 8601 in UTC, sizes bytes. */
export interface Backup {
  /** Its start and kind: `20261125T120000Z-full`. */
  readonly id: string;
  readonly kind: "full" | "incr";
  /** The one whose changes an incremental backup has; null for a full one. */
  readonly parent: string | null;
  readonly started: string;
  /** The first point that it can be restored to. */
  readonly ended: string;
  readonly timeline: number;
  readonly startLsn: string;
  readonly stopLsn: string;
  /** The first WAL segment that it needs. */
  readonly startWal: string;
  readonly serverVersion: string;
  /** In the repository, compressed. */
  readonly sizeBytes: number;
  /** Of the data directory, as it was at the last full backup. */
  readonly clusterBytes: number;
  /** Whether all that it goes back to is there. */
  readonly usable: boolean;
}

/** Any point in it can be restored to, but for what `gaps` says. */
export interface Window {
  readonly oldest: string;
  readonly newest: string;
}

/** A WAL segment that is missing: points after it, and before the end of the next backup, are lost. */
export interface Gap {
  /** The backup that can't be rolled on past it. */
  readonly after: string;
  readonly wal: string;
}

export interface RestorePoint {
  readonly name: string;
  readonly lsn: string;
  readonly madeAt: string;
}

export interface Drill {
  readonly id: string;
  readonly started: string;
  readonly ended: string;
  readonly seconds: number;
  readonly ok: boolean;
  readonly backup: string | null;
  readonly newestRestorable: string | null;
  /** How far the newest restorable point was behind when it began. */
  readonly rpoSeconds: number | null;
  /** From nothing to a server that answers. */
  readonly rtoSeconds: number | null;
  readonly message: string | null;
  readonly checks: string | null;
}

export interface Status {
  /** When the backup container last looked. */
  readonly time: string;
  readonly state: "streaming" | "connecting" | "failed";
  readonly timeline: number | null;
  /** All WAL up to there is on the repository's disk. */
  readonly receivedLsn: string | null;
  /** When the server was at `receivedLsn`. */
  readonly receivedAt: string | null;
  readonly heartbeatAt: string | null;
  /** PostgreSQL's `wal_status`, or `missing`. */
  readonly slotState: string | null;
  readonly lastError: string | null;
  readonly nextBaseAt: string | null;
  readonly baseState: string | null;
}

export interface Catalogue {
  readonly repository: {
    readonly format: string | null;
    readonly systemIdentifier: string | null;
    readonly freeBytes: number;
  };
  /** Oldest first. */
  readonly backups: readonly Backup[];
  readonly window: Window | null;
  readonly gaps: readonly Gap[];
  readonly restorePoints: readonly RestorePoint[];
  readonly lastDrill: Drill | null;
  readonly status: Status | null;
}

/** What `pgbackup check --json` and `pgbackup verify --json` print. */
export interface Findings {
  readonly ok: boolean;
  readonly problems: readonly string[];
}

/** @throws {Error} Where the text is not what `pgbackup list --json` prints. */
export function parseCatalogue(text: string): Catalogue {
  const parsed: unknown = parseJson(text, "pgbackup list --json");
  if (!isObject(parsed) || !Array.isArray(parsed.backups) || !isObject(parsed.repository)) {
    throw new Error(`pgbackup list --json has no backups and repository: ${shortened(text)}`);
  }
  const { format } = parsed.repository;
  if (format !== null && format !== "1") {
    throw new Error(`The repository has format ${JSON.stringify(format)}, this program knows format 1.`);
  }
  return parsed as unknown as Catalogue;
}

/** @throws {Error} Where the text is not what `pgbackup check --json` prints. */
export function parseFindings(text: string): Findings {
  const parsed: unknown = parseJson(text, "pgbackup");
  if (!isObject(parsed) || typeof parsed.ok !== "boolean" || !Array.isArray(parsed.problems)) {
    throw new Error(`pgbackup printed neither ok nor problems: ${shortened(text)}`);
  }
  return parsed as unknown as Findings;
}

/** Lines of `key=value`; what has no `=` is passed over. */
export function parseConf(text: string): Readonly<Record<string, string>> {
  const entries = text.split("\n").flatMap((line) => {
    const at = line.indexOf("=");
    return at > 0 ? [[line.slice(0, at), line.slice(at + 1)] as const] : [];
  });
  return Object.fromEntries(entries);
}

/** A backup as its `backup.conf` has it; whether its chain is whole depends on the others. */
export function backupOf(text: string): Omit<Backup, "usable"> {
  const conf = parseConf(text);
  const need = (key: string): string => {
    const value = conf[key];
    if (value === undefined || value === "") throw new Error(`backup.conf has no ${key}: ${shortened(text)}`);
    return value;
  };
  const kind = need("kind");
  if (kind !== "full" && kind !== "incr") throw new Error(`backup.conf has an unknown kind: ${kind}`);
  return {
    id: need("id"),
    kind,
    parent: conf.parent || null,
    started: need("started"),
    ended: need("ended"),
    timeline: Number(need("timeline")),
    startLsn: need("start_lsn"),
    stopLsn: need("stop_lsn"),
    startWal: need("start_wal"),
    serverVersion: need("server_version"),
    sizeBytes: Number(need("size_bytes")),
    clusterBytes: Number(need("cluster_bytes")),
  };
}

/** @returns Undefined where the backup container has never looked. */
export function statusOf(text: string): Status | undefined {
  const conf = parseConf(text);
  if (!conf.time) return undefined;
  const state = conf.state === "streaming" || conf.state === "connecting" ? conf.state : "failed";
  return {
    time: conf.time,
    state,
    timeline: conf.timeline ? Number(conf.timeline) : null,
    receivedLsn: conf.received_lsn || null,
    receivedAt: conf.received_at || null,
    heartbeatAt: conf.heartbeat_at || null,
    slotState: conf.slot_state || null,
    lastError: conf.last_error || null,
    nextBaseAt: conf.next_base_at || null,
    baseState: conf.base_state || null,
  };
}

/** @param id The file's name in `state/drills`, without `.conf`. */
export function drillOf(id: string, text: string): Drill {
  const conf = parseConf(text);
  const number = (key: string) => (conf[key] ? Number(conf[key]) : null);
  return {
    id,
    started: conf.started ?? "",
    ended: conf.ended ?? "",
    seconds: number("seconds") ?? 0,
    ok: conf.ok === "yes",
    backup: conf.backup || null,
    newestRestorable: conf.newest_restorable || null,
    rpoSeconds: number("rpo_seconds"),
    rtoSeconds: number("rto_seconds"),
    message: conf.message || null,
    checks: conf.checks || null,
  };
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${source} did not print JSON: ${shortened(text)}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shortened(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
