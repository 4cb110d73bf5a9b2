import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Everything else is imported after this line, so that it comes out of the cache.
enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "airgap"));

const { Command } = await import("commander");
const { describeError, exitCode, UserError } = await import("../cli/errors.ts");
const { consoleReporter } = await import("../cli/steps.ts");
const { prepareToolchain } = await import("./setup.ts");

const program = new Command("airgap");

program
  .command("env")
  .description('Print the shell environment for using pulumi by hand: eval "$(airgap/env)"')
  .option("--again", "look again for genuine parts that could not be had the last time")
  .action(async ({ again = false }: { again?: boolean }) => {
    const toolchain = await prepareToolchain({
      log: consoleReporter(),
      needDocker: false,
      needImages: [],
      again,
    });
    for (const [name, value] of Object.entries(toolchain.env)) {
      process.stdout.write(`export ${name}='${value.replaceAll("'", `'\\''`)}'\n`);
    }
  });

program
  .command("setup")
  .description("Prepare the Pulumi CLI and its plugins, a Docker Engine, and images")
  .argument("[image...]", "images that must be there, as in postgres:17-trixie")
  .option("--again", "look again for genuine parts that could not be had the last time")
  .option("--no-docker", "prepare Pulumi alone")
  .action(async (images: string[], { again = false, docker }: { again?: boolean; docker: boolean }) => {
    const log = consoleReporter();
    const toolchain = await prepareToolchain({ log, needDocker: docker, needImages: images, again });
    log.note(`In use: ${toolchain.reason}.`);
    for (const image of images) {
      log.note(`Image ${image}: ${toolchain.standInImages.includes(image) ? "a stand-in" : "genuine"}.`);
    }
  });

try {
  await program.parseAsync(process.argv);
} catch (error) {
  process.stderr.write(`${describeError(error, process.env.DEBUG === "1").replace(/^db:/, "airgap:")}\n`);
  process.exitCode = error instanceof UserError ? error.exitCode : exitCode.failure;
}
