import { relative, resolve } from "node:path";
import { baseline } from "../../migrator/baseline.ts";
import { InputError } from "../../migrator/errors.ts";
import { type MigratorInput, readInput } from "../../migrator/input.ts";
import { newMigration } from "../../migrator/new.ts";
import type { OtherTool } from "../../migrator/other-tools.ts";
import { type RepairOptions, repair } from "../../migrator/repair.ts";
import { migrate } from "../../migrator/run.ts";
import { formatStatus, readStatus, type Status, verify } from "../../migrator/status.ts";
import { migratorVariables } from "../migrator-variables.ts";
import { projectRoot } from "../project.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import { readStackFile, textSetting } from "../stack-files.ts";
import { readStateBackend } from "../state-backend.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface MigrateOptions {
  readonly stack?: string;
  readonly dir?: string;
  readonly owner?: string;
  readonly schema?: string;
}

/** What `./db migrate status` prints. */
export async function statusOf(options: MigrateOptions): Promise<Status> {
  return readStatus(await inputOf(options));
}

interface DataLossOptions {
  readonly allowDataLoss?: true;
}

export async function status(options: MigrateOptions & { readonly json?: true }): Promise<void> {
  const found = await statusOf(options);
  print(options.json ? JSON.stringify(found, null, 2) : formatStatus(found));
}

export async function verifyFolder(options: MigrateOptions & { readonly json?: true }): Promise<void> {
  const found = await verify(await inputOf(options));
  const pending = found.migrations.filter(({ state }) => state === "pending").map(({ name }) => name);
  if (options.json) print(JSON.stringify({ pending }, null, 2));
  else
    print(
      [...pending.map((name) => `pending: ${name}`), `${pending.length} pending; everything fits`].join("\n"),
    );
}

/** @param target Default: that of the stack, or the newest. */
export async function up(
  target: string | undefined,
  options: MigrateOptions & DataLossOptions,
): Promise<void> {
  const input = await inputOf(options);
  await migrate({ ...input, ...lossOf(input, options), target: target ?? input.target, log: print });
}

/** @param target The last one that is to stay. */
export async function down(target: string, options: MigrateOptions & DataLossOptions): Promise<void> {
  const input = await inputOf(options);
  await migrate({ ...input, ...lossOf(input, options), target, onlyDown: true, log: print });
}

function lossOf(input: MigratorInput, options: DataLossOptions): Pick<MigratorInput, "allowDataLoss"> {
  return { allowDataLoss: options.allowDataLoss ?? input.allowDataLoss };
}

export async function repairRecord(
  name: string,
  options: MigrateOptions & { readonly status: RepairOptions["status"] },
): Promise<void> {
  await repair({ ...(await inputOf(options)), name, status: options.status, log: print });
}

/** @param name The last migration that is in place. Left out: the option `from` names the tool that knows. */
export async function adopt(
  name: string | undefined,
  options: MigrateOptions & { readonly from?: OtherTool; readonly force?: true },
): Promise<void> {
  const { force, from } = options;
  if (name !== undefined && from !== undefined) {
    throw new InputError("There are two answers to what is in place:", ["give NAME or --from, not both"]);
  }
  const last = from === undefined ? { name: name ?? "" } : { from };
  if ("name" in last && last.name === "") {
    throw new InputError("It is not said what is in place:", [
      "name the last migration that is, or another tool that knows: --from golang-migrate, --from node-pg-migrate",
    ]);
  }
  await baseline({ ...(await inputOf(options)), last, force, log: print });
}

export async function writeNew(name: string, options: Pick<MigrateOptions, "dir" | "stack">): Promise<void> {
  const { dir, stack } = options;
  const given =
    stack === undefined
      ? process.env.MIGRATIONS_DIR
      : textSetting(await readStackFile(stack), (await readStateBackend()).project, "migrationsFolder");
  for (const file of newMigration(folderOf(dir, given), name)) print(file);
}

/**
 * Options win over the stack, or where none is named, over the environment variables of the migrator.
 *
 * @throws InputError that names what is missing or wrong.
 */
async function inputOf({ dir, owner, schema, stack }: MigrateOptions): Promise<MigratorInput> {
  const given = stack === undefined ? process.env : await stackVariables(stack);
  return readInput({
    ...given,
    MIGRATIONS_DIR: folderOf(dir, given.MIGRATIONS_DIR),
    MIGRATIONS_OWNER: owner ?? given.MIGRATIONS_OWNER,
    MIGRATIONS_SCHEMA: (schema ?? given.MIGRATIONS_SCHEMA) || "app",
  });
}

/** The folder of the migrations, as a person would write it. */
function folderOf(dir: string | undefined, given: string | undefined): string {
  const folder = dir === undefined ? resolve(projectRoot, given || "migrations") : resolve(dir);
  const path = relative("", folder) || ".";
  return path.startsWith("..") ? folder : path;
}

async function stackVariables(stack: string): Promise<NodeJS.ProcessEnv> {
  const pulumi = await pulumiCommand(stack, await toolchainVariables());
  return await migratorVariables(stack, await readOutputs(stack, pulumi));
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
