import type { Client } from "pg";
import { compareCatalogues, type Difference, isFault } from "../catalogue/compare.ts";
import type { Catalogue, CatalogueObject } from "../catalogue/read.ts";

/** Rows of each table, and where each sequence stands, by name. */
export type Contents = ReadonlyMap<string, string>;

/**
 * Counts every row of a database. In a transaction that the caller has begun, it is the same moment as that of a dump
 * with the transaction's snapshot.
 */
export async function readContents(client: Client): Promise<Contents> {
  const { rows } = await client.query<{ kind: string; name: string }>(
    `SELECT relkind AS kind, format('%I.%I', nspname, relname) AS name
       FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
      WHERE relkind IN ('r', 'm', 'S') AND relpersistence <> 't'
        AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      ORDER BY 2`,
  );
  const contents = new Map<string, string>();
  for (const { kind, name } of rows) {
    const sql =
      kind === "S"
        ? `SELECT last_value || CASE WHEN is_called THEN '' ELSE ' (not used yet)' END AS value FROM ${name}`
        : `SELECT count(*)::text AS value FROM ${name}`;
    const result = await client.query<{ value: string }>(sql);
    contents.set(kind === "S" ? `sequence ${name}` : `table ${name}`, result.rows[0]?.value ?? "");
  }
  return contents;
}

/** What is not the same in another database. */
export function compareContents(before: Contents, after: Contents): string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => {
      const unit = name.startsWith("table ") ? " rows" : "";
      const [was, is] = [before, after].map((side) => side.get(name));
      return `${name}: ${was === undefined ? "not there" : `${was}${unit}`} before, ${is === undefined ? "not there" : `${is}${unit}`} after`;
    });
}

/** Differences between two major versions that are to be: those of PostgreSQL itself, and newer extensions. */
export interface CatalogueComparison {
  readonly faults: readonly Difference[];
  /** As in `extension citext: version 1.6 before, 1.7 after`. */
  readonly notes: readonly string[];
}

/** Compares what a database consists of before and after it came to another major version. */
export function compareAcrossVersions(before: Catalogue, after: Catalogue): CatalogueComparison {
  const notes: string[] = [];
  const faults = compareCatalogues(before, withoutMaintain(before, after))
    .filter(isFault)
    .filter((difference) => {
      if (difference.kind !== "changed") return true;
      const [change] = difference.changes;
      if (
        !difference.object.startsWith("extension ") ||
        change?.what !== "version" ||
        difference.changes.length > 1
      ) {
        return true;
      }
      notes.push(`${difference.object}: version ${change.was} before, ${change.is} after`);
      return false;
    });
  return { faults, notes };
}

/** From 17 on, a table's owner may also MAINTAIN it: nobody's grant, where the old version didn't know it. */
function withoutMaintain(before: Catalogue, after: Catalogue): Catalogue {
  const known = [...before.values()].some(({ privileges }) =>
    Object.values(privileges).some((rights) => /\bMAINTAIN\b/.test(rights)),
  );
  if (known) return after;
  const without = (object: CatalogueObject): CatalogueObject => ({
    ...object,
    properties: Object.fromEntries(
      Object.entries(object.properties).map(([name, value]) => [
        name,
        name.startsWith("rights on ") ? value.replace(/\bMAINTAIN, |, MAINTAIN\b/g, "") : value,
      ]),
    ),
    privileges: Object.fromEntries(
      Object.entries(object.privileges).map(([role, rights]) => [
        role,
        rights
          .split(", ")
          .filter((right) => !right.startsWith("MAINTAIN"))
          .join(", "),
      ]),
    ),
  });
  return new Map([...after].map(([name, object]) => [name, without(object)]));
}
