import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** The first so many of `inputsOf`: what only `pulumi up` can bring into a server. */
const settingsCount = 3;

/** The files and folders that decide what is in a new database, as paths from the project's folder. */
export function inputsOf(options: {
  readonly stack: string;
  readonly migrationsFolder: string;
  readonly initdbFolder: string;
  /** Undefined: no seed data. */
  readonly seedsFolder: string | undefined;
}): string[] {
  const { stack, migrationsFolder, initdbFolder, seedsFolder } = options;
  return [
    "Pulumi.yaml",
    `Pulumi.${stack}.yaml`,
    initdbFolder,
    migrationsFolder,
    ...(seedsFolder === undefined ? [] : [seedsFolder]),
  ];
}

/** The inputs as they are now. */
export function lookAtInputs(root: string, inputs: readonly string[]) {
  return {
    inputs,
    inputsHash: hashInputs(root, inputs),
    settingsHash: hashInputs(root, inputs.slice(0, settingsCount)),
  };
}

/** SHA-256 of names and contents. Another value means that something may matter, the same that nothing changed. */
export function hashInputs(root: string, inputs: readonly string[]): string {
  const hash = createHash("sha256");
  const add = (path: string) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      for (const name of readdirSync(join(root, path)).sort()) add(join(path, name));
      return;
    }
    const content = stat?.isFile() ? readFileSync(join(root, path)) : Buffer.alloc(0);
    hash.update(`${JSON.stringify(path)} ${stat ? content.length : "missing"}\n`).update(content);
  };
  for (const input of inputs) add(input);
  return hash.digest("hex");
}
