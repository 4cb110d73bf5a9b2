import type { Client } from "pg";
import { clusterQueries } from "./cluster-queries.ts";
import { catalogueQueries } from "./queries.ts";

/** One object of a database, as PostgreSQL's catalogue has it. */
export interface CatalogueObject {
  /** What it is, in words: `index order_number on shop.orders`. No other object has the same. */
  readonly name: string;
  /** Name of the object that it goes with, such as a column's table. */
  readonly parent: string | undefined;
  /** What it is like. A property that says nothing beyond the default is left out. */
  readonly properties: Readonly<Record<string, string>>;
  /** What each role may do with it, in SQL's words, PUBLIC and its owner included. */
  readonly privileges: Readonly<Record<string, string>>;
  /** Of a table: its columns in order. */
  readonly columns: readonly string[] | undefined;
}

/** By name. */
export type Catalogue = ReadonlyMap<string, CatalogueObject>;

export interface ReadOptions {
  /** Schemas to leave out, with all that is in them. Default: none. PostgreSQL's own are always left out. */
  readonly without?: readonly string[];
}

/**
 * Reads what a database consists of: schemas, tables, views, columns, constraints, indexes, sequences, functions, types,
 * triggers, rules, policies, statistics objects, privileges and default privileges, comments, settings, extensions,
 * publications and more. Not read: rows, the values of sequences, large objects, roles (see `readCluster`), what
 * extensions consist of.
 *
 * Changes nothing and takes no lock that anyone would wait for: it works on a live server too, with any role. All is
 * read in one transaction, in which the session must not be.
 *
 * @throws pg's DatabaseError, also where an object is dropped in the same moment: try again.
 */
export async function readCatalogue(client: Client, { without = [] }: ReadOptions = {}): Promise<Catalogue> {
  const schemas = `ARRAY[${without.map((name) => client.escapeLiteral(name)).join(", ")}]::name[]`;
  return await read(client, catalogueQueries(schemas));
}

/**
 * Reads what all databases of a server share: roles with their attributes, memberships, databases, tablespaces, rights
 * on parameters, subscriptions. In the same manner; needs a superuser, since nobody else sees who has a password.
 */
export async function readCluster(client: Client): Promise<Catalogue> {
  return await read(client, clusterQueries());
}

async function read(client: Client, queries: readonly string[]): Promise<Catalogue> {
  // One query text, one round trip.
  const text = [
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO pg_catalog",
    ...queries,
    "COMMIT",
  ].join(";\n");
  try {
    const results = (await client.query(text)) as unknown as { rows: Row[] }[];
    const objects = results.flatMap(({ rows }) => rows.map(objectOf));
    return new Map(
      objects.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((object) => [object.name, object]),
    );
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

interface Row {
  readonly name: string;
  readonly parent: string | null;
  readonly properties: Readonly<Record<string, unknown>> | null;
  readonly privileges: Readonly<Record<string, string>> | null;
  readonly columns?: readonly string[] | null;
}

function objectOf({ name, parent, properties, privileges, columns }: Row): CatalogueObject {
  return {
    name,
    parent: parent ?? undefined,
    properties: Object.fromEntries(
      Object.entries(properties ?? {}).map(([key, value]) => [key, String(value)]),
    ),
    privileges: privileges ?? {},
    columns: columns ?? undefined,
  };
}
