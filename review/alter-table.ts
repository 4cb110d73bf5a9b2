import type { AlterTableCmd, AlterTableType, ColumnDef, Constraint, Node } from "libpg-query";
import type { Effects, Loss, Names } from "./effects.ts";
import type { Lock, LockMode } from "./locks.ts";
import { lastName, part, walk } from "./nodes.ts";

/** What one subcommand of ALTER TABLE does. Sources: manual, ALTER TABLE; AlterTableGetLockLevel of the server. */
interface Subcommand {
  readonly words: string;
  /** Undefined: see `lockOf`. */
  readonly lock?: LockMode;
  readonly work?: string;
}

const rewrites = "rewrites the table";
const reads = "reads the whole table";
const buildsIndex = "builds an index, for which it reads the whole table";

const subcommands: Partial<Record<AlterTableType, Subcommand>> = {
  AT_AddColumn: { words: "ADD COLUMN" },
  AT_AddConstraint: { words: "ADD CONSTRAINT" },
  AT_AddIdentity: { words: "ADD GENERATED AS IDENTITY" },
  AT_AddInherit: { words: "INHERIT" },
  AT_AlterColumnType: { words: "TYPE" },
  AT_AlterConstraint: { words: "ALTER CONSTRAINT" },
  AT_AttachPartition: { words: "ATTACH PARTITION", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_ChangeOwner: { words: "OWNER TO" },
  AT_ClusterOn: { words: "CLUSTER ON", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_ColumnDefault: { words: "DEFAULT" },
  AT_DetachPartition: { words: "DETACH PARTITION" },
  AT_DetachPartitionFinalize: { words: "DETACH PARTITION FINALIZE", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_DisableRowSecurity: { words: "DISABLE ROW LEVEL SECURITY" },
  AT_DisableRule: { words: "DISABLE RULE" },
  AT_DisableTrig: { words: "DISABLE TRIGGER", lock: "SHARE ROW EXCLUSIVE" },
  AT_DisableTrigAll: { words: "DISABLE TRIGGER ALL", lock: "SHARE ROW EXCLUSIVE" },
  AT_DisableTrigUser: { words: "DISABLE TRIGGER USER", lock: "SHARE ROW EXCLUSIVE" },
  AT_DropCluster: { words: "SET WITHOUT CLUSTER", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_DropColumn: { words: "DROP COLUMN" },
  AT_DropConstraint: { words: "DROP CONSTRAINT" },
  AT_DropExpression: { words: "DROP EXPRESSION" },
  AT_DropIdentity: { words: "DROP IDENTITY" },
  AT_DropInherit: { words: "NO INHERIT" },
  AT_DropNotNull: { words: "DROP NOT NULL" },
  AT_EnableAlwaysTrig: { words: "ENABLE ALWAYS TRIGGER", lock: "SHARE ROW EXCLUSIVE" },
  AT_EnableReplicaTrig: { words: "ENABLE REPLICA TRIGGER", lock: "SHARE ROW EXCLUSIVE" },
  AT_EnableRowSecurity: { words: "ENABLE ROW LEVEL SECURITY" },
  AT_EnableRule: { words: "ENABLE RULE" },
  AT_EnableTrig: { words: "ENABLE TRIGGER", lock: "SHARE ROW EXCLUSIVE" },
  AT_EnableTrigAll: { words: "ENABLE TRIGGER ALL", lock: "SHARE ROW EXCLUSIVE" },
  AT_EnableTrigUser: { words: "ENABLE TRIGGER USER", lock: "SHARE ROW EXCLUSIVE" },
  AT_ForceRowSecurity: { words: "FORCE ROW LEVEL SECURITY" },
  AT_NoForceRowSecurity: { words: "NO FORCE ROW LEVEL SECURITY" },
  AT_ReplicaIdentity: { words: "REPLICA IDENTITY" },
  AT_ResetOptions: { words: "RESET", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_ResetRelOptions: { words: "RESET" },
  AT_SetAccessMethod: { words: "SET ACCESS METHOD", work: rewrites },
  AT_SetCompression: { words: "SET COMPRESSION" },
  AT_SetExpression: { words: "SET EXPRESSION", work: rewrites },
  AT_SetIdentity: { words: "SET GENERATED" },
  AT_SetLogged: { words: "SET LOGGED", work: rewrites },
  // Read only where no constraint proves it: the server looks for a valid CHECK that rules NULL out.
  AT_SetNotNull: {
    words: "SET NOT NULL",
    work: `${reads}, unless a valid CHECK constraint rules NULL out`,
  },
  AT_SetOptions: { words: "SET", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_SetRelOptions: { words: "SET" },
  AT_SetStatistics: { words: "SET STATISTICS", lock: "SHARE UPDATE EXCLUSIVE" },
  AT_SetStorage: { words: "SET STORAGE" },
  AT_SetTableSpace: { words: "SET TABLESPACE", work: "copies the table" },
  AT_SetUnLogged: { words: "SET UNLOGGED", work: rewrites },
  AT_ValidateConstraint: { words: "VALIDATE CONSTRAINT", lock: "SHARE UPDATE EXCLUSIVE", work: reads },
};

/** Storage parameters that need no stronger lock than SHARE UPDATE EXCLUSIVE. Source: manual, CREATE TABLE. */
const weakParameters =
  /^(autovacuum_.*|toast_tuple_target|parallel_workers|fillfactor|log_autovacuum_min_duration|vacuum_.*|n_distinct.*)$/;

/** What the subcommands of one ALTER TABLE do together: the server takes the strongest lock at once. */
export function alterTable(
  table: string,
  words: string,
  commands: readonly AlterTableCmd[],
  names: Names,
): Effects {
  const effects = commands.map((command) => effectsOf(table, command, names));
  const list = [...new Set(commands.map(wordsOf))];
  return {
    kind: `${words} … ${list.join(", ")}`,
    locks: effects.flatMap(({ locks }) => locks),
    losses: effects.flatMap(({ losses }) => losses),
  };
}

function wordsOf({ def, subtype }: AlterTableCmd): string {
  if (subtype === undefined) return "…";
  const words = subcommands[subtype]?.words ?? subtype.replace("AT_", "");
  return part(def, "PartitionCmd")?.concurrent ? `${words} CONCURRENTLY` : words;
}

function effectsOf(
  table: string,
  command: AlterTableCmd,
  names: Names,
): { locks: readonly Lock[]; losses: readonly Loss[] } {
  const { def, name, subtype } = command;
  const known = subtype === undefined ? undefined : subcommands[subtype];
  const work = known?.work ? [known.work] : [];
  const own = (mode: LockMode, ...more: string[]): Lock => ({ table, mode, work: [...work, ...more] });
  const losses: Loss[] = [];
  switch (subtype) {
    case "AT_AddColumn": {
      const column = part(def, "ColumnDef");
      return { locks: column ? addColumn(own, column, names) : [own("ACCESS EXCLUSIVE")], losses };
    }
    case "AT_AddConstraint": {
      const constraint = part(def, "Constraint");
      return {
        locks: constraint ? addConstraint(own, constraint, names) : [own("ACCESS EXCLUSIVE")],
        losses,
      };
    }
    case "AT_AlterColumnType":
      losses.push({ table, column: name, how: "converted" });
      return {
        locks: [
          own("ACCESS EXCLUSIVE", `${rewrites}, unless the new type takes the old values as they are stored`),
        ],
        losses,
      };
    case "AT_DropColumn":
      losses.push({ table, column: name, how: "dropped" });
      return { locks: [own("ACCESS EXCLUSIVE")], losses };
    case "AT_DropExpression":
    case "AT_DropConstraint":
      return { locks: [own("ACCESS EXCLUSIVE")], losses };
    case "AT_AttachPartition":
    case "AT_DetachPartition":
    case "AT_DetachPartitionFinalize":
      return { locks: partition(own, command, names), losses };
    case "AT_AddInherit":
    case "AT_DropInherit": {
      const parent = part(def, "RangeVar");
      const other: Lock[] = parent
        ? [{ table: names(parent), mode: "SHARE UPDATE EXCLUSIVE", work: [] }]
        : [];
      return { locks: [own("ACCESS EXCLUSIVE"), ...other], losses };
    }
    case "AT_SetRelOptions":
    case "AT_ResetRelOptions": {
      const options = (part(def, "List")?.items ?? []).map((item) => part(item, "DefElem")?.defname ?? "");
      const weak = options.every((option) => weakParameters.test(option));
      return { locks: [own(weak ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE")], losses };
    }
    default:
      return { locks: [own(known?.lock ?? "ACCESS EXCLUSIVE")], losses };
  }
}

type Own = (mode: LockMode, ...work: string[]) => Lock;

function addColumn(own: Own, column: ColumnDef, names: Names): Lock[] {
  const constraints = (column.constraints ?? []).flatMap((node) => part(node, "Constraint") ?? []);
  const kinds = new Set(constraints.map(({ contype }) => contype));
  const expression = constraints.find(({ contype }) => contype === "CONSTR_DEFAULT")?.raw_expr;
  const stored = constraints.some(
    ({ contype, generated_kind: kind }) => contype === "CONSTR_GENERATED" && kind !== "v",
  );
  const type = lastName(column.typeName?.names);
  const rewriting: string[] = [];
  if (stored || kinds.has("CONSTR_IDENTITY") || /^(small|big)?serial\d?$/.test(type))
    rewriting.push(rewrites);
  else if (expression) rewriting.push(...rewriteForDefault(expression));
  const hasValue = expression !== undefined || rewriting.length > 0;
  const index = kinds.has("CONSTR_PRIMARY") || kinds.has("CONSTR_UNIQUE") ? [buildsIndex] : [];
  const check = kinds.has("CONSTR_CHECK") && !rewriting.includes(rewrites) ? [reads] : [];
  const required =
    (kinds.has("CONSTR_NOTNULL") || kinds.has("CONSTR_PRIMARY")) && !hasValue
      ? ["fails where the table has rows"]
      : [];
  const foreign = constraints.filter(({ contype }) => contype === "CONSTR_FOREIGN");
  return [
    own("ACCESS EXCLUSIVE", ...rewriting, ...index, ...check, ...required),
    ...foreign.flatMap((constraint) => referenced(constraint, names)),
  ];
}

function addConstraint(own: Own, constraint: Constraint, names: Names): Lock[] {
  const validated = constraint.skip_validation ? [] : [reads];
  switch (constraint.contype) {
    case "CONSTR_FOREIGN":
      return [own("SHARE ROW EXCLUSIVE", ...validated), ...referenced(constraint, names)];
    case "CONSTR_PRIMARY":
    case "CONSTR_UNIQUE":
    case "CONSTR_EXCLUSION":
      return [own("ACCESS EXCLUSIVE", ...(constraint.indexname ? [] : [buildsIndex]))];
    default:
      return [own("ACCESS EXCLUSIVE", ...validated)];
  }
}

/** The triggers of a foreign key are made on both tables. */
export function referenced({ pktable }: Constraint, names: Names): Lock[] {
  return pktable ? [{ table: names(pktable), mode: "SHARE ROW EXCLUSIVE", work: [] }] : [];
}

function partition(own: Own, { def, subtype }: AlterTableCmd, names: Names): Lock[] {
  const command = part(def, "PartitionCmd");
  const child = command?.name;
  const attaching = subtype === "AT_AttachPartition";
  const gentle = attaching || subtype === "AT_DetachPartitionFinalize" || command?.concurrent;
  const lock: Lock[] = child
    ? [
        {
          table: names(child),
          mode: "ACCESS EXCLUSIVE",
          work: attaching ? [`${reads}, unless a constraint proves that it fits`] : [],
        },
      ]
    : [];
  return [own(gentle ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE"), ...lock];
}

/** Functions whose value is one for all rows (immutable or stable), and some that are known to be volatile. */
const steadyFunctions = new Set([
  "array_fill",
  "concat",
  "current_database",
  "current_schema",
  "current_setting",
  "date_trunc",
  "decode",
  "encode",
  "format",
  "json_build_array",
  "json_build_object",
  "jsonb_build_array",
  "jsonb_build_object",
  "lower",
  "lpad",
  "make_date",
  "make_interval",
  "make_timestamp",
  "make_timestamptz",
  "md5",
  "now",
  "repeat",
  "replace",
  "rpad",
  "statement_timestamp",
  "timezone",
  "to_char",
  "to_date",
  "to_json",
  "to_jsonb",
  "to_timestamp",
  "transaction_timestamp",
  "upper",
]);
const volatileFunctions = new Set([
  "clock_timestamp",
  "gen_random_bytes",
  "gen_random_uuid",
  "nextval",
  "random",
  "random_normal",
  "timeofday",
  "uuid_generate_v1",
  "uuid_generate_v1mc",
  "uuid_generate_v4",
  "uuidv4",
  "uuidv7",
]);

/** A default that may differ from row to row must be written into each. Source: manual, ALTER TABLE, Notes. */
function rewriteForDefault(expression: Node): string[] {
  const functions = [...walk(expression)].flatMap((node) => {
    const call = part(node, "FuncCall");
    return call ? [lastName(call.funcname)] : [];
  });
  if (functions.some((name) => volatileFunctions.has(name))) return [rewrites];
  const unknown = functions.filter((name) => !steadyFunctions.has(name));
  return unknown.length > 0 ? [`${rewrites}, if ${unknown.join(" or ")}() is volatile`] : [];
}
