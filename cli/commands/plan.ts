import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { z } from "zod";
import type { Settings } from "../../components/settings.ts";
import { InputError } from "../../migrator/errors.ts";
import { type Migration, readMigrations, selectTarget } from "../../migrator/files.ts";
import { findBase, splitByBase } from "../../rehearsal/base.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";
import { formatMarkdown, formatReview } from "../../review/format.ts";
import { type ReviewedMigration, reviewPending, unexcused } from "../../review/review.ts";
import { exitCode, UserError } from "../errors.ts";
import { developmentStack, projectRoot } from "../project.ts";
import { pulumiCommand, pulumiError } from "../pulumi.ts";
import { readStackFile } from "../stack-files.ts";
import { toolchainVariables } from "../toolchain.ts";
import { type MigrateOptions, statusOf } from "./migrate.ts";

export interface PlanOptions extends MigrateOptions {
  /** What the branch that is checked out has, and this one has not. */
  readonly base?: string;
  readonly format: "text" | "markdown" | "json";
}

/** Prints what would be applied: the SQL, with its locks and what is dangerous about it. */
export async function plan(options: PlanOptions): Promise<void> {
  const settings = await settingsOf(options.stack);
  const folder = folderOf(options, settings);
  const migrations = readMigrations(folder);
  const { pending, where } = await pendingOf(options, settings, folder, migrations);
  const schema = options.schema ?? settings.schemaName;
  const reviewed = await reviewPending(pending, migrations, { majorVersion: settings.majorVersion, schema });
  process.stdout.write(`${format(reviewed, where, options.format)}\n`);
  if (unexcused(reviewed).length > 0) process.exitCode = exitCode.failure;
}

function format(reviewed: readonly ReviewedMigration[], where: string, how: PlanOptions["format"]): string {
  const count = reviewed.length === 1 ? "1 migration" : `${reviewed.length} migrations`;
  const title = reviewed.length === 0 ? `No migration to apply ${where}` : `${count} to apply ${where}`;
  if (how === "json") return JSON.stringify(reviewed, null, 2);
  if (how === "markdown") return formatMarkdown(reviewed, title);
  if (reviewed.length === 0) return title;
  const scripts = reviewed.map(({ file, sql }) => `-- ${file}\n${sql.trim()}`);
  return [title, formatReview(reviewed), "", ...scripts].join("\n");
}

/** Those of a stack; where none is named, of production, for which a plan is made, or else of development. */
async function settingsOf(given: string | undefined): Promise<Settings> {
  const production = "production";
  const stack = given ?? ((await readStackFile(production)) === undefined ? developmentStack : production);
  const stackFile = await readStackFile(stack);
  if (stackFile === undefined) {
    throw new UserError(`there is no Pulumi.${stack}.yaml, which holds the settings of stack ${stack}.`, {
      next: "pulumi stack ls shows the stacks that there are.",
      exitCode: exitCode.missing,
    });
  }
  return stackSettings(stack, await readFile(join(projectRoot, "Pulumi.yaml"), "utf8"), stackFile);
}

/** As a person would write it. */
function folderOf({ dir, stack }: PlanOptions, { migrationsFolder }: Settings): string {
  const given = dir ?? (stack === undefined ? process.env.MIGRATIONS_DIR : undefined);
  const folder = resolve(given || join(projectRoot, migrationsFolder));
  const path = relative("", folder) || ".";
  return path.startsWith("..") ? folder : path;
}

async function pendingOf(
  options: PlanOptions,
  settings: Settings,
  folder: string,
  migrations: readonly Migration[],
): Promise<{ readonly pending: readonly Migration[]; readonly where: string }> {
  if (options.base !== undefined) {
    const base = await findBase(folder, options.base);
    return { pending: (await splitByBase(folder, migrations, base)).pending, where: `after ${base.ref}` };
  }
  const applied = new Set(
    options.stack === undefined ? await appliedInDatabase(options) : await appliedByLastUpdate(options.stack),
  );
  const wanted = options.stack === undefined ? undefined : settings.migrationsTarget;
  return {
    pending: selectTarget(migrations, wanted).filter(({ name }) => !applied.has(name)),
    where: options.stack === undefined ? "in the database" : `to stack ${options.stack}`,
  };
}

async function appliedInDatabase(options: PlanOptions): Promise<string[]> {
  const { migrations, problems } = await statusOf(options);
  if (problems.length > 0) throw new InputError("The migrations cannot be planned:", problems);
  return migrations.filter(({ state }) => state !== "pending").map(({ name }) => name);
}

const outputs = z.object({ migrations: z.array(z.string()).optional() });

/** From the stack's state: there need be no way to its database. */
async function appliedByLastUpdate(stack: string): Promise<readonly string[]> {
  const pulumi = await pulumiCommand(stack, await toolchainVariables());
  const { code, stderr, stdout } = await pulumi.capture(["stack", "output", "--json"]);
  if (code !== 0) throw pulumiError(stack, stderr);
  return outputs.parse(JSON.parse(stdout)).migrations ?? [];
}
