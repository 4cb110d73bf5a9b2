import { execFileSync, spawnSync } from "node:child_process";
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

  it("writes out no stack of a promise, and finds one that nothing has come of all the same", () => {
    const script = `
      require("@pulumi/pulumi");
      const { debuggablePromise } = require("@pulumi/pulumi/runtime/debuggable");
      const promise = new Promise(() => {});
      debuggablePromise(promise, "a test");
      console.log(JSON.stringify({ stack: promise._debugStackTrace, limit: Error.stackTraceLimit }))`;
    const args = ["--no-warnings", "--require", "./components/runtime/preload.cjs", "--eval", script];
    const leaky = (env: NodeJS.ProcessEnv) =>
      spawnSync(process.execPath, args, {
        cwd: repository,
        encoding: "utf8",
        env: { ...process.env, ...env },
      });
    const { status, stderr, stdout } = leaky({});
    expect(JSON.parse(stdout)).toEqual({ stack: "Error", limit: 10 });
    expect(stderr).toContain("1 promise was still active");
    expect(status).toBe(1);
    const searched = leaky({ PULUMI_DEBUG_PROMISE_LEAKS: "true" });
    expect(JSON.parse(searched.stdout).stack).toContain("    at ");
    expect(searched.stderr).toContain("CONTEXT(0): a test");
  });

  it("leaves other packages' modules of the same names alone", () => {
    const version = run(`console.log(JSON.stringify(typeof require("typescript").version))`);
    expect(version).toBe("string");
  });
});
