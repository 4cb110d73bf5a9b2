import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { containerLog, docker, testLabel, testRun } from "../../support/docker.ts";

const execute = promisify(execFile);

const own = `${testLabel}=${testRun}`;
const data = "/var/lib/postgresql/data";

export interface StartOptions {
  readonly image?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Init files by name; a name that ends in `!` is executable. */
  readonly initFiles?: Readonly<Record<string, string | Uint8Array>>;
  /** More options of `docker create`. Default: the data directory in memory. */
  readonly options?: readonly string[];
  readonly command?: readonly string[];
}

/** Containers of one test file. */
export class Containers {
  readonly #ids: string[] = [];
  readonly #volumes: string[] = [];

  async start(options: StartOptions = {}): Promise<Server> {
    const env = Object.entries(options.env ?? { POSTGRES_PASSWORD: "secret" });
    const id = await docker(
      "create",
      `--label=${own}`,
      ...env.map(([name, value]) => `--env=${name}=${value}`),
      ...(options.options ?? [`--tmpfs=${data}`]),
      options.image ?? "postgres:17-trixie",
      ...(options.command ?? ["postgres", "-c", "fsync=off"]),
    );
    this.#ids.push(id);
    if (options.initFiles) await copyInitFiles(id, options.initFiles);
    await docker("start", id);
    return new Server(id);
  }

  async volume(): Promise<string> {
    const name = await docker("volume", "create", `--label=${own}`);
    this.#volumes.push(name);
    return name;
  }

  async removeAll(): Promise<void> {
    if (this.#ids.length > 0) await docker("rm", "--force", "--volumes", ...this.#ids);
    if (this.#volumes.length > 0) await docker("volume", "rm", "--force", ...this.#volumes);
  }
}

export class Server {
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }

  log(): Promise<string> {
    return containerLog(this.id);
  }

  exec(...command: string[]): Promise<string> {
    return docker("exec", this.id, ...command);
  }

  /** Waits until the server takes connections over TCP, which it does only after the init phase. */
  async ready(): Promise<this> {
    await expect
      .poll(
        async () => {
          if ((await this.#state()).running)
            return this.exec("pg_isready", "-h", "127.0.0.1", "-U", "postgres").catch(() => "");
          throw new Error(`the container ended:\n${await this.log()}`);
        },
        { timeout: 240_000, interval: 200 },
      )
      .toContain("accepting connections");
    return this;
  }

  /** The first column of what a query returns, a row a line. */
  query(sql: string, options: { user?: string; database?: string } = {}): Promise<string> {
    const { user = "postgres", database = user } = options;
    return this.exec("psql", "-XAtq", "-U", user, "-d", database, "-c", sql);
  }

  /** A login over TCP from another container's point of view, where passwords are asked for. */
  login(password: string, user = "postgres"): Promise<string> {
    return this.exec(
      "sh",
      "-c",
      `PGPASSWORD='${password}' psql -XAtq -h "$(hostname -i)" -U ${user} -d postgres -c 'SELECT current_user'`,
    );
  }

  async exitCode(): Promise<number> {
    return Number(await docker("wait", this.id));
  }

  stop(): Promise<string> {
    return docker("stop", "--time=30", this.id);
  }

  async #state(): Promise<{ running: boolean }> {
    return { running: (await docker("inspect", "--format={{.State.Running}}", this.id)) === "true" };
  }
}

/** Through tar, as `docker cp` does, so that a remote engine works as well. */
async function copyInitFiles(
  id: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "initdb-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      const mode = name.endsWith("!") ? 0o755 : 0o644;
      await writeFile(join(folder, name.replace(/!$/, "")), content, { mode });
    }
    await execute("docker", ["cp", `${folder}/.`, `${id}:/docker-entrypoint-initdb.d/`]);
  } finally {
    await rm(folder, { recursive: true });
  }
}
