import { connect, describeServer } from "./connection.ts";
import { exitCodes, InputError, MigratorError } from "./errors.ts";
import { describeMissing, type ExtensionRequest, readExtensionRequests } from "./extensions.ts";
import { readConnection } from "./input.ts";

// Run before CREATE EXTENSION, whose error names a file that is missing in the server, and not what there is instead.

try {
  const source = process.env.DB_SOURCE;
  if (!source) throw new InputError("The environment is not complete:", ["DB_SOURCE is missing"]);
  await checkExtensions(source, readExtensionRequests(process.env.EXTENSIONS));
} catch (error) {
  if (!(error instanceof MigratorError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}

async function checkExtensions(source: string, requests: readonly ExtensionRequest[]): Promise<void> {
  const settings = readConnection(process.env, source);
  const client = await connect(settings);
  try {
    const { rows } = await client.query<{ name: string; versions: string[] }>(
      "SELECT name, array_agg(version) AS versions FROM pg_catalog.pg_available_extension_versions GROUP BY name",
    );
    const missing = describeMissing(requests, new Map(rows.map(({ name, versions }) => [name, versions])));
    if (missing !== undefined) throw new MigratorError(exitCodes.failed, missing);
    const names = requests.map(({ name }) => name).join(", ");
    console.log(`${describeServer(settings)}: the server has ${names}`);
  } finally {
    await client.end().catch(() => {});
  }
}
