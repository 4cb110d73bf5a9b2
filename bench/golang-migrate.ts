import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/** The version that is measured, and whose table the tests take over. */
export const golangMigrateVersion = "v4.20.1";

const folder = join(import.meta.dirname, "..", ".bench");
const program = join(folder, `golang-migrate-${golangMigrateVersion}`);

/** golang-migrate's program; undefined where it was not built yet. */
export function findGolangMigrate(): string | undefined {
  return existsSync(program) ? program : undefined;
}

/**
 * Builds it from its Go module into a git-ignored folder, once; it needs Go.
 *
 * @returns The program's path.
 */
export async function buildGolangMigrate(): Promise<string> {
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const unfinished = mkdtempSync(join(folder, "build-"));
  try {
    const module = `github.com/golang-migrate/migrate/v4/cmd/migrate@${golangMigrateVersion}`;
    await promisify(execFile)("go", ["install", "-tags", "postgres", module], {
      env: { ...process.env, GOBIN: unfinished },
    });
    renameSync(join(unfinished, "migrate"), program);
  } finally {
    rmSync(unfinished, { recursive: true });
  }
  return program;
}
