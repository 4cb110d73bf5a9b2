import { join } from "node:path";
import { projectRoot } from "./project.ts";
import type { StepReporter } from "./steps.ts";
export async function prepareToolchain(_reporter: StepReporter): Promise<Record<string, string>> {
  return toolchainVariables();
}
export async function toolchainVariables(): Promise<Record<string, string>> {
  return { PULUMI_HOME: join(projectRoot, ".airgap", "pulumi-home") };
}
