import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Client } from "pg";
import { connect } from "../../migrator/connection.ts";
import { testLabel, testRun } from "./docker.ts";

const run = promisify(execFile);

/** A PostgreSQL container of the image that the stacks use, on tmpfs and a loopback port. */
export interface ThrowawayServer {
  /** The container's. */
  readonly id: string;
  readonly port: number;
  /** A connection of the superuser; the caller ends it. */
  connect(database: string): Promise<Client>;
  /** A command inside the container; its standard output. */
  exec(...command: string[]): Promise<string>;
  remove(): Promise<void>;
}

export interface ThrowawayServerOptions {
  /** Init scripts by name; they run in template1, as a stack's do. */
  readonly initScripts?: Readonly<Record<string, string>>;
  /**
   * Whether the data survives the death of the server, as a persistent environment's does: in a volume, with fsync.
   * The port then is this one, also after `docker start`. Default: on tmpfs, without.
   */
  readonly persistentPort?: number;
}

export async function startThrowawayServer(options: ThrowawayServerOptions = {}): Promise<ThrowawayServer> {
  const { persistentPort } = options;
  const password = randomBytes(12).toString("hex");
  const scripts = mkdtempSync(join(tmpdir(), "initdb-"));
  const { stdout } = await run(
    "docker",
    [
      ...["create", "--label", `${testLabel}=${testRun}`],
      ...["--publish", `127.0.0.1:${persistentPort ?? ""}:5432`],
      // Without it the image's own anonymous volume, which goes with the container.
      ...(persistentPort === undefined ? ["--tmpfs", "/var/lib/postgresql/data"] : []),
      ...["--env", "POSTGRES_PASSWORD", "--env", "POSTGRES_DB=template1"],
      ...["postgres:17-trixie", "postgres", "-c", `fsync=${persistentPort === undefined ? "off" : "on"}`],
    ],
    { env: { ...process.env, POSTGRES_PASSWORD: password } },
  );
  const id = stdout.trim();
  const remove = async () => {
    await run("docker", ["rm", "--force", "--volumes", id]);
  };
  try {
    for (const [name, text] of Object.entries(options.initScripts ?? {})) {
      writeFileSync(join(scripts, name), text, { mode: 0o644 });
    }
    await run("docker", ["cp", `${scripts}/.`, `${id}:/docker-entrypoint-initdb.d/`]);
    await run("docker", ["start", id]);
    const published = await run("docker", ["port", id, "5432/tcp"]);
    const port = Number(published.stdout.trim().split(":").at(-1));
    const settings = {
      host: "127.0.0.1",
      port,
      user: "postgres",
      password,
      sslMode: "disable",
      sslRootCert: undefined,
      applicationName: "test",
    } as const;
    // The temporary server of the init phase listens on the socket only: the first answer over TCP is the real one.
    await (await connect({ ...settings, database: "postgres" }, 120_000)).end();
    return {
      id,
      port,
      // As patient as the first: a server that was killed has to recover, on a busy machine.
      connect: (database) => connect({ ...settings, database }, 120_000),
      exec: async (...command) => (await run("docker", ["exec", id, ...command])).stdout,
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  } finally {
    rmSync(scripts, { recursive: true });
  }
}
