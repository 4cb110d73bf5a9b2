import type { RoleNames } from "../names.ts";

/** Roles that the postgresql provider makes; the superuser and the health check's role exist before it connects. */
export type RoleKey = Exclude<keyof RoleNames, "health">;

export interface RoleDefinition {
  readonly key: RoleKey;
  readonly login: boolean;
  /** Whose password. */
  readonly password?: "migrator" | "appA" | "appB" | "reader" | "monitor" | "backup";
  /** Keys of roles above, or names of PostgreSQL's own roles. */
  readonly memberOf?: readonly string[];
  readonly replication?: true;
  /** Finds the application's objects without naming their schema. */
  readonly usesSchema?: true;
}

/** In the order in which they are made: groups before their members. */
export const roleDefinitions: readonly RoleDefinition[] = [
  { key: "owner", login: false },
  { key: "readwrite", login: false },
  { key: "readonly", login: false },
  { key: "migrator", login: true, password: "migrator", memberOf: ["owner"], usesSchema: true },
  { key: "appA", login: true, password: "appA", memberOf: ["readwrite"], usesSchema: true },
  // The idle one of the pair, until a rotation: it then has a password too.
  { key: "appB", login: false, password: "appB", memberOf: ["readwrite"], usesSchema: true },
  { key: "reader", login: true, password: "reader", memberOf: ["readonly"], usesSchema: true },
  { key: "monitor", login: true, password: "monitor", memberOf: ["pg_monitor"] },
  { key: "backup", login: true, password: "backup", replication: true },
];
