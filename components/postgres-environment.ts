import * as pulumi from "@pulumi/pulumi";
import { InputError } from "../migrator/errors.ts";
import { readSeeds, type SeedFile } from "../reset/seed-files.ts";
import { DatabaseAccess } from "./access/database-access.ts";
import { ServerCertificates } from "./certificates/server-certificates.ts";
import { connectionUrl, type LoginConnection, loginConnection } from "./connections.ts";
import { Credentials } from "./credentials/credentials.ts";
import type { PlannedMigrations } from "./migrations/planned-migrations.ts";
import { SchemaMigrations } from "./migrations/schema-migrations.ts";
import { maintenanceDatabase, roleNames } from "./names.ts";
import { protectResources } from "./protection.ts";
import { networkAlias, PostgresServer, serverPort } from "./server/postgres-server.ts";
import type { Settings } from "./settings.ts";

export interface PostgresEnvironmentArgs {
  readonly settings: Settings;
  readonly migrations: PlannedMigrations;
}

/** A complete PostgreSQL environment: server, roles, database, schema. */
export class PostgresEnvironment extends pulumi.ComponentResource {
  /** By login; passwords and URLs are secrets. */
  readonly connections: {
    readonly app: pulumi.Output<LoginConnection>;
    readonly migrator: pulumi.Output<LoginConnection>;
    readonly readonly: pulumi.Output<LoginConnection>;
    readonly superuser: pulumi.Output<LoginConnection>;
    /** Reads statistics and settings, and no rows. */
    readonly monitor: pulumi.Output<LoginConnection>;
  };
  /** PEM of the authority that signed the server's certificate; undefined: no TLS. */
  readonly ca: pulumi.Output<string> | undefined;
  readonly server: PostgresServer;
  /** Names of the migrations that are in place. */
  readonly migrations: pulumi.Output<readonly string[]>;
  /** What a preview must know of them; null in an ephemeral environment. */
  readonly migrationsRecord: pulumi.Output<string | null>;

  constructor(name: string, args: PostgresEnvironmentArgs, opts?: pulumi.ComponentResourceOptions) {
    const { migrations, settings } = args;
    super(
      "postgresql-environments:index:PostgresEnvironment",
      name,
      {},
      {
        ...opts,
        transformations: settings.deletionProtection ? [protectResources] : [],
      },
    );
    const roles = roleNames(settings.appName);
    const seedFiles = readSeedFiles(settings);
    const { passwords } = new Credentials(
      `${name}-credentials`,
      { superuserPassword: settings.superuserPassword },
      { parent: this },
    );

    const certificates = settings.tls ? this.certificatesOf(name, settings) : undefined;
    this.ca = certificates?.ca;

    this.server = new PostgresServer(
      name,
      {
        settings,
        superuserPassword: passwords.superuser,
        certificate: certificates,
        adoptedPasswords: settings.adoptVolume
          ? {
              [roles.migrator]: passwords.migrator,
              [roles.appA]: passwords.appA,
              [roles.reader]: passwords.reader,
              [roles.monitor]: passwords.monitor,
              [roles.backup]: passwords.backup,
            }
          : {},
      },
      { parent: this },
    );
    const livesWith = settings.lifetime === "ephemeral" ? this.server.ready : undefined;

    const endpoints = {
      host: { host: settings.host, port: this.server.port },
      network: { host: networkAlias, port: serverPort },
    };
    const login = (username: string, password: pulumi.Output<string>, database = settings.databaseName) =>
      loginConnection({ username, password }, { ...endpoints, database, sslMode: settings.sslMode });
    this.connections = {
      app: login(roles.appA, passwords.appA),
      migrator: login(roles.migrator, passwords.migrator),
      readonly: login(roles.reader, passwords.reader),
      monitor: login(roles.monitor, passwords.monitor),
      superuser: login(settings.superuserName, passwords.superuser, maintenanceDatabase),
    };

    const migratorEnvironment = {
      DB_SOURCE: pulumi.all([passwords.migrator, this.server.port]).apply(([password, port]) =>
        connectionUrl({
          username: roles.migrator,
          password,
          host: settings.host,
          port,
          database: settings.databaseName,
          sslMode: settings.tls ? "verify-full" : "disable",
        }),
      ),
      ...(this.ca ? { DB_SSLROOTCERT_PEM: this.ca } : {}),
    };
    const access = new DatabaseAccess(
      `${name}-access`,
      {
        connection: {
          host: settings.host,
          port: this.server.port,
          superuserName: settings.superuserName,
          superuserPassword: passwords.superuser,
          // The plugin takes a root certificate as a file only, which a refresh or destroy on another machine hasn't got.
          sslMode: settings.sslMode,
        },
        roles,
        passwords,
        databaseName: settings.databaseName,
        schemaName: settings.schemaName,
        extensions: settings.extensions,
        migratorEnvironment,
        adopt: settings.adoptVolume,
        livesWith,
        after: [this.server.ready],
      },
      { parent: this },
    );

    const { applied, recorded } = new SchemaMigrations(
      `${name}-migrations`,
      {
        migrations,
        folder: settings.migrationsFolder,
        target: settings.migrationsTarget,
        limits: {
          lockTimeout: settings.migrationsLockTimeout,
          lockRetries: settings.migrationsLockRetries,
          statementTimeout: settings.migrationsStatementTimeout,
        },
        owner: roles.owner,
        schemaName: settings.schemaName,
        migratorEnvironment,
        livesWith,
        ephemeral:
          settings.lifetime === "ephemeral"
            ? {
                connections: this.connections,
                initdbFolder: settings.initdbFolder,
                seeds: settings.seeds,
                seedFiles,
              }
            : undefined,
        after: access.ready,
      },
      { parent: this },
    );
    this.migrations = applied;
    this.migrationsRecord = recorded;
    this.registerOutputs();
  }

  private certificatesOf(name: string, settings: Settings) {
    const own = settings.ownCertificate;
    if (own) {
      return { ca: pulumi.output(own.ca), certificate: pulumi.output(own.certificate), key: own.key };
    }
    return new ServerCertificates(
      `${name}-certificates`,
      {
        authorityName: `${pulumi.getProject()} ${pulumi.getStack()} CA`,
        hosts: [networkAlias, "localhost", settings.host, "127.0.0.1", "::1"],
      },
      { parent: this },
    );
  }
}

function readSeedFiles(settings: Settings): readonly SeedFile[] {
  try {
    return readSeeds(settings.seeds);
  } catch (error) {
    if (error instanceof InputError) throw new pulumi.RunError(error.message);
    throw error;
  }
}
