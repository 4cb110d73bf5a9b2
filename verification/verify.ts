import type { Client } from "pg";
import { compareCatalogues, type Difference, isFault } from "../catalogue/compare.ts";
import { type Catalogue, readCatalogue, readCluster } from "../catalogue/read.ts";
import type { StackOutputs } from "../cli/stack-outputs.ts";
import { backupsSchema } from "../components/access/privileges.ts";
import { type RoleDefinition, roleDefinitions } from "../components/access/roles.ts";
import { generationOfPair, pairOf } from "../components/credentials/rotation.ts";
import { maintenanceDatabase, roleNames } from "../components/names.ts";
import { hostBasedAuthentication, identityMap } from "../components/server/access-rules.ts";
import type { InitScript } from "../components/server/init-scripts.ts";
import { serverParameters } from "../components/server/server-settings.ts";
import type { Settings } from "../components/settings.ts";
import { type ConnectionSettings, connect } from "../migrator/connection.ts";
import type { Migration } from "../migrator/files.ts";
import { hasRunRecord } from "../migrator/run-record.ts";
import { readStatus, type Status } from "../migrator/status.ts";
import { applyAll } from "../rehearsal/rehearse.ts";
import { rehearsalParameters, startServer } from "../rehearsal/server.ts";
import { ownDatabases } from "../reset/names.ts";
import { compareAccessFile } from "./access-files.ts";
import { fitsVerifier, tryPassword } from "./passwords.ts";
import { readAccessFiles, readOnly, readServerSettings, readVerifiers } from "./read-server.ts";
import { compareSettings, type ServerSettings } from "./server-settings.ts";

/** What was compared; the order is that of the report. */
export const areas = [
  "container",
  "passwords",
  "roles",
  "settings",
  "access rules",
  "migrations",
  "databases",
] as const;
export type Area = (typeof areas)[number];

export interface Finding {
  readonly area: Area;
  readonly difference: Difference;
}

export interface Subject {
  readonly settings: Settings;
  readonly outputs: StackOutputs;
  /** Passwords by role that the outputs don't have. */
  readonly passwords: Readonly<Record<string, string>>;
  readonly migrations: readonly Migration[];
  readonly folder: string;
}

/** What a server is like, as far as its superuser can see. */
export interface ServerState {
  readonly cluster: Catalogue;
  /** By name; without those that `./db reset` and tests have made. */
  readonly databases: ReadonlyMap<string, Catalogue>;
  readonly settings: ServerSettings;
}

const applicationName = "db verify";

/** The superuser's connection to a stack's server. */
export function superuserOf({ outputs }: Subject, database = maintenanceDatabase): ConnectionSettings {
  return loginOf(outputs, outputs.connections.superuser, database);
}

function loginOf(
  { tls }: StackOutputs,
  { host, password, username }: StackOutputs["connections"]["superuser"],
  database: string,
): ConnectionSettings {
  return {
    host: host.host,
    port: host.port,
    user: username,
    password,
    database,
    sslMode: tls.ca === undefined ? "disable" : "verify-full",
    sslRootCert: tls.ca,
    applicationName,
  };
}

/** Logs in with every password that the stack has. @param verifiers By role; undefined: the superuser can't log in. */
export async function checkPasswords(
  subject: Subject,
  verifiers?: ReadonlyMap<string, string | null>,
): Promise<Finding[]> {
  const { outputs, passwords } = subject;
  const { superuser, ...others } = outputs.connections;
  const logins = [
    ...Object.values(others).map(({ password, username }) => ({ password, username })),
    ...Object.entries(passwords).map(([username, password]) => ({ password, username })),
  ];
  const findings = await Promise.all(
    logins.map(async ({ password, username }) => {
      const settings = loginOf(outputs, { ...superuser, password, username }, others.app.database);
      const state = await tryPassword(settings);
      const good =
        state === "elsewhere"
          ? verifiers === undefined || fitsVerifier(password, verifiers.get(username) ?? null)
          : state === "good";
      return good ? [] : [passwordFinding(username)];
    }),
  );
  return findings.flat();
}

export function passwordFinding(role: string): Finding {
  return {
    area: "passwords",
    difference: {
      kind: "changed",
      object: `password of ${role}`,
      changes: [{ what: "value", was: "the stack's", is: "another" }],
    },
  };
}

/** Reads a server. It is read with the same eyes in both cases: the stack's, and one that is as it should be. */
export async function readServer(
  superuser: (database: string) => Promise<Client>,
  ephemeral: boolean,
): Promise<ServerState> {
  const client = await superuser(maintenanceDatabase);
  try {
    await readOnly(client);
    const all = await readCluster(client);
    const cluster = ephemeral ? withoutOwnDatabases(all) : all;
    const names = [...cluster.keys()].flatMap((name) => /^database (.*)$/s.exec(name)?.[1] ?? []);
    const settings = await readServerSettings(client);
    const databases = new Map<string, Catalogue>();
    for (const quoted of names) {
      const name = quoted.startsWith('"') ? quoted.slice(1, -1).replaceAll('""', '"') : quoted;
      const open = cluster.get(`database ${quoted}`)?.properties["open to connections"] !== "no";
      if (open) databases.set(name, await readDatabase(superuser, name));
    }
    return { cluster, databases, settings };
  } finally {
    await client.end().catch(() => {});
  }
}

async function readDatabase(
  superuser: (database: string) => Promise<Client>,
  name: string,
): Promise<Catalogue> {
  const client = await superuser(name);
  try {
    await readOnly(client);
    return withoutBackupTables(await readCatalogue(client));
  } finally {
    await client.end().catch(() => {});
  }
}

/** The backup containers make them, and another version of theirs may make others. */
function withoutBackupTables(catalogue: Catalogue): Catalogue {
  return new Map([...catalogue].filter(([name]) => !name.includes(` ${backupsSchema}.`)));
}

/** Templates and clones of an ephemeral server, which come and go by themselves. */
function withoutOwnDatabases(cluster: Catalogue): Catalogue {
  const own = new Set<string>(Object.values(ownDatabases));
  return new Map(
    [...cluster].filter(([name]) => {
      const database = /^database "?(.*?)"?$/s.exec(name)?.[1];
      return database === undefined || !(own.has(database) || database.includes("#"));
    }),
  );
}

/** A server of the same settings with the same migrations, in the container that is named. The caller removes it. */
export async function readReference(
  container: string,
  { folder, settings }: Subject,
  initScripts: readonly InitScript[],
  applied: readonly Migration[],
  monitor: string | undefined,
): Promise<ServerState> {
  const server = await startServer({ container, settings, initScripts, keep: false });
  const { password } = server.superuser;
  try {
    for (const { login, name } of logins(settings)) {
      const identifier = server.superuser.escapeIdentifier(name);
      // Only whether there is a password is compared.
      await server.superuser.query(`ALTER ROLE ${identifier} ${login ? "LOGIN" : "NOLOGIN"} PASSWORD 'any'`);
    }
    await applyAll({ ...server, settings, folder, monitor }, applied);
  } finally {
    await server.superuser.end().catch(() => {});
  }
  return await readServer(
    (database) =>
      connect({
        ...server.migrator,
        user: settings.superuserName,
        password: password ?? undefined,
        database,
      }),
    false,
  );
}

/** Roles that have a password. Of the application's pair, one is closed to logins, and has none before a rotation. */
function logins({ appName, rotation, rotationOverlap }: Settings): { name: string; login: boolean }[] {
  const roles = roleNames(appName);
  const passwords: Readonly<Record<string, number | undefined>> = generationOfPair(rotation.app);
  const { current, other } = pairOf(rotation.app);
  const closed = rotationOverlap.includes("app") ? undefined : other;
  return roleDefinitions
    .filter(({ key, password }: RoleDefinition) => password !== undefined && key !== "migrator")
    .filter(({ key }) => (key === current || key === other ? passwords[key] !== undefined : true))
    .map(({ key }) => ({ name: roles[key], login: key !== closed }));
}

/** Everything in which a server is not as its reference is. */
export function compareServers(
  { settings, migrations }: Pick<Subject, "migrations" | "settings">,
  reference: ServerState,
  live: ServerState,
  status: Status,
): Finding[] {
  return [
    ...compareCatalogues(reference.cluster, live.cluster).map((difference) => ({
      area: areaOf(difference.object),
      difference,
    })),
    ...compareDatabases(settings, reference, live),
    ...compareSettings(
      {
        parameters: serverParameters(settings),
        reference: reference.settings,
        referenceParameters: rehearsalParameters(settings),
      },
      live.settings,
    ).map((difference) => ({ area: "settings" as const, difference })),
    ...compareMigrations(settings, migrations, status),
  ];
}

function areaOf(object: string): Area {
  if (/^(?:role|membership) /.test(object)) return "roles";
  return object.startsWith("rights on parameter ") ? "settings" : "databases";
}

/** Objects of the application's database go by their own names; those of another are told with it. */
function compareDatabases({ databaseName }: Settings, reference: ServerState, live: ServerState): Finding[] {
  const told = new Set<string>();
  return [...reference.databases].flatMap(([name, should]) => {
    const is = live.databases.get(name);
    // One that is missing or closed is a difference of the cluster's.
    if (is === undefined) return [];
    return compareCatalogues(should, is).flatMap((difference): Finding[] => {
      if (!isFault(difference)) return [];
      // Settings of a role, in all databases: every database shows them.
      const shared = /^settings of role (?!.* in the database$)/.test(difference.object);
      if (shared) {
        if (told.has(difference.object)) return [];
        told.add(difference.object);
        return [{ area: "roles", difference }];
      }
      const own = name === databaseName || difference.object.startsWith("database ");
      const object = own ? difference.object : `in database ${name}: ${difference.object}`;
      return [{ area: "databases", difference: { ...difference, object } }];
    });
  });
}

function compareMigrations(
  { migrationsTarget }: Settings,
  migrations: readonly Migration[],
  { migrations: entries, problems }: Status,
): Finding[] {
  const target =
    migrationsTarget === undefined
      ? undefined
      : migrations.find(
          ({ name, number }) => name === migrationsTarget || number === Number(migrationsTarget),
        );
  const beyond = (name: string) =>
    migrationsTarget !== undefined &&
    (migrations.find((each) => each.name === name)?.number ?? 0) > (target?.number ?? 0);
  const finding = (object: string, was: string, is: string): Finding => ({
    area: "migrations",
    difference: { kind: "changed", object, changes: [{ what: "state", was, is }] },
  });
  return [
    ...entries.flatMap(({ name, state }) => {
      const wanted = beyond(name) ? "pending" : "applied";
      // The problems tell the rest.
      if (state === wanted || !["applied", "pending"].includes(state)) return [];
      return [finding(`migration ${name}`, wanted, state)];
    }),
    ...problems.map((problem) =>
      finding("record of migrations", "as the files have it", problem.split("\n")[0] ?? ""),
    ),
  ];
}

/** Access rules, passwords' verifiers and migrations of the stack's server. */
export async function readStack(subject: Subject): Promise<{
  readonly accessFiles: Finding[];
  readonly verifiers: ReadonlyMap<string, string | null>;
  readonly status: Status;
  /** Who may read how the last run of migrations went, or might before monitoring was taken back. */
  readonly monitor: string | undefined;
}> {
  const { folder, settings } = subject;
  const client = await connect(superuserOf(subject));
  try {
    await readOnly(client);
    const [hba, ident] = await readAccessFiles(client);
    const accessFiles = [
      ...compareAccessFile(hostBasedAuthentication(settings), hba),
      ...compareAccessFile(identityMap(settings.superuserName), ident),
    ].map((difference) => ({ area: "access rules" as const, difference }));
    return {
      accessFiles,
      verifiers: await readVerifiers(client),
      monitor:
        settings.monitoring || (await isRunRecorded(subject))
          ? roleNames(settings.appName).monitor
          : undefined,
      status: await readStatus({
        connection: superuserOf(subject, settings.databaseName),
        folder,
        owner: roleNames(settings.appName).owner,
        schema: settings.schemaName,
      }),
    };
  } finally {
    await client.end().catch(() => {});
  }
}

async function isRunRecorded(subject: Subject): Promise<boolean> {
  const client = await connect(superuserOf(subject, subject.settings.databaseName));
  try {
    await readOnly(client);
    return await hasRunRecord(client);
  } finally {
    await client.end().catch(() => {});
  }
}
