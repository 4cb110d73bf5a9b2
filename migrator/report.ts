import type { MigrationScript } from "./files.ts";
import { offsetOfPosition, placeOf, readScript } from "./sql.ts";

/** The parts of a server's error that are shown; see the manual, "Error and Notice Message Fields". */
export interface ServerError {
  readonly message: string;
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  readonly where?: string | undefined;
  /** In characters from the beginning of the script, counted from 1. */
  readonly position?: string | undefined;
}

const linesBefore = 2;
const linesAfter = 1;
/** Columns of a line that are shown around the place of an error. */
const width = 100;

/**
 * Says where in a script an error happened, with an excerpt.
 *
 * @param completed How many statements had been completed: where the server gives no position, the error is
 * in the statement after them.
 */
export function describeScriptError(
  script: Pick<MigrationScript, "file" | "sql">,
  error: ServerError,
  completed: number,
): string {
  const { file, sql } = script;
  const offset = error.position
    ? offsetOfPosition(sql, Number(error.position))
    : (readScript(sql).statements[completed]?.start ?? sql.length);
  const { line, column } = placeOf(sql, offset);
  const fields = [
    ["detail", error.detail],
    ["hint", error.hint],
    ["context", error.where],
    ["SQLSTATE", error.code],
  ] as const;
  return [
    `${file}:${line}:${column}: ${error.message}`,
    ...excerpt(sql, line, column),
    ...fields.flatMap(([name, value]) => (value ? [`  ${name}: ${value.replaceAll("\n", "\n    ")}`] : [])),
  ].join("\n");
}

function excerpt(sql: string, line: number, column: number): string[] {
  const lines = sql.split(/\r\n|\n|\r/);
  const first = Math.max(1, line - linesBefore);
  const last = Math.min(lines.length, line + linesAfter);
  // A long line is cut on both sides, so that the place stays in view.
  const cut = Math.max(0, column - Math.round(width / 2));
  const digits = String(last).length;
  const shown: string[] = [];
  for (let number = first; number <= last; number += 1) {
    // A tab would move the mark under the line.
    const characters = [...(lines[number - 1] ?? "").replace(/[\p{Cc}]/gu, " ")];
    const text = characters.slice(cut, cut + width).join("");
    shown.push(`  ${number === line ? ">" : " "} ${String(number).padStart(digits)} | ${text}`.trimEnd());
    if (number === line) shown.push(`    ${" ".repeat(digits)} | ${" ".repeat(column - 1 - cut)}^`);
  }
  return shown;
}

/** What to do about an error, where its SQLSTATE tells more than its message. */
export function advice(error: ServerError): string | undefined {
  switch (error.code) {
    case "25001": // active_sql_transaction
      return "each file runs in one transaction: use the form of the command that may run there (for an index, without CONCURRENTLY).";
    case "42501": // insufficient_privilege
      return "migrations run as the owner, who is no superuser: what needs more belongs in initdb/, or in the settings.";
    case "42704": // undefined_object
    case "42883": // undefined_function
      return 'if this comes from an extension, add the extension to the setting "extensions".';
    case "42P07": // duplicate_table
      return "where the database has had its schema before there was a record, say up to where: ./db migrate baseline NAME.";
    case "40P01": // deadlock_detected
    case "55P03": // lock_not_available
      return "another session was in the way: run again.";
    case "57014": // query_canceled
      return "the statement was cancelled, by hand or by statement_timeout.";
    default:
      return undefined;
  }
}

/** For a log: 1200 ms as "1.2 s". */
export function formatDuration(milliseconds: number): string {
  return milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}
