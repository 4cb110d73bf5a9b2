import type { Profile, Setting } from "./stack.ts";

/** What a stack is made with, and what is changed when it is there. */
export interface Scenario {
  /** Begins the names of its checks. */
  readonly name: string;
  readonly profile: Profile;
  /** Beside the profile's committed ones. */
  readonly settings: readonly Setting[];
  readonly change: readonly Setting[];
  /** After `destroy`, a new stack takes the volume over. */
  readonly takesOver: boolean;
  /** Names of Docker's volumes that `destroy` leaves there, after the stack's name. */
  readonly keptVolumes: readonly string[];
}

/** A folder of the Docker host, the same for both ways: a path is no generated value. */
export interface Place {
  readonly backupFolder: string;
  /** Ports that are free on the Docker host. */
  readonly port: number;
  readonly prometheusPort: number;
}

/** Reloads the server, replaces its container, and lets everything be destroyed. */
const anyChange: readonly Setting[] = [
  { path: "serverSettings.log_min_duration_statement", value: 321 },
  { path: "serverSettings.max_connections", value: 77 },
  { path: "deletionProtection", value: false },
];

/**
 * Nobody answers there: how the plugins handle the container, its secret file and its rights does not depend on it.
 */
const storage = "[office]\ntype = webdav\nurl = http://127.0.0.1:9\nvendor = other\n";

/** Between them, a profile's scenarios use each resource and property that the program can use with that profile. */
export function scenariosOf(profile: Profile, { backupFolder, port, prometheusPort }: Place): Scenario[] {
  if (profile === "development") {
    return [{ name: profile, profile, settings: [], change: anyChange, takesOver: false, keptVolumes: [] }];
  }
  return [
    {
      name: "production",
      profile,
      settings: [{ path: "port", value: port }],
      // The server moves to a volume that a command fills, and leaves one behind.
      change: [
        ...anyChange,
        { path: "restore.latest", value: true },
        { path: "monitoring", value: "prometheus" },
      ],
      takesOver: true,
      keptVolumes: ["data", "data-1", "backups", "metrics"],
    },
    {
      name: "production with backups elsewhere",
      profile,
      settings: [
        { path: "port", value: port },
        { path: "backupFolder", value: backupFolder },
        { path: "backupCopyConfig", value: storage, secret: true },
        { path: "backupCopyPath", value: "shop/production" },
        { path: "drillQuery", value: "SELECT true" },
        { path: "monitoring", value: "prometheus" },
        { path: "prometheusPort", value: prometheusPort },
        { path: "accessRules[0].role", value: "app" },
        { path: "accessRules[0].address", value: "10.1.0.0/16" },
        { path: "logging.audit[0]", value: "ddl" },
      ],
      change: [
        ...anyChange,
        { path: "backupCopyEvery", value: "5min" },
        { path: "backupCopyEncryption", value: false },
        // It would be copied, to where nobody answers.
        { path: "finalBackup", value: false },
        { path: "drillEvery", value: "0" },
        { path: "prometheusRetention", value: "90d" },
        ...["app", "monitor", "backup", "superuser", "authority"].map((key) => ({
          path: `rotation.${key}`,
          value: 2,
        })),
        { path: "rotationOverlap[0]", value: "app" },
        { path: "rotationOverlap[1]", value: "authority" },
      ],
      takesOver: false,
      keptVolumes: ["data", "metrics"],
    },
  ];
}
