import { isIP } from "node:net";
import { roleNames } from "../names.ts";
import { type AccessRule, isAnyAddress, isLoopback } from "../settings/access-rules.ts";
import type { Settings } from "../settings.ts";

/** A name in pg_hba.conf or pg_ident.conf: quoted, so that it is never taken for a keyword, a pattern or a file. */
function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Name of the map in pg_ident.conf that lets the container's own users in as the superuser. */
const superuserMap = "superuser";

export type AccessSettings = Pick<
  Settings,
  | "accessRules"
  | "appName"
  | "bindAddress"
  | "databaseName"
  | "host"
  | "lifetime"
  | "programNetworks"
  | "superuserName"
  | "tls"
>;

/** The superuser over the socket, for whoever can run commands in the container as root or postgres anyway. */
function superuserLine(superuserName: string): string {
  return `local   all          ${quote(superuserName)}  peer map=${superuserMap}`;
}

/** The health check's role, from within the container. */
function healthLine(appName: string): string {
  return `host    all          ${quote(roleNames(appName).health)}  127.0.0.1/32  trust`;
}

/** pg_hba.conf of a server that has not got its rules yet: nobody comes in from outside the container. */
export function closedAuthentication(options: { appName: string; superuserName: string }): string {
  return `${superuserLine(options.superuserName)}\n${healthLine(options.appName)}\n`;
}

/**
 * pg_hba.conf of an environment. The first line that matches decides, and who is in no line is refused.
 *
 * Everyone gives a password (SCRAM), with TLS where the environment serves it. Two exceptions stay inside the
 * container: the superuser over the socket, for whoever can run commands there as root or postgres anyway, and the
 * health check's role, which has no rights at all.
 *
 * `samenet` is the stack's own network, and the Docker host with it: what comes through a port that is published on
 * loopback comes from the network's gateway. The program's own logins are let in from there before any rule of the
 * settings is looked at, so that none can shut them out.
 */
export function hostBasedAuthentication(settings: AccessSettings): string {
  const roles = roleNames(settings.appName);
  const health = quote(roles.health);
  const network = settings.tls ? "hostssl" : "host";
  const own = [settings.superuserName, roles.migrator, roles.monitor, roles.backup].map(quote).join(",");
  return [
    "# Made by the program; changes here are lost.",
    superuserLine(settings.superuserName),
    "local   all          all  scram-sha-256",
    healthLine(settings.appName),
    `host    all          ${health}  all  reject`,
    ...(settings.tls ? ["hostnossl all        all  all  reject"] : []),
    ...(isOpen(settings)
      ? [`${network} all          all  all  scram-sha-256`, `${network} replication  all  all  scram-sha-256`]
      : [
          ...programAddresses(settings).flatMap((address) => [
            `${network} all          ${own}  ${address}  scram-sha-256`,
            `${network} replication  ${quote(roles.backup)}  ${address}  scram-sha-256`,
          ]),
          ...settings.accessRules.flatMap((rule) => ruleLines(rule, settings, network)),
          `${network} all          all  samenet  scram-sha-256`,
        ]),
    "",
  ].join("\n");
}

/** What is thrown away is open to whoever reaches its port, which is on loopback, until a rule says otherwise. */
function isOpen({ accessRules, lifetime }: AccessSettings): boolean {
  return lifetime === "ephemeral" && accessRules.length === 0;
}

/** From where the program itself connects, as the server sees it. */
function programAddresses({ bindAddress, host, programNetworks }: AccessSettings): string[] {
  // Docker leaves its sender to a connection from the host to another address of its own than loopback.
  const hostsOwn = [bindAddress, host].filter(
    (address) => isIP(address) !== 0 && !isLoopback(address) && !isAnyAddress(address),
  );
  const ranges = hostsOwn.map((address) => `${address}/${isIP(address) === 4 ? 32 : 128}`);
  return [...new Set(["samenet", ...ranges, ...programNetworks])];
}

function ruleLines(
  { address, database, method, role }: AccessRule,
  { appName, databaseName }: AccessSettings,
  network: string,
): string[] {
  const roles = roleNames(appName);
  const users = {
    app: [roles.appA, roles.appB],
    readonly: [roles.reader],
    migrator: [roles.migrator],
    monitor: [roles.monitor],
    backup: [roles.backup],
  }[role];
  const ending = `${users.map(quote).join(",")}  ${address === "network" ? "samenet" : address}  ${method === "reject" ? "reject" : "scram-sha-256"}`;
  return [
    `${network} ${quote(database ?? databaseName)}  ${ending}`,
    ...(role === "backup" && database === undefined ? [`${network} replication  ${ending}`] : []),
  ];
}

/** pg_ident.conf: which users of the container may be the superuser over the socket. */
export function identityMap(superuserName: string): string {
  return ["root", "postgres"].map((user) => `${superuserMap} ${user} ${quote(superuserName)}\n`).join("");
}
