import { access, mkdir, readFile, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { exitCode, UserError } from "../cli/errors.ts";
import { runStep, type StepReporter } from "../cli/steps.ts";
import { digest, replaceFile, replaceLink } from "./files.ts";
import { type PulumiPlugin, pluginFolder, plugins, project, standInHome, userHome } from "./folders.ts";
import { CommandFailed, run } from "./run.ts";

const sources = join(project, "airgap", "plugins");
const stamp = join(standInHome, "plugins", "stand-ins");

/** Milliseconds that a plugin's download may be silent before its server counts as out of reach. */
const downloadPatience = 15_000;

/** The plugins that are not in a Pulumi home. */
export async function missingPlugins(home: string): Promise<readonly PulumiPlugin[]> {
  const found = await Promise.all(
    plugins.map((plugin) => realpath(pluginExecutable(home, plugin)).catch(() => undefined)),
  );
  return plugins.filter((_, index) => found[index] === undefined);
}

function pluginExecutable(home: string, plugin: PulumiPlugin): string {
  return join(pluginFolder(home, plugin), `pulumi-resource-${plugin.name}`);
}

/**
 * Lets a genuine CLI download the plugins that the user's PULUMI_HOME lacks.
 *
 * @returns Those that are out of reach.
 */
export async function downloadPlugins(reporter: StepReporter, cli: string): Promise<readonly PulumiPlugin[]> {
  const missing = await missingPlugins(userHome());
  if (missing.length === 0) return [];
  return runStep(reporter, "Downloading Pulumi plugins", async (step) => {
    for (const { name, version } of missing) {
      step.progress(name);
      try {
        await run(cli, ["plugin", "install", "resource", name, `v${version}`], {
          env: { PULUMI_HOME: userHome(), PULUMI_SKIP_UPDATE_CHECK: "true" },
          silence: downloadPatience,
        });
      } catch (error) {
        if (!(error instanceof CommandFailed)) throw error;
        // All of them come from one server.
        return { result: await missingPlugins(userHome()), note: "out of reach" };
      }
    }
    return { result: [], note: missing.map(({ name }) => name).join(", ") };
  });
}

/**
 * Fills the stand-ins' PULUMI_HOME: links to the genuine plugins that the user's has, a bundled stand-in for each
 * other. Does nothing where sources and packages are those of the last time.
 *
 * @param all Whether to use a stand-in for each, the user's genuine plugins notwithstanding.
 * @returns The names of the plugins that are stand-ins.
 */
export async function preparePlugins(reporter: StepReporter, all: boolean): Promise<string[]> {
  const standIns = all ? plugins : await missingPlugins(userHome());
  const names = standIns.map(({ name }) => name);
  const state = await digest(
    [sources, join(project, "package-lock.json"), import.meta.filename],
    names.join(),
  );
  if (
    (await readFile(stamp, "utf8").catch(() => "")) === state &&
    (await missingPlugins(standInHome)).length === 0
  ) {
    return names;
  }
  await runStep(reporter, "Bundling the stand-in plugins", async (step) => {
    await rm(stamp, { force: true });
    for (const plugin of plugins) {
      step.progress(plugin.name);
      const folder = pluginFolder(standInHome, plugin);
      if (!standIns.includes(plugin)) {
        // Not the folder itself: the engine passes over a folder that is a link.
        await rm(join(folder, "main.cjs"), { force: true });
        await replaceLink(pluginExecutable(standInHome, plugin), pluginExecutable(userHome(), plugin));
        continue;
      }
      await bundle(plugin.name, folder);
    }
    await replaceFile(stamp, state);
    return { result: undefined, note: names.join(", ") };
  });
  return names;
}

async function bundle(name: string, folder: string): Promise<void> {
  const entry = join(sources, name, "index.ts");
  await access(entry).catch(() => {
    throw new UserError(`There is no stand-in for the Pulumi plugin ${name}: ${entry} is missing.`, {
      next: "Restore it from the repository.",
      exitCode: exitCode.missing,
    });
  });
  const { rolldown } = await import("rolldown");
  const build = await rolldown({
    input: entry,
    platform: "node",
    // Optional parts of dockerode and pg that are compiled at installation; and one that is compiled, and is found in the
    // project's node_modules above .airgap/.
    external: ["ssh2", "cpu-features", "pg-native", "bcrypt"],
    logLevel: "silent",
  });
  const { output } = await build.generate({
    format: "cjs",
    codeSplitting: false,
    minify: true,
    outro: keepCompiled,
  });
  await build.close();
  await mkdir(folder, { recursive: true });
  await replaceFile(join(folder, "main.cjs"), output[0].code);
  await replaceFile(join(folder, `pulumi-resource-${name}`), launcher, 0o755);
}

// Node.js would do it at its exit, but the engine kills its plugins.
const keepCompiled = 'setTimeout(() => require("node:module").flushCompileCache(), 100).unref();';

// Relative to itself, so that the project can be moved.
const launcher = `#!/bin/sh
# A stand-in for the genuine plugin, made by airgap/bundle.ts.
here=\${0%/*}
work=$here/../../..
node=$work/bin/node
[ -x "$node" ] || node=node
NODE_COMPILE_CACHE=$work/compile-cache exec "$node" "$here/main.cjs" "$@"
`;
