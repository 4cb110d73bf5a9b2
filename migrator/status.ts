import { type ConnectionSettings, connect, describeServer, isConnectionLost } from "./connection.ts";
import { InputError } from "./errors.ts";
import { type Migration, numberOf, readFolder } from "./files.ts";
import { describeOtherTool } from "./other-tools.ts";
import { describeMismatches } from "./plan.ts";
import { type AppliedMigration, type MigrationsRecord, readRecord } from "./record.ts";
import { formatDuration } from "./report.ts";
import { connectionLost } from "./scripts.ts";
import { actAsOwner, findOwner } from "./session.ts";
import { describeUnfinished } from "./unfinished.ts";

export interface StatusOptions {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** Default: see `findOwner`. */
  readonly owner?: string | undefined;
  readonly schema: string;
}

/**
 * - `applied`: in place, and its files are as they were.
 * - `pending`: not in place.
 * - `unfinished`: of a migration without a transaction, a part may be in place.
 * - `changed`: in place, but a file is not as it was.
 * - `missing`: in place, but its files are gone.
 */
export type MigrationState = "applied" | "pending" | "unfinished" | "changed" | "missing";

export interface StatusEntry extends Partial<Omit<AppliedMigration, "appliedAt" | "name">> {
  readonly name: string;
  readonly state: MigrationState;
  /** ISO 8601, UTC. */
  readonly appliedAt?: string;
}

export interface Status {
  readonly server: string;
  /** By number. */
  readonly migrations: readonly StatusEntry[];
  /** What keeps a run from starting, and what to do about it. */
  readonly problems: readonly string[];
}

/**
 * Compares the folder with the record; changes nothing, and does not wait for a run that is at work.
 *
 * @throws MigratorError where there is no connection, or no way to the record.
 */
export async function readStatus(options: StatusOptions): Promise<Status> {
  const { migrations, problems } = readFolder(options.folder);
  const client = await connect(options.connection);
  try {
    const owner = await findOwner(client, options);
    const session = { ...options, owner };
    await actAsOwner(client, session);
    const record = await readRecord(client, session);
    const unfinished = await describeUnfinished(client, record.unfinished);
    const otherTool = await describeOtherTool(client, record, options.schema);
    return {
      server: describeServer(options.connection),
      migrations: entriesOf(migrations, record),
      problems: [
        ...problems,
        ...(problems.length > 0 ? [] : describeMismatches(migrations, record.applied)),
        ...(otherTool === undefined ? [] : [otherTool]),
        ...(unfinished === undefined ? [] : [unfinished.replaceAll("\n", "\n    ")]),
      ],
    };
  } catch (error) {
    throw isConnectionLost(error) ? connectionLost(options) : error;
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * Everything that keeps a run from starting.
 *
 * @throws InputError that names each, with what to do.
 */
export async function verify(options: StatusOptions): Promise<Status> {
  const status = await readStatus(options);
  if (status.problems.length > 0) {
    throw new InputError(
      `The migrations in "${options.folder}" do not fit ${status.server}:`,
      status.problems,
    );
  }
  return status;
}

function entriesOf(migrations: readonly Migration[], record: MigrationsRecord): StatusEntry[] {
  const files = new Map(migrations.map((migration) => [migration.name, migration]));
  const applied = new Map(record.applied.map((entry) => [entry.name, entry]));
  const names = new Set([...files.keys(), ...applied.keys()]);
  if (record.unfinished) names.add(record.unfinished.name);
  return [...names]
    .toSorted((a, b) => numberOf(a) - numberOf(b))
    .map((name) => {
      const entry = applied.get(name);
      const state = name === record.unfinished?.name ? "unfinished" : stateOf(files.get(name), entry);
      return entry ? { ...entry, name, state, appliedAt: entry.appliedAt.toISOString() } : { name, state };
    });
}

function stateOf(files: Migration | undefined, entry: AppliedMigration | undefined): MigrationState {
  if (entry === undefined) return "pending";
  if (files === undefined) return "missing";
  const same = (recorded: string | undefined, checksum: string) => (recorded ?? checksum) === checksum;
  return same(entry.upChecksum, files.up.checksum) && same(entry.downChecksum, files.down.checksum)
    ? "applied"
    : "changed";
}

/** A table for a terminal, with what keeps a run from starting after it. */
export function formatStatus({ migrations, problems, server }: Status): string {
  const rows = [
    ["migration", "state", "applied at (UTC)", "took", "by", "version"],
    ...migrations.map(({ appliedAt, appliedBy, appliedFrom, duration, name, state, toolVersion }) => [
      name,
      state,
      appliedAt?.slice(0, 19).replace("T", " ") ?? "",
      duration === undefined ? "" : formatDuration(duration),
      appliedBy === undefined ? "" : `${appliedBy}, ${appliedFrom}`,
      toolVersion ?? "",
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => [...(row[column] ?? "")].length)),
  );
  const count = (state: MigrationState) => migrations.filter((entry) => entry.state === state).length;
  return [
    server,
    ...(migrations.length === 0 ? ["no migrations"] : rows.map((row) => pad(row, widths))),
    `${migrations.length - count("pending") - count("unfinished")} applied, ${count("pending")} pending`,
    ...(problems.length === 0 ? [] : ["", "What keeps a run from starting:"]),
    ...problems.map((problem) => `  - ${problem}`),
  ].join("\n");
}

function pad(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((text, column) => text + " ".repeat((widths[column] ?? 0) - [...text].length))
    .join("  ")
    .trimEnd();
}
