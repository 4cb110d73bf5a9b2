import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join, relative } from "node:path";
import { exitCode, UserError } from "../cli/errors.ts";
import { capture } from "../cli/processes.ts";
import { InputError } from "../migrator/errors.ts";
import { checksum, type Migration } from "../migrator/files.ts";

/** The commit whose migrations count as applied. */
export interface Base {
  /** As a person calls it: `origin/main`. */
  readonly ref: string;
  readonly commit: string;
}

/** Tried in this order where no base is named. */
const defaultRefs = ["origin/HEAD", "origin/main", "main"];

/**
 * Finds where the branch that is checked out has left the base branch.
 *
 * @param ref Default: `origin/HEAD`, `origin/main` or `main`, whichever there is.
 * @throws UserError where there is no repository, no such branch, or no common commit.
 */
export async function findBase(folder: string, ref?: string): Promise<Base> {
  const inside = await git(folder, ["rev-parse", "--is-inside-work-tree"]);
  if (inside.code !== 0) {
    const reason = inside.stderr.trim().replace(/^fatal: /, "");
    throw new UserError(`git does not say which migrations in ${folder} are new: ${reason}.`, {
      next: "Rehearse every migration of the folder: ./db rehearse --all",
      exitCode: exitCode.missing,
    });
  }
  const found = await firstRef(folder, ref === undefined ? defaultRefs : [ref]);
  if (found === undefined) {
    throw ref === undefined
      ? new UserError(`git knows none of ${defaultRefs.join(", ")}.`, {
          next: "Name the branch that the migrations are to go to: ./db rehearse --base REF; or take --all.",
          exitCode: exitCode.missing,
        })
      : new UserError(`git knows no commit «${ref}».`, {
          next: "Name a branch, a tag or a commit that «git log» shows; fetch it first where it is a remote one.",
          exitCode: exitCode.usage,
        });
  }
  const { code, stdout } = await git(folder, ["merge-base", "HEAD", found]);
  if (code !== 0) {
    throw new UserError(`this branch and ${found} have no commit in common here.`, {
      next: "A shallow clone has no history: git fetch --unshallow, or fetch-depth: 0 of actions/checkout.",
      exitCode: exitCode.missing,
    });
  }
  return { ref: found, commit: stdout.trim() };
}

async function firstRef(folder: string, refs: readonly string[]): Promise<string | undefined> {
  for (const ref of refs) {
    const { code } = await git(folder, [
      "rev-parse",
      "--verify",
      "--quiet",
      "--end-of-options",
      `${ref}^{commit}`,
    ]);
    if (code === 0) return ref;
  }
  return undefined;
}

/** What of the folder's migrations the base has. */
export interface Pending {
  /** In order; they are applied before anything is rehearsed. */
  readonly applied: readonly Migration[];
  /** In order. */
  readonly pending: readonly Migration[];
}

/**
 * Tells the migrations that the base has from the new ones.
 *
 * @throws InputError that names every file of the base that was changed or is missing (whitespace does not count, as in
 *   `checksum`), and every new migration that comes before one of the base.
 */
export async function splitByBase(
  folder: string,
  migrations: readonly Migration[],
  base: Base,
): Promise<Pending> {
  const files = new Map(
    migrations.flatMap(({ up, down }) =>
      [up, down].map((script) => [fileName(script.file), script] as const),
    ),
  );
  const inBase = await baseFiles(folder, base);
  const changed: string[] = [];
  for (const { name, blob, path } of inBase) {
    const script = files.get(name);
    const restore = `restore it: git checkout ${base.commit.slice(0, 12)} -- ${join(folder, name)}`;
    if (script === undefined) {
      changed.push(`${name} is on ${base.ref}, and missing here: ${restore}`);
      continue;
    }
    if (isBlob(script.file, blob)) continue;
    const { code, stdout, stderr } = await git(folder, ["cat-file", "blob", blob]);
    if (code !== 0) throw new Error(`git cannot read ${path} of ${base.commit}: ${stderr.trim()}`);
    if (checksum(stdout.replace(/^\ufeff/, "")) !== script.checksum) {
      changed.push(
        `${name} is not as ${base.ref} has it, where it may be applied already: ${restore}; and write a new migration for what is to be different`,
      );
    }
  }
  const names = new Set(inBase.map(({ name }) => name));
  const applied = migrations.filter(({ up }) => names.has(fileName(up.file)));
  const newest = applied.at(-1);
  const pending = migrations.filter((migration) => !applied.includes(migration));
  const early = pending
    .filter(({ number }) => newest !== undefined && number < newest.number)
    .map(
      ({ name }) =>
        `${name} is new, but comes before ${newest?.name}, which ${base.ref} has: give it a number after that`,
    );
  if (changed.length + early.length > 0) {
    throw new InputError(`The migrations do not fit those of ${base.ref}:`, [...changed, ...early]);
  }
  return { applied, pending };
}

interface BaseFile {
  readonly name: string;
  readonly path: string;
  readonly blob: string;
}

/** The scripts in the folder as the base has it; none where the base has no such folder. */
async function baseFiles(folder: string, { commit }: Base): Promise<BaseFile[]> {
  const root = (await git(folder, ["rev-parse", "--show-toplevel"])).stdout.trimEnd();
  const path = relative(await realpath(root), await realpath(folder));
  const args = ["ls-tree", "-z", "--full-tree", commit, ...(path === "" ? [] : [`${path}/`])];
  const { code, stdout, stderr } = await git(folder, args);
  if (code !== 0) throw new Error(`git cannot list ${path} of ${commit}: ${stderr.trim()}`);
  return stdout.split("\0").flatMap((entry) => {
    // <mode> <type> <id>, a tab, <path>
    const [, blob, file] = /^100\d+ blob ([0-9a-f]+)\t(.*)$/su.exec(entry) ?? [];
    if (blob === undefined || file === undefined) return [];
    const name = fileName(file);
    return /^\d+_.*\.(?:up|down)\.sql$/.test(name) ? [{ name, path: file, blob }] : [];
  });
}

/** Whether a file is git's blob, byte for byte: then there is no need to ask git for it. */
function isBlob(file: string, blob: string): boolean {
  const content = readFileSync(file);
  const algorithm = blob.length === 40 ? "sha1" : "sha256";
  return createHash(algorithm).update(`blob ${content.length}\0`).update(content).digest("hex") === blob;
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

async function git(folder: string, args: readonly string[]) {
  return await capture("git", args, { cwd: folder });
}
