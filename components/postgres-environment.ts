import * as pulumi from "@pulumi/pulumi";
import { InputError } from "../migrator/errors.ts";
import { readSeeds, type SeedFile } from "../reset/seed-files.ts";
import { DatabaseAccess } from "./access/database-access.ts";
import { Backups } from "./backups/backups.ts";
import { type DataGeneration, formatOrigin } from "./backups/data-generation.ts";
import { RestoredDatabase } from "./backups/restored-database.ts";
import { ServerCertificates } from "./certificates/server-certificates.ts";
import { connectionUrl, type LoginConnection } from "./connection-url.ts";
import { loginConnection } from "./connections.ts";
import { Credentials } from "./credentials/credentials.ts";
import { pairOf } from "./credentials/rotation.ts";
import { guardResources } from "./guarded.ts";
import type { PlannedMigrations } from "./migrations/planned-migrations.ts";
import { SchemaMigrations } from "./migrations/schema-migrations.ts";
import { Monitoring } from "./monitoring/monitoring.ts";
import { maintenanceDatabase, roleNames } from "./names.ts";
import { protectResources } from "./protection.ts";
import {
  networkAlias,
  PostgresServer,
  persistentPrefix,
  serverPort,
  stackObjectLabels,
} from "./server/postgres-server.ts";
import type { Settings } from "./settings.ts";

const secondsPerDay = 24 * 3600;

export interface PostgresEnvironmentArgs {
  readonly settings: Settings;
  readonly migrations: PlannedMigrations;
  readonly data: DataGeneration;
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
  /** Of the login that makes backups and restore points. Undefined: nothing is backed up. */
  readonly backupConnection: pulumi.Output<LoginConnection> | undefined;
  /** Key of the copy of the backups; undefined: there is none, or it is not encrypted. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;
  /** Undefined: nothing is backed up. */
  readonly backups: Backups | undefined;
  /** For the next update: see `decideGeneration`. Undefined in an ephemeral environment. */
  readonly dataGeneration: pulumi.Output<number> | undefined;
  readonly restored: pulumi.Output<string> | undefined;
  readonly adopted: pulumi.Output<true> | undefined;
  /** Undefined: nothing watches the environment. */
  readonly monitoring: Monitoring | undefined;
  /** Names of the migrations that are in place. */
  readonly migrations: pulumi.Output<readonly string[]>;
  /** What a preview must know of them; null in an ephemeral environment. */
  readonly migrationsRecord: pulumi.Output<string | null>;

  constructor(name: string, args: PostgresEnvironmentArgs, opts?: pulumi.ComponentResourceOptions) {
    const { data, migrations, settings } = args;
    super(
      "postgresql-environments:index:PostgresEnvironment",
      name,
      {},
      {
        ...opts,
        transformations: [
          ...(settings.lifetime === "persistent" ? [guardResources] : []),
          ...(settings.deletionProtection ? [protectResources] : []),
        ],
      },
    );
    const roles = roleNames(settings.appName);
    const seedFiles = readSeedFiles(settings);
    const { backupCopyKey, passwords, verifiers } = new Credentials(
      `${name}-credentials`,
      {
        superuserPassword: settings.superuserPassword,
        rotation: settings.rotation,
        backedUp: settings.backup !== undefined,
        backupCopyKey: settings.backup?.copy?.key,
      },
      { parent: this },
    );

    const certificates = settings.tls ? this.certificatesOf(name, settings) : undefined;
    this.ca = certificates?.ca;

    const logins = {
      [roles.migrator]: verifiers.migrator,
      [roles.appA]: verifiers.appA,
      ...(verifiers.appB ? { [roles.appB]: verifiers.appB } : {}),
      [roles.reader]: verifiers.reader,
      [roles.monitor]: verifiers.monitor,
      [roles.backup]: verifiers.backup,
    };
    this.server = new PostgresServer(
      name,
      {
        settings,
        superuserPassword: passwords.superuser,
        certificate: certificates,
        verifiers: {
          [settings.superuserName]: verifiers.superuser,
          ...(settings.adoptVolume ? logins : {}),
        },
        data,
        restoredVerifiers: logins,
        backupCopyKey,
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
    const { current, other } = pairOf(settings.rotation.app);
    this.connections = {
      app: login(roles[current], passwords[current] ?? passwords.appA),
      migrator: login(roles.migrator, passwords.migrator),
      readonly: login(roles.reader, passwords.reader),
      monitor: login(roles.monitor, passwords.monitor),
      superuser: login(settings.superuserName, passwords.superuser, maintenanceDatabase),
    };
    if (settings.backup) this.backupConnection = pulumi.secret(login(roles.backup, passwords.backup));

    const verified = (username: string, password: pulumi.Output<string>) =>
      pulumi.all([password, this.server.port]).apply(([known, port]) =>
        connectionUrl({
          username,
          password: known,
          host: settings.host,
          port,
          database: settings.databaseName,
          sslMode: settings.tls ? "verify-full" : "disable",
        }),
      );
    const migratorEnvironment = {
      DB_SOURCE: verified(roles.migrator, passwords.migrator),
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
        passwords: verifiers,
        openLogins: settings.rotationOverlap.includes("app") ? [current, other] : [current],
        databaseName: settings.databaseName,
        schemaName: settings.schemaName,
        extensions: settings.extensions,
        migratorEnvironment,
        backups: settings.backup !== undefined,
        adopt: data.adopt,
        livesWith,
        after: [this.server.open],
      },
      { parent: this },
    );

    this.backups =
      settings.backup &&
      backupCopyKey &&
      new Backups(
        `${name}-backups`,
        {
          settings,
          backup: settings.backup,
          prefix: persistentPrefix(),
          labels: (role) => stackObjectLabels(settings, role),
          networkName: this.server.networkName,
          image: this.server.image,
          server: endpoints.network,
          serverId: this.server.container.id,
          password: passwords.backup,
          copyKey: backupCopyKey,
          ca: this.ca,
          after: access.ready,
        },
        { parent: this },
      );
    if (settings.backup?.copy?.encryption) this.backupCopyKey = backupCopyKey;

    const rows =
      settings.restore && settings.lifetime === "ephemeral"
        ? new RestoredDatabase(
            `${name}-restored`,
            {
              settings,
              restore: settings.restore,
              containerName: this.server.containerName,
              labels: stackObjectLabels(settings, "restore"),
              livesWith,
              after: access.ready,
            },
            { parent: this },
          )
        : undefined;

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
        monitor: settings.monitoring ? roles.monitor : undefined,
        migratorEnvironment,
        livesWith,
        ephemeral:
          settings.lifetime === "ephemeral"
            ? {
                connections: this.connections,
                initdbFolder: settings.initdbFolder,
                seeds: settings.seeds,
                seedFiles,
                restored: rows !== undefined,
              }
            : undefined,
        dataGeneration: data.generation,
        restorePoints: this.backups && verified(roles.backup, passwords.backup),
        // With a backup there is a way back from the first migration on.
        after: [
          ...access.ready,
          ...(this.backups ? [this.backups.ready] : []),
          ...(rows ? [rows.copied] : []),
        ],
      },
      { parent: this },
    );
    this.migrations = applied;
    this.migrationsRecord = recorded;
    if (settings.lifetime === "persistent") {
      const { adopt, generation, restored } = data;
      const origin = formatOrigin(data);
      // Not before all is done: a failed update leaves the record as it was.
      this.dataGeneration = applied.apply(() => generation);
      if (origin !== undefined) this.restored = applied.apply(() => origin);
      if (restored && adopt) this.adopted = applied.apply(() => true as const);
    }

    this.monitoring = settings.monitoring
      ? new Monitoring(
          `${name}-monitoring`,
          {
            settings: settings.monitoring,
            labels: settings.labels,
            bindAddress: settings.bindAddress,
            host: settings.host,
            prefix: this.server.prefix,
            networkName: this.server.networkName,
            disks: {
              ...(this.server.volumeName ? { data: { volumeName: this.server.volumeName } } : {}),
              ...(this.backups ? { backups: this.backups.place } : {}),
            },
            server: {
              ...endpoints.network,
              majorVersion: settings.majorVersion,
              database: settings.databaseName,
            },
            user: roles.monitor,
            password: passwords.monitor,
            tls: certificates && { ...certificates, own: settings.ownCertificate !== undefined },
            backupEvery: settings.backup?.every ?? secondsPerDay,
            drillEvery: settings.backup?.drillEvery || secondsPerDay,
            after: access.ready,
          },
          { parent: this },
        )
      : undefined;
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
        authority: settings.rotation.authority,
        overlap: settings.rotationOverlap.includes("authority"),
        validityHours: settings.certificateValidity,
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
