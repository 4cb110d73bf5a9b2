import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse, stringify } from "yaml";
import type { StackOutputs } from "../../cli/stack-outputs.ts";
import { removeStackObjects, testLabel, testRun } from "./docker.ts";

const repository = join(import.meta.dirname, "..", "..");
const namespace = "postgres-environments";

/** What a checkout has, as far as Pulumi and `./db` need it. */
export const copied: readonly string[] = [
  ...["Pulumi.yaml", "package.json", "index.ts", "components", "readiness", "migrator", "migrations"],
  ...["initdb", "cli", "catalogue", "rehearsal", "review", "verification"],
  ...["reset", "seeds", "testing", "backup", "reload", "upgrade"],
];
const linked = ["node_modules", "airgap", ".airgap"];

export interface Finished {
  /** Null where a signal ended it. */
  readonly code: number | null;
  /** Standard output and standard error as they came. */
  readonly output: string;
  readonly stdout: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  readonly finished: Promise<Finished>;
}

export interface PulumiOptions {
  readonly passphrase?: string;
}

/** A checkout of the project in a folder of its own, with its own state. */
export class TestProject {
  readonly folder: string;
  private readonly env: Readonly<Record<string, string>>;
  private readonly stacks: string[] = [];

  /** @param env added to the environment of every command */
  constructor(env: Readonly<Record<string, string>> = {}) {
    this.env = env;
    this.folder = mkdtempSync(join(tmpdir(), "postgres-environments-"));
    for (const name of copied) cpSync(join(repository, name), this.path(name), { recursive: true });
    for (const name of linked) {
      if (existsSync(join(repository, name))) symlinkSync(join(repository, name), this.path(name));
    }
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  read(path: string): string {
    return readFileSync(this.path(path), "utf8");
  }

  write(path: string, text: string): void {
    writeFileSync(this.path(path), text);
  }

  /** Starts the real command line, as someone in this folder would. */
  start(command: string, args: readonly string[], options: PulumiOptions = {}): Running {
    const env: NodeJS.ProcessEnv = { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "true" };
    for (const name of ["PULUMI_BACKEND_URL", "PULUMI_STACK", "PULUMI_CONFIG_PASSPHRASE_FILE"])
      delete env[name];
    const child = spawn(command, args, {
      cwd: this.folder,
      env: { ...env, ...this.env, PULUMI_CONFIG_PASSPHRASE: options.passphrase ?? "" },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that all of it can be killed at once.
      detached: true,
    });
    let output = "";
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const finished = new Promise<Finished>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, output, stdout }));
    });
    return { child, output: () => output, finished };
  }

  startPulumi(args: readonly string[], options: PulumiOptions = {}): Running {
    return this.start("pulumi", [...args, "--color", "never", "--non-interactive"], options);
  }

  pulumi(args: readonly string[], options: PulumiOptions = {}): Promise<Finished> {
    return this.startPulumi(args, options).finished;
  }

  /**
   * Makes a stack of a name that is nowhere else on this host, with the committed file of one of the two that the
   * repository has, and labels by which everything is found again.
   */
  async stack(
    kind: "development" | "production",
    options: { name?: string; passphrase?: string; settings?: Readonly<Record<string, unknown>> } = {},
  ): Promise<TestStack> {
    const name = options.name ?? `${kind}-${randomBytes(3).toString("hex")}`;
    cpSync(join(repository, `Pulumi.${kind}.yaml`), this.path(`Pulumi.${name}.yaml`));
    this.stacks.push(name);
    const stack = new TestStack(this, name, options.passphrase ?? "");
    succeeded(await this.pulumi(["stack", "init", name], { passphrase: stack.passphrase }));
    const { settings = {} } = options;
    await stack.set({
      labels: { [testLabel]: testRun },
      // Two more containers in each `up`, that few tests are about.
      ...(kind === "production" ? { monitoring: "none" } : {}),
      // Production asks for a reason.
      ...(settings.backups === false ? { exceptions: { noBackup: "a test of other things" } } : {}),
      ...settings,
    });
    return stack;
  }

  /** Removes everything: what the stacks have left in Docker, and the folder with their state. */
  async remove(): Promise<void> {
    for (const name of this.stacks) await removeStackObjects(name);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Deployment {
  readonly resources: {
    readonly urn: string;
    readonly type: string;
    readonly custom: boolean;
    readonly id?: string;
    readonly protect?: boolean;
    readonly retainOnDelete?: boolean;
    readonly inputs?: Record<string, unknown>;
    readonly outputs?: Record<string, unknown>;
  }[];
}

/** What `index.ts` exports. */
export type Outputs = StackOutputs & {
  readonly DB_SOURCE: string;
  readonly imageId: string | null;
  readonly migrations: string[];
};

export class TestStack {
  readonly project: TestProject;
  readonly name: string;
  readonly passphrase: string;

  constructor(project: TestProject, name: string, passphrase: string) {
    this.project = project;
    this.name = name;
    this.passphrase = passphrase;
  }

  start(...args: string[]): Running {
    return this.project.startPulumi([...args, "--stack", this.name], { passphrase: this.passphrase });
  }

  pulumi(...args: string[]): Promise<Finished> {
    return this.start(...args).finished;
  }

  /** Without the preview that an interactive `up` shows first, which costs as much as the rest; see `upWithPreview`. */
  up(...flags: string[]): Promise<Finished> {
    return this.pulumi("up", "--yes", "--skip-preview", ...flags);
  }

  upWithPreview(...flags: string[]): Promise<Finished> {
    return this.pulumi("up", "--yes", ...flags);
  }

  /** As a person does it after a kill: docs/operations.md, «An interrupted run». */
  async unlock(): Promise<void> {
    const cancelled = await this.pulumi("cancel", "--yes");
    if (cancelled.code === 0) return;
    if (!cancelled.output.includes("failed to load checkpoint: EOF")) succeeded(cancelled);
    const [state = ""] = globSync(this.project.path(`.pulumi-state/.pulumi/stacks/*/${this.name}.json`));
    rmSync(`${state}.attrs`);
    succeeded(await this.pulumi("cancel", "--yes"));
  }

  preview(...flags: string[]): Promise<Finished> {
    return this.pulumi("preview", ...flags);
  }

  destroy(...flags: string[]): Promise<Finished> {
    return this.pulumi("destroy", "--yes", ...flags);
  }

  /** Edits the stack's file, as people do: with each value that a `pulumi config set` takes, without its second. */
  async set(settings: Readonly<Record<string, unknown>>): Promise<void> {
    this.edit((config) => Object.assign(config, this.keyed(settings)));
  }

  async unset(...keys: string[]): Promise<void> {
    this.edit((config) => {
      for (const key of keys) {
        delete config[key];
        delete config[`${namespace}:${key}`];
      }
    });
  }

  private keyed(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
    return Object.fromEntries(Object.entries(settings).map(([key, value]) => [`${namespace}:${key}`, value]));
  }

  private edit(change: (config: Record<string, unknown>) => void): void {
    const file = `Pulumi.${this.name}.yaml`;
    const { config, ...rest } = parse(this.project.read(file));
    // The committed files have keys without the project's name, which mean the same; one of each would be a mistake.
    const all = Object.fromEntries(
      Object.entries(config ?? {}).map(([key, value]) => [
        key.includes(":") ? key : `${namespace}:${key}`,
        value,
      ]),
    );
    change(all);
    this.project.write(file, stringify({ ...rest, config: all }));
  }

  /** `pulumi config set` for any number of settings, maps and lists included. */
  async setByPulumi(
    settings: Readonly<Record<string, unknown>>,
    options: { secret?: true } = {},
  ): Promise<void> {
    const json = Object.entries(settings).map(([key, value]) => [
      `${namespace}:${key}`,
      typeof value === "object"
        ? { value: JSON.stringify(value), objectValue: value, secret: false }
        : { value: String(value), secret: options.secret ?? false },
    ]);
    succeeded(await this.pulumi("config", "set-all", "--json", JSON.stringify(Object.fromEntries(json))));
  }

  /** `pulumi config rm`. */
  async unsetByPulumi(...keys: string[]): Promise<void> {
    succeeded(await this.pulumi("config", "rm-all", ...keys));
  }

  async outputs(): Promise<Outputs> {
    const { code, stdout, output } = await this.pulumi("stack", "output", "--json", "--show-secrets");
    if (code !== 0) throw new Error(output);
    return JSON.parse(stdout);
  }

  /** `pulumi stack export`, as text. */
  async export(...flags: string[]): Promise<string> {
    const { code, stdout, output } = await this.pulumi("stack", "export", ...flags);
    if (code !== 0) throw new Error(output);
    return stdout;
  }

  async deployment(...flags: string[]): Promise<Deployment> {
    return JSON.parse(await this.export(...flags)).deployment;
  }
}

/** Waits until a command has printed something. Throws what it printed instead, where it ended without. */
export async function untilPrinted(running: Running, when: RegExp): Promise<void> {
  let over = false;
  void running.finished.then(() => {
    over = true;
  });
  while (!when.test(running.output())) {
    if (over) throw new Error(`it has not printed ${when}:\n${running.output()}`);
    await sleep(20);
  }
}

/** What a command printed. Throws it where the command failed. */
export function succeeded({ code, output }: Finished): string {
  if (code !== 0) throw new Error(`exit code ${code}:\n${output}`);
  return output;
}

/** A port of 127.0.0.1 that is free now, below those that systems give out by themselves. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
