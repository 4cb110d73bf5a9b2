import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { type Properties, plain } from "../../../airgap/plugins/common/values.ts";
import { testLabel, testRun } from "../../support/docker.ts";
import { PluginClient } from "../common/client.ts";

const run = promisify(execFile);
const main = fileURLToPath(new URL("../../../airgap/plugins/postgresql/index.ts", import.meta.url));
const password = "super'\"%$ secret";

export const tokens = {
  role: "postgresql:index/role:Role",
  database: "postgresql:index/database:Database",
  schema: "postgresql:index/schema:Schema",
  extension: "postgresql:index/extension:Extension",
  grant: "postgresql:index/grant:Grant",
  grantRole: "postgresql:index/grantRole:GrantRole",
  defaultPrivileges: "postgresql:index/defaultPrivileges:DefaultPrivileges",
};

/** A resource as the engine has it: checked inputs, and the state. */
export interface Made {
  token: string;
  id: string;
  inputs: Properties;
  outputs: Properties;
}

/** A PostgreSQL server in a container of its own, and the plugin connected to it as superuser. */
export class Sandbox {
  readonly plugin: PluginClient;
  readonly port: number;
  readonly #container: string;
  readonly #plugins: PluginClient[] = [];

  private constructor(plugin: PluginClient, container: string, port: number) {
    this.plugin = plugin;
    this.#container = container;
    this.port = port;
  }

  static async open(): Promise<Sandbox> {
    const label = ["--label", `${testLabel}=${testRun}`];
    const place = ["--publish", "127.0.0.1::5432", "--tmpfs", "/var/lib/postgresql/data"];
    const server = ["postgres:17-trixie", "postgres", "-c", "fsync=off"];
    const { stdout } = await run(
      "docker",
      ["run", "--detach", ...label, ...place, "--env", "POSTGRES_PASSWORD", ...server],
      { env: { ...process.env, POSTGRES_PASSWORD: password } },
    );
    const container = stdout.trim();
    try {
      const published = await run("docker", ["port", container, "5432/tcp"]);
      const port = Number(published.stdout.trim().split(":").at(-1));
      await untilReady(port);
      const plugin = await PluginClient.start(main, { config: configOf(port) });
      return new Sandbox(plugin, container, port);
    } catch (error) {
      await run("docker", ["rm", "--force", "--volumes", container]);
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const plugin of [this.plugin, ...this.#plugins]) plugin.stop();
    await run("docker", ["rm", "--force", "--volumes", this.#container]);
  }

  /** A second plugin, configured otherwise. A property that is null is left out. */
  async another(config: Properties, env: NodeJS.ProcessEnv = {}): Promise<PluginClient> {
    const merged = Object.entries({ ...configOf(this.port), ...config }).filter(
      ([, value]) => value !== null,
    );
    const plugin = await PluginClient.start(main, { config: Object.fromEntries(merged), env });
    this.#plugins.push(plugin);
    return plugin;
  }

  /** A command in the server's container, as root; its standard output. */
  async exec(...command: string[]): Promise<string> {
    const { stdout } = await run("docker", ["exec", "--user", "root", this.#container, ...command]);
    return stdout;
  }

  /** Rows as lists of their values. */
  async sql(database: string, text: string, login: Login = {}): Promise<unknown[][]> {
    const client = new pg.Client({ ...connectionOf(this.port), database, ...login });
    await client.connect();
    try {
      const result = await client.query({ text, rowMode: "array" });
      return (Array.isArray(result) ? result.at(-1) : result).rows;
    } finally {
      await client.end();
    }
  }

  /** The first value of the first row. */
  async value(database: string, text: string, login: Login = {}): Promise<unknown> {
    return (await this.sql(database, text, login))[0]?.[0];
  }

  /** What the server says to a statement that it refuses, and "allowed" where it does not. */
  async attempt(database: string, text: string, login: Login = {}): Promise<string> {
    try {
      await this.sql(database, text, login);
      return "allowed";
    } catch (error) {
      return (error as Error).message;
    }
  }

  async check(token: string, news: Properties, olds: Properties = {}, plugin = this.plugin) {
    const { inputs, failures } = await plugin.check(token, news, olds);
    if (failures.length > 0) throw new Error(failures.join("\n"));
    return inputs;
  }

  /** Checks and creates, as the engine does. */
  async make(token: string, news: Properties, plugin = this.plugin): Promise<Made> {
    const inputs = await this.check(token, news, {}, plugin);
    return { token, inputs, ...(await plugin.create(token, inputs)) };
  }

  /** What a change of the program would do: the changed properties, `!` before those that replace. */
  async plan(made: Made, news: Properties): Promise<string[]> {
    const inputs = await this.check(made.token, news, made.inputs);
    const { detailed } = await this.plugin.diff(made.token, made.outputs, inputs);
    return Object.entries(detailed)
      .map(([path, kind]) => (kind?.endsWith("_REPLACE") ? `!${path}` : path))
      .sort();
  }

  /** Changes the resource in place, as the engine does. */
  async change(made: Made, news: Properties): Promise<Made> {
    const inputs = await this.check(made.token, news, made.inputs);
    const outputs = await this.plugin.update(made.token, made.id, made.outputs, inputs);
    return { ...made, inputs, outputs };
  }

  /** The resource as a refresh finds it; undefined where it is gone. */
  async refresh(made: Made): Promise<Made | undefined> {
    const { id, outputs, inputs } = await this.plugin.read(made.token, made.id, made.outputs, made.inputs);
    return id === "" ? undefined : { token: made.token, id, outputs, inputs };
  }

  /** What a refresh changes in the state: the new values. */
  async drift(made: Made): Promise<Properties | "gone"> {
    const found = await this.refresh(made);
    if (found === undefined) return "gone";
    const before = visible(made.outputs);
    const after = visible(found.outputs);
    const empty = (value: unknown) => JSON.stringify(value) === "[]" || value === null;
    const changed = Object.keys(after).filter((name) => {
      const same = JSON.stringify(after[name]) === JSON.stringify(before[name]);
      return !same && !(empty(after[name]) && empty(before[name]));
    });
    return Object.fromEntries(changed.map((name) => [name, after[name] ?? null]));
  }

  remove(made: Made): Promise<void> {
    return this.plugin.delete(made.token, made.id, made.outputs);
  }
}

export type Login = Partial<Pick<pg.ClientConfig, "user" | "password">>;

/** The state without its secret marks and the bridge's notes. */
export function visible(outputs: Properties): Properties {
  return Object.fromEntries(Object.entries(plain(outputs)).filter(([name]) => !name.startsWith("__")));
}

/** How an operation fails, without what the bridge writes around it. */
export async function failure(operation: Promise<unknown>): Promise<string> {
  try {
    await operation;
  } catch (error) {
    return (error as Error).message.replace(/^.*1 error occurred:\n\t\* /s, "").trim();
  }
  throw new Error("the operation did not fail");
}

function configOf(port: number): Properties {
  return { host: "127.0.0.1", port: String(port), username: "postgres", password, sslmode: "disable" };
}

function connectionOf(port: number): pg.ClientConfig {
  return { host: "127.0.0.1", port, user: "postgres", password, ssl: false };
}

/** The temporary server of the init phase listens on the socket only: an answer over TCP is the real one's. */
async function untilReady(port: number): Promise<void> {
  const deadline = Date.now() + 120_000;
  while (true) {
    const client = new pg.Client({ ...connectionOf(port), database: "postgres" });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
