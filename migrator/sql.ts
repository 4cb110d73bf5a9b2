/**
 * Finds where statements begin and end in a script, without understanding them. The rules for quotes,
 * comments and dollar quotes are those of the manual's chapter "Lexical Structure"; a semicolon inside
 * parentheses or inside `BEGIN ATOMIC … END` does not end a statement, as in psql.
 */

export interface Statement {
  /** Offset of the statement's first character, in UTF-16 units. */
  readonly start: number;
  /** Offset after its last character, the semicolon not included. */
  readonly end: number;
  /** The unquoted words of the statement in upper case: keywords and plain names. */
  readonly words: readonly string[];
}

export interface Script {
  readonly statements: readonly Statement[];
  /** Offsets of backslashes outside of quotes and comments: psql's meta-commands. */
  readonly metaCommands: readonly number[];
}

type Token = "space" | "comment" | "quoted" | "word" | "metaCommand" | "symbol";

const patterns: readonly (readonly [Token, RegExp])[] = [
  ["space", /\s+/uy],
  ["comment", /--[^\r\n]*/uy],
  ["quoted", /'[^']*(?:'|$)/uy],
  ["quoted", /"[^"]*(?:"|$)/uy],
  // To the server, every character beyond ASCII is a letter.
  ["word", /[a-z_\u0080-\u{10ffff}][\w$\u0080-\u{10ffff}]*/iuy],
  // psql reads a meta-command to the end of its line.
  ["metaCommand", /\\[^\r\n]*/uy],
];

export function readScript(sql: string): Script {
  const statements: Statement[] = [];
  const metaCommands: number[] = [];
  let start = -1;
  let end = 0;
  let words: string[] = [];
  let parentheses = 0;
  let atomicBlocks = 0;

  const finish = () => {
    if (start >= 0) statements.push({ start, end, words });
    start = -1;
    words = [];
    parentheses = 0;
    atomicBlocks = 0;
  };

  for (let offset = 0; offset < sql.length; ) {
    const [token, next] = readToken(sql, offset);
    if (token === "symbol" && sql[offset] === ";" && parentheses === 0 && atomicBlocks === 0) {
      const copiesFromInput = isCopyFromInput(words);
      finish();
      offset = copiesFromInput ? afterCopyData(sql, next) : next;
      continue;
    }
    if (token === "metaCommand") metaCommands.push(offset);
    else if (token !== "space" && token !== "comment") {
      if (start < 0) start = offset;
      end = next;
    }
    if (token === "symbol" && sql[offset] === "(") parentheses += 1;
    if (token === "symbol" && sql[offset] === ")") parentheses = Math.max(0, parentheses - 1);
    if (token === "word") {
      const word = sql.slice(offset, next).toUpperCase();
      words.push(word);
      if (parentheses === 0 && makesRoutine(words)) atomicBlocks = nextAtomicBlocks(atomicBlocks, word);
    }
    offset = next;
  }
  finish();
  return { statements, metaCommands };
}

function readToken(sql: string, offset: number): readonly [Token, number] {
  if (sql.startsWith("/*", offset)) return ["comment", afterBlockComment(sql, offset)];
  // These are the only strings in which a backslash escapes, since standard_conforming_strings is on.
  if (/^e'/i.test(sql.slice(offset, offset + 2))) return ["quoted", afterEscapeString(sql, offset + 2)];
  if (sql[offset] === "$") {
    const tag = matchAt(/\$(?:[a-z_\u0080-\u{10ffff}][\w\u0080-\u{10ffff}]*)?\$/iuy, sql, offset);
    if (tag !== undefined) {
      const close = sql.indexOf(tag, offset + tag.length);
      return ["quoted", close < 0 ? sql.length : close + tag.length];
    }
  }
  for (const [token, pattern] of patterns) {
    const match = matchAt(pattern, sql, offset);
    if (match !== undefined) return [token, offset + match.length];
  }
  return ["symbol", offset + 1];
}

function matchAt(pattern: RegExp, text: string, offset: number): string | undefined {
  pattern.lastIndex = offset;
  return pattern.exec(text)?.[0];
}

function afterEscapeString(sql: string, offset: number): number {
  const edge = /\\[\s\S]|''|'/g;
  edge.lastIndex = offset;
  for (let match = edge.exec(sql); match !== null; match = edge.exec(sql)) {
    if (match[0] === "'") return edge.lastIndex;
  }
  return sql.length;
}

/** Block comments nest in PostgreSQL. An open one reaches to the end of the text. */
function afterBlockComment(sql: string, offset: number): number {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = offset;
  let depth = 0;
  for (let match = edge.exec(sql); match !== null; match = edge.exec(sql)) {
    depth += match[0] === "/*" ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  return sql.length;
}

function isCopyFromInput(words: readonly string[]): boolean {
  return words[0] === "COPY" && words.some((word, index) => word === "FROM" && words[index + 1] === "STDIN");
}

/** What follows `COPY … FROM STDIN;` is data, up to a line with `\.`. */
function afterCopyData(sql: string, offset: number): number {
  const close = /^\\\.[ \t]*$/gm;
  close.lastIndex = offset;
  return close.exec(sql) === null ? sql.length : close.lastIndex;
}

function makesRoutine(words: readonly string[]): boolean {
  const kind = words[1] === "OR" && words[2] === "REPLACE" ? words[3] : words[1];
  return words[0] === "CREATE" && (kind === "FUNCTION" || kind === "PROCEDURE");
}

function nextAtomicBlocks(open: number, word: string): number {
  if (word === "BEGIN") return open + 1;
  if (word === "CASE" && open > 0) return open + 1;
  if (word === "END" && open > 0) return open - 1;
  return open;
}

/** What a script may not hold, and why; undefined where nothing speaks against it. */
export interface Objection {
  readonly offset: number;
  readonly reason: string;
}

/**
 * What the server cannot run as it stands inside the one transaction that the runner opens for a script:
 * psql's meta-commands, `COPY … FROM STDIN`, and statements that end the transaction. The latter would be
 * accepted by the server, and leave a migration half applied without a record of it.
 *
 * @param transaction Whether the script runs in one transaction; without one, the same is objected to.
 */
export function objections(sql: string, transaction = true): Objection[] {
  // Most files have none of these anywhere, and a folder may have a thousand.
  if (!/\\|\b(?:abort|begin|commit|copy|end|prepare|rollback|start)\b/i.test(sql)) return [];
  const { statements, metaCommands } = readScript(sql);
  const found = metaCommands.map((offset) => {
    const command = /^\S*/.exec(sql.slice(offset))?.[0] ?? "\\";
    return {
      offset,
      reason: `${command} is a command of psql, which the server does not know: write it in SQL, or take it out`,
    };
  });
  for (const { start, words } of statements) {
    if (isCopyFromInput(words)) {
      found.push({
        offset: start,
        reason:
          "COPY … FROM STDIN reads rows from psql's input, which there is not here: write INSERT instead",
      });
    } else if (endsOrBeginsTransaction(words)) {
      found.push({
        offset: start,
        reason: transaction
          ? `${words.slice(0, 2).join(" ")} stands in the way of the transaction that is opened around each file: take it out`
          : `${words.slice(0, 2).join(" ")} hides from the runner which statements are done: take it out, or put what belongs in one transaction into a file of its own`,
      });
    }
  }
  return found.sort((a, b) => a.offset - b.offset);
}

function endsOrBeginsTransaction(words: readonly string[]): boolean {
  const [first, second] = words;
  if (first === "ROLLBACK") return !words.includes("TO");
  if (first === "START" || first === "PREPARE") return second === "TRANSACTION";
  return first === "BEGIN" || first === "COMMIT" || first === "END" || first === "ABORT";
}

export interface Place {
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1, in characters (code points). */
  readonly column: number;
}

/** Line and column of an offset in UTF-16 units. A line ends with LF, CRLF or CR. */
export function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  const lines = before.split(/\r\n|\n|\r/);
  return { line: lines.length, column: [...(lines.at(-1) ?? "")].length + 1 };
}

/** The offset in UTF-16 units of a position as the server gives it: in characters, counted from 1. */
export function offsetOfPosition(text: string, position: number): number {
  let offset = 0;
  for (let count = 1; count < position && offset < text.length; count += 1) {
    offset += (text.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
  }
  return offset;
}
