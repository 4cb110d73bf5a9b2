import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";

/**
 * Migrations that take long enough to be killed in, of every kind that the runner knows, each of which leaves a trace
 * of its own by which one can see whether it is in place, and how often it was applied and reverted.
 */

export type Kind = "whole" | "index" | "parts";

export interface SlowMigration {
  readonly number: number;
  readonly name: string;
  readonly kind: Kind;
  readonly up: string;
  readonly down: string;
}

const header = "-- migrate: no transaction, lock_timeout = 0\n";

const kinds: readonly Kind[] = [
  ...(["whole", "whole", "whole", "index", "whole"] as const),
  ...(["parts", "whole", "whole", "index", "whole"] as const),
];

export const slowMigrations: readonly SlowMigration[] = kinds.map((kind, index) => {
  const number = index + 1;
  const name = `${String(number).padStart(4, "0")}_${kind}`;
  const log = (way: string) => `INSERT INTO log (number, way) VALUES (${number}, '${way}');`;
  const pause = `SELECT pg_sleep(0.0${2 + (number % 4)});`;
  if (kind === "index") {
    return {
      ...{ number, name, kind },
      up: `${header}CREATE INDEX CONCURRENTLY i${number} ON big (slow(id));`,
      down: `${header}DROP INDEX CONCURRENTLY i${number};`,
    };
  }
  if (kind === "parts") {
    return {
      ...{ number, name, kind },
      up: `${header}CREATE TABLE t${number} (a int);\n${pause}\n${log("up")}`,
      down: `${header}${log("down")}\n${pause}\nDROP TABLE t${number};`,
    };
  }
  return {
    ...{ number, name, kind },
    up: `CREATE TABLE t${number} (a int PRIMARY KEY, b text);\n${log("up")}\n${pause}
INSERT INTO t${number} SELECT i, 'row ' || i FROM generate_series(1, 2000) AS i;
ALTER TABLE big ADD COLUMN c${number} int CHECK (c${number} > 0);`,
    down: `ALTER TABLE big DROP COLUMN c${number};\n${log("down")}\n${pause}\nDROP TABLE t${number};`,
  };
});

/** What the migrations need to be there, in the schema that is the session's first. May be run again. */
export const slowMigrationsNeed = `
  CREATE TABLE IF NOT EXISTS log (id bigint GENERATED ALWAYS AS IDENTITY, number int NOT NULL, way text NOT NULL);
  CREATE TABLE IF NOT EXISTS big (id int);
  INSERT INTO big SELECT generate_series(1, 15) WHERE NOT EXISTS (SELECT FROM big);
  CREATE OR REPLACE FUNCTION slow(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.002); RETURN id; END';`;

/** The schema's catalogue, its rows, and the record, without what differs from run to run. */
export async function snapshot(client: Client, schema: string): Promise<string> {
  const { rows } = await client.query<{ line: string }>(
    `SELECT format('%s %s owner %s privileges %s', relkind, relname, relowner::regrole, relacl) AS line
       FROM pg_class WHERE relnamespace = $1::regnamespace OR relnamespace = 'migrations'::regnamespace
     UNION ALL
     SELECT format('column %s.%s %s %s', relname, attname, format_type(atttypid, atttypmod), attnotnull)
       FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
      WHERE relnamespace = $1::regnamespace AND attnum > 0 AND NOT attisdropped
     UNION ALL
     SELECT format('index %s valid %s', pg_get_indexdef(indexrelid), indisvalid)
       FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = $1::regnamespace
     UNION ALL
     SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid))
       FROM pg_constraint WHERE connamespace = $1::regnamespace
     UNION ALL
     SELECT format('recorded %s %s %s %s', name, up_checksum, down_checksum, down_script) FROM migrations.applied
     UNION ALL
     SELECT format('unfinished %s', name) FROM migrations.in_progress
     UNION ALL
     SELECT format('rows %s %s', relname,
                   (xpath('//n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')))[1])
       FROM pg_class
      WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND relname <> 'log'`,
    [schema],
  );
  return rows
    .map(({ line }) => line.replaceAll(/lab\d+/g, "lab"))
    .sort()
    .join("\n");
}

/**
 * Everything in which the record and the database differ: what is recorded as applied must be in place, exactly once,
 * and nothing else. Empty where they agree.
 */
export async function contradictions(client: Client, schema: string): Promise<string[]> {
  const { rows: recorded } = await client.query<{ name: string }>("SELECT name FROM migrations.applied");
  const { rows: there } = await client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class LEFT JOIN pg_index ON indexrelid = oid
      WHERE relnamespace = $1::regnamespace AND relname ~ '^[ti]\\d+$' AND indisvalid IS NOT FALSE`,
    [schema],
  );
  const { rows: log } = await client.query<{ number: number; ways: string }>(
    `SELECT number, string_agg(way, ' ' ORDER BY id) AS ways FROM ${schema}.log GROUP BY number`,
  );
  const found: string[] = [];
  let gap: string | undefined;
  for (const { kind, name, number } of slowMigrations) {
    const isRecorded = recorded.some((row) => row.name === name);
    const isThere = there.some((row) => row.name === `${kind === "index" ? "i" : "t"}${number}`);
    if (isRecorded !== isThere) found.push(`${name}: recorded ${isRecorded}, in place ${isThere}`);
    if (isRecorded && gap !== undefined) found.push(`${name} is recorded, and ${gap} is not`);
    if (!isRecorded) gap ??= name;
    if (kind === "index") continue;
    const ways = log.find((row) => row.number === number)?.ways ?? "";
    const expected = isRecorded ? /^up( down up)*$/ : /^(up down( up down)*)?$/;
    if (!expected.test(ways)) found.push(`${name}: recorded ${isRecorded}, and was run: ${ways}`);
  }
  return found;
}

/** Waits until no runner has a session any more: a killed one's ends when the server notices. */
export async function untilNoRunner(client: Client, applicationName: string): Promise<void> {
  const sessions = "SELECT FROM pg_stat_activity WHERE application_name = $1";
  for (let tries = 0; tries < 12_000; tries += 1) {
    if ((await client.query(sessions, [applicationName])).rowCount === 0) return;
    await sleep(10);
  }
  throw new Error("the session of a killed runner does not end");
}
