import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** On every Docker object that tests make. */
export const testLabel = "postgresql-environments.test";
/** Its value: which run of the tests it was, so that two at a time do not remove each other's. */
export const testRun = process.env.POSTGRESQL_ENVIRONMENTS_TEST_RUN ?? "1";
/** The program's own label with the stack's name; test containers beside a stack carry it too. */
export const stackLabel = "postgresql-environments.stack";
export const image = "postgres:17-trixie";

/** What `docker ARGS` prints. Rejects with what it printed on standard error. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run("docker", args, { maxBuffer: 64 * 1024 ** 2 });
  return stdout.trimEnd();
}

/** Standard output and standard error of a container so far. */
export async function containerLog(container: string): Promise<string> {
  const { stdout, stderr } = await run("docker", ["logs", container], { maxBuffer: 64 * 1024 ** 2 });
  return `${stdout}${stderr}`;
}

/** The parts of `docker inspect` that tests look at. Durations are in nanoseconds, sizes in bytes. */
export interface Inspection {
  readonly Id: string;
  /** Digest of the image's content. */
  readonly Image: string;
  readonly Config: {
    readonly Env: string[];
    readonly Labels: Record<string, string>;
    readonly StopSignal: string;
    readonly StopTimeout: number;
    readonly Healthcheck: { Interval: number; Timeout: number; StartPeriod: number; Retries: number };
  };
  readonly HostConfig: {
    readonly Binds: string[] | null;
    readonly Memory: number;
    readonly MemorySwap: number;
    readonly NanoCpus: number;
    readonly ShmSize: number;
    readonly Tmpfs: Record<string, string> | null;
    readonly RestartPolicy: { Name: string };
    readonly LogConfig: { Type: string; Config: Record<string, string> };
  };
  readonly Mounts: { Type: string; Name?: string; Destination: string }[];
  readonly NetworkSettings: {
    readonly Ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
    readonly Networks: Record<string, unknown>;
  };
  readonly RestartCount: number;
  readonly State: {
    readonly Status: string;
    readonly Pid: number;
    readonly ExitCode: number;
    readonly Health?: { Status: string; Log: { ExitCode: number; Output: string }[] };
  };
}

export async function inspect(container: string): Promise<Inspection> {
  return JSON.parse(await docker("container", "inspect", container))[0];
}

/** Names of what a stack has in Docker. */
export async function stackObjects(
  stack: string,
): Promise<{ containers: string[]; networks: string[]; volumes: string[] }> {
  const list = async (...args: string[]) => {
    const text = await docker(...args, "--filter", `label=${stackLabel}=${stack}`);
    return text === "" ? [] : text.split("\n");
  };
  const [containers, networks, volumes] = await Promise.all([
    list("ps", "--all", "--format", "{{.Names}}"),
    list("network", "ls", "--format", "{{.Name}}"),
    list("volume", "ls", "--format", "{{.Name}}"),
  ]);
  return { containers, networks, volumes };
}

/** Removes whatever a stack has left in Docker, the data included. */
export async function removeStackObjects(stack: string): Promise<void> {
  const { containers, networks, volumes } = await stackObjects(stack);
  if (containers.length > 0) await docker("rm", "--force", "--volumes", ...containers);
  if (networks.length > 0) await docker("network", "rm", ...networks);
  if (volumes.length > 0) await docker("volume", "rm", "--force", ...volumes);
}
