import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { z } from "zod";
import { InputError } from "../migrator/errors.ts";

/** What squawk has to say of a place in a script. */
export interface Finding {
  /** squawk's name for it; each has a page of its own in squawk's documentation. */
  readonly rule: string;
  readonly message: string;
  /** Offset in the script, in UTF-16 units. */
  readonly offset: number;
}

/**
 * Rules that mean an outage, lost data or a broken application, for a table that is there and in use: squawk's, and our
 * own for what the server refuses and for data that goes. The others' findings are told, and stop nothing.
 */
const errorRules: ReadonlySet<string> = new Set([
  "adding-field-with-default",
  "adding-foreign-key-constraint",
  "adding-not-nullable-field",
  "adding-required-field",
  "adding-serial-primary-key-field",
  "ban-alter-domain-with-add-constraint",
  "ban-concurrent-index-creation-in-transaction",
  "ban-drop-column",
  "ban-drop-database",
  "ban-drop-table",
  "ban-truncate-cascade",
  "cannot-run-in-transaction",
  "changing-column-type",
  "constraint-missing-not-valid",
  "disallowed-unique-constraint",
  "loses-data",
  "renaming-column",
  "renaming-table",
  "require-concurrent-index-creation",
  "require-concurrent-index-deletion",
  "require-concurrent-partition-detach",
  "require-concurrent-reindex",
  "syntax-error",
]);

/** What the migration runner sees to by itself: limits, transactions, and that nothing is run a second time. */
const notNeeded: ReadonlySet<string> = new Set([
  "ban-uncommitted-transaction",
  "prefer-robust-stmts",
  "require-lock-timeout",
  "require-statement-timeout",
  "require-timeout-settings",
  "transaction-nesting",
  "unused-ignore",
]);

export function levelOf(rule: string): "error" | "warning" {
  return errorRules.has(rule) ? "error" : "warning";
}

export interface LintOptions {
  /** The server's major version. */
  readonly majorVersion: number;
  /** Whether the script runs in one transaction. */
  readonly transaction: boolean;
}

const report = z.array(
  z.object({
    line: z.int(),
    column: z.int(),
    message: z.string(),
    help: z.string().nullable(),
    rule_name: z.string(),
  }),
);

/** squawk's findings about a script. A `.squawk.toml` of the project can exclude rules. */
export function lint(sql: string, { majorVersion, transaction }: LintOptions): Finding[] {
  // squawk's own way to silence a rule gives no reason: it is made an ordinary comment.
  const input = sql.replaceAll("squawk-ignore", "squawk_ignore");
  const { error, status, stderr, stdout } = spawnSync(
    squawkBinary(),
    [
      "--reporter=json",
      `--pg-version=${majorVersion}`,
      "--stdin-filepath=migration.sql",
      ...(transaction ? ["--assume-in-transaction"] : []),
    ],
    { input, encoding: "utf8", maxBuffer: 64 * 1024 ** 2 },
  );
  // 1: there are findings.
  if (error || (status !== 0 && status !== 1)) {
    throw new InputError("The migrations cannot be checked:", [
      `squawk failed: ${(error?.message ?? stderr).trim()} (npm ci installs it again; a file .squawk.toml must be one that it understands)`,
    ]);
  }
  return report
    .parse(JSON.parse(stdout))
    .filter(({ rule_name: rule }) => !notNeeded.has(rule))
    .map(({ column, help, line, message, rule_name: rule }) => ({
      rule,
      message: [message, help].filter(Boolean).join(" "),
      offset: offsetAt(sql, line, column),
    }));
}

/** The program of this platform, without its launcher: that is a Node process of its own. */
function squawkBinary(): string {
  const platform = `@squawk-cli/${process.platform}-${process.arch}`;
  const file = process.platform === "win32" ? "squawk.exe" : "squawk";
  try {
    return createRequire(import.meta.url).resolve(`${platform}/bin/${file}`);
  } catch {
    throw new InputError("The migrations cannot be checked:", [
      `squawk is not installed, there is no package ${platform}: npm ci --include=optional installs it`,
    ]);
  }
}

/** squawk counts lines from 0, and columns from 0 in bytes of UTF-8. */
function offsetAt(sql: string, line: number, column: number): number {
  const lines = sql.split("\n");
  const before = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  const bytes = Buffer.from(lines[line] ?? "");
  return before + bytes.subarray(0, column).toString().length;
}
