/** Names of the roles, all with the application's name as prefix. */
export interface RoleNames {
  readonly owner: string;
  readonly migrator: string;
  readonly readwrite: string;
  readonly readonly: string;
  /** The application's pair of logins: one in use, the other idle, so that a password can be changed with no downtime. */
  readonly appA: string;
  readonly appB: string;
  readonly reader: string;
  readonly monitor: string;
  readonly backup: string;
  /** Runs the container's health check; may connect from within the container only. */
  readonly health: string;
}

export function roleNames(appName: string): RoleNames {
  return {
    owner: `${appName}_owner`,
    migrator: `${appName}_migrator`,
    readwrite: `${appName}_readwrite`,
    readonly: `${appName}_readonly`,
    appA: `${appName}_app_a`,
    appB: `${appName}_app_b`,
    reader: `${appName}_reader`,
    monitor: `${appName}_monitor`,
    backup: `${appName}_backup`,
    health: `${appName}_health`,
  };
}

/** Schema that extensions are installed in, apart from the application's own objects. */
export const extensionsSchema = "extensions";

/** Database that always exists, for connections before the application's own exists. */
export const maintenanceDatabase = "postgres";
