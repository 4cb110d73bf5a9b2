import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const repository = join(import.meta.dirname, "..", "..");

/** Runs a script as Pulumi runs the program, up to the option that Pulumi.yaml names. */
function run(script: string): unknown {
  const args = ["--no-warnings", "--require", "./components/runtime/preload.cjs", "--eval", script];
  return JSON.parse(execFileSync(process.execPath, args, { cwd: repository, encoding: "utf8" }));
}

describe("what is loaded before Pulumi's SDK", () => {
  it("keeps what the program doesn't use from being loaded", () => {
    const loaded = run(`
      require("@pulumi/pulumi");
      console.log(JSON.stringify(Object.keys(require.cache)))`) as string[];
    const packages = loaded.map((file) => file.split("node_modules/").at(-1));
    expect(
      packages.filter((file) => /^(typescript|@npmcli|execa|normalize-package-data)\b/.test(file ?? "")),
    ).toEqual([]);
    expect(packages).toContain("@pulumi/pulumi/resource.js");
  });

  it("loads it when it is used after all", () => {
    const used = run(`
      const pulumi = require("@pulumi/pulumi");
      const five = 5;
      pulumi.runtime.serializeFunction(() => five + 1).then(({ text }) =>
        console.log(JSON.stringify({ text: text.includes("five + 1"), automation: typeof pulumi.automation.LocalWorkspace.create })))`);
    expect(used).toEqual({ text: true, automation: "function" });
  });

  it("leaves other packages' modules of the same names alone", () => {
    const version = run(`console.log(JSON.stringify(typeof require("typescript").version))`);
    expect(version).toBe("string");
  });
});
