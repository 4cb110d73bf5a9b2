import { execFile } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const run = promisify(execFile);
const project = join(import.meta.dirname, "..", "..");

/** What `pulumi up`, `./db` and tests run beside the program. Files that do their work when they are loaded are none. */
const files = globSync(["cli/commands/*.ts", "migrator/*.ts", "reset/*.ts", "testing/{index,vitest}.ts"], {
  cwd: project,
}).filter((file) => !/(?:^|\/)(?:main|check-extensions)\.ts$/.test(file));

it("nothing beside the program loads Pulumi's SDK, which takes longer than the rest of it", async () => {
  expect(files.length).toBeGreaterThan(40);
  const script = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier.startsWith("@pulumi/")) loaded.push(context.parentURL + " imports " + specifier);
        return next(specifier, context);
      },
    });
    for (const file of JSON.parse(process.env.FILES)) await import(file);
    process.stdout.write(JSON.stringify(loaded));
    process.exit();`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], {
    env: { ...process.env, FILES: JSON.stringify(files.map((file) => join(project, file))) },
  });
  expect(JSON.parse(stdout)).toEqual([]);
});
