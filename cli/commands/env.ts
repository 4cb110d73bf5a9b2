import { relative, resolve } from "node:path";
import { type EnvFormat, environmentVariables, formatEnvironment } from "../env-file.ts";
import { makePrivateFolder, writePrivateFile } from "../files.ts";
import { environmentsFolder } from "../project.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import type { Role, Viewpoint } from "../stack-outputs.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface EnvOptions {
  readonly role: Exclude<Role, "superuser">;
  readonly from: Viewpoint;
  readonly format: EnvFormat;
  readonly out?: string;
  readonly json?: true;
}

export async function env(stack: string, options: EnvOptions): Promise<void> {
  const outputs = await readOutputs(stack, await pulumiCommand(stack, await toolchainVariables()));
  const toStdout = options.out === "-";
  const path = resolve(options.out ?? `${environmentsFolder}/${stack}.env`);
  // A container can't read a file of the host, and standard output has no place beside it.
  const caFile =
    outputs.tls.ca !== undefined && options.from === "host" && !toStdout ? `${path}.ca.pem` : undefined;
  const variables = environmentVariables(outputs, { role: options.role, from: options.from, caFile });
  const text = formatEnvironment(variables, options.format);
  if (toStdout) {
    process.stdout.write(text);
    return;
  }
  if (options.out === undefined) await makePrivateFolder(environmentsFolder);
  // The certificate first: a reader that finds the env file finds all of it.
  if (caFile !== undefined) await writePrivateFile(caFile, outputs.tls.ca ?? "");
  await writePrivateFile(path, text);
  if (options.json) {
    const report = { file: path, caFile, format: options.format, variables: Object.keys(variables) };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    process.stdout.write(`${relative(process.cwd(), path)}: ${Object.keys(variables).join(", ")}\n`);
  }
}
