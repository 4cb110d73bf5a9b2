import type { AlterTableCmd, Node, RangeVar } from "libpg-query";
import type { Migration } from "./files.ts";

/** Something in the catalogue that migrations make by its name. */
export interface MadeObject {
  readonly kind:
    | "table"
    | "index"
    | "view"
    | "sequence"
    | "column"
    | "trigger"
    | "routine"
    | "type"
    | "schema";
  /** Of a schema: its name. */
  schema: string;
  name: string;
  /** Of a column, an index or a trigger: its table, in the same schema. */
  table?: string;
  /** Of an index: its columns; undefined where it has expressions or a condition, which may use any. */
  columns?: readonly string[] | undefined;
}

export interface MadeByMigrations {
  readonly objects: readonly MadeObject[];
  /** What was not understood: files that PostgreSQL's parser does not accept, and blocks of code. */
  readonly unread: readonly string[];
}

/**
 * What is there after these migrations, as far as it can be told from their text: relations, columns, triggers,
 * routines, types and schemas that they name, without those that they drop again. In doubt (CASCADE, a search_path of
 * their own) an object is left out.
 *
 * @param schema Where unqualified names go.
 */
export async function madeByMigrations(
  migrations: readonly Migration[],
  schema: string,
): Promise<MadeByMigrations> {
  const { parse } = await import("libpg-query");
  const inventory = new Inventory(schema);
  const unread: string[] = [];
  for (const { name, up } of migrations) {
    inventory.beginScript();
    try {
      const { stmts = [] } = await parse(up.sql);
      for (const { stmt } of stmts) {
        if (!stmt) continue;
        if ("DoStmt" in stmt) unread.push(`what the DO block in ${up.file} makes`);
        inventory.apply(stmt);
      }
    } catch (error) {
      unread.push(`${name}: ${(error as Error).message}`);
    }
  }
  return { objects: inventory.objects, unread: [...new Set(unread)] };
}

class Inventory {
  readonly #defaultSchema: string;
  objects: MadeObject[] = [];
  /** Whether the script has a search_path of its own, so that unqualified names go elsewhere. */
  #elsewhere = false;

  constructor(defaultSchema: string) {
    this.#defaultSchema = defaultSchema;
  }

  beginScript(): void {
    this.#elsewhere = false;
  }

  apply(stmt: Node): void {
    if ("CreateStmt" in stmt) {
      const { relation, tableElts = [] } = stmt.CreateStmt;
      if (this.#addRelation("table", relation)) {
        for (const element of tableElts) {
          if ("ColumnDef" in element) this.#addColumn(relation, element.ColumnDef.colname);
        }
      }
    } else if ("CreateTableAsStmt" in stmt) {
      const { into, objtype } = stmt.CreateTableAsStmt;
      this.#addRelation(objtype === "OBJECT_MATVIEW" ? "view" : "table", into?.rel);
    } else if ("SelectStmt" in stmt) {
      this.#addRelation("table", stmt.SelectStmt.intoClause?.rel);
    } else if ("ViewStmt" in stmt) {
      this.#addRelation("view", stmt.ViewStmt.view);
    } else if ("CreateSeqStmt" in stmt) {
      this.#addRelation("sequence", stmt.CreateSeqStmt.sequence);
    } else if ("IndexStmt" in stmt) {
      const { idxname, indexParams = [], relation, whereClause } = stmt.IndexStmt;
      const names = indexParams.map((element) =>
        "IndexElem" in element ? element.IndexElem.name : undefined,
      );
      const plain = whereClause === undefined && names.every((name) => name !== undefined);
      this.#addToTable("index", relation, idxname, plain ? (names as string[]) : undefined);
    } else if ("CreateTrigStmt" in stmt) {
      this.#addToTable("trigger", stmt.CreateTrigStmt.relation, stmt.CreateTrigStmt.trigname);
    } else if ("CreateFunctionStmt" in stmt) {
      this.#addNamed("routine", stmt.CreateFunctionStmt.funcname);
    } else if ("CreateEnumStmt" in stmt) {
      this.#addNamed("type", stmt.CreateEnumStmt.typeName);
    } else if ("CreateDomainStmt" in stmt) {
      this.#addNamed("type", stmt.CreateDomainStmt.domainname);
    } else if ("CreateRangeStmt" in stmt) {
      this.#addNamed("type", stmt.CreateRangeStmt.typeName);
    } else if ("CompositeTypeStmt" in stmt) {
      const { relname = "", schemaname } = stmt.CompositeTypeStmt.typevar ?? {};
      this.#add({ kind: "type", name: relname }, schemaname);
    } else if ("CreateSchemaStmt" in stmt) {
      const { schemaname } = stmt.CreateSchemaStmt;
      if (schemaname) this.#add({ kind: "schema", name: schemaname }, schemaname);
    } else if ("AlterTableStmt" in stmt) {
      for (const command of stmt.AlterTableStmt.cmds ?? []) {
        if ("AlterTableCmd" in command) this.#alter(stmt.AlterTableStmt.relation, command.AlterTableCmd);
      }
    } else if ("RenameStmt" in stmt) {
      this.#rename(stmt.RenameStmt);
    } else if ("AlterObjectSchemaStmt" in stmt) {
      const { newschema = "", object, relation } = stmt.AlterObjectSchemaStmt;
      const [schema, name] = relation
        ? [relation.schemaname, relation.relname]
        : splitName(object ? namesIn(object) : []);
      for (const found of this.#find(schema, name)) found.schema = newschema;
    } else if ("DropStmt" in stmt) {
      this.#drop(stmt.DropStmt);
    } else if ("VariableSetStmt" in stmt) {
      if (stmt.VariableSetStmt.name === "search_path") this.#elsewhere = true;
    }
  }

  #add(object: Omit<MadeObject, "schema">, schema: string | undefined): boolean {
    if (schema === undefined && this.#elsewhere) return false;
    const made = { ...object, schema: schema ?? this.#defaultSchema };
    const same = (other: MadeObject) =>
      other.kind === made.kind &&
      other.schema === made.schema &&
      other.name === made.name &&
      other.table === made.table;
    // OR REPLACE, or another function of the same name.
    if (!this.objects.some(same)) this.objects.push(made);
    return true;
  }

  #addRelation(kind: "table" | "view" | "sequence", relation: RangeVar | undefined): boolean {
    if (!relation?.relname || relation.relpersistence === "t") return false;
    return this.#add({ kind, name: relation.relname }, relation.schemaname);
  }

  #addColumn(relation: RangeVar | undefined, name: string | undefined): void {
    this.#addToTable("column", relation, name);
  }

  #addToTable(
    kind: "column" | "index" | "trigger",
    relation: RangeVar | undefined,
    name: string | undefined,
    columns?: readonly string[] | undefined,
  ): void {
    // An index without a name gets one from the server.
    if (!relation?.relname || !name || relation.relpersistence === "t") return;
    // On a table of which nothing is known, such as a temporary one.
    if (kind !== "column" && this.#find(relation.schemaname, relation.relname).length === 0) return;
    this.#add({ kind, name, table: relation.relname, columns }, relation.schemaname);
  }

  #addNamed(kind: "routine" | "type", name: readonly Node[] | undefined): void {
    const [schema, last] = splitName((name ?? []).flatMap(namesIn));
    if (last !== undefined) this.#add({ kind, name: last }, schema);
  }

  /** Relations, routines, types and triggers of this name; and what belongs to a table of this name. */
  #find(schema: string | undefined, name: string | undefined): MadeObject[] {
    const inSchema = (object: MadeObject) =>
      schema === undefined
        ? this.#elsewhere || object.schema === this.#defaultSchema
        : object.schema === schema;
    return this.objects.filter(
      (object) =>
        inSchema(object) &&
        ((object.name === name && object.kind !== "column" && object.kind !== "trigger") ||
          object.table === name),
    );
  }

  #remove(objects: readonly MadeObject[]): void {
    this.objects = this.objects.filter((object) => !objects.includes(object));
  }

  /** Of these kinds, it is not known any more which are there. */
  #forget(kinds: readonly MadeObject["kind"][]): void {
    this.objects = this.objects.filter(({ kind }) => !kinds.includes(kind));
  }

  #alter(relation: RangeVar | undefined, command: AlterTableCmd): void {
    const { behavior, def, name, subtype } = command;
    if (!relation) return;
    if (subtype === "AT_AddColumn" && def && "ColumnDef" in def) {
      if (this.#find(relation.schemaname, relation.relname).length > 0) {
        this.#addColumn(relation, def.ColumnDef.colname);
      }
    }
    if (subtype === "AT_DropColumn" && name) {
      const ofTable = this.#find(relation.schemaname, relation.relname);
      this.#remove(
        ofTable.filter(
          ({ columns, kind, name: part }) =>
            (kind === "column" && part === name) ||
            (kind === "index" && (columns === undefined || columns.includes(name))),
        ),
      );
      // A sequence that belongs to the column goes with it.
      this.#forget(behavior === "DROP_CASCADE" ? ["sequence", "view"] : ["sequence"]);
    }
  }

  #rename(statement: Extract<Node, { RenameStmt: unknown }>["RenameStmt"]): void {
    const { newname = "", object, relation, renameType, subname } = statement;
    if (renameType === "OBJECT_SCHEMA") {
      for (const found of this.objects.filter(({ schema }) => schema === subname)) {
        if (found.kind === "schema") found.name = newname;
        found.schema = newname;
      }
      return;
    }
    const [schema, name] = relation
      ? [relation.schemaname, relation.relname]
      : splitName(object ? namesIn(object) : []);
    const found = this.#find(schema, name);
    if (renameType === "OBJECT_COLUMN" || renameType === "OBJECT_TRIGGER") {
      const kind = renameType === "OBJECT_COLUMN" ? "column" : "trigger";
      for (const part of found) {
        if (part.kind === kind && part.name === subname) part.name = newname;
        if (kind === "column" && part.columns) {
          part.columns = part.columns.map((column) => (column === subname ? newname : column));
        }
      }
      return;
    }
    // ALTER TYPE … RENAME ATTRIBUTE and its like have no relation of their own here.
    if (subname !== undefined) return;
    for (const part of found) {
      if (part.table === name) part.table = newname;
      else part.name = newname;
    }
  }

  #drop(statement: Extract<Node, { DropStmt: unknown }>["DropStmt"]): void {
    const { behavior, objects = [], removeType } = statement;
    for (const object of objects) {
      const names = namesIn(object);
      if (removeType === "OBJECT_SCHEMA") {
        this.#remove(this.objects.filter(({ schema }) => schema === names[0]));
      } else if (removeType === "OBJECT_TRIGGER") {
        const trigger = names.at(-1);
        const [schema, table] = splitName(names.slice(0, -1));
        this.#remove(
          this.#find(schema, table).filter(({ kind, name }) => kind === "trigger" && name === trigger),
        );
      } else {
        const [schema, name] = splitName(names);
        this.#remove(this.#find(schema, name));
      }
    }
    // Sequences that belong to its columns go with it.
    if (removeType === "OBJECT_TABLE") this.#forget(["sequence"]);
    if (behavior === "DROP_CASCADE") {
      this.#forget(
        removeType === "OBJECT_TABLE" ? ["view"] : ["view", "index", "column", "trigger", "routine", "type"],
      );
    }
  }
}

/** The parts of a name, wherever the parser puts them. */
function namesIn(node: Node): string[] {
  if ("String" in node) return [node.String.sval ?? ""];
  if ("List" in node) return (node.List.items ?? []).flatMap(namesIn);
  if ("TypeName" in node) return (node.TypeName.names ?? []).flatMap(namesIn);
  if ("ObjectWithArgs" in node) return (node.ObjectWithArgs.objname ?? []).flatMap(namesIn);
  return [];
}

function splitName(names: readonly string[]): [schema: string | undefined, name: string | undefined] {
  return [names.at(-2), names.at(-1)];
}
