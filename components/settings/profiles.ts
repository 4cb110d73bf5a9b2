/** Whether an environment's data outlives its container (design: «one word instead of many flags»). */
export type Lifetime = "persistent" | "ephemeral";

export type ProfileName = "production" | "development";

/** What a stack gets for every key that its file leaves out. */
export interface Profile {
  readonly lifetime: Lifetime;
  /** Undefined: Docker chooses a free port, so that any number of stacks run side by side. */
  readonly port: number | undefined;
  readonly memory: string;
  readonly deletionProtection: boolean;
  readonly backups: boolean;
  readonly tls: boolean;
  /** sslmode that DB_SOURCE names. */
  readonly sslMode: "disable" | "require";
  readonly healthCheck: HealthCheck;
  readonly monitoring: Monitoring;
  readonly logging: Logging;
  /** Seconds that a stopping server gets to end its sessions and write its checkpoint before it is killed. */
  readonly stopTimeout: number;
}

/** How much of monitoring there is; each has what those before it have. */
export const monitoringLevels = ["none", "exporter", "prometheus", "grafana"] as const;
export type Monitoring = (typeof monitoringLevels)[number];

/** Docker's health check. Durations are in seconds. */
export interface HealthCheck {
  readonly interval: number;
  readonly timeout: number;
  readonly retries: number;
  readonly startPeriod: number;
}

/** What the server writes to its log beside errors. */
export interface Logging {
  /** Statements that define something, with who ran them. */
  readonly ddl: boolean;
  /** Statements that took longer; a time with its unit. Undefined: none. */
  readonly slowStatements: string | undefined;
  /** Sessions that wait for a lock for longer than deadlock_timeout (a second). */
  readonly lockWaits: boolean;
  /** Every connection and its end. */
  readonly connections: boolean;
  /** Temporary files of this size and more; undefined: none. */
  readonly temporaryFiles: string | undefined;
  /** Classes of statements that pgaudit logs; empty: pgaudit is not loaded. */
  readonly audit: readonly string[];
}

export const profiles: Record<ProfileName, Profile> = {
  production: {
    lifetime: "persistent",
    port: 5432,
    memory: "2GB",
    deletionProtection: true,
    backups: true,
    tls: true,
    sslMode: "require",
    // A restart after a crash replays WAL first: being slow to start is no failure.
    healthCheck: { interval: 5, timeout: 5, retries: 3, startPeriod: 300 },
    monitoring: "exporter",
    logging: {
      ddl: true,
      slowStatements: "1s",
      lockWaits: true,
      // The health check alone would write three lines every five seconds.
      connections: false,
      temporaryFiles: "10MB",
      audit: [],
    },
    stopTimeout: 120,
  },
  development: {
    lifetime: "ephemeral",
    port: undefined,
    memory: "1GB",
    deletionProtection: false,
    backups: false,
    tls: false,
    sslMode: "disable",
    healthCheck: { interval: 1, timeout: 5, retries: 30, startPeriod: 60 },
    monitoring: "none",
    logging: {
      ddl: false,
      slowStatements: undefined,
      lockWaits: false,
      connections: false,
      temporaryFiles: undefined,
      audit: [],
    },
    stopTimeout: 10,
  },
};
