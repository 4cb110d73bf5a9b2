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
  /** Seconds that a stopping server gets to end its sessions and write its checkpoint before it is killed. */
  readonly stopTimeout: number;
}

/** Docker's health check. Durations are in seconds. */
export interface HealthCheck {
  readonly interval: number;
  readonly timeout: number;
  readonly retries: number;
  readonly startPeriod: number;
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
    stopTimeout: 10,
  },
};
