import type { Migration } from "../migrator/files.ts";
import { readHeader } from "../migrator/header.ts";
import { placeOf } from "../migrator/sql.ts";
import { levelOf, lint } from "./lint.ts";
import type { Lock } from "./locks.ts";
import { loadParser, reviewScript, type StatementReview } from "./script.ts";

export interface ReviewedStatement {
  /** Counted from 1. */
  readonly line: number;
  readonly kind: string;
  /** On tables that are there before. */
  readonly locks: readonly Lock[];
  readonly untold?: string;
}

export interface ReviewedFinding {
  readonly rule: string;
  readonly message: string;
  /** Counted from 1. */
  readonly line: number;
  readonly level: "error" | "warning";
  /** Whether a reason in the file would let it pass: none does for what the server refuses. */
  readonly excusable: boolean;
  /** Why the file says that it may pass. */
  readonly reason?: string;
}

export interface ReviewedMigration {
  readonly name: string;
  readonly file: string;
  readonly sql: string;
  readonly transaction: boolean;
  readonly statements: readonly ReviewedStatement[];
  readonly findings: readonly ReviewedFinding[];
}

export interface ReviewOptions {
  /** Where unqualified names go. */
  readonly schema: string;
  /** The server's major version. */
  readonly majorVersion: number;
}

/**
 * What migrations would do to a database that has everything before them. Tables that one of them makes are not in
 * use yet: their locks and the findings about them are left out.
 *
 * @param pending In the order in which they are applied.
 * @param folder All that the folder has, for the tables of indexes that others made.
 */
export async function reviewPending(
  pending: readonly Migration[],
  folder: readonly Migration[],
  options: ReviewOptions,
): Promise<ReviewedMigration[]> {
  if (pending.length === 0) return [];
  await loadParser();
  const tables = lazyIndexes(folder, options.schema);
  const isNew = new Set<string>();
  return pending.map((migration) => {
    const statements = reviewScript(migration.up.sql, options.schema, tables);
    // What a migration makes is not in use before it ends, not even by statements before it.
    for (const { makes = [] } of statements) for (const table of makes) isNew.add(table);
    for (const { renames = [] } of statements) {
      for (const [from, to] of renames) if (isNew.has(from)) isNew.add(to);
    }
    return reviewMigration(migration, statements, isNew, options);
  });
}

function reviewMigration(
  { name, up }: Migration,
  statements: readonly StatementReview[],
  isNew: ReadonlySet<string>,
  { majorVersion }: ReviewOptions,
): ReviewedMigration {
  const header = readHeader(up.sql);
  const lineOf = (offset: number) => placeOf(up.sql, offset).line;
  const inUse = statements.map((statement) => ({
    ...statement,
    locks: statement.locks.filter(({ table }) => !isNew.has(table)),
  }));
  const onNewOnly = (offset: number) => {
    const index = statements.findLastIndex(({ start }) => start <= offset);
    return (statements[index]?.locks.length ?? 0) > 0 && inUse[index]?.locks.length === 0;
  };
  const wrong = statements.flatMap(({ kind, start, syntaxError }) => {
    if (syntaxError) return [{ rule: "syntax-error", ...syntaxError }];
    if (!header.transaction || !needsNoTransaction.test(kind)) return [];
    const message = `${kind} cannot run in a transaction: give it a file of its own that begins with "-- migrate: no transaction".`;
    return [{ rule: "cannot-run-in-transaction", offset: start, message }];
  });
  const found =
    statements.some(({ syntaxError }) => syntaxError) ||
    inUse.every(({ kind, locks }) => locks.length === 0 && !mayHarm(kind))
      ? []
      : lint(up.sql, { majorVersion, transaction: header.transaction });
  const findings = [...wrong, ...found.filter(({ offset }) => !onNewOnly(offset))].map(
    ({ message, offset, rule }): ReviewedFinding => {
      const reason = header.allowed.get(rule);
      const excusable = !wrong.some((mistake) => mistake.rule === rule);
      return {
        rule,
        message,
        line: lineOf(offset),
        level: levelOf(rule),
        excusable,
        ...(reason === undefined || !excusable ? {} : { reason }),
      };
    },
  );
  const unneeded = [...header.allowed.keys()]
    .filter((rule) => !findings.some((finding) => finding.rule === rule))
    .map(
      (rule): ReviewedFinding => ({
        rule,
        message: `The header allows ${rule}, which was not found: take that line out.`,
        line: 1,
        level: "warning",
        excusable: true,
      }),
    );
  return {
    name,
    file: up.file,
    sql: up.sql,
    transaction: header.transaction,
    statements: inUse.map(({ kind, locks, start, untold }) => ({
      line: lineOf(start),
      kind,
      locks,
      ...(untold === undefined ? {} : { untold }),
    })),
    findings: [...findings, ...unneeded],
  };
}

/** See the manual: what each of these pages says of transaction blocks. */
const needsNoTransaction = /CONCURRENTLY$|^VACUUM|^(CREATE|DROP) (DATABASE|TABLESPACE)|^ALTER SYSTEM/;

/** Statements that are worth a look though they lock no table. */
function mayHarm(kind: string): boolean {
  return !/^(CREATE|COMMENT|GRANT|REVOKE|INSERT|SELECT|SET)\b/.test(kind);
}

/** The findings that keep a persistent environment from being changed. */
export function unexcused(
  migrations: readonly ReviewedMigration[],
): (ReviewedFinding & Pick<ReviewedMigration, "file">)[] {
  return migrations.flatMap(({ file, findings }) =>
    findings
      .filter(({ level, reason }) => level === "error" && reason === undefined)
      .map((finding) => ({ ...finding, file })),
  );
}

function lazyIndexes(folder: readonly Migration[], schema: string): (index: string) => string | undefined {
  let known: Map<string, string> | undefined;
  return (index) => {
    // Only a statement about an index that names no table makes all files worth reading.
    known ??= new Map(
      folder.flatMap(({ up }) =>
        reviewScript(up.sql, schema, () => undefined).flatMap((statement) =>
          statement.index ? [statement.index] : [],
        ),
      ),
    );
    return known.get(index);
  };
}
