import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { image } from "./docker.ts";

const run = promisify(execFile);

/** A Docker Engine of a test's own, which may be stopped without harm to anything else on the machine. */
export class OwnDockerEngine {
  /** DOCKER_HOST of its clients. */
  readonly host: string;
  private readonly folder: string;
  /**
   * Its default bridge. It must have one: with `--bridge none`, an engine that starts deletes the bridge `docker0`
   * of the machine's own engine (moby, daemon_unix.go, removeDefaultBridgeInterface).
   */
  private readonly bridge = `pgtest${process.pid % 100_000}`;
  private process: ChildProcess | undefined;

  constructor() {
    // Short, because the sockets below it have a limit of 107 characters.
    this.folder = mkdtempSync("/tmp/engine-");
    this.host = `unix://${join(this.folder, "docker.sock")}`;
  }

  /** `docker ARGS` on this engine. */
  async docker(...args: string[]): Promise<string> {
    const { stdout } = await run("docker", args, { env: { ...process.env, DOCKER_HOST: this.host } });
    return stdout.trimEnd();
  }

  /** @throws Error with the engine's log where it does not start, as without root's rights. */
  async start(): Promise<void> {
    const log = join(this.folder, "log");
    await run("ip", ["link", "show", this.bridge]).catch(() =>
      run("ip", ["link", "add", this.bridge, "type", "bridge"]),
    );
    const options = [
      ...[
        "--host",
        this.host,
        "--data-root",
        join(this.folder, "data"),
        "--exec-root",
        join(this.folder, "run"),
      ],
      ...["--pidfile", join(this.folder, "pid"), "--bridge", this.bridge, "--log-level", "warn"],
      // The machine's own engine has its rules there. No --default-address-pool: with one, an engine that is started
      // again deletes docker0 too. It takes no range that an interface of the machine has.
      ...["--iptables=false", "--ip6tables=false"],
    ];
    this.process = spawn("sh", ["-c", 'exec dockerd "$@" >>"$LOG" 2>&1', "dockerd", ...options], {
      env: { ...process.env, LOG: log },
      stdio: "ignore",
    });
    for (let tries = 0; tries < 300; tries += 1) {
      if (this.process.exitCode !== null) break;
      try {
        await this.docker("version");
        return;
      } catch {
        await sleep(200);
      }
    }
    throw new Error(
      `A Docker Engine of the test's own did not start, which needs root:\n${readFileSync(log, "utf8")}`,
    );
  }

  /** Copies the server's image from the machine's own engine. */
  async loadImage(): Promise<void> {
    await run("sh", ["-c", 'docker save "$IMAGE" | DOCKER_HOST=$OWN docker load'], {
      env: { ...process.env, IMAGE: image, OWN: this.host },
    });
  }

  /** As a service manager stops it: its containers are stopped too. */
  async stop(): Promise<void> {
    const { process: child } = this;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }

  async remove(): Promise<void> {
    try {
      // What a test has left in it can be removed by nothing but the engine itself.
      if (this.process === undefined || this.process.exitCode !== null) await this.start();
      const containers = await this.docker("ps", "--all", "--quiet").catch(() => "");
      if (containers !== "") await this.docker("rm", "--force", ...containers.split("\n"));
      // A network's bridge outlives the engine.
      await this.docker("network", "prune", "--force").catch(() => "");
    } finally {
      await this.stop();
      await run("ip", ["link", "delete", this.bridge]).catch(() => undefined);
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}
