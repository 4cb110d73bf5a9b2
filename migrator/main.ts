import { MigratorError } from "./errors.ts";
import { readInput } from "./input.ts";
import { migrate } from "./run.ts";

try {
  const input = readInput(process.env);
  await migrate({ ...input, log: (line) => console.log(line) });
} catch (error) {
  if (!(error instanceof MigratorError)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
}
