import type { RoleKey } from "./roles.ts";

/** Who may connect to the application's database. PUBLIC may not. */
export const connecting = ["migrator", "readwrite", "readonly", "monitor", "health"] as const;

/** Schema of what the backups note in the database, such as their heartbeat. The backup role owns it. */
export const backupsSchema = "backups";

/** Who may use the application's schema, beside its owner. */
export const applicationSchemaUsers = ["readwrite", "readonly"] as const satisfies readonly RoleKey[];

/** Who may use the schema of the extensions. */
export const extensionsSchemaUsers = [
  "owner",
  "readwrite",
  "readonly",
  "monitor",
] as const satisfies readonly RoleKey[];

/** A right on whatever the owner makes in the application's schema from now on. */
export interface DefaultPrivilege {
  readonly key: string;
  readonly role: RoleKey | "public";
  readonly objectType: "table" | "sequence" | "function";
  /** All that the role has; none: what PostgreSQL gives by itself is taken away. */
  readonly privileges: readonly string[];
  /** In every schema: PostgreSQL's built-in EXECUTE for PUBLIC can't be taken away in one schema only. */
  readonly global?: true;
}

export const defaultPrivileges: readonly DefaultPrivilege[] = [
  { key: "public-functions", role: "public", objectType: "function", privileges: [], global: true },
  {
    key: "readwrite-tables",
    role: "readwrite",
    objectType: "table",
    privileges: ["SELECT", "INSERT", "UPDATE", "DELETE"],
  },
  { key: "readwrite-sequences", role: "readwrite", objectType: "sequence", privileges: ["SELECT", "USAGE"] },
  { key: "readwrite-functions", role: "readwrite", objectType: "function", privileges: ["EXECUTE"] },
  { key: "readonly-tables", role: "readonly", objectType: "table", privileges: ["SELECT"] },
  { key: "readonly-sequences", role: "readonly", objectType: "sequence", privileges: ["SELECT"] },
  { key: "readonly-functions", role: "readonly", objectType: "function", privileges: ["EXECUTE"] },
];
