import type { RangeVar } from "libpg-query";
import type { Lock } from "./locks.ts";

/** Data that is gone afterwards, and that the statement which undoes it doesn't bring back. */
export interface Loss {
  readonly table: string;
  readonly column?: string | undefined;
  /**
   * - `dropped`: the table, or the column.
   * - `emptied`: all rows of the table.
   * - `deleted`: rows.
   * - `changed`: values in rows.
   * - `converted`: the column's values, to another type.
   * - `schema`: `table` is a schema that goes with all that is in it.
   * - `owned`: `table` is a role; everything that it owns goes.
   */
  readonly how: "dropped" | "emptied" | "deleted" | "changed" | "converted" | "schema" | "owned";
}

/** What a statement does, as far as its text tells. */
export interface Effects {
  /** What kind of statement it is, as in «CREATE INDEX CONCURRENTLY». */
  readonly kind: string;
  /** On relations that were there before. ACCESS SHARE of what is only read is left out. */
  readonly locks: readonly Lock[];
  readonly losses?: readonly Loss[];
  /** Relations that are new. */
  readonly makes?: readonly string[];
  /** Whether it makes them only where they are not there: IF NOT EXISTS. */
  readonly onlyIfMissing?: boolean;
  readonly renames?: readonly (readonly [from: string, to: string])[];
  /** The index that is made, with its table. */
  readonly index?: readonly [index: string, table: string];
  /** What the text does not tell, as in «runs SQL that it puts together itself». */
  readonly untold?: string;
}

/** Gives a relation its name in SQL: with its schema, unless that is the application's; quoted where it must be. */
export type Names = (relation: Pick<RangeVar, "schemaname" | "relname">) => string;

/** What is lost, in words. */
export function describeLoss({ column, how, table }: Loss): string {
  const what = column === undefined ? "" : `column ${column} of `;
  if (how === "dropped") return column === undefined ? `table ${table}` : `${what}${table}`;
  if (how === "emptied") return `all rows of ${table}`;
  if (how === "deleted") return `rows of ${table} (DELETE)`;
  if (how === "changed") return `values in ${table} (UPDATE)`;
  if (how === "converted") return `values of ${what}${table}, where another type cannot hold them`;
  if (how === "owned") return `everything that ${table} owns`;
  return `schema ${table} with all that is in it`;
}
