import { crc32 } from "node:zlib";
import { escapeIdentifier as identifier, escapeLiteral as literal } from "pg";
import type { Server, Session } from "./connection.ts";

export { identifier, literal };

/**
 * A string constant as the genuine plugin writes passwords and dates: it doubles backslashes in a plain constant,
 * so that each arrives twice (pqQuoteLiteral in helpers.go).
 */
export function doubledLiteral(text: string): string {
  return literal(text.replaceAll("\\", "\\\\"));
}

/** Takes the locks by which changes of one role wait for each other: the role's own and its members'. */
export function lockRole(role: string): string {
  const name = literal(role);
  return (
    `SELECT pg_advisory_xact_lock(oid::bigint) FROM pg_roles WHERE rolname = ${name}; ` +
    "SELECT pg_advisory_xact_lock(member::bigint) FROM pg_auth_members " +
    `JOIN pg_roles ON roleid = pg_roles.oid WHERE rolname = ${name};`
  );
}

/** Takes the lock by which changes of one database's privileges wait for each other. */
export function lockDatabase(database: string): string {
  return `SELECT pg_advisory_xact_lock(oid::bigint) FROM pg_database WHERE datname = ${literal(database)};`;
}

/** The order of a Terraform set of strings: by the decimal text of each CRC-32 (schema.HashString). */
export function setOrder(items: string[]): string[] {
  return [...new Set(items)]
    .map((item) => ({ item, code: String(crc32(item)) }))
    .sort((a, b) => (a.code < b.code ? -1 : 1))
    .map(({ item }) => item);
}

async function isMember(session: Session, role: string, member: string): Promise<boolean> {
  // From version 16 on, membership alone does not allow SET ROLE.
  const [row] = await session.run<{ member: boolean }>(
    `SELECT EXISTS (
       SELECT FROM pg_auth_members AS m WHERE pg_get_userbyid(roleid) = $1 AND pg_get_userbyid(member) = $2
       AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
     ) AS member`,
    [role, member],
    "could not read role membership",
  );
  return row?.member ?? false;
}

/** Grants `role` to `member`, where it is not yet. Returns whether it did. */
export async function grantMembership(session: Session, role: string, member: string): Promise<boolean> {
  if (role === member || (await isMember(session, role, member))) return false;
  const failure = `error granting role ${role} to ${member}`;
  await session.run(`GRANT ${identifier(role)} TO ${identifier(member)}`, undefined, failure);
  return true;
}

/** Revokes `role` from `member`, where it is one. Returns whether it did. */
export async function revokeMembership(session: Session, role: string, member: string): Promise<boolean> {
  if (role === member || !(await isMember(session, role, member))) return false;
  const failure = `error revoking role ${role} from ${member}`;
  await session.run(`REVOKE ${identifier(role)} FROM ${identifier(member)}`, undefined, failure);
  return true;
}

/**
 * Makes the connected user a member of `roles` while `use` runs, where it is no superuser: only so can it change
 * what they own. A role that the connected user is a member of the other way round is parted from it meanwhile.
 */
export async function withRolesGranted(
  session: Session,
  roles: string[],
  use: () => Promise<void>,
): Promise<void> {
  const known = await session.run<{ rolname: string; rolsuper: boolean; me: boolean }>(
    `SELECT rolname, rolsuper, rolname = current_user AS me FROM pg_roles
     WHERE rolname = current_user OR rolname = ANY ($1)`,
    [roles],
  );
  const me = known.find((role) => role.me);
  if (me === undefined || me.rolsuper || roles.length === 0) return use();
  const granted: string[] = [];
  const parted: string[] = [];
  for (const role of roles) {
    const found = known.find(({ rolname }) => rolname === role);
    if (found === undefined) {
      throw new Error(`could not check if role ${role} is superuser: sql: no rows in result set`);
    }
    if (found.rolsuper) continue;
    if (await revokeMembership(session, me.rolname, role)) parted.push(role);
    if (await grantMembership(session, role, me.rolname)) granted.push(role);
  }
  await use();
  for (const role of granted) await revokeMembership(session, role, me.rolname);
  for (const role of parted) {
    const [exists] = await session.run("SELECT FROM pg_roles WHERE rolname = $1", [role]);
    if (exists !== undefined) await grantMembership(session, me.rolname, role);
  }
}

/**
 * Makes the connected user a member of `owner` while `use` runs, outside a transaction: CREATE DATABASE allows
 * none. A lock on the connected user keeps two such changes apart.
 */
export async function withOwnerGranted<T>(
  server: Server,
  owner: string,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const user = server.currentUser;
  return server.session("", async (session) => {
    if (owner === "") return use(session);
    await session.run(lockRole(user).replaceAll("pg_advisory_xact_lock", "pg_advisory_lock"));
    const granted = await grantMembership(session, owner, user);
    const restore = async () => {
      if (granted) await revokeMembership(session, owner, user);
      await session.run("SELECT pg_advisory_unlock_all()");
    };
    try {
      const result = await use(session);
      await restore();
      return result;
    } catch (error) {
      // Where this fails too, the connection is lost, and the first error says why.
      await restore().catch(() => {});
      throw error;
    }
  });
}

export async function databaseExists(session: Session, database: string): Promise<boolean> {
  const rows = await session.run("SELECT FROM pg_database WHERE datname = $1", [database]);
  return rows.length > 0;
}

/** Owner of a database; of the current one where none is named. */
export async function databaseOwner(session: Session, database: string): Promise<string> {
  const [row] = await session.run<{ owner: string }>(
    `SELECT rolname AS owner FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid
     WHERE datname = coalesce(nullif($1, ''), current_database())`,
    [database],
  );
  if (row === undefined) throw new Error(`could not find database '${database}' while looking for owner`);
  return row.owner;
}
