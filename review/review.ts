import type { Migration } from "../migrator/files.ts";
import { readHeader } from "../migrator/header.ts";
import { placeOf } from "../migrator/sql.ts";
import { describeLoss, type Loss } from "./effects.ts";
import { type Finding, levelOf, lint } from "./lint.ts";
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
  const names = new Set(pending.map(({ name }) => name));
  const applied = lazyTables(
    folder.filter(({ name }) => !names.has(name)),
    options.schema,
  );
  const isNew = new Set<string>();
  return pending.map((migration) => {
    const statements = reviewScript(migration.up.sql, options.schema, tables);
    return reviewMigration(migration, follow(statements, isNew, applied), options);
  });
}

interface FollowedStatement extends StatementReview {
  /** Of `locks`, those on tables that were there before. */
  readonly inUse: readonly Lock[];
  /** Of `losses`, those of what was there before. */
  readonly lost: readonly Loss[];
}

/**
 * Follows what is new and what is in use from statement to statement: a name may go from one table to another.
 *
 * @param isNew Tables that pending migrations have made so far; is changed.
 * @param applied Whether a migration that is applied makes a table of this name.
 */
function follow(
  statements: readonly StatementReview[],
  isNew: Set<string>,
  applied: (table: string) => boolean,
): FollowedStatement[] {
  return statements.map((statement) => {
    const { locks, losses = [], makes = [], onlyIfMissing, renames = [] } = statement;
    const followed = {
      ...statement,
      inUse: locks.filter(({ table }) => !isNew.has(table)),
      lost: losses.filter(({ table }) => !isNew.has(table)),
    };
    for (const { column, how, table } of losses) {
      if (how === "dropped" && column === undefined) isNew.delete(table);
    }
    for (const table of makes) if (!onlyIfMissing || !applied(table)) isNew.add(table);
    for (const [from, to] of renames) {
      // Its indexes are still known by its old name, which nothing else can have had.
      if (isNew.has(from)) isNew.add(to);
      else isNew.delete(to);
    }
    return followed;
  });
}

function reviewMigration(
  { name, up }: Migration,
  statements: readonly FollowedStatement[],
  { majorVersion }: ReviewOptions,
): ReviewedMigration {
  const header = readHeader(up.sql);
  const lineOf = (offset: number) => placeOf(up.sql, offset).line;
  const onNewOnly = (offset: number) => {
    const statement = statements.findLast(({ start }) => start <= offset);
    return (statement?.locks.length ?? 0) > 0 && statement?.inUse.length === 0;
  };
  const wrong = statements.flatMap(({ kind, start, syntaxError }) => {
    if (syntaxError) return [{ rule: "syntax-error", ...syntaxError }];
    if (!header.transaction || !needsNoTransaction.test(kind)) return [];
    const message = `${kind} cannot run in a transaction: give it a file of its own that begins with "-- migrate: no transaction".`;
    return [{ rule: "cannot-run-in-transaction", offset: start, message }];
  });
  const found =
    statements.some(({ syntaxError }) => syntaxError) ||
    statements.every(({ inUse, kind }) => inUse.length === 0 && !mayHarm(kind))
      ? []
      : lint(up.sql, { majorVersion, transaction: header.transaction });
  const told = found.filter(({ offset }) => !onNewOnly(offset));
  const findings = [...wrong, ...told, ...untoldLosses(statements, told)].map(
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
    statements: statements.map(({ inUse, kind, start, untold }) => ({
      line: lineOf(start),
      kind,
      locks: inUse,
      ...(untold === undefined ? {} : { untold }),
    })),
    findings: [...findings, ...unneeded],
  };
}

/** squawk's rules about data that goes. */
const lossRules = /^ban-(?:drop-|truncate)/;

/** Data that is lost although squawk has nothing to say: in a DO block, with a whole schema, or row by row. */
function untoldLosses(statements: readonly FollowedStatement[], told: readonly Finding[]): Finding[] {
  return statements.flatMap(({ end, lost, start }) => {
    const whole = lost.filter(({ how }) => how !== "changed" && how !== "converted" && how !== "deleted");
    const isTold = told.some(({ offset, rule }) => offset >= start && offset < end && lossRules.test(rule));
    if (whole.length === 0 || isTold) return [];
    const what = [...new Set(whole.map(describeLoss))].join(", ");
    return [{ rule: "loses-data", offset: start, message: `This would be lost: ${what}.` }];
  });
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

function lazyTables(applied: readonly Migration[], schema: string): (table: string) => boolean {
  let known: Set<string> | undefined;
  return (table) => {
    // Only IF NOT EXISTS makes all files worth reading.
    known ??= new Set(
      applied.flatMap(({ up }) =>
        reviewScript(up.sql, schema).flatMap(({ makes = [], renames = [] }) => [
          ...makes,
          ...renames.map(([, to]) => to),
        ]),
      ),
    );
    return known.has(table);
  };
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
