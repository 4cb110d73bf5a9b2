import { relative, resolve } from "node:path";
import { settingKeys } from "../../components/settings/schema.ts";
import { readInput } from "../../migrator/input.ts";
import { readStatus } from "../../migrator/status.ts";
import { formatAge, formatBytes, formatTable } from "../amounts.ts";
import { type BackupReport, noBackups, readBackups } from "../backup-report.ts";
import { exitCode } from "../errors.ts";
import { migratorVariables, stackSettings } from "../migrator-variables.ts";
import { projectRoot } from "../project.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import { readServerReport, type ServerReport } from "../server-report.ts";
import type { StackOutputs } from "../stack-outputs.ts";
import { type Environment, findEnvironments } from "../stack-rows.ts";
import { readStateBackend } from "../state-backend.ts";
import { toolchainVariables } from "../toolchain.ts";
import { maskPasswords } from "./logs.ts";

/** What `./db status --json` prints. */
export interface StatusReport {
  readonly stack: string;
  readonly state: Environment["state"];
  readonly lifetime: StackOutputs["lifetime"];
  readonly image: string;
  readonly container: string;
  readonly database: string;
  readonly host: string;
  readonly port: number;
  /** Undefined: it does not answer, see `problem`. */
  readonly server: ServerReport | undefined;
  readonly migrations:
    | {
        readonly applied: number;
        /** The newest that is in place. */
        readonly newest: string | undefined;
        readonly pending: readonly string[];
        readonly problems: readonly string[];
      }
    | undefined;
  /** The set of seed data; undefined: none. */
  readonly seeds: string | undefined;
  readonly backups: BackupReport;
  readonly problem: string | undefined;
}

export async function status(stack: string, options: { readonly json?: true }): Promise<void> {
  const [outputs, environments] = await Promise.all([
    toolchainVariables()
      .then((toolchain) => pulumiCommand(stack, toolchain))
      .then((pulumi) => readOutputs(stack, pulumi)),
    readStateBackend().then(findEnvironments),
  ]);
  const report = await readReport(stack, outputs, environments);
  process.stdout.write(
    options.json ? `${JSON.stringify(report, null, 2)}\n` : formatStatus(report, Date.now()),
  );
  if (report.problem !== undefined) process.exitCode = exitCode.failure;
}

async function readReport(
  stack: string,
  outputs: StackOutputs,
  environments: readonly Environment[],
): Promise<StatusReport> {
  const { app } = outputs.connections;
  const state =
    environments.find((each) => each.server?.container?.name === outputs.containerName)?.state ?? "gone";
  const asked = await ask(stack, outputs).catch((error: Error) => ({
    problem: `${app.host.host}:${app.host.port} does not answer: ${error.message}`,
  }));
  const seeds = (await stackSettings(stack))("seeds");
  return {
    stack,
    state,
    lifetime: outputs.lifetime,
    image: outputs.image,
    container: outputs.containerName,
    database: app.database,
    host: app.host.host,
    port: app.host.port,
    server: undefined,
    migrations: undefined,
    seeds,
    backups: noBackups,
    problem: undefined,
    ...asked,
  };
}

async function ask(
  stack: string,
  outputs: StackOutputs,
): Promise<Pick<StatusReport, "backups" | "migrations" | "server">> {
  // One after the other: the sessions that read migrations are not to be counted.
  const server = await readServerReport(outputs);
  const [migrations, backups] = await Promise.all([readMigrations(stack, outputs), readBackups(outputs)]);
  return { server, migrations, backups };
}

/** As the migrator: only the owner reads the record. */
async function readMigrations(stack: string, outputs: StackOutputs): Promise<StatusReport["migrations"]> {
  const variables = await migratorVariables(stack, outputs);
  const folder = resolve(
    projectRoot,
    variables.MIGRATIONS_DIR || settingKeys.migrationsFolder.declared.default,
  );
  const input = readInput({
    ...variables,
    MIGRATIONS_DIR: relative("", folder) || ".",
    MIGRATIONS_SCHEMA: variables.MIGRATIONS_SCHEMA || settingKeys.schemaName.declared.default,
  });
  const found = await readStatus(input);
  const applied = found.migrations.filter(({ state }) => state !== "pending");
  return {
    applied: applied.length,
    newest: applied.at(-1)?.name,
    pending: found.migrations.filter(({ state }) => state === "pending").map(({ name }) => name),
    problems: found.problems,
  };
}

/** @param now In milliseconds since 1970. */
export function formatStatus(report: StatusReport, now: number): string {
  const { server } = report;
  const rows: [string, string][] = [
    ["Stack", `${report.stack} (${report.lifetime})`],
    ["Server", `${report.state}, ${report.container} at ${report.host}:${report.port}`],
  ];
  if (report.problem !== undefined) rows.push(["Problem", report.problem]);
  if (server) {
    rows.push(
      ["Version", `PostgreSQL ${server.version} of ${report.image}, up for ${ageOf(server.startedAt, now)}`],
      ["Database", `${report.database}, ${formatBytes(server.databaseSize)}`],
      ["Connections", `${server.connections.used} of ${server.connections.max}`],
      ["Transactions", longest(server)],
    );
  }
  if (report.migrations) rows.push(["Migrations", migrations(report.migrations)]);
  rows.push(["Seed data", report.seeds ?? "none"], ["Backups", backups(report, now)]);
  const lines = formatTable(rows);
  if (server && server.connections.sessions.length > 0) {
    lines.push("", ...formatTable([["ROLE", "STATE", "SESSIONS"], ...sessions(server)], [2]));
  }
  if (report.migrations && report.migrations.problems.length > 0) {
    lines.push("", "Migrations can't run:", ...report.migrations.problems.map((problem) => `  ${problem}`));
  }
  if (server) lines.push("", ...slowQueries(server.slowQueries, report.stack));
  if (report.problem !== undefined)
    lines.push(
      "",
      `./db start --stack ${report.stack} brings it up; ./db logs ${report.stack} shows its log.`,
    );
  return `${lines.join("\n")}\n`;
}

function ageOf(time: string, now: number): string {
  return formatAge(now - Date.parse(time));
}

function longest({ longestTransaction }: ServerReport): string {
  if (!longestTransaction) return "none open";
  const { milliseconds, pid, query, role, state } = longestTransaction;
  return `the longest for ${formatAge(milliseconds)}, by ${role} (${state}, pid ${pid}): ${excerpt(query)}`;
}

function migrations({ applied, newest, pending }: NonNullable<StatusReport["migrations"]>): string {
  const inPlace = newest === undefined ? "none in place" : `${newest} is the newest of ${applied} in place`;
  if (pending.length === 0) return `${inPlace}, none pending`;
  return `${inPlace}, ${pending.length} pending: ${pending.join(", ")}`;
}

function backups({ backups: found, lifetime, problem }: StatusReport, now: number): string {
  const { drill, kind, made, newest } = found;
  if (lifetime === "ephemeral") return "none: the data is in memory";
  if (!made) return problem === undefined ? "none: the setting backups is false" : "not known";
  const tried =
    drill === undefined
      ? "no restore tried yet"
      : `a restore ${drill.ok ? "succeeded" : "FAILED"} ${ageOf(drill.ended, now)} ago, in ${Math.round(drill.seconds)} s`;
  if (newest === undefined) return `no base backup yet; ${tried}`;
  return `the newest base backup (${kind}) is of ${ageOf(newest, now)} ago; ${tried}`;
}

function sessions({ connections }: ServerReport): string[][] {
  return connections.sessions.map(({ count, role, state }) => [role, state, String(count)]);
}

function slowQueries(slow: SlowQueriesOf, stack: string): string[] {
  if (!slow.available) {
    return [
      `Slow queries: ${slow.reason}. To see them:`,
      ...(slow.preloaded
        ? []
        : [
            `  pulumi config set -s ${stack} --path serverSettings.shared_preload_libraries pg_stat_statements`,
          ]),
      ...(slow.installed ? [] : [`  add pg_stat_statements to extensions in Pulumi.${stack}.yaml`]),
      `  pulumi up -s ${stack}`,
    ];
  }
  if (slow.statements.length === 0) return ["Slow queries: none yet"];
  const rows = slow.statements.map(({ calls, mean, query, role, rows: count, total }) => [
    String(calls),
    milliseconds(total),
    milliseconds(mean),
    String(count),
    role,
    excerpt(query),
  ]);
  return [
    "Queries that took most time:",
    ...formatTable([["CALLS", "TOTAL", "MEAN", "ROWS", "ROLE", "QUERY"], ...rows], [0, 1, 2, 3]),
  ];
}

type SlowQueriesOf = ServerReport["slowQueries"];

function milliseconds(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}

/** One line of at most 80 characters, without passwords. */
function excerpt(query: string): string {
  const line = maskPasswords(query.replace(/\s+/g, " ").trim());
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
