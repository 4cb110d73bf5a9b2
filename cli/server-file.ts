import { readFileSync } from "node:fs";
import { join } from "node:path";
import { makePrivateFolder, writePrivateFile } from "./files.ts";
import { environmentsFolder } from "./project.ts";
import type { StackOutputs } from "./stack-outputs.ts";

/**
 * What `pulumi up` leaves behind for those who cannot wait for Pulumi: how an ephemeral stack's server is reached.
 * It has passwords, of a server whose data is thrown away.
 */
export interface ServerFile {
  readonly version: 1;
  readonly connections: StackOutputs["connections"];
}

function pathOf(stack: string): string {
  return join(environmentsFolder, `${stack}.server.json`);
}

export async function writeServerFile(
  stack: string,
  connections: StackOutputs["connections"],
): Promise<void> {
  const content: ServerFile = { version: 1, connections };
  await makePrivateFolder(environmentsFolder);
  await writePrivateFile(pathOf(stack), `${JSON.stringify(content, undefined, 2)}\n`);
}

/** @returns Undefined where there is none, or another version of the program wrote it. It may be out of date. */
export function readServerFile(stack: string): ServerFile | undefined {
  try {
    const file = JSON.parse(readFileSync(pathOf(stack), "utf8")) as ServerFile;
    return file.version === 1 ? file : undefined;
  } catch {
    return undefined;
  }
}
