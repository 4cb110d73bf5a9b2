import type { Properties } from "../common/values.ts";
import type { Server, Session } from "./connection.ts";
import { strings, text } from "./state.ts";

/** What `GRANT` allows for each type of object, by the names that the genuine plugin takes. */
const allowed: Record<string, string[]> = {
  database: ["ALL", "CREATE", "CONNECT", "TEMPORARY"],
  table: ["ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
  sequence: ["ALL", "USAGE", "SELECT", "UPDATE"],
  schema: ["ALL", "CREATE", "USAGE"],
  function: ["ALL", "EXECUTE"],
  procedure: ["ALL", "EXECUTE"],
  routine: ["ALL", "EXECUTE"],
  type: ["ALL", "USAGE"],
  foreign_data_wrapper: ["ALL", "USAGE"],
  foreign_server: ["ALL", "USAGE"],
  column: ["ALL", "SELECT", "INSERT", "UPDATE", "REFERENCES"],
};

/** Kinds of objects as `pg_class.relkind` and `pg_default_acl.defaclobjtype` name them. */
export const catalogTypes: Record<string, string> = {
  table: "r",
  sequence: "S",
  function: "f",
  routine: "f",
  type: "T",
  schema: "n",
};

/** The role that stands for everybody. */
export const publicRole = "public";

async function allowedPrivileges(server: Server, session: Session, objectType: string): Promise<string[]> {
  const privileges = allowed[objectType];
  if (privileges === undefined) throw new Error(`unknown object type ${objectType}`);
  if (objectType !== "table") return privileges;
  return (await majorVersion(server, session)) >= 17 ? [...privileges, "MAINTAIN"] : privileges;
}

async function majorVersion(server: Server, session: Session): Promise<number> {
  if (server.settings.expectedMajorVersion !== undefined) return server.settings.expectedMajorVersion;
  const [row] = await session.run<{ major: number }>(
    "SELECT current_setting('server_version_num')::int / 10000 AS major",
  );
  return row?.major ?? 0;
}

/** Throws where a privilege is none that the type of object has. */
export async function validatePrivileges(
  server: Server,
  session: Session,
  inputs: Properties,
): Promise<void> {
  const objectType = text(inputs, "objectType");
  const known = await allowedPrivileges(server, session, objectType);
  const unknown = strings(inputs, "privileges").find((privilege) => !known.includes(privilege));
  if (unknown !== undefined) {
    throw new Error(`${unknown} is not an allowed privilege for object type ${objectType}`);
  }
}

/** Whether what is granted is what is wanted; `ALL` is the same as every privilege of the type. */
export async function privilegesEqual(
  server: Server,
  session: Session,
  granted: string[],
  values: Properties,
): Promise<boolean> {
  const wanted = strings(values, "privileges");
  if (sameSet(granted, wanted)) return true;
  if (!wanted.includes("ALL")) return false;
  const every = await allowedPrivileges(server, session, text(values, "objectType"));
  return sameSet(
    granted,
    every.filter((privilege) => privilege !== "ALL"),
  );
}

function sameSet(a: string[], b: string[]): boolean {
  return a.every((item) => b.includes(item)) && b.every((item) => a.includes(item));
}

/** The identity that ACLs have for a role: 0 for everybody. */
export async function roleOid(session: Session, role: string): Promise<number> {
  if (role === publicRole) return 0;
  const [row] = await session.run<{ oid: number }>("SELECT oid FROM pg_roles WHERE rolname = $1", [role]);
  if (row === undefined) {
    throw new Error(`could not find oid for role ${role}: sql: no rows in result set`);
  }
  return row.oid;
}

/** Whether role and schema, where they are named, are there. Runs in the database that has them. */
export async function roleAndSchemaExist(session: Session, role: string, schema: string): Promise<boolean> {
  const [row] = await session.run<{ role: boolean; schema: boolean }>(
    `SELECT $1 = $3 OR EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS role,
       $2 = '' OR EXISTS (SELECT FROM pg_namespace WHERE nspname = $2) AS schema`,
    [role, schema, publicRole],
  );
  return row?.role === true && row.schema === true;
}

/** The genuine plugin has no importer for grants. */
export function refuseImport(state: Properties, resource: string): void {
  if (Object.keys(state).length === 0) throw new Error(`resource ${resource} doesn't support import`);
}
