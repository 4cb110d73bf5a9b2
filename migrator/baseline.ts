import type { Client } from "pg";
import { type ConnectionSettings, connect, describeServer, isConnectionLost } from "./connection.ts";
import { InputError } from "./errors.ts";
import { type Migration, readMigrations, selectTarget } from "./files.ts";
import { findLeftovers } from "./leftovers.ts";
import { takeLock } from "./lock.ts";
import { type MadeObject, madeByMigrations } from "./made.ts";
import {
  describeOtherRecord,
  findOtherRecords,
  type OtherRecord,
  type OtherTool,
  takenOver,
} from "./other-tools.ts";
import { type MigrationsRecord, prepareRecord, readRecord, recordAsApplied } from "./record.ts";
import { connectionLost } from "./scripts.ts";
import { actAsOwner, checkSchema, findOwner, quote, type SessionOptions } from "./session.ts";

export interface BaselineOptions {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Default: see `findOwner`. */
  readonly owner?: string | undefined;
  readonly schema: string;
  /** The last migration that is in place already, or the tool whose table tells which that is. */
  readonly last: { readonly name: string } | { readonly from: OtherTool };
  /** Whether to record although the catalogue, or another tool's table, says something else. Default: false. */
  readonly force?: boolean | undefined;
  readonly log: (line: string) => void;
}

/**
 * Adopts a database that has its schema already: records all migrations up to one as applied, and runs none of them.
 *
 * @throws InputError where the record has entries, or where what the migrations make is not there.
 */
export async function baseline(options: BaselineOptions): Promise<void> {
  const { log } = options;
  const migrations = readMigrations(options.folder);
  const client = await connect(options.connection);
  try {
    await takeLock(client, log, 60_000);
    const session = { ...options, owner: await findOwner(client, options) };
    await actAsOwner(client, session);
    await checkSchema(client, session);
    const record = await readRecord(client, session);
    checkEmpty(record);
    const others = await findOtherRecords(client, options.schema);
    const chosen =
      "from" in options.last
        ? takenOver(recordOf(options.last.from, others, options.schema), migrations)
        : selectTarget(migrations, options.last.name);
    if (chosen.length === 0)
      throw new InputError("There is nothing to record:", ["name the last migration that is in place"]);
    const problems = [
      ...("from" in options.last ? [] : others.flatMap((other) => contradiction(other, chosen))),
      ...(await describeCatalogue(client, session, chosen)),
    ];
    if (problems.length > 0 && !options.force) {
      throw new InputError(
        `${chosen.at(-1)?.name} was not recorded as the baseline of ${describeServer(options.connection)}; nothing was changed:`,
        [...problems, "where that is as it should be, run this again with --force"],
      );
    }
    for (const problem of problems) log(`  recorded all the same: ${problem}`);
    for (const line of describeStrangers(session.owner, await findStrangers(client, session))) log(line);
    await client.query("BEGIN");
    await prepareRecord(client, session, record, []);
    await recordAsApplied(client, chosen);
    await client.query("COMMIT");
    log(
      `recorded as applied, without running a script: ${chosen.length === 1 ? "" : `${chosen[0]?.name} to `}${chosen.at(-1)?.name} ` +
        `(${chosen.length} of ${migrations.length} in the folder)`,
    );
    for (const { table, tool } of others) {
      log(
        `${tool}'s table stays as it is, and is not read any more; when nothing else uses it: DROP TABLE ${table};`,
      );
    }
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost(options) : error;
  } finally {
    // Rolls back what was not committed.
    await client.end().catch(() => {});
  }
}

function checkEmpty({ applied, unfinished }: MigrationsRecord): void {
  const [first] = applied;
  if (!first && !unfinished) return;
  throw new InputError(
    "The record has entries already, and a baseline is for a database without any; nothing was changed:",
    [
      `${first ? `${applied.length === 1 ? "1 migration is" : `${applied.length} migrations are`} recorded as applied` : `${unfinished?.name} was begun`}: ` +
        "./db migrate status shows the record, ./db migrate up goes on from there; " +
        "./db migrate repair NAME --status applied (or reverted) corrects one entry",
    ],
  );
}

function recordOf(tool: OtherTool, others: readonly OtherRecord[], schema: string): OtherRecord {
  const found = others.filter((other) => other.tool === tool);
  const [first] = found;
  if (first && found.length === 1) return first;
  const where = schema === "public" ? '"public"' : `"${schema}" and "public"`;
  throw new InputError(
    `There is no one record of ${tool} to take over; nothing was changed:`,
    first
      ? [
          `there are several: ${found.map(describeOtherRecord).join("; ")}: drop or rename the one that is out of date`,
        ]
      : [
          `no table of its usual name in the schemas ${where} says that anything is applied: ` +
            "where it has another name, find the last migration there, and name it: ./db migrate baseline NAME",
        ],
  );
}

/** Where the migration that a person names is not the one that another tool's table has. */
function contradiction(other: OtherRecord, chosen: readonly Migration[]): string[] {
  const agrees =
    other.readable &&
    !other.dirty &&
    (other.names === undefined
      ? String(chosen.at(-1)?.number) === other.version
      : other.names.length === chosen.length && chosen.every(({ name }) => other.names?.includes(name)));
  if (agrees) return [];
  return [
    `${describeOtherRecord(other)} says something else: ./db migrate baseline --from ${other.tool} takes over what it says`,
  ];
}

/** Prints what is there of what the migrations make, and returns what is not. */
async function describeCatalogue(
  client: Client,
  session: SessionOptions & Pick<BaselineOptions, "log">,
  chosen: readonly Migration[],
): Promise<string[]> {
  const { log, schema } = session;
  const { objects, unread } = await madeByMigrations(chosen, schema);
  const found = await lookUp(client, objects);
  const missing = objects.filter((_, index) => !found[index]?.found);
  const kinds = Map.groupBy(objects, ({ kind }) => kind);
  log(
    `${describeServer(session.connection)}: what ${chosen.at(-1)?.name} and those before it make, in the catalogue:`,
  );
  for (const [kind, all] of kinds) {
    const there = all.filter((object) => !missing.includes(object)).length;
    log(`  ${kind}: ${there} of ${all.length}`);
  }
  if (objects.length === 0) log("  they make nothing by name that could be looked for");
  for (const text of unread) log(`  not looked for: ${text}`);
  for (const { cleanUp, what } of await findLeftovers(client))
    log(`  there is an ${what}; clean it up by: ${cleanUp}`);
  return objects.flatMap((object, index) => {
    const state = found[index];
    // The parts of a missing table go without saying.
    const ofMissing = missing.some(
      ({ kind, name, schema: place }) => kind === "table" && name === object.table && place === object.schema,
    );
    if (!state || state.found || ofMissing) return [];
    const elsewhere =
      state.elsewhere.length === 0
        ? ""
        : `; one of that name is in ${state.elsewhere.map((place) => `"${place}"`).join(" and ")}: ` +
          "the setting schemaName (option --schema) says where it is looked for";
    return [`there is no ${describeObject(object)}${elsewhere}`];
  });
}

function describeObject({ kind, name, schema, table }: MadeObject): string {
  if (kind === "schema") return `schema ${quote(name)}`;
  return table === undefined || kind === "index"
    ? `${kind} ${quote(schema)}.${quote(name)}`
    : `${kind} ${quote(name)} of ${quote(schema)}.${quote(table)}`;
}

async function lookUp(
  client: Client,
  objects: readonly MadeObject[],
): Promise<readonly { readonly found: boolean; readonly elsewhere: readonly string[] }[]> {
  const { rows } = await client.query<{ found: boolean; elsewhere: string[] }>(
    `WITH there (kind, schema, name, relation) AS (
       SELECT CASE WHEN relkind IN ('r', 'p', 'f') THEN 'table' WHEN relkind IN ('i', 'I') THEN 'index'
                   WHEN relkind IN ('v', 'm') THEN 'view' WHEN relkind = 'S' THEN 'sequence' END,
              relnamespace, relname::text, ''
         FROM pg_catalog.pg_class
       UNION ALL
       SELECT 'column', relnamespace, attname::text, relname::text
         FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_class AS class ON class.oid = attrelid
        WHERE attnum > 0 AND NOT attisdropped
       UNION ALL
       SELECT 'trigger', relnamespace, tgname::text, relname::text
         FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_class AS class ON class.oid = tgrelid
       UNION ALL
       SELECT 'routine', pronamespace, proname::text, '' FROM pg_catalog.pg_proc
       UNION ALL
       SELECT 'type', typnamespace, typname::text, '' FROM pg_catalog.pg_type
       UNION ALL
       SELECT 'schema', oid, nspname::text, '' FROM pg_catalog.pg_namespace)
     SELECT coalesce(bool_or(nspname = wanted.schema), false) AS found,
            coalesce(array_agg(DISTINCT nspname::text)
                       FILTER (WHERE wanted.kind <> 'column' AND nspname <> wanted.schema
                                 AND nspname !~ '^(pg_|information_schema$)'), '{}') AS elsewhere
       FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS wanted (kind, schema, name, relation, position)
       LEFT JOIN there ON there.kind = wanted.kind AND there.name = wanted.name AND there.relation = wanted.relation
       LEFT JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = there.schema
      GROUP BY wanted.position ORDER BY wanted.position`,
    [
      objects.map(({ kind }) => kind),
      objects.map(({ schema }) => schema),
      objects.map(({ name }) => name),
      objects.map(({ kind, table }) => (kind === "index" ? "" : (table ?? ""))),
    ],
  );
  return rows;
}

function describeStrangers(ownerRole: string, strangers: readonly Stranger[]): string[] {
  if (strangers.length === 0) return [];
  return [
    `  not owned by "${ownerRole}", so that migrations which change them would fail:`,
    ...strangers.map(({ owner, statement, what }) => `    ${what} is owned by "${owner}": ${statement}`),
    "  run these statements as a superuser (or as a member of both roles) before the next migration",
  ];
}

interface Stranger {
  /** For a person: «table app.account». */
  readonly what: string;
  readonly owner: string;
  readonly statement: string;
}

/**
 * What is in the application's schema, and the schema itself, where the owner of what migrations make has no say.
 * Parts of an extension, and what follows its table by itself, are left out.
 */
async function findStrangers(client: Client, { owner, schema }: SessionOptions): Promise<Stranger[]> {
  const { rows } = await client.query<Stranger>(
    `WITH stranger (class, oid, kind, name, owner) AS (
       SELECT 'pg_namespace'::regclass, oid, 'SCHEMA', format('%I', nspname), nspowner
         FROM pg_catalog.pg_namespace WHERE nspname = $1
       UNION ALL
       SELECT 'pg_class'::regclass, class.oid,
              CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                           WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
              format('%I.%I', nspname, relname), relowner
         FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
        WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
       UNION ALL
       SELECT 'pg_proc'::regclass, routine.oid, 'ROUTINE',
              format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(routine.oid)), proowner
         FROM pg_catalog.pg_proc AS routine JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = pronamespace
        WHERE nspname = $1 AND prokind <> 'a'
       UNION ALL
       SELECT 'pg_type'::regclass, type.oid, CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
              format('%I.%I', nspname, typname), typowner
         FROM pg_catalog.pg_type AS type JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = typnamespace
        WHERE nspname = $1 AND (typtype IN ('d', 'e', 'r')
              OR typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = typrelid AND relkind = 'c')))
     SELECT lower(kind) || ' ' || name AS what, pg_get_userbyid(owner) AS owner,
            format('ALTER %s %s OWNER TO %I;', kind, name, $2::text) AS statement
       FROM stranger
      WHERE NOT pg_catalog.pg_has_role($2::name, owner, 'USAGE')
        -- e: part of an extension; a, i: the sequence of a column.
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS depend
                         WHERE classid = class AND objid = stranger.oid AND objsubid = 0
                           AND (deptype = 'e' OR deptype IN ('a', 'i') AND kind = 'SEQUENCE'))
      ORDER BY kind <> 'SCHEMA', what`,
    [schema, owner],
  );
  return rows;
}
