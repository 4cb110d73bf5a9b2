import * as pulumi from "@pulumi/pulumi";
import { planMigrations } from "./components/migrations/planned-migrations.ts";
import { PostgresEnvironment } from "./components/postgres-environment.ts";
import { readSettings } from "./components/read-settings.ts";

const settings = readSettings();
const environment = new PostgresEnvironment("postgres", {
  settings,
  migrations: await planMigrations(settings),
});
const { app } = environment.connections;

/** Name of the database driver, for applications that choose one by it. */
export const DB_DRIVER = "postgres";
/** Connection URL of the application, as seen from the Docker host. */
export const DB_SOURCE = app.apply((login) => login.host.source);
/**
 * For each login (app, migrator, readonly, monitor, superuser): name, password, and where it connects from host and network.
 * Secret as a whole: tools that hand on outputs one by one, such as pulumi/actions, hide none that has secrets only within.
 */
export const connections = pulumi.secret(environment.connections);
/** What DB_SOURCE says of TLS, and the authority (PEM) that verifies the server. */
export const tls = { mode: settings.sslMode, ca: environment.ca };
export const lifetime = settings.lifetime;
export const image = settings.image;
export const containerName = environment.server.containerName;
export const networkName = environment.server.networkName;
/** Null: the data is in memory. */
export const volumeName = environment.server.volumeName ?? null;
/** Names of the migrations that are in place. */
export const migrations = environment.migrations;
/** For the next preview: what it can know without a connection to the database. */
export const migrationsRecord = environment.migrationsRecord;
