import { inspectContainer } from "../docker.ts";
import { exitCode, UserError } from "../errors.ts";
import { attach } from "../processes.ts";
import { developmentStack, findExecutable } from "../project.ts";
import { hostPsql } from "../psql.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import type { Role } from "../stack-outputs.ts";
import { toolchainVariables } from "../toolchain.ts";

/** @param given Left out: development. With `./db psql -- -c …`, the first of psql's own arguments stands here. */
export async function psql(
  given: string | undefined,
  rest: readonly string[],
  options: { role: Role },
): Promise<void> {
  const isArgument = given?.startsWith("-") ?? false;
  const stack = given === undefined || isArgument ? developmentStack : given;
  const args = given !== undefined && isArgument ? [given, ...rest] : rest;
  const outputs = await readOutputs(stack, await pulumiCommand(stack, await toolchainVariables()));
  const connection = outputs.connections[options.role];
  if (await findExecutable("psql")) {
    const variables = await hostPsql(stack, outputs, connection);
    process.exitCode = await attach("psql", args, {
      env: { ...process.env, ...variables },
      output: "stdout",
    });
    return;
  }
  if (!(await findExecutable("docker"))) {
    throw new UserError("there is neither psql nor docker on this machine.", {
      next: "Install PostgreSQL's client programs (Debian: postgresql-client) or Docker's command line.",
      exitCode: exitCode.missing,
    });
  }
  if (!(await inspectContainer(outputs.containerName))?.running) {
    throw new UserError(`container ${outputs.containerName} is not running.`, {
      next: `Bring it up: pulumi up --refresh --run-program -s ${stack}`,
    });
  }
  const terminal = process.stdin.isTTY && process.stdout.isTTY ? ["--tty"] : [];
  process.exitCode = await attach(
    "docker",
    [
      ...["exec", "--interactive", ...terminal],
      // A name without a value: docker takes the value from its own environment, which no process list shows.
      ...["--env", "PGPASSWORD", outputs.containerName],
      ...["psql", "--host=127.0.0.1", `--username=${connection.username}`, `--dbname=${connection.database}`],
      ...args,
    ],
    { env: { ...process.env, PGPASSWORD: connection.password }, output: "stdout" },
  );
}
