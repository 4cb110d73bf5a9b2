import { join } from "node:path";
import { makePrivateFolder, writePrivateFile } from "./files.ts";
import { environmentsFolder } from "./project.ts";
import type { Connection, StackOutputs } from "./stack-outputs.ts";

/**
 * libpq's variables for a connection from the Docker host. With TLS the server must prove that it is the right one:
 * the authority's certificate is written to a file, since libpq takes it no other way.
 */
export async function hostPsql(
  stack: string,
  outputs: StackOutputs,
  connection: Connection,
): Promise<Record<string, string>> {
  const caFile = await writeAuthority(stack, outputs);
  return {
    PGHOST: connection.host.host,
    PGPORT: String(connection.host.port),
    PGUSER: connection.username,
    PGPASSWORD: connection.password,
    PGDATABASE: connection.database,
    ...(caFile === undefined
      ? { PGSSLMODE: outputs.tls.mode }
      : { PGSSLMODE: "verify-full", PGSSLROOTCERT: caFile }),
  };
}

/** @returns The file's path; undefined: the stack serves no TLS. */
export async function writeAuthority(stack: string, outputs: StackOutputs): Promise<string | undefined> {
  if (outputs.tls.ca === undefined) return undefined;
  await makePrivateFolder(environmentsFolder);
  const file = join(environmentsFolder, `${stack}.ca.pem`);
  await writePrivateFile(file, outputs.tls.ca);
  return file;
}
