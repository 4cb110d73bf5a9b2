import { connectServer } from "../reset/server.ts";
import { UserError } from "./errors.ts";
import { pulumiCommand, readOutputs } from "./pulumi.ts";
import { accessOf, type OpenServer, unreachable } from "./server-access.ts";
import { writeServerFile } from "./server-file.ts";
import { toolchainVariables } from "./toolchain.ts";

/** The slow way, by Pulumi; leaves behind what makes the next time quick. */
export async function openByOutputs(stack: string): Promise<OpenServer> {
  const { connections, lifetime } = await readOutputs(
    stack,
    await pulumiCommand(stack, await toolchainVariables()),
  );
  if (lifetime === "persistent") {
    throw new UserError(`stack ${stack} keeps its data: it can neither be reset, nor cloned for tests.`, {
      next: "That is for environments with profile: development.",
    });
  }
  const { superuser } = connections;
  const client = await connectServer(accessOf(superuser)).catch((error: Error) => {
    throw unreachable(stack, superuser, error);
  });
  await writeServerFile(stack, connections);
  return { client, connections };
}
