import { roleNames } from "../names.ts";

/** A name in pg_hba.conf or pg_ident.conf: quoted, so that it is never taken for a keyword, a pattern or a file. */
function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Name of the map in pg_ident.conf that lets the container's own users in as the superuser. */
const superuserMap = "superuser";

/**
 * pg_hba.conf of an environment. The first line that matches decides.
 * Everyone gives a password (SCRAM), with TLS where the environment serves it. Two exceptions stay inside the
 * container: the superuser over the socket, for whoever can run commands there as root or postgres anyway, and the
 * health check's role, which has no rights at all.
 */
export function hostBasedAuthentication(options: {
  appName: string;
  superuserName: string;
  tls: boolean;
}): string {
  const health = quote(roleNames(options.appName).health);
  const network = options.tls ? "hostssl" : "host";
  return [
    "# Made by the program at every start; changes here are lost.",
    `local   all          ${quote(options.superuserName)}  peer map=${superuserMap}`,
    "local   all          all  scram-sha-256",
    `host    all          ${health}  127.0.0.1/32  trust`,
    `host    all          ${health}  all  reject`,
    ...(options.tls ? ["hostnossl all        all  all  reject"] : []),
    `${network} all          all  all  scram-sha-256`,
    `${network} replication  all  all  scram-sha-256`,
    "",
  ].join("\n");
}

/** pg_ident.conf: which users of the container may be the superuser over the socket. */
export function identityMap(superuserName: string): string {
  return ["root", "postgres"].map((user) => `${superuserMap} ${user} ${quote(superuserName)}\n`).join("");
}
