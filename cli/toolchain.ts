import { prepareToolchain, rememberedToolchain } from "../airgap/setup.ts";
import { consoleReporter } from "./steps.ts";

/**
 * Variables that say which Pulumi and which plugins are in use, for a command that only reads. A stack that is up has
 * been brought up with some Pulumi; it is looked for again where that was not `./db start`.
 */
export async function toolchainVariables(): Promise<Readonly<Record<string, string>>> {
  const toolchain =
    (await rememberedToolchain()) ??
    (await prepareToolchain({ log: consoleReporter(), needDocker: false, needImages: [] }));
  return toolchain.env;
}
