import { access, constants, mkdir, readFile, realpath, rename } from "node:fs/promises";
import { basename, delimiter, dirname, join, sep } from "node:path";
import { z } from "zod";
import { exitCode, UserError } from "../cli/errors.ts";
import { runStep, type StepReporter } from "../cli/steps.ts";
import { removeTree } from "./files.ts";
import { cliFolder, cliVersion, project, standInHome, unfinished, userHome, work } from "./folders.ts";
import { installPackages } from "./packages.ts";
import { CommandFailed, run } from "./run.ts";

/** A usable CLI: its path, and its version as in `3.255.0`. */
export interface PulumiCli {
  readonly path: string;
  readonly version: string;
}

/** Milliseconds that the downloader may be silent before its server counts as out of reach. */
const downloadPatience = 15_000;

/**
 * A genuine CLI that is on this machine: of the same major version as the project's, and not older.
 *
 * Looked for where a user may have put it: on PATH, in PULUMI_HOME, and where the npm package keeps its downloads.
 */
export async function findGenuineCli(): Promise<PulumiCli | undefined> {
  const home = userHome();
  const folders = (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  for (const folder of [...folders, join(home, "bin"), cliFolder(home)]) {
    const path = await realpath(join(folder, "pulumi")).catch(() => undefined);
    // Ours, or the npm package's launcher, which would only come back to one of these.
    if (!path || path.startsWith(work + sep) || basename(path) !== "pulumi" || !(await isExecutable(path)))
      continue;
    const version = await versionOf(path);
    if (version && isNewEnough(version)) return { path, version };
  }
  return undefined;
}

/** Lets the npm package `pulumi` download the CLI into the user's PULUMI_HOME. @returns Undefined: out of reach. */
export async function downloadCli(reporter: StepReporter): Promise<PulumiCli | undefined> {
  const home = userHome();
  return runStep(reporter, "Downloading the Pulumi CLI", async (step) => {
    try {
      await run(process.execPath, [join(project, "node_modules", "pulumi", "run.js"), "version"], {
        env: { PULUMI_HOME: home, PULUMI_SKIP_UPDATE_CHECK: "true" },
        silence: downloadPatience,
        onLine: step.progress,
      });
      const result = { path: join(cliFolder(home), "pulumi"), version: cliVersion };
      return { result, note: `v${cliVersion}, in ${home}` };
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      return { result: undefined, note: "out of reach" };
    }
  });
}

/** Whether a CLI of that version runs programs written for the project's. Exported for tests. */
export function isNewEnough(version: string, wanted = cliVersion): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  const [wantedMajor = 0, wantedMinor = 0, wantedPatch = 0] = wanted.split(".").map(Number);
  return major === wantedMajor && (minor > wantedMinor || (minor === wantedMinor && patch >= wantedPatch));
}

async function versionOf(path: string): Promise<string | undefined> {
  const text = await run(path, ["version"], {
    env: { PULUMI_SKIP_UPDATE_CHECK: "true" },
    silence: 10_000,
  }).catch(() => "");
  // Development builds count as what they are built on.
  return /^v(\d+\.\d+\.\d+)/m.exec(text)?.[1];
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** The Go module that pins the CLI and has the language host. */
const module = join(project, "airgap", "go");

const linkerFlags = `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${cliVersion}`;

/** The commands that the CLI consists of, with the Go package of each. */
const commands = {
  pulumi: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
  "pulumi-language-nodejs": "./pulumi-language-nodejs",
};

/** Builds the CLI and its Node.js language host from Go modules, where that was not done before. */
export async function buildCli(reporter: StepReporter): Promise<PulumiCli> {
  const folder = cliFolder(standInHome);
  const cli = { path: join(folder, "pulumi"), version: cliVersion };
  if (await isBuilt(folder)) return cli;
  const go = await findGo(reporter);
  return runStep(reporter, "Building the Pulumi CLI (some minutes, once)", async (step) => {
    const output = join(unfinished, `cli-${process.pid}`);
    const settings = {
      cwd: module,
      nice: true,
      env: {
        CGO_ENABLED: "0",
        GOFLAGS: "-mod=readonly -trimpath -buildvcs=false",
        GOTOOLCHAIN: "local",
        GOROOT: "",
      },
    };
    let modules = 0;
    let packages = 0;
    await mkdir(output, { recursive: true });
    try {
      const all = await run(go, ["list", "-deps", ...Object.values(commands)], {
        ...settings,
        onLine: (line) => {
          if (line.startsWith("go: downloading")) step.progress(`${++modules} modules downloaded`);
        },
      });
      const total = all.split("\n").length;
      for (const [name, source] of Object.entries(commands)) {
        const args = ["build", "-v", "-ldflags", linkerFlags, "-o", join(output, name), source];
        await run(go, args, {
          ...settings,
          onLine: () => step.progress(`${++packages} of at most ${total} packages compiled`),
        });
      }
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      throw new UserError(`The Pulumi CLI could not be built. ${error.message}`, {
        next: "Run this again: it goes on where it was. The Go module proxy must be in reach; see airgap/README.md.",
        exitCode: exitCode.missing,
        cause: error,
      });
    }
    await mkdir(dirname(folder), { recursive: true });
    await removeTree(folder);
    await rename(output, folder);
    return { result: cli, note: `v${cliVersion}` };
  });
}

async function isBuilt(folder: string): Promise<boolean> {
  const found = await Promise.all(Object.keys(commands).map((name) => isExecutable(join(folder, name))));
  return found.every(Boolean);
}

/** @returns The path of a `go` command of the release that the module asks for, or a later one. */
async function findGo(reporter: StepReporter): Promise<string> {
  const wanted = /^go (\S+)$/m.exec(await readFile(join(module, "go.mod"), "utf8"))?.[1] ?? "";
  let newest = await newestGo();
  if (!newest) {
    await installPackages(reporter, ["golang-go"], {
      missing: `Go is needed to build the Pulumi CLI, which can't be downloaded here.`,
      next: `Install Go ${wanted} or later (an older one fetches that release), then run this again.`,
    });
    newest = await newestGo();
  }
  if (newest && isNewEnough(newest.version, wanted)) return newest.path;
  return fetchGo(reporter, newest?.path ?? "go", wanted);
}

async function newestGo(): Promise<{ path: string; version: string } | undefined> {
  let newest: { path: string; version: string } | undefined;
  for (const path of ["go", "/usr/local/go/bin/go"]) {
    const text = await run(path, ["version"], { env: { GOTOOLCHAIN: "local" }, cwd: "/" }).catch(() => "");
    const version = /go(\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1];
    if (version && (!newest || isNewEnough(version, newest.version))) newest = { path, version };
  }
  return newest;
}

/**
 * Fetches a Go release with an older one. Go's own way to do that is newer than what Debian ships; but a release is an
 * ordinary module, checked like any other, whose commands only have to be made executable.
 */
async function fetchGo(reporter: StepReporter, go: string, wanted: string): Promise<string> {
  return runStep(reporter, `Fetching Go ${wanted}`, async () => {
    try {
      const [system, processor] = (await run(go, ["env", "GOOS", "GOARCH"])).split("\n");
      const name = `golang.org/toolchain@v0.0.1-go${wanted}.${system}-${processor}`;
      const text = await run(go, ["mod", "download", "-json", name], {
        cwd: "/",
        env: { GOTOOLCHAIN: "local", GOROOT: "" },
      });
      const { Dir: folder } = z.object({ Dir: z.string() }).parse(JSON.parse(text));
      await run("chmod", ["-R", "u+x", join(folder, "bin"), join(folder, "pkg", "tool")]);
      return { result: join(folder, "bin", "go") };
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      throw new UserError(`Go ${wanted} could not be fetched. ${error.message}`, {
        next: `Install Go ${wanted} or later and put it on PATH, then run this again.`,
        exitCode: exitCode.missing,
        cause: error,
      });
    }
  });
}
