import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Everything else is imported after this line, so that it comes out of the cache.
enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "db"));

const { run } = await import("./program.ts");
process.exitCode = await run(process.argv.slice(2));
