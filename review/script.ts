import { type DoStmt, hasSqlDetails, loadModule, parsePlPgSQLSync, parseSync } from "libpg-query";
import { quote } from "../migrator/session.ts";
import { readScript, type Statement } from "../migrator/sql.ts";
import type { Effects, Names } from "./effects.ts";
import { mergeLocks } from "./locks.ts";
import { part, walk } from "./nodes.ts";
import { type Context, effectsOf } from "./statement.ts";

/** The parser is PostgreSQL's own, compiled to WebAssembly; it must be loaded before `reviewScript` is called. */
export const loadParser = loadModule;

export interface StatementReview extends Effects {
  /** Offsets in the script, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  /** The parser's message. */
  readonly syntaxError?: { readonly offset: number; readonly message: string };
}

/**
 * What each statement of a script does.
 *
 * @param schema The schema that unqualified names go to.
 */
export function reviewScript(
  sql: string,
  schema: string,
  tableOfIndex: Context["tableOfIndex"] = () => undefined,
): StatementReview[] {
  const names: Names = ({ relname = "", schemaname }) =>
    [schemaname === undefined || schemaname === schema ? [] : schemaname, relname]
      .flat()
      .map(quoted)
      .join(".");
  return readScript(sql).statements.map((statement) => {
    const { end, start } = statement;
    const effects = reviewStatement(sql, statement, { names, tableOfIndex, words: statement.words });
    return { ...effects, locks: mergeLocks(effects.locks), start, end };
  });
}

type Reviewed = Effects & Pick<StatementReview, "syntaxError">;

function reviewStatement(sql: string, { end, start, words }: Statement, context: Context): Reviewed {
  const text = sql.slice(start, end);
  try {
    const [parsed] = parseSync(text).stmts ?? [];
    if (!parsed?.stmt) return { kind: words[0] ?? "", locks: [] };
    const block = part(parsed.stmt, "DoStmt");
    return block ? reviewBlock(block, text, context) : effectsOf(parsed.stmt, context);
  } catch (error) {
    if (!hasSqlDetails(error)) throw error;
    const { cursorPosition = 0, message } = error.sqlDetails ?? { message: String(error) };
    return {
      kind: words.slice(0, 2).join(" "),
      locks: [],
      syntaxError: { offset: start + Math.max(0, cursorPosition), message },
    };
  }
}

/** A DO block: what the SQL in it does. */
function reviewBlock({ args = [] }: DoStmt, text: string, context: Context): Reviewed {
  const language = args.map((node) => part(node, "DefElem")).find((option) => option?.defname === "language");
  const name = part(language?.arg, "String")?.sval ?? "plpgsql";
  const parsed = name === "plpgsql" ? tryPlPgSql(text) : undefined;
  if (parsed === undefined)
    return { kind: "DO", locks: [], untold: "is not PL/pgSQL: what it does is not known here" };
  const effects: Effects[] = [];
  const untold: string[] = [];
  for (const node of walk(parsed) as Iterable<Record<string, Record<string, unknown>>>) {
    if (node.PLpgSQL_stmt_dynexecute ?? node.PLpgSQL_stmt_dynfors)
      untold.push("runs SQL that it puts together itself: what that does is not known here");
    const statement =
      node.PLpgSQL_stmt_execsql?.sqlstmt ?? node.PLpgSQL_stmt_perform?.expr ?? node.PLpgSQL_stmt_call?.expr;
    const query = (statement as { PLpgSQL_expr?: { query?: string } } | undefined)?.PLpgSQL_expr?.query;
    if (query !== undefined) {
      const done = readScript(query).statements.map((each) =>
        reviewStatement(query, each, { ...context, words: each.words }),
      );
      for (const { untold: what } of done) if (what !== undefined) untold.push(what);
      // PERFORM is a SELECT whose result nobody wants.
      if (node.PLpgSQL_stmt_perform === undefined) effects.push(...done);
    }
  }
  return {
    kind: ["DO", ...new Set(effects.map(({ kind }) => kind))].join(", "),
    locks: effects.flatMap(({ locks }) => locks),
    losses: effects.flatMap(({ losses = [] }) => losses),
    makes: effects.flatMap(({ makes = [] }) => makes),
    onlyIfMissing: effects.some(({ onlyIfMissing }) => onlyIfMissing),
    renames: effects.flatMap(({ renames = [] }) => renames),
    ...(untold.length > 0 ? { untold: [...new Set(untold)].join("; ") } : {}),
  };
}

function quoted(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : quote(name);
}

function tryPlPgSql(text: string): unknown {
  try {
    return parsePlPgSQLSync(text);
  } catch {
    return undefined;
  }
}
