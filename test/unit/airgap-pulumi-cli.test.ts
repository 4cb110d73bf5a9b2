import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cliFolder, cliVersion } from "../../airgap/folders.ts";
import { findGenuineCli, isNewEnough } from "../../airgap/pulumi-cli.ts";

let folder: string;
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "airgap-cli-")));
  vi.stubEnv("PATH", "/usr/bin:/bin");
  vi.stubEnv("PULUMI_HOME", join(folder, "home"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

async function install(path: string, version: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\necho ${version}\n`);
  await chmod(path, 0o755);
  return path;
}

function onPath(...folders: string[]): void {
  vi.stubEnv("PATH", [...folders, "/usr/bin", "/bin"].join(delimiter));
}

describe("a genuine CLI", () => {
  it("is found on PATH, behind a link too", async () => {
    const path = await install(join(folder, "opt", "pulumi"), `v${cliVersion}`);
    await mkdir(join(folder, "links"));
    await symlink(path, join(folder, "links", "pulumi"));
    onPath(join(folder, "links"));

    expect(await findGenuineCli()).toEqual({ path, version: cliVersion });
  });

  it("is found in PULUMI_HOME, and where the npm package keeps its downloads", async () => {
    const path = await install(join(cliFolder(join(folder, "home")), "pulumi"), `v${cliVersion}`);
    expect((await findGenuineCli())?.path).toBe(path);

    const installed = await install(join(folder, "home", "bin", "pulumi"), "v3.999.0");
    expect(await findGenuineCli()).toEqual({ path: installed, version: "3.999.0" });
  });

  it("is passed over where it is too old, says no version, or is the npm package's launcher", async () => {
    await install(join(folder, "old", "pulumi"), "v3.100.0");
    await install(join(folder, "broken", "pulumi"), "oops");
    const launcher = await install(join(folder, "npm", "run.js"), `v${cliVersion}`);
    await mkdir(join(folder, "bin"));
    await symlink(launcher, join(folder, "bin", "pulumi"));
    onPath(join(folder, "old"), join(folder, "broken"), join(folder, "bin"));

    expect(await findGenuineCli()).toBeUndefined();
  });
});

it.each([
  ["3.255.0", true],
  ["3.255.1", true],
  ["3.260.0", true],
  ["3.254.9", false],
  ["3.30.0", false],
  ["4.0.0", false],
])("CLI %s can run a program for 3.255.0: %s", (version, enough) => {
  expect(isNewEnough(version, "3.255.0")).toBe(enough);
});
