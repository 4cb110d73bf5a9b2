import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export const project = join(import.meta.dirname, "..");

/** Everything that the set-up builds. Git-ignored; deleting it takes nothing else away. */
export const work = join(project, ".airgap");

/** PULUMI_HOME wherever a part of the toolchain is a stand-in. */
export const standInHome = join(work, "pulumi-home");

/** Unfinished work: what is left here by an interrupted run is thrown away by the next one. */
export const unfinished = join(work, "unfinished");

/** First on PATH: `pulumi` and `node`, as links to those in use. */
export const binaries = join(work, "bin");

interface PackageJson {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const packageJson = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as PackageJson;

/** The CLI's version, as in `3.255.0`: that of the npm package `pulumi`. */
export const cliVersion = packageJson.devDependencies.pulumi ?? "";

export interface PulumiPlugin {
  readonly name: string;
  /** As in `5.2.0`. */
  readonly version: string;
}

/** The resource plugins that the program needs, with the version of each one's SDK. */
export const plugins: readonly PulumiPlugin[] = ["command", "docker", "postgresql", "random", "tls"].map(
  (name) => ({ name, version: packageJson.dependencies[`@pulumi/${name}`] ?? "" }),
);

/** The user's own PULUMI_HOME, also in a shell that has `airgap/env` loaded. */
export function userHome(env: NodeJS.ProcessEnv = process.env): string {
  const set = env.PULUMI_HOME;
  return set && set !== standInHome ? set : join(homedir(), ".pulumi");
}

/** Where a Pulumi home keeps a CLI of one version. The npm package `pulumi` looks there first. */
export function cliFolder(home: string, version = cliVersion): string {
  return join(home, "versions", version, "bin");
}

/** Where a Pulumi home keeps a resource plugin. */
export function pluginFolder(home: string, { name, version }: PulumiPlugin): string {
  return join(home, "plugins", `resource-${name}-v${version}`);
}
