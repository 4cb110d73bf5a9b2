import { appendFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { withLock } from "../airgap/lock.ts";
import { capture } from "./processes.ts";
import { projectRoot } from "./project.ts";

/**
 * Keeps files of the project's folder out of `git status`, by a line each in this clone's own .git/info/exclude. No
 * pattern in .gitignore could tell the files of stacks that come and go from those that are to be committed.
 *
 * Does nothing where there is no git, or git ignores the file already.
 */
export async function excludeFromGit(file: string): Promise<void> {
  const place = await findExclude(file);
  if (!place || (await capture("git", ["check-ignore", "--quiet", file], { cwd: projectRoot })).code === 0) {
    return;
  }
  await change(place.path, async (text) => {
    const separator = text === "" || text.endsWith("\n") ? "" : "\n";
    await appendFile(place.path, `${separator}${place.line}\n`);
  });
}

/** Takes the line away again, so that another file of this name is no longer hidden. */
export async function includeInGit(file: string): Promise<void> {
  const place = await findExclude(file);
  if (!place) return;
  await change(place.path, async (text) => {
    const lines = text.split("\n");
    const kept = lines.filter((line) => line !== place.line);
    if (kept.length === lines.length) return;
    const temporary = `${place.path}.${process.pid}`;
    await writeFile(temporary, kept.join("\n"));
    await rename(temporary, place.path);
  });
}

async function findExclude(file: string): Promise<{ path: string; line: string } | undefined> {
  const { code, stdout } = await capture(
    "git",
    ["rev-parse", "--show-prefix", "--git-path", "info/exclude"],
    { cwd: projectRoot },
  ).catch(() => ({ code: 1, stdout: "" }));
  if (code !== 0) return undefined;
  const [prefix = "", path = ""] = stdout.split("\n");
  // As git's pattern language wants them (gitignore(5)).
  const quoted = `${prefix}${file}`.replace(/[\\*?[\] ]/g, "\\$&");
  return { path: resolve(projectRoot, path), line: `/${quoted}` };
}

/** Under a lock, since several starts at once are usual. It is beside the file, which all worktrees of a clone share. */
async function change(path: string, work: (text: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await withLock(
    `${path}.db-lock`,
    () => {},
    async () => work(await readFile(path, "utf8").catch(() => "")),
  );
}
