import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Everything else is imported after this line, so that it comes out of the cache.
enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "db"));

const { MigratorError } = await import("./errors.ts");
const { readInput } = await import("./input.ts");
const { migrate } = await import("./run.ts");

try {
  const input = readInput(process.env);
  await migrate({ ...input, log: (line) => console.log(line) });
} catch (error) {
  if (!(error instanceof MigratorError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
