import { execFile, spawn } from "node:child_process";
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const launcher = join(import.meta.dirname, "..", "..", "db");
const standardPath = "/usr/local/bin:/usr/bin:/bin";

let folder: string;
let project: string;
let commands: string;

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "launcher-")));
  project = join(folder, "project");
  commands = join(folder, "commands");
  await mkdir(join(project, "cli"), { recursive: true });
  await mkdir(commands);
  await copyFile(launcher, join(project, "db"));
  await writeFile(join(project, "package-lock.json"), "first");
  await executable(
    join(commands, "npm"),
    // Writes what the launcher looks for in npm's own order, with a «node» that shows what it was started with.
    `echo "$$ $*" >> "${folder}/npm-runs"
     rm -rf node_modules; mkdir -p node_modules/.bin
     sleep "\${NPM_SECONDS:-0}"
     [ -z "\${NPM_FAILS:-}" ] || { echo "npm error no network" >&2; exit 1; }
     printf '#!/bin/sh\\necho "in $(pwd): $*"\\n' > node_modules/.bin/node
     chmod +x node_modules/.bin/node
     echo hidden > node_modules/.package-lock.json`,
  );
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function executable(path: string, body: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
}

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function start(
  options: { path?: string; cwd?: string; env?: Record<string, string>; searchPath?: string } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(
      options.path ?? join(project, "db"),
      ["doctor", "two words"],
      {
        cwd: options.cwd ?? folder,
        env: { PATH: options.searchPath ?? `${commands}:${standardPath}`, ...options.env },
      },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

async function npmRuns(): Promise<string[]> {
  const text = await readFile(join(folder, "npm-runs"), "utf8").catch(() => "");
  return text.split("\n").filter(Boolean);
}

test("a fresh clone gets its packages installed once, and later starts say nothing", async () => {
  const first = await start();
  expect(first).toMatchObject({ code: 0, stdout: `in ${folder}: ${project}/cli/main.ts doctor two words\n` });
  expect(first.stderr).toMatch(
    /^db: installing the node packages .*\ndb: node packages installed in \d+ s\n$/,
  );

  expect(await start()).toEqual({ code: 0, stdout: first.stdout, stderr: "" });
  expect(await npmRuns()).toEqual([expect.stringMatching(/^\d+ ci --include=dev --include=optional/)]);
});

test("it works through a symbolic link, even one to a link, and from any folder", async () => {
  await mkdir(join(folder, "elsewhere"));
  await symlink("../project/db", join(folder, "elsewhere", "relative"));
  await symlink(join(folder, "elsewhere", "relative"), join(folder, "absolute"));
  const { stdout } = await start({ path: join(folder, "absolute"), cwd: "/" });
  expect(stdout).toBe(`in /: ${project}/cli/main.ts doctor two words\n`);
});

test("a changed lock is installed again, one that was only touched is not", async () => {
  await start();
  const later = new Date(Date.now() + 5000);
  await utimes(join(project, "package-lock.json"), later, later);
  expect((await start()).stderr).toBe("");

  await writeFile(join(project, "package-lock.json"), "second");
  await utimes(join(project, "package-lock.json"), later, later);
  expect((await start()).stderr).toContain("installing the node packages");
  expect(await npmRuns()).toHaveLength(2);
});

test("an install that was killed is made again by the next start", async () => {
  const child = spawn(join(project, "db"), [], {
    env: { PATH: `${commands}:${standardPath}`, NPM_SECONDS: "30" },
    stdio: "ignore",
    detached: true,
  });
  await expect.poll(npmRuns, { timeout: 20_000 }).toHaveLength(1);
  // The group: the launcher and npm, as Ctrl-C or a lost terminal would.
  process.kill(-(child.pid ?? 0), "SIGKILL");

  expect(await start()).toMatchObject({ code: 0, stdout: expect.stringContaining("main.ts doctor") });
  expect(await npmRuns()).toHaveLength(2);
});

test("an npm that outlives its killed launcher is waited for, not raced", async () => {
  const child = spawn(join(project, "db"), [], {
    env: { PATH: `${commands}:${standardPath}`, NPM_SECONDS: "4" },
    stdio: "ignore",
  });
  await expect.poll(npmRuns, { timeout: 20_000 }).toHaveLength(1);
  child.kill("SIGKILL");

  const second = await start();
  expect(second.code).toBe(0);
  expect(second.stderr).toMatch(/^db: waiting for process \d+, which is installing the node packages\n$/);
  expect(await npmRuns()).toHaveLength(1);
});

test("of many started at once, one installs and the others wait", async () => {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => start({ env: { NPM_SECONDS: "1" } })));
  expect(outcomes.map(({ code }) => code)).toEqual(outcomes.map(() => 0));
  expect(await npmRuns()).toHaveLength(1);
});

test("a failed install shows npm's words, exits 3 and is made again by the next start", async () => {
  const failed = await start({ env: { NPM_FAILS: "1" } });
  expect(failed.code).toBe(3);
  expect(failed.stderr).toMatchInlineSnapshot(`
    "db: installing the node packages (npm ci), usually within a minute
    npm error no network
    db: npm ci failed with exit code 1, see above. Run this again once that is mended.
    "
  `);
  expect((await start()).code).toBe(0);
});

test("without npm it says what to install", async () => {
  const bare = join(folder, "bare");
  await mkdir(bare);
  for (const tool of ["dirname", "readlink", "cmp", "uname"])
    await symlink(`/usr/bin/${tool}`, join(bare, tool));
  expect(await start({ searchPath: bare })).toEqual({
    code: 3,
    stdout: "",
    stderr:
      "db: npm is not installed. It comes with Node.js: install Node.js 20 or later, then run this again.\n",
  });
});

test("on a platform without a packaged Node.js, an older one of the machine is refused", async () => {
  await start();
  await rm(join(project, "node_modules", ".bin", "node"));
  await executable(join(commands, "node"), 'echo "v20.20.2"');
  const outcome = await start();
  expect(outcome.code).toBe(3);
  expect(outcome.stderr).toBe(
    `db: Node.js 24 or later is needed, and ${commands}/node is v20.20.2. Install Node.js 24, then run this again.\n`,
  );
});

test("on a platform without a packaged Node.js, Node.js 24 of the machine is used", async () => {
  await start();
  await rm(join(project, "node_modules", ".bin", "node"));
  await executable(join(commands, "node"), '[ "$1" = --version ] && echo v24.1.0 || echo "machine: $*"');
  expect((await start()).stdout).toBe(`machine: ${project}/cli/main.ts doctor two words\n`);
});
