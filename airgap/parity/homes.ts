import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { cliFolder, pluginFolder, plugins } from "../folders.ts";

/** A PULUMI_HOME with a CLI and all plugins. */
export interface Home {
  readonly name: "stand-ins" | "genuine";
  readonly folder: string;
  /** Folder of `pulumi` and its language host. */
  readonly bin: string;
}

/** What a home lacks, or has in place of what it should have; empty where it is complete. */
export function problemsOfHome({ name, folder }: Pick<Home, "name" | "folder">): string[] {
  if (!existsSync(folder)) return ["the folder does not exist"];
  const problems =
    findBin(folder) === undefined ? ["the CLI is missing: neither versions/ nor bin/ has it"] : [];
  for (const plugin of plugins) {
    const what = `${plugin.name} ${plugin.version}`;
    const path = join(pluginFolder(folder, plugin), `pulumi-resource-${plugin.name}`);
    if (!existsSync(path)) problems.push(`plugin ${what} is missing`);
    else if (isScript(path) !== (name === "stand-ins")) {
      problems.push(`plugin ${what} is ${name === "genuine" ? "a stand-in" : "the genuine one"}`);
    }
  }
  return problems;
}

/** @throws where the home has no CLI. */
export function openHome({ name, folder }: Pick<Home, "name" | "folder">): Home {
  const bin = findBin(folder);
  if (bin === undefined) throw new Error(`${folder} has no CLI`);
  return { name, folder, bin };
}

/** Where the npm package `pulumi` puts the CLI, or where Pulumi's installer does. */
function findBin(folder: string): string | undefined {
  return [cliFolder(folder), join(folder, "bin")].find((bin) => existsSync(join(bin, "pulumi")));
}

/** Stand-ins are scripts, genuine plugins are binaries. */
function isScript(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const beginning = Buffer.alloc(2);
    readSync(file, beginning);
    return beginning.toString("latin1") === "#!";
  } finally {
    closeSync(file);
  }
}
