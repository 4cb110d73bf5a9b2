import * as command from "@pulumi/command";
import * as postgresql from "@pulumi/postgresql";
import * as pulumi from "@pulumi/pulumi";
import { compileCache } from "../compile-cache.ts";
import { extensionsSchema, maintenanceDatabase, type RoleNames } from "../names.ts";
import { remadeWith } from "../remade-with.ts";
import type { ExtensionSetting } from "../settings.ts";
import {
  applicationSchemaUsers,
  backupsSchema,
  connecting,
  defaultPrivileges,
  extensionsSchemaUsers,
} from "./privileges.ts";
import { type RoleKey, roleDefinitions } from "./roles.ts";

/** How this program reaches a server. */
export interface ServerConnection {
  readonly host: pulumi.Input<string>;
  readonly port: pulumi.Input<number>;
  readonly superuserName: string;
  readonly superuserPassword: pulumi.Output<string>;
  readonly sslMode: "disable" | "require";
}

export interface DatabaseAccessArgs {
  readonly connection: ServerConnection;
  readonly roles: RoleNames;
  /** Of the logins, or what the server keeps in a password's place: that is in no log of statements. */
  readonly passwords: Readonly<
    Record<"migrator" | "appA" | "reader" | "monitor" | "backup", pulumi.Output<string>>
  > & { readonly appB: pulumi.Output<string> | undefined };
  /** Which of the application's pair may log in: one, or both while a rotation is under way. */
  readonly openLogins: readonly ("appA" | "appB")[];
  readonly databaseName: string;
  readonly schemaName: string;
  readonly extensions: readonly ExtensionSetting[];
  /** Environment by which a command connects to the database as the migrator. */
  readonly migratorEnvironment: Readonly<Record<string, pulumi.Input<string>>>;
  /** Whether the database is backed up. */
  readonly backups: boolean;
  /** Take over the roles, the database and the schema of a server that has them already. */
  readonly adopt: boolean;
  /**
   * The container that everything in here lives and dies with, in an ephemeral environment: all is made again in a new
   * container. Undefined: what's in here outlives every container.
   */
  readonly livesWith: pulumi.Resource | undefined;
  /** Must be done before anything connects: a component's own dependsOn does not reach its children. */
  readonly after: readonly pulumi.Resource[];
}

function isPaired(key: RoleKey): key is "appA" | "appB" {
  return key === "appA" || key === "appB";
}

/** Roles, database, schemas, extensions and privileges on a server that is ready. Needs nothing but a connection. */
export class DatabaseAccess extends pulumi.ComponentResource {
  /** Everything that must be in place before the first migration. */
  readonly ready: pulumi.Resource[] = [];

  private readonly componentName: string;
  private readonly args: DatabaseAccessArgs;
  private readonly provider: postgresql.Provider;

  constructor(name: string, args: DatabaseAccessArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:DatabaseAccess", name, {}, opts);
    this.componentName = name;
    this.args = args;
    this.provider = this.createProvider();

    const roles = this.createRoles();
    const database = this.createDatabase(roles);
    const databaseRights = this.createDatabaseRights(database, roles);
    const schemas = this.createSchemas(database, roles);
    const extensions = this.createExtensions(database, schemas, [...Object.values(roles), ...databaseRights]);
    const objectRights = this.createDefaultPrivileges(database, schemas, roles);
    this.ready.push(
      database,
      ...Object.values(roles),
      ...databaseRights,
      ...schemas.rights,
      ...extensions,
      ...objectRights,
      ...(args.backups ? this.createBackupRights(database, roles, databaseRights) : []),
    );
    this.registerOutputs();
  }

  private createProvider(): postgresql.Provider {
    const { connection } = this.args;
    return new postgresql.Provider(
      `${this.componentName}-provider`,
      {
        host: connection.host,
        port: connection.port,
        username: connection.superuserName,
        password: connection.superuserPassword,
        database: maintenanceDatabase,
        sslmode: connection.sslMode,
        connectTimeout: 30,
      },
      { parent: this, dependsOn: [...this.args.after] },
    );
  }

  /** Options of everything inside the server. */
  private inside(options: pulumi.CustomResourceOptions = {}): pulumi.CustomResourceOptions {
    const { livesWith } = this.args;
    return {
      parent: this,
      provider: this.provider,
      // Nothing is ever dropped by SQL. In a persistent environment, because that would destroy data; in an ephemeral
      // one, because all goes with the container. `deletedWith` says the latter too, but up to CLI 3.259 it drops
      // everything in the live server, one by one, when the container is replaced.
      retainOnDelete: true,
      ...remadeWith(livesWith),
      ...options,
    };
  }

  /** Options for an object that CREATE refuses to make twice. */
  private adopting(id: string, ignoreChanges: string[] = []): pulumi.CustomResourceOptions {
    return this.args.adopt ? { import: id, ignoreChanges } : {};
  }

  private createRoles(): Record<RoleKey, postgresql.Role> {
    const { roles, passwords, schemaName } = this.args;
    const made: Partial<Record<RoleKey, postgresql.Role>> = {};
    for (const definition of roleDefinitions) {
      const { key } = definition;
      const password = definition.password ? passwords[definition.password] : undefined;
      made[key] = new postgresql.Role(
        `${this.componentName}-role-${key}`,
        {
          name: roles[key],
          login: isPaired(key) ? this.args.openLogins.includes(key) : definition.login,
          ...(definition.replication ? { replication: true } : {}),
          ...(password ? { password } : {}),
          ...(definition.memberOf
            ? { roles: definition.memberOf.map((group) => made[group as RoleKey]?.name ?? group) }
            : {}),
          ...(definition.usesSchema ? { searchPaths: [schemaName, extensionsSchema] } : {}),
        },
        this.inside(this.adopting(roles[key], ["password"])),
      );
    }
    return made as Record<RoleKey, postgresql.Role>;
  }

  private createDatabase(roles: Record<RoleKey, postgresql.Role>): postgresql.Database {
    const { databaseName } = this.args;
    return new postgresql.Database(
      `${this.componentName}-database`,
      {
        name: databaseName,
        owner: roles.owner.name,
        // The init scripts ran in template1: what they made is in this database. Collation and encoding follow it.
        template: "template1",
      },
      // A template counts at creation only; the server doesn't know later which it was, and another value would
      // drop the database to make it again.
      this.inside({
        deleteBeforeReplace: true,
        ...this.adopting(databaseName),
        ignoreChanges: ["template"],
      }),
    );
  }

  /** Nobody connects by default; PUBLIC may make nothing anywhere, temporary tables included. */
  private createDatabaseRights(
    database: postgresql.Database,
    roles: Record<RoleKey, postgresql.Role>,
  ): postgresql.Grant[] {
    const revoke = (databaseName: pulumi.Input<string>, key: string, before: pulumi.Resource[] = []) =>
      this.grant(
        `public-${key}`,
        { database: databaseName, role: "public", objectType: "database", privileges: [] },
        before,
      );
    const nothingForPublic = [
      revoke(database.name, "database"),
      revoke(maintenanceDatabase, "maintenance-database"),
      // The plugin connects to the database that it revokes from, and a template in use can't be copied.
      revoke("template1", "template-database", [database]),
    ];
    const connect = (key: (typeof connecting)[number]) =>
      this.grant(
        `connect-${key}`,
        {
          database: database.name,
          role: key === "health" ? this.args.roles.health : roles[key].name,
          objectType: "database",
          privileges: ["CONNECT"],
        },
        nothingForPublic,
      );
    return [...nothingForPublic, ...connecting.map(connect)];
  }

  private createSchemas(database: postgresql.Database, roles: Record<RoleKey, postgresql.Role>) {
    const { databaseName, schemaName } = this.args;
    const application = new postgresql.Schema(
      `${this.componentName}-schema`,
      { name: schemaName, database: database.name, owner: roles.owner.name, ifNotExists: false },
      this.inside(this.adopting(`${databaseName}.${schemaName}`)),
    );
    const extensions = new postgresql.Schema(
      `${this.componentName}-schema-extensions`,
      {
        name: extensionsSchema,
        database: database.name,
        owner: this.args.connection.superuserName,
        ifNotExists: false,
      },
      this.inside(this.adopting(`${databaseName}.${extensionsSchema}`)),
    );
    const usage = (
      key: string,
      schema: postgresql.Schema,
      role: postgresql.Role,
      before: pulumi.Resource[] = [],
    ) =>
      this.grant(
        `usage-${key}`,
        {
          database: database.name,
          schema: schema.name,
          role: role.name,
          objectType: "schema",
          privileges: ["USAGE"],
        },
        before,
      );
    // One after the other for each schema: at the same time, they fail with «tuple concurrently updated».
    const usages = (key: string, schema: postgresql.Schema, users: readonly RoleKey[]) => {
      const made: postgresql.Grant[] = [];
      for (const user of users) made.push(usage(`${key}-${user}`, schema, roles[user], made.slice(-1)));
      return made;
    };
    const rights = [
      this.grant("public-schema-public", {
        database: database.name,
        schema: "public",
        role: "public",
        objectType: "schema",
        privileges: [],
      }),
      ...usages("application", application, applicationSchemaUsers),
      ...usages("extensions", extensions, extensionsSchemaUsers),
    ];
    return { application, extensions, rights };
  }

  private createExtensions(
    database: postgresql.Database,
    schemas: { extensions: postgresql.Schema; rights: pulumi.Resource[] },
    before: pulumi.Resource[],
  ): pulumi.Resource[] {
    const { extensions, migratorEnvironment, livesWith } = this.args;
    if (extensions.length === 0) return [];
    const check = new command.local.Command(
      `${this.componentName}-extensions-check`,
      {
        create: "node migrator/check-extensions.ts",
        environment: {
          ...compileCache,
          ...migratorEnvironment,
          EXTENSIONS: JSON.stringify(extensions.map(({ name, version }) => ({ name, version }))),
        },
      },
      {
        parent: this,
        dependsOn: [database, ...before],
        ...remadeWith(livesWith),
      },
    );
    return extensions.map(
      ({ name, schema, version }) =>
        new postgresql.Extension(
          `${this.componentName}-extension-${name}`,
          {
            name,
            database: database.name,
            schema: schema === extensionsSchema ? schemas.extensions.name : schema,
            ...(version === undefined ? {} : { version }),
          },
          this.inside({ dependsOn: [check, ...schemas.rights] }),
        ),
    );
  }

  /** What the owner makes from now on, migrations included, is open to the groups and closed to PUBLIC. */
  private createDefaultPrivileges(
    database: postgresql.Database,
    schemas: { application: postgresql.Schema; rights: pulumi.Resource[] },
    roles: Record<RoleKey, postgresql.Role>,
  ): pulumi.Resource[] {
    return defaultPrivileges.map(
      ({ key, role, objectType, privileges, global }) =>
        new postgresql.DefaultPrivileges(
          `${this.componentName}-default-${key}`,
          {
            database: database.name,
            owner: roles.owner.name,
            role: role === "public" ? role : roles[role].name,
            objectType,
            privileges: [...privileges],
            ...(global ? {} : { schema: schemas.application.name }),
          },
          // Created before its old self is deleted, a replaced one would be revoked by the old one's deletion.
          this.inside({ deleteBeforeReplace: true, dependsOn: schemas.rights }),
        ),
    );
  }

  /** What the backups write down in the database, and the moments that they can be told to go back to. */
  private createBackupRights(
    database: postgresql.Database,
    roles: Record<RoleKey, postgresql.Role>,
    before: pulumi.Resource[],
  ): pulumi.Resource[] {
    const connect = this.grant(
      "connect-backup",
      { database: database.name, role: roles.backup.name, objectType: "database", privileges: ["CONNECT"] },
      before,
    );
    const schema = new postgresql.Schema(
      `${this.componentName}-schema-backups`,
      // Not adopted: a volume may come from before there were backups.
      { name: backupsSchema, database: database.name, owner: roles.backup.name, ifNotExists: true },
      this.inside(),
    );
    const usage = this.grant("usage-backups-monitor", {
      database: database.name,
      schema: schema.name,
      role: roles.monitor.name,
      objectType: "schema",
      privileges: ["USAGE"],
    });
    const select = new postgresql.DefaultPrivileges(
      `${this.componentName}-default-monitor-backups`,
      {
        database: database.name,
        owner: roles.backup.name,
        role: roles.monitor.name,
        schema: schema.name,
        objectType: "table",
        privileges: ["SELECT"],
      },
      this.inside({ deleteBeforeReplace: true, dependsOn: [usage] }),
    );
    const restorePoints = this.grant("restore-points", {
      database: database.name,
      schema: "pg_catalog",
      role: roles.backup.name,
      objectType: "function",
      objects: ["pg_create_restore_point"],
      privileges: ["EXECUTE"],
    });
    return [connect, schema, usage, select, restorePoints];
  }

  private grant(
    key: string,
    args: postgresql.GrantArgs,
    dependsOn: pulumi.Resource[] = [],
  ): postgresql.Grant {
    return new postgresql.Grant(`${this.componentName}-grant-${key}`, args, this.inside({ dependsOn }));
  }
}
