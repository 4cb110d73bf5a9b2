import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Home } from "./homes.ts";

export type Profile = "production" | "development";

/** A setting of a stack, as `pulumi config set --path` takes it. */
export interface Setting {
  readonly path: string;
  readonly value: string | number | boolean;
  /** Default: false. */
  readonly secret?: true;
}

export interface Result {
  readonly ok: boolean;
  /** What was printed, error stream included. */
  readonly output: string;
}

/** Runs a command to its end. Nothing is printed. */
export function run(
  command: string,
  args: string[],
  {
    input = "",
    ...options
  }: { cwd?: string; env?: NodeJS.ProcessEnv; signal?: AbortSignal; input?: string } = {},
) {
  return new Promise<Result & { stdout: string }>((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ["pipe", "pipe", "pipe"] });
    // A command that ends without reading it is no failure.
    child.stdin.once("error", () => {});
    child.stdin.end(input);
    let output = "";
    let stdout = "";
    child.stdout.on("data", (data: Buffer) => {
      stdout += data;
      output += data;
    });
    child.stderr.on("data", (data: Buffer) => {
      output += data;
    });
    child.once("error", (error) => {
      output += error.message;
    });
    // Also after an abort: only then is the command really over.
    child.once("close", (code) => resolve({ ok: code === 0, output, stdout }));
  });
}

/** Docker label of everything that a run makes: its value is the stack's name. */
const runLabel = "postgresql-environments.parity";

/**
 * A stack of this project whose state, settings file and secrets are in a folder of its own, so that no file of the
 * project changes. Each command is run by one of the homes.
 */
export class Stack {
  readonly name: string;
  readonly #projectFolder: string;
  readonly #folder: string;
  readonly #configFile: string;
  readonly #passphrase: string;
  readonly #signal: AbortSignal;

  constructor(options: {
    name: string;
    projectFolder: string;
    /** An empty one, for this stack alone. */
    folder: string;
    passphrase: string;
    /** Ends the Pulumi command that runs. */
    signal: AbortSignal;
  }) {
    this.name = options.name;
    this.#projectFolder = options.projectFolder;
    this.#folder = options.folder;
    this.#passphrase = options.passphrase;
    this.#signal = options.signal;
    this.#configFile = join(options.folder, `Pulumi.${options.name}.yaml`);
  }

  /** Makes the stack with the committed settings of a profile, its labels, and settings of its own. */
  async init(home: Home, profile: Profile, settings: readonly Setting[]): Promise<Result> {
    mkdirSync(join(this.#folder, "state"), { recursive: true });
    // `stack init` writes its settings file beside the project file that it finds.
    const project = readFileSync(join(this.#projectFolder, "Pulumi.yaml"), "utf8");
    writeFileSync(join(this.#folder, "Pulumi.yaml"), project);
    const made = await this.#pulumi(home, ["stack", "init", this.name, "--no-select"], {
      cwd: this.#folder,
    });
    if (!made.ok) return made;
    const salt = /^encryptionsalt:.*$/m;
    const committed = readFileSync(join(this.#projectFolder, `Pulumi.${profile}.yaml`), "utf8").replace(
      salt,
      "",
    );
    const ownSalt = salt.exec(readFileSync(this.#configFile, "utf8"))?.[0] ?? "";
    writeFileSync(this.#configFile, `${committed.trimEnd()}\n${ownSalt}\n`);
    const labels = { "postgresql-environments.test": "1", [runLabel]: this.name };
    for (const [label, value] of Object.entries(labels)) {
      await this.set(home, { path: `labels["${label}"]`, value });
    }
    for (const setting of settings) await this.set(home, setting);
    return made;
  }

  /** @throws where the setting cannot be written. */
  async set(home: Home, { path, secret, value }: Setting): Promise<void> {
    const types = { string: "string", number: "int", boolean: "bool" } as const;
    const type = types[typeof value as keyof typeof types];
    const args = ["config", "set", "--path", path, ...this.#select];
    const { ok, output } = secret
      ? await this.#pulumi(home, [...args, "--secret"], { input: String(value) })
      : await this.#pulumi(home, [...args, "--type", type, "--", String(value)]);
    if (!ok) throw new Error(`pulumi config set ${path}: ${output}`);
  }

  /** Takes a whole setting back. @throws where that cannot be written. */
  async unset(home: Home, key: string): Promise<void> {
    const { ok, output } = await this.#pulumi(home, ["config", "rm", ...this.#select, "--", key]);
    if (!ok) throw new Error(`pulumi config rm ${key}: ${output}`);
  }

  /** The items of a setting that is a list; none where it is not set. @throws where the settings cannot be read. */
  async list(home: Home, key: string): Promise<unknown[]> {
    const { ok, output, stdout } = await this.#pulumi(home, ["config", "--json", ...this.#select]);
    if (!ok) throw new Error(`pulumi config: ${output}`);
    const settings = JSON.parse(stdout) as Record<string, { objectValue?: unknown }>;
    const found = Object.entries(settings).find(([name]) => name.endsWith(`:${key}`))?.[1].objectValue;
    return Array.isArray(found) ? found : [];
  }

  up(home: Home): Promise<Result> {
    return this.#pulumi(home, ["up", "--yes", "--skip-preview", ...this.#select]);
  }

  previewExpectingNoChanges(home: Home): Promise<Result> {
    return this.#pulumi(home, ["preview", "--diff", "--expect-no-changes", ...this.#select]);
  }

  refresh(home: Home, ...options: string[]): Promise<Result> {
    return this.#pulumi(home, ["refresh", "--yes", "--skip-preview", "--diff", ...options, ...this.#select]);
  }

  refreshExpectingNoChanges(home: Home): Promise<Result> {
    return this.refresh(home, "--expect-no-changes");
  }

  destroy(home: Home): Promise<Result> {
    return this.#pulumi(home, ["destroy", "--yes", "--skip-preview", ...this.#select]);
  }

  /** The state as JSON, secrets included. @throws where there is none. */
  async export(home: Home): Promise<string> {
    const args = ["stack", "export", "--show-secrets", "--stack", this.name];
    const { ok, output, stdout } = await this.#pulumi(home, args, { cwd: this.#folder });
    if (!ok) throw new Error(`pulumi stack export: ${output}`);
    return stdout;
  }

  get #select(): string[] {
    return ["--stack", this.name, "--config-file", this.#configFile];
  }

  #pulumi(home: Home, args: string[], options: { cwd?: string; input?: string } = {}) {
    const path = [home.bin, dirname(process.execPath), process.env.PATH ?? ""].join(delimiter);
    this.#signal.throwIfAborted();
    return run("pulumi", ["--non-interactive", "--color", "never", ...args], {
      cwd: this.#projectFolder,
      ...options,
      signal: this.#signal,
      env: {
        ...process.env,
        PATH: path,
        PULUMI_HOME: home.folder,
        PULUMI_BACKEND_URL: `file://${join(this.#folder, "state")}`,
        PULUMI_CONFIG_PASSPHRASE: this.#passphrase,
        PULUMI_CONFIG_PASSPHRASE_FILE: "",
        PULUMI_SKIP_UPDATE_CHECK: "true",
        PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
      },
    });
  }

  /** Docker objects of this stack that are there, such as `volume shop-data`. */
  async leftovers(): Promise<string[]> {
    const filter = ["--filter", `label=${runLabel}=${this.name}`];
    const lists = await Promise.all(
      Object.entries(dockerLists).map(async ([kind, list]) => {
        const { ok, output, stdout } = await run("docker", [...list, ...filter]);
        if (!ok) throw new Error(`docker ${list.join(" ")}: ${output}`);
        return stdout.split("\n").flatMap((line) => (line === "" ? [] : [`${kind} ${line}`]));
      }),
    );
    return lists.flat();
  }

  /** Removes {@link leftovers}, and returns what could not be removed. */
  async removeLeftovers(): Promise<string[]> {
    for (const leftover of await this.leftovers()) {
      const [kind = "", object = ""] = leftover.split(" ");
      await run(
        "docker",
        kind === "container" ? ["rm", "--force", "--volumes", object] : [kind, "rm", object],
      );
    }
    return this.leftovers();
  }
}

/** In the order in which they can be removed. */
const dockerLists = {
  container: ["ps", "--all", "--format", "{{.Names}}"],
  volume: ["volume", "ls", "--format", "{{.Name}}"],
  network: ["network", "ls", "--format", "{{.Name}}"],
};
