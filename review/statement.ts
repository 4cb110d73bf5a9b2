import type { CreateStmt, DropStmt, Node, ObjectType, RangeVar } from "libpg-query";
import { alterTable, referenced } from "./alter-table.ts";
import type { Effects, Loss, Names } from "./effects.ts";
import { type Lock, type LockMode, lockModes } from "./locks.ts";
import { type Content, type Kind, lastName, namesIn, part, walk } from "./nodes.ts";

/** What is known beside the statement. */
export interface Context {
  readonly names: Names;
  /** The tables of indexes that other migrations make. */
  readonly tableOfIndex: (index: string) => string | undefined;
  /** The statement's words in upper case. */
  readonly words: readonly string[];
}

type Handler<Statement> = (statement: Statement, context: Context, node: Node) => Effects;
type Handlers = { readonly [K in Kind]?: Handler<Content<K>> };

/**
 * What each kind of statement does to tables that are there. Sources: manual, «Explicit Locking» and the page of each
 * command; what no page says was seen on the server.
 */
const handlers: Handlers = {
  AlterTableStmt: ({ cmds, objtype, relation }, { names, tableOfIndex }) => {
    const commands = (cmds ?? []).flatMap((node) => part(node, "AlterTableCmd") ?? []);
    const name = relation ? names(relation) : "";
    if (objtype === "OBJECT_INDEX")
      return { kind: "ALTER INDEX", locks: lockOfIndex(name, "SHARE UPDATE EXCLUSIVE", tableOfIndex) };
    return alterTable(name, `ALTER ${objectWords(objtype)}`, commands, names);
  },

  AlterDomainStmt: ({ def, subtype, typeName }) => ({
    kind: "ALTER DOMAIN",
    locks: [],
    ...(subtype === "C" && !part(def, "Constraint")?.skip_validation
      ? { untold: `reads every table with a column of the domain ${lastName(typeName)}, under SHARE` }
      : {}),
  }),

  AlterObjectSchemaStmt: ({ newschema, objectType, relation }, { names }) => ({
    kind: `ALTER ${objectWords(objectType)} … SET SCHEMA`,
    locks: locksOn(relation, "ACCESS EXCLUSIVE", names),
    ...(relation
      ? { renames: [[names(relation), names({ ...relation, schemaname: newschema ?? "" })]] as const }
      : {}),
  }),

  AlterPolicyStmt: ({ table }, { names }) => ({
    kind: "ALTER POLICY",
    locks: locksOn(table, "ACCESS EXCLUSIVE", names),
  }),

  AlterSeqStmt: () => ({ kind: "ALTER SEQUENCE", locks: [] }),

  CallStmt: ({ funccall }) => ({
    kind: "CALL",
    locks: [],
    untold: notKnown([lastName(funccall?.funcname)]),
  }),

  ClusterStmt: ({ relation }, { names }) => ({
    kind: "CLUSTER",
    locks: locksOn(relation, "ACCESS EXCLUSIVE", names, "rewrites the table"),
  }),

  CommentStmt: ({ object, objtype }, { names }) => {
    const parts = namesIn(part(object, "List")?.items);
    const table = { OBJECT_TABLE: parts, OBJECT_COLUMN: parts.slice(0, -1) }[objtype as string];
    return {
      kind: "COMMENT",
      locks: table ? [{ table: nameOf(table, names), mode: "SHARE UPDATE EXCLUSIVE", work: [] }] : [],
    };
  },

  CopyStmt: ({ is_from: from, relation }, { names }) => ({
    kind: "COPY",
    locks: from ? locksOn(relation, "ROW EXCLUSIVE", names) : [],
  }),

  CreatePolicyStmt: ({ table }, { names }) => ({
    kind: "CREATE POLICY",
    locks: locksOn(table, "ACCESS EXCLUSIVE", names),
  }),

  CreateStatsStmt: ({ relations }, { names }) => ({
    kind: "CREATE STATISTICS",
    locks: (relations ?? []).flatMap((node) =>
      locksOn(part(node, "RangeVar"), "SHARE UPDATE EXCLUSIVE", names),
    ),
  }),

  CreateStmt: (statement, { names }) => ({
    kind: statement.partbound ? "CREATE TABLE … PARTITION OF" : "CREATE TABLE",
    makes: statement.relation ? [names(statement.relation)] : [],
    ...(statement.if_not_exists ? { onlyIfMissing: true } : {}),
    locks: [...parents(statement, names), ...foreignTables(statement, names)],
  }),

  CreateTableAsStmt: ({ if_not_exists: onlyIfMissing, into, objtype }, { names }) => ({
    kind: objtype === "OBJECT_MATVIEW" ? "CREATE MATERIALIZED VIEW" : "CREATE TABLE AS",
    makes: into?.rel ? [names(into.rel)] : [],
    ...(onlyIfMissing ? { onlyIfMissing } : {}),
    locks: [],
  }),

  CreateTrigStmt: ({ constrrel, relation }, { names }) => ({
    kind: "CREATE TRIGGER",
    locks: [
      ...locksOn(relation, "SHARE ROW EXCLUSIVE", names),
      ...locksOn(constrrel, "SHARE ROW EXCLUSIVE", names),
    ],
  }),

  DropOwnedStmt: ({ roles }) => ({
    kind: "DROP OWNED",
    locks: [],
    losses: (roles ?? []).map((node) => {
      const role = part(node, "RoleSpec");
      return { table: role?.rolename ?? "the current role", how: "owned" as const };
    }),
  }),

  DropStmt: dropped,

  IndexStmt: ({ concurrent, idxname, relation, unique }, { names }) => ({
    kind: ["CREATE", ...(unique ? ["UNIQUE"] : []), "INDEX", ...(concurrent ? ["CONCURRENTLY"] : [])].join(
      " ",
    ),
    locks: concurrent
      ? locksOn(
          relation,
          "SHARE UPDATE EXCLUSIVE",
          names,
          "reads the whole table twice",
          "waits for every transaction that uses it",
        )
      : locksOn(relation, "SHARE", names, "reads the whole table"),
    ...(idxname && relation
      ? { index: [names({ ...relation, relname: idxname }), names(relation)] as const }
      : {}),
  }),

  LockStmt: ({ mode, relations }, { names }) => ({
    kind: "LOCK TABLE",
    // The parser numbers the modes from 1, in the order of their strength.
    locks: (relations ?? []).flatMap((node) =>
      locksOn(part(node, "RangeVar"), lockModes[(mode ?? 8) - 1] ?? "ACCESS EXCLUSIVE", names),
    ),
  }),

  RefreshMatViewStmt: ({ concurrent, relation }, { names }) => ({
    kind: `REFRESH MATERIALIZED VIEW${concurrent ? " CONCURRENTLY" : ""}`,
    locks: locksOn(relation, concurrent ? "EXCLUSIVE" : "ACCESS EXCLUSIVE", names, "runs its query again"),
  }),

  ReindexStmt: ({ kind, params, relation }, { names, tableOfIndex }) => {
    const concurrent = (params ?? []).some((node) => part(node, "DefElem")?.defname === "concurrently");
    const mode = concurrent ? "SHARE UPDATE EXCLUSIVE" : "SHARE";
    const name = relation ? names(relation) : "";
    const locks: Lock[] =
      kind === "REINDEX_OBJECT_INDEX"
        ? lockOfIndex(name, mode, tableOfIndex, "reads the whole table")
        : locksOn(relation, mode, names, "reads the whole table");
    return { kind: `REINDEX${concurrent ? " CONCURRENTLY" : ""}`, locks };
  },

  RenameStmt: ({ newname, relation, relationType, renameType, subname }, { names }) => {
    const column = renameType === "OBJECT_COLUMN";
    const kind = `ALTER ${objectWords(column ? relationType : renameType)} … RENAME${column ? " COLUMN" : ""}`;
    if (!relation) return { kind, locks: [] };
    const name = names(relation);
    // Of an index, the table is not locked.
    if (renameType === "OBJECT_INDEX") return { kind, locks: [] };
    const locks = locksOn(relation, "ACCESS EXCLUSIVE", names);
    if (subname !== undefined || newname === undefined) return { kind, locks };
    return { kind, locks, renames: [[name, names({ ...relation, relname: newname })]] };
  },

  RuleStmt: ({ relation }, { names }) => ({
    kind: "CREATE RULE",
    locks: locksOn(relation, "ACCESS EXCLUSIVE", names),
  }),

  TruncateStmt: ({ behavior, relations }, { names }) => {
    const tables = (relations ?? []).flatMap((node) => part(node, "RangeVar") ?? []);
    return {
      kind: "TRUNCATE",
      locks: tables.flatMap((table) => locksOn(table, "ACCESS EXCLUSIVE", names)),
      losses: tables.map((table) => ({ table: names(table), how: "emptied" as const })),
      ...(behavior === "DROP_CASCADE"
        ? { untold: "empties every table that references it, too (CASCADE)" }
        : {}),
    };
  },

  VacuumStmt: ({ is_vacuumcmd: vacuum, options, rels }, { names }) => {
    const full = (options ?? []).some((node) => part(node, "DefElem")?.defname === "full");
    const tables = (rels ?? []).flatMap((node) => part(node, "VacuumRelation")?.relation ?? []);
    return {
      kind: vacuum ? `VACUUM${full ? " FULL" : ""}` : "ANALYZE",
      locks: tables.flatMap((table) =>
        full
          ? locksOn(table, "ACCESS EXCLUSIVE", names, "rewrites the table")
          : locksOn(table, "SHARE UPDATE EXCLUSIVE", names),
      ),
    };
  },

  ViewStmt: ({ replace, view }, { names }) => ({
    kind: replace ? "CREATE OR REPLACE VIEW" : "CREATE VIEW",
    makes: view && !replace ? [names(view)] : [],
    locks: replace ? locksOn(view, "ACCESS EXCLUSIVE", names) : [],
  }),

  DeleteStmt: changed,
  InsertStmt: changed,
  MergeStmt: changed,
  SelectStmt: changed,
  UpdateStmt: changed,
};

/** What one statement does. Other kinds than those above lock no table that is there. */
export function effectsOf(statement: Node, context: Context): Effects {
  const [kind] = Object.keys(statement) as Kind[];
  const handler = kind && (handlers[kind] as Handler<unknown> | undefined);
  return handler
    ? handler(part(statement, kind), context, statement)
    : { kind: context.words.slice(0, context.words[1] === "OR" ? 4 : 2).join(" "), locks: [] };
}

function locksOn(
  relation: RangeVar | undefined,
  mode: LockMode,
  names: Names,
  ...work: readonly string[]
): Lock[] {
  return relation ? [{ table: names(relation), mode, work }] : [];
}

function lockOfIndex(
  index: string,
  mode: LockMode,
  tableOfIndex: Context["tableOfIndex"],
  ...work: readonly string[]
): Lock[] {
  return [{ table: tableOfIndex(index) ?? `the table of index ${index}`, mode, work }];
}

function nameOf(parts: readonly string[], names: Names): string {
  const [relname = "", schemaname] = parts.toReversed();
  return names(schemaname === undefined ? { relname } : { relname, schemaname });
}

function objectWords(type: ObjectType | undefined): string {
  return (type ?? "").replace("OBJECT_", "").replace("MATVIEW", "MATERIALIZED VIEW").replaceAll("_", " ");
}

function parents({ inhRelations, partbound }: CreateStmt, names: Names): Lock[] {
  const mode = partbound ? "ACCESS EXCLUSIVE" : "SHARE UPDATE EXCLUSIVE";
  return (inhRelations ?? []).flatMap((node) => locksOn(part(node, "RangeVar"), mode, names));
}

function foreignTables({ relation, tableElts }: CreateStmt, names: Names): Lock[] {
  const own = relation && names(relation);
  return [...walk(tableElts)]
    .flatMap((node) => {
      const constraint = part(node, "Constraint");
      return constraint?.contype === "CONSTR_FOREIGN" ? referenced(constraint, names) : [];
    })
    .filter(({ table }) => table !== own);
}

const relationTypes: readonly (ObjectType | undefined)[] = [
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_MATVIEW",
  "OBJECT_TABLE",
  "OBJECT_VIEW",
];
const partsOfTables: readonly (ObjectType | undefined)[] = ["OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TRIGGER"];

function dropped(statement: DropStmt, { names, tableOfIndex }: Context): Effects {
  const { behavior, concurrent, objects, removeType } = statement;
  const kind = ["DROP", objectWords(removeType), ...(concurrent ? ["CONCURRENTLY"] : [])].join(" ");
  const cascade =
    behavior === "DROP_CASCADE" ? { untold: "drops everything that depends on it, too (CASCADE)" } : {};
  const lists = (objects ?? []).map((node) => namesIn(part(node, "List")?.items ?? [node]));
  if (removeType === "OBJECT_SCHEMA") {
    return {
      kind,
      locks: [],
      losses: lists.map(([schema = ""]) => ({ table: schema, how: "schema" })),
      ...cascade,
    };
  }
  if (removeType === "OBJECT_INDEX") {
    const mode = concurrent ? "SHARE UPDATE EXCLUSIVE" : "ACCESS EXCLUSIVE";
    return {
      kind,
      locks: lists.flatMap((parts) => lockOfIndex(nameOf(parts, names), mode, tableOfIndex)),
      ...cascade,
    };
  }
  if (partsOfTables.includes(removeType)) {
    const tables = lists.map((parts) => nameOf(parts.slice(0, -1), names));
    return {
      kind,
      locks: tables.map((table) => ({ table, mode: "ACCESS EXCLUSIVE", work: [] })),
      ...cascade,
    };
  }
  if (!relationTypes.includes(removeType)) return { kind, locks: [], ...cascade };
  const tables = lists.map((parts) => nameOf(parts, names));
  const losses: Loss[] = tables.map((table) => ({ table, how: "dropped" }));
  return {
    kind,
    locks: tables.map((table) => ({ table, mode: "ACCESS EXCLUSIVE", work: [] })),
    // A view has no rows of its own.
    losses: removeType === "OBJECT_TABLE" ? losses : [],
    ...cascade,
  };
}

/** Statements that change rows, also within a WITH clause; and SELECT, which may lock rows. */
function changed(_: unknown, { names, words }: Context, statement: Node): Effects {
  const locks: Lock[] = [];
  const losses: Loss[] = [];
  const makes: string[] = [];
  for (const node of walk(statement)) {
    const into = part(node, "SelectStmt")?.intoClause?.rel;
    if (into) makes.push(names(into));
    const insert = part(node, "InsertStmt");
    const update = part(node, "UpdateStmt");
    const remove = part(node, "DeleteStmt");
    const merge = part(node, "MergeStmt");
    const relation = (insert ?? update ?? remove ?? merge)?.relation;
    if (!relation) continue;
    const table = names(relation);
    const every = update && !update.whereClause ? ["changes every row"] : [];
    locks.push({ table, mode: "ROW EXCLUSIVE", work: every });
    const replacing = insert?.onConflictClause?.action === "ONCONFLICT_UPDATE";
    if (update || merge || replacing) losses.push({ table, how: "changed" });
    if (remove) losses.push({ table, how: remove.whereClause ? "deleted" : "emptied" });
  }
  const called = part(statement, "SelectStmt") ? calledIn(statement) : [];
  return {
    kind: words[0] ?? "",
    locks,
    losses,
    makes,
    ...(called.length > 0 ? { untold: notKnown(called) } : {}),
  };
}

/** Functions that a SELECT is there to call, other than those of the server that change no table. */
function calledIn(statement: Node): string[] {
  const targets = part(statement, "SelectStmt")?.targetList ?? [];
  return targets.flatMap((target) => {
    const call = part(part(target, "ResTarget")?.val, "FuncCall");
    const name = lastName(call?.funcname);
    return call && !harmless.test(name) ? [name] : [];
  });
}

const harmless =
  /^(?:(?:set|curr|next|last)val|set_config|current_setting|count|sum|min|max|avg|bool_(?:and|or)|every|coalesce|(?:string|array|jsonb?)_agg|format|concat(?:_ws)?|now|version|lower|upper|length|to_reg\w+|pg_(?:sleep|(?:try_)?advisory\w*|notify|get\w+|\w+_size|size_pretty|typeof|terminate_backend|cancel_backend|reload_conf|stat_\w+|is_\w+|has_\w+)|has_\w+_privilege|lo_\w+)$/;

function notKnown(functions: readonly string[]): string {
  const calls = [...new Set(functions)].map((name) => `${name}()`).join(" and ");
  return `calls ${calls}: what that does is not known here`;
}
