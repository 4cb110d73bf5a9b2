import * as pulumi from "@pulumi/pulumi";
import { planData } from "./components/backups/planned-data.ts";
import { planRotation } from "./components/credentials/planned-rotation.ts";
import { planMigrations } from "./components/migrations/planned-migrations.ts";
import { PostgresEnvironment } from "./components/postgres-environment.ts";
import { readSettings } from "./components/read-settings.ts";
import { planRestart } from "./components/server/restarts.ts";

const settings = readSettings();
/** What the server was started with; another value of one of these takes a restart. Null in an ephemeral environment. */
export const serverStart = await planRestart(settings);
/** Of each password and the authority: how often it was rotated, and since when it is in use. Null in an ephemeral one. */
export const rotation = await planRotation(settings);
const data = await planData(settings);
const planned = await planMigrations(settings, { restoring: data.pending });
const environment = new PostgresEnvironment("postgres", { settings, data, migrations: planned });

/** Name of the database driver, for applications that choose one by it. */
export const DB_DRIVER = "postgres";
/** Connection URL of the application, as seen from the Docker host. */
export const DB_SOURCE = environment.connections.app.apply(({ host }) => host.source);
/**
 * For each login (app, migrator, readonly, monitor, superuser): name, password, and where it connects from host and network.
 * Secret as a whole: tools that hand on outputs one by one, such as pulumi/actions, hide none that has secrets only within.
 */
export const connections = pulumi.secret(environment.connections);
/** What DB_SOURCE says of TLS, and the authority (PEM) that verifies the server. */
export const tls = { mode: settings.sslMode, ca: environment.ca };
export const lifetime = settings.lifetime;
export const image = settings.image;
/** Digest of that image's content, which the containers are made from. Null in development, where the tag decides. */
export const imageId = settings.lifetime === "persistent" ? environment.server.image : null;
export const containerName = environment.server.containerName;
export const networkName = environment.server.networkName;
/** Who may connect from where, as PostgreSQL reads it: here, so that a preview shows what changes. */
export const accessRules = environment.server.accessRules;
/** Null: the data is in memory. */
export const volumeName = environment.server.volumeName ?? null;
/** Names of the migrations that are in place. */
export const migrations = environment.migrations;
/** For the next preview: what it can know without a connection to the database. */
export const migrationsRecord = environment.migrationsRecord;
/** Where the backups are: a volume's name or a host's folder. Null, as those below, in development. */
export const backupRepository = environment.backups?.repository ?? null;
/** As in connections, for whoever makes backups and restore points. */
export const backupConnection = environment.backupConnection ?? null;
/** For the next update: how often the data was restored, by which setting, and whether the stack began with a backup. */
export const dataGeneration = environment.dataGeneration ?? null;
export const restored = environment.restored ?? null;
export const adopted = environment.adopted ?? null;
/** Without it, nothing can be restored from the encrypted copy off the host. */
export const backupCopyKey = environment.backupCopyKey ? pulumi.secret(environment.backupCopyKey) : null;
/** Addresses of the programs that watch the environment, by name; null: there are none. */
export const monitoring = environment.monitoring?.addresses ?? null;
/** Of Grafana's user admin; null: there is no Grafana. */
export const grafanaPassword = environment.monitoring?.grafanaPassword ?? null;
