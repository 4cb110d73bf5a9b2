import type { Client } from "pg";
import type { Loss } from "../review/effects.ts";
import { isConnectionLost } from "./connection.ts";
import { exitCodes, MigratorError } from "./errors.ts";
import type { Migration } from "./files.ts";
import { formatDuration } from "./report.ts";
import { quote, type SessionOptions } from "./session.ts";

/** How long the rows of one table may be counted, in milliseconds, before an estimate has to do. */
const countingTime = 5_000;

export interface LossOptions extends SessionOptions {
  /** Whether data may be lost. Default: false. */
  readonly allowDataLoss?: boolean | undefined;
  readonly log: (line: string) => void;
}

/**
 * Tells what the way back loses, with the rows and sizes of now.
 *
 * @param down In the order in which they are reverted, with their down scripts as recorded.
 * @param end What will be the last migration in place; undefined: none.
 * @throws MigratorError where data would be lost and that is not allowed. Nothing has been changed then.
 */
export async function checkLosses(
  client: Client,
  options: LossOptions,
  down: readonly Migration[],
  end: string | undefined,
): Promise<void> {
  // Loaded only here: it brings PostgreSQL's parser.
  const { findLosses } = await import("../review/losses.ts");
  const { losses, untold } = await findLosses(
    down.map((migration) => migration.down.sql),
    options.schema,
  );
  const lines: string[] = [];
  for (const loss of losses) lines.push(await describeAmount(client, loss));
  lines.push(...untold);
  if (lines.length === 0) return;
  if (options.allowDataLoss) {
    options.log("this will be lost:");
    for (const line of lines) options.log(`  ${line}`);
    return;
  }
  const target = end ?? "0";
  throw new MigratorError(
    exitCodes.input,
    [
      `To go back to ${end ?? "the beginning"} would lose data; nothing was changed:`,
      ...lines.map((line) => `  - ${line}`),
      `What to do: where that is meant, name this target: pulumi config set allowDataLoss ${target}, then pulumi up.`,
      `Without Pulumi: ./db migrate down ${target} --allow-data-loss`,
    ].join("\n"),
  );
}

async function describeAmount(client: Client, loss: Loss): Promise<string> {
  const { describeLoss } = await import("../review/effects.ts");
  if (loss.how === "owned") return describeLoss(loss);
  const amount =
    loss.how === "schema" ? await sizeOfSchema(client, loss.table) : await amountIn(client, loss);
  return `${describeLoss(loss)}: ${amount}`;
}

async function amountIn(client: Client, { column, table }: Loss): Promise<string> {
  const { rows } = await client.query<{ name: string; estimate: number; size: string; columns: string[] }>(
    `SELECT oid::regclass::text AS name, greatest(reltuples, 0)::float8 AS estimate,
            pg_size_pretty(pg_total_relation_size(oid)) AS size,
            ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = oid AND attnum > 0 AND NOT attisdropped) AS columns
       FROM pg_class WHERE oid = to_regclass($1)`,
    [table],
  );
  const [found] = rows;
  if (!found) return "it is not there now";
  if (column !== undefined && !found.columns.includes(column)) return "it is not there now";
  const { name, estimate, size } = found;
  if (column === undefined) {
    const counted = await tryCount(client, `SELECT count(*)::text AS count, '' AS size FROM ${name}`);
    const rows = "count" in counted ? rowsOf(counted.count) : `about ${rowsOf(String(Math.round(estimate)))}`;
    return `${rows}, ${size}`;
  }
  const values = quote(column);
  const counted = await tryCount(
    client,
    `SELECT count(${values})::text AS count, pg_size_pretty(coalesce(sum(pg_column_size(${values})), 0)) AS size FROM ${name}`,
  );
  return "count" in counted
    ? `${counted.count} ${counted.count === "1" ? "value" : "values"}, ${counted.size}`
    : `at most about ${Math.round(estimate)} values (not counted${counted.why})`;
}

async function sizeOfSchema(client: Client, schema: string): Promise<string> {
  const { rows } = await client.query<{ count: number; size: string }>(
    `SELECT count(*)::int AS count, pg_size_pretty(coalesce(sum(pg_total_relation_size(oid)), 0)) AS size
       FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = to_regnamespace($1)`,
    [schema],
  );
  const { count = 0, size = "0 bytes" } = rows[0] ?? {};
  return `${count} ${count === 1 ? "table" : "tables"}, ${size}`;
}

function rowsOf(count: string): string {
  return `${count} ${count === "1" ? "row" : "rows"}`;
}

/** @returns Why it can't be counted, where it takes too long or the server refuses it, as with others' tables. */
async function tryCount(
  client: Client,
  sql: string,
): Promise<{ count: string; size: string } | { why: string }> {
  try {
    await client.query(`BEGIN READ ONLY; SET LOCAL statement_timeout TO ${countingTime}`);
    const { rows } = await client.query<{ count: string; size: string }>(sql);
    return rows[0] ?? { why: "" };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === undefined || isConnectionLost(error)) throw error;
    // query_canceled, lock_not_available
    const late = code === "57014" || code === "55P03";
    return { why: late ? ` in ${formatDuration(countingTime)}` : `: ${message}` };
  } finally {
    await client.query("ROLLBACK").catch(() => {});
  }
}
