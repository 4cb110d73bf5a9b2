import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cliVersion, pluginFolder, plugins, project, standInHome } from "../../../airgap/folders.ts";
import { prepareToolchain, type Toolchain } from "../../../airgap/setup.ts";

const execute = promisify(execFile);

let toolchain: Toolchain;
let folder: string;

beforeAll(async () => {
  const silent = { start: () => ({ progress() {}, done() {}, failed() {} }), note() {} };
  toolchain = await prepareToolchain({ log: silent, needDocker: false, needImages: [] });
  folder = await mkdtemp(join(tmpdir(), "airgap-toolchain-"));
  await mkdir(join(folder, "state"));
  await symlink(join(project, "node_modules"), join(folder, "node_modules"));
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ type: "module", dependencies: { "@pulumi/pulumi": cliVersion, "@pulumi/random": "*" } }),
  );
  await writeFile(
    join(folder, "Pulumi.yaml"),
    "name: sample\nmain: index.ts\nruntime: { name: nodejs, options: { typescript: false } }\n",
  );
  await program("export {};");
  await pulumi("stack", "init", "sample");
});

afterAll(() => rm(folder, { recursive: true, force: true }));

function program(text: string): Promise<void> {
  return writeFile(join(folder, "index.ts"), text);
}

interface Finished {
  readonly code: number;
  readonly output: string;
}

async function pulumi(...args: string[]): Promise<Finished> {
  const env = {
    ...process.env,
    ...toolchain.env,
    PULUMI_BACKEND_URL: `file://${join(folder, "state")}`,
    PULUMI_CONFIG_PASSPHRASE: "",
  };
  const options = { cwd: folder, env, maxBuffer: 16 * 1024 ** 2 };
  try {
    const { stdout, stderr } = await execute(
      "pulumi",
      [...args, "--non-interactive", "--color=never"],
      options,
    );
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: stdout + stderr };
  }
}

const up = () => pulumi("up", "--yes", "--skip-preview", "--stack=sample");

describe("the toolchain", () => {
  it("has a CLI that says its version, for the shell and for npx alike", async () => {
    const env = { ...process.env, ...toolchain.env };

    expect((await pulumi("version")).output.trim()).toMatch(/^v3\.\d+\.\d+$/);
    const { stdout } = await execute("npx", ["pulumi", "version"], { cwd: project, env });
    expect(stdout.trim()).toBe(`v${cliVersion}`);
  });

  it("is printed by airgap/env in a form that a shell can take over", async () => {
    const script = 'eval "$(airgap/env)"; echo "$PULUMI_HOME"; command -v pulumi; node --version';
    const { stdout } = await execute("sh", ["-c", script], { cwd: project });

    const [home, cli, node] = stdout.trim().split("\n");
    expect(home).toBe(toolchain.env.PULUMI_HOME);
    expect(cli).toBe(join(project, ".airgap", "bin", "pulumi"));
    expect(node).toMatch(/^v24\./);
  });

  it("costs no more than a look when everything is there", async () => {
    const notes: string[] = [];
    const log = {
      start: (title: string) => {
        notes.push(title);
        return { progress() {}, done() {}, failed() {} };
      },
      note: (text: string) => notes.push(text),
    };

    expect(await prepareToolchain({ log, needDocker: false, needImages: [] })).toEqual(toolchain);
    expect(notes).toEqual([]);
  });

  it("refuses a choice that there is not", async () => {
    const env = { ...process.env, POSTGRES_ENVIRONMENTS_TOOLCHAIN: "neither" };
    await expect(execute(join(project, "airgap", "setup"), ["--no-docker"], { env })).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("Set it to genuine or airgap, or not at all."),
    });
  });
});

describe("the language host", () => {
  it("gives the program its configuration, with secrets kept as such", async () => {
    await pulumi("config", "set", "--stack=sample", "greeting", "hello");
    await pulumi("config", "set", "--stack=sample", "--secret", "word", "hush-hush");
    await program(`
      import * as pulumi from "@pulumi/pulumi";
      const config = new pulumi.Config();
      export const greeting: string = config.require("greeting");
      export const word = config.requireSecret("word");
      export const secrets = ["greeting", "word"].map((key) => pulumi.runtime.isConfigSecret("sample:" + key));
      export const where = [pulumi.getOrganization(), pulumi.getProject(), pulumi.getStack()].join("/");
    `);
    expect((await up()).code).toBe(0);

    const shown = await pulumi("stack", "output", "--json", "--stack=sample");
    expect(JSON.parse(shown.output)).toEqual({
      greeting: "hello",
      secrets: [false, true],
      where: "organization/sample/sample",
      word: "[secret]",
    });
  });

  it("passes on the engine's newer calls: hooks in a preview, replaceWith and deletedWith", async () => {
    await program(`
      import * as pulumi from "@pulumi/pulumi";
      const refuse = new pulumi.ResourceHook("refuse", () => { throw new Error("not this one"); }, { onDryRun: true });
      new pulumi.Stash("refused", { input: 1 }, { hooks: { beforeCreate: [refuse] } });
    `);
    const preview = await pulumi("preview", "--stack=sample");

    expect(preview.code).not.toBe(0);
    expect(preview.output).toContain('before hook "refuse" failed: not this one');

    const chain = (input: number) => `
      import * as pulumi from "@pulumi/pulumi";
      const first = new pulumi.Stash("first", { input: ${input} }, { replacementTrigger: ${input} });
      new pulumi.Stash("second", { input: "same" }, { replaceWith: [first], deletedWith: first });
    `;
    await program(chain(1));
    expect((await up()).output).toContain("+ 2 created");
    await program(chain(2));
    expect((await up()).output).toContain("+-2 replaced");
  });

  it("shows a user's mistake without a stack trace, and any other error with one", async () => {
    await program(`
      import * as pulumi from "@pulumi/pulumi";
      throw new pulumi.RunError("the port is taken");
    `);
    const mistake = await up();
    expect(mistake.code).not.toBe(0);
    expect(mistake.output).toContain("error: the port is taken");
    expect(mistake.output).not.toMatch(/^\s+at /m);

    await program('throw new Error("a bug");');
    const bug = await up();
    expect(bug.code).not.toBe(0);
    expect(bug.output).toContain("a bug");
    expect(bug.output).toContain("index.ts:1:7");
  });

  it("says with what code the program ended where it gave no reason", async () => {
    await program("process.exit(7);");
    const { code, output } = await up();

    expect(code).not.toBe(0);
    expect(output).toContain("Program exited with non-zero exit code: 7");
  });

  it("says what to do where the packages are not installed", async () => {
    await rm(join(folder, "node_modules"));
    try {
      const { code, output } = await up();

      expect(code).not.toBe(0);
      expect(output).toMatch(/@pulumi\/pulumi.*(not.*installed|npm (ci|install))/s);
    } finally {
      await symlink(join(project, "node_modules"), join(folder, "node_modules"));
    }
  });

  it("knows Node.js, the program's packages and their plugins", async () => {
    await program("export {};");
    const about = JSON.parse((await pulumi("about", "--json", "--stack=sample")).output);

    expect(about.runtime).toMatchObject({ language: "nodejs", version: expect.stringMatching(/^v24\./) });
    expect(about.dependencies).toContainEqual({ name: "@pulumi/pulumi", version: cliVersion });
    expect(about.plugins).toContainEqual(expect.objectContaining({ name: "random" }));
  });
});

describe("a stand-in plugin", () => {
  it.each(plugins)("$name starts as the engine starts it, wherever it is called from", async (plugin) => {
    if (toolchain.mode === "genuine") return expect(toolchain.env.PULUMI_HOME).not.toBe(standInHome);
    const command = join(pluginFolder(standInHome, plugin), `pulumi-resource-${plugin.name}`);
    // The engine asks for a port on the first line of standard output.
    const child = spawn(command, ["127.0.0.1:1"], { cwd: "/", stdio: ["ignore", "pipe", "inherit"] });
    try {
      const [line] = (await once(child.stdout, "data")) as [Buffer];
      expect(line.toString()).toMatch(/^\d+\n$/);
    } finally {
      child.kill();
    }
  });
});
