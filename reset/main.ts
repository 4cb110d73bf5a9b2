import { enableCompileCache } from "node:module";
import { join } from "node:path";
import type { StackOutputs } from "../cli/stack-outputs.ts";

// Everything else is imported after this line, so that it comes out of the cache.
enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "db"));

const { writeServerFile } = await import("../cli/server-file.ts");
const { MigratorError } = await import("../migrator/errors.ts");
const { readMigrations, selectTarget } = await import("../migrator/files.ts");
const { readInput } = await import("../migrator/input.ts");
const { inputsOf } = await import("./inputs.ts");
const { readSeeds, seedFolder } = await import("./seed-files.ts");
const { bringUp } = await import("./up.ts");

// What `pulumi up` runs in an ephemeral environment, in the project's folder. The migrator's variables, and:
const {
  // As the stack's output of that name. Beside the superuser's password it has all that `./db` needs later.
  DB_CONNECTIONS = "",
  STACK = "",
  INITDB_DIR = "",
  SEEDS,
  RESTORED = "",
} = process.env;

try {
  const input = readInput(process.env);
  const connections = JSON.parse(DB_CONNECTIONS) as StackOutputs["connections"];
  const { superuser } = connections;
  await bringUp({
    access: {
      host: superuser.host.host,
      port: superuser.host.port,
      user: superuser.username,
      password: superuser.password,
    },
    stack: STACK,
    wanted: {
      input,
      migrations: selectTarget(readMigrations(input.folder), input.target),
      seeds: readSeeds(SEEDS),
      folder: process.cwd(),
    },
    inputs: inputsOf({
      stack: STACK,
      migrationsFolder: input.folder,
      initdbFolder: INITDB_DIR,
      seedsFolder: seedFolder(SEEDS),
    }),
    restored: RESTORED === "on",
    log: (line) => console.log(line),
  });
  await writeServerFile(STACK, connections);
} catch (error) {
  if (!(error instanceof MigratorError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
