/**
 * Databases of the program's own, beside the application's in an ephemeral server. The settings take none of these for
 * databaseName, nor any name with a `#`.
 */
export const ownDatabases = {
  /** As the application's database was before the first migration. */
  base: "template#base",
  /** With every migration, before the seed data. Only where there is seed data: otherwise `ready` is the same. */
  migrated: "template#migrated",
  /** As the application's database is right after `up`: what is cloned. */
  ready: "template#ready",
  /**
   * The next `migrated` or `ready`, while it is being made. Programs among the seed data connect to it by a URL, in
   * which node-postgres leaves %23 as it is.
   */
  building: "template_building",
  /** The application's next database, until it takes the old one's place. */
  next: "reset#next",
  /** The application's old database, until it is dropped. */
  old: "reset#old",
} as const;

/** Connections to it end no other's work: it is always there, and nobody works in it. */
export const maintenance = "postgres";

/** SQL that is true of the sessions in pg_stat_activity that are the container's health check. */
export const isHealthCheck = "(coalesce(usename, '') LIKE '%\\_health' AND application_name = 'healthcheck')";
