import { type Lock, whoWaits } from "./locks.ts";
import type { ReviewedFinding, ReviewedMigration, ReviewedStatement } from "./review.ts";

/** For a terminal and for Pulumi's diagnostics. */
export function formatReview(migrations: readonly ReviewedMigration[]): string {
  return migrations
    .flatMap(({ findings, name, statements, transaction }) => [
      `  ${name}${transaction ? "" : ", without a transaction"}`,
      ...mergeAlike(statements).map((statement) => `      ${describeStatement(statement)}`),
      ...findings.map((finding) => `      ${describeFinding(finding)}`),
    ])
    .join("\n");
}

/** For a comment on a pull request. */
export function formatMarkdown(migrations: readonly ReviewedMigration[], title: string): string {
  const errors = migrations.flatMap(({ findings }) => findings).filter(stops).length;
  const verdict =
    errors === 0 ? "" : `**${errors === 1 ? "One finding stops" : `${errors} findings stop`} the update.**\n`;
  return [`### ${title}`, "", ...(verdict === "" ? [] : [verdict]), ...migrations.map(sectionOf)].join("\n");
}

/** GitHub takes 65,536 characters in a comment. */
const longestSql = 6_000;

function sectionOf({ findings, name, sql, statements, transaction }: ReviewedMigration): string {
  const text = sql.trim();
  const shown =
    text.length > longestSql
      ? `${text.slice(0, longestSql)}\n-- … ${text.length - longestSql} more characters`
      : text;
  // A fence longer than any in the text.
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length + 1)));
  return [
    `#### ${name}${transaction ? "" : " (without a transaction)"}`,
    "",
    "| line | statement | locks on tables in use |",
    "|---:|---|---|",
    ...statements.map(
      ({ kind, line, locks, untold }) =>
        `| ${line} | ${cell(kind)} | ${cell([...locks.map(describeLock), ...(untold ? [untold] : [])].join("; ") || "none")} |`,
    ),
    "",
    ...findings.map(
      (finding) =>
        `- ${stops(finding) ? "🛑" : finding.reason === undefined ? "⚠️" : "✅"} ${describeFinding(finding)}`,
    ),
    ...(findings.length === 0 ? [] : [""]),
    "<details><summary>SQL</summary>",
    "",
    `${fence}sql`,
    shown,
    fence,
    "",
    "</details>",
    "",
  ].join("\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

/** Whether a finding keeps a persistent environment from being changed. */
export function stops({ level, reason }: ReviewedFinding): boolean {
  return level === "error" && reason === undefined;
}

export function describeLock({ mode, table, work }: Lock): string {
  const waits = whoWaits(mode);
  return [`${mode} on ${table}${waits ? ` (${waits})` : ""}`, ...work].join(", ");
}

function describeStatement({
  count,
  kind,
  locks,
  untold,
}: ReviewedStatement & { readonly count: number }): string {
  const effects = [...locks.map(describeLock), ...(untold ? [untold] : [])];
  const times = count > 1 ? ` (${count} times)` : "";
  return effects.length === 0 ? `${kind}${times}` : `${kind}${times}: ${effects.join("; ")}`;
}

function describeFinding({ level, line, message, reason, rule }: ReviewedFinding): string {
  return reason === undefined
    ? `${level} in line ${line}: ${message} [${rule}]`
    : `allowed in line ${line}: ${message} [${rule}] The file says why: ${reason}`;
}

/** Neighbours that do the same are one line: twenty COMMENTs tell no more than one. */
function mergeAlike(statements: readonly ReviewedStatement[]): (ReviewedStatement & { count: number })[] {
  const merged: (ReviewedStatement & { count: number })[] = [];
  for (const statement of statements) {
    const last = merged.at(-1);
    const same =
      last && describeStatement({ ...last, count: 1 }) === describeStatement({ ...statement, count: 1 });
    if (same) last.count += 1;
    else merged.push({ ...statement, count: 1 });
  }
  return merged;
}
