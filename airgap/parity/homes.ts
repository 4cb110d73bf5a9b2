import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

/** Plugins that the program uses; their versions are those of the npm packages. */
const pluginNames = ["command", "docker", "postgresql", "random", "tls"] as const;

/** A PULUMI_HOME with a CLI and all plugins. */
export interface Home {
  readonly name: "stand-ins" | "genuine";
  readonly folder: string;
  /** Folder of `pulumi` and its language host. */
  readonly bin: string;
}

/** What a home lacks or has too much, in words for the user; empty where it is complete. */
export function problemsOfHome(folder: string, name: Home["name"], projectFolder: string): string[] {
  if (!existsSync(folder)) return [`${folder} does not exist`];
  const problems = findBin(folder, projectFolder) === undefined ? ["the CLI (bin/pulumi) is missing"] : [];
  for (const plugin of pluginNames) {
    const version = packageVersion(projectFolder, plugin);
    const path = join("plugins", `resource-${plugin}-v${version}`, `pulumi-resource-${plugin}`);
    if (!existsSync(join(folder, path))) problems.push(`${path} is missing`);
    // Stand-ins are scripts, genuine plugins are binaries.
    else if (name === "genuine" && startsWith(join(folder, path), "#!"))
      problems.push(`${path} is a stand-in`);
  }
  return problems;
}

/** @throws where {@link problemsOfHome} says that it isn't one. */
export function openHome(folder: string, name: Home["name"], projectFolder: string): Home {
  const bin = findBin(folder, projectFolder);
  if (bin === undefined) throw new Error(`${folder} has no CLI`);
  return { name, folder, bin };
}

/** Where the npm package `pulumi` puts the CLI, or where its own installer does. */
function findBin(folder: string, projectFolder: string): string | undefined {
  const candidates = [
    join(folder, "versions", packageVersion(projectFolder, "pulumi"), "bin"),
    join(folder, "bin"),
  ];
  return candidates.find((bin) => existsSync(join(bin, "pulumi")));
}

function packageVersion(projectFolder: string, name: string): string {
  const path = join(projectFolder, "node_modules", "@pulumi", name, "package.json");
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}

function startsWith(path: string, beginning: string): boolean {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(beginning.length);
    readSync(file, bytes);
    return bytes.toString("latin1") === beginning;
  } finally {
    closeSync(file);
  }
}
