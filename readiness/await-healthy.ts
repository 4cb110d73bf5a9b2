/**
 * Waits until the server's container reports healthy; run by the program's command resource after every new container.
 *
 * Environment: CONTAINER (name or id), TIMEOUT (seconds). Docker is reached as the docker command reaches it.
 * Exit codes: 0 healthy, 1 the server failed or took too long (its newest log lines are printed), 2 Docker can't be asked.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { type ContainerState, judge, parseContainerState } from "./container-state.ts";

/** For what no event tells. */
const pollMilliseconds = 500;
const logLines = 40;

let events: ChildProcess | undefined;
const container = process.env.CONTAINER ?? "";
const timeoutSeconds = Number(process.env.TIMEOUT);
if (!container || !(timeoutSeconds > 0)) {
  stop(2, "CONTAINER and TIMEOUT (seconds) must be set in the environment.");
}

const started = Date.now();
events = watch();
let state = inspect();
if (state.status === "exited" || state.status === "created") {
  // A run before this one gave up on it, or someone stopped it: whether it comes up now is what's asked here.
  docker("start", container);
  state = inspect();
}
const restartsBefore = state.restarts;
for (;;) {
  const verdict = judge(state, restartsBefore);
  const seconds = (Date.now() - started) / 1000;
  if (verdict.kind === "ready") {
    console.log(`${container} is healthy after ${seconds.toFixed(1)} s`);
    break;
  }
  if (verdict.kind === "failed") fail(verdict.reason);
  if (seconds > timeoutSeconds) fail(`it was not healthy within ${timeoutSeconds} s`);
  await somethingHappened(events);
  state = inspect();
}
events.kill();

/** Prints a line when the container's state or health changes: asking ten times a second keeps a processor busy. */
function watch(): ChildProcess {
  const filters = [`container=${container}`, "event=health_status", "event=die", "event=start"];
  const since = Math.floor(started / 1000);
  // Where this process is killed, the other one ends by itself.
  const until = since + Math.ceil(timeoutSeconds) + 60;
  const args = ["events", "--since", `${since}`, "--until", `${until}`, "--format", "{{.Status}}"];
  const child = spawn("docker", [...args, ...filters.flatMap((filter) => ["--filter", filter])], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  // What is wrong with the docker command, or with Docker, is told by `inspect`.
  child.on("error", () => {});
  return child;
}

async function somethingHappened({ stdout }: ChildProcess): Promise<void> {
  const rest = new AbortController();
  const { signal } = rest;
  const line = stdout ? [once(stdout, "data", { signal })] : [];
  await Promise.race([...line, sleep(pollMilliseconds, undefined, { signal })]);
  rest.abort();
}

function inspect(): ContainerState {
  return parseContainerState(JSON.parse(docker("container", "inspect", container))[0]);
}

function docker(...args: string[]): string {
  const result = spawnSync("docker", args, { encoding: "utf8", maxBuffer: 64 * 1024 ** 2 });
  if (result.error) {
    stop(
      2,
      `The docker command could not be run (${result.error.message}). Install Docker's client, or put it on the PATH.`,
    );
  }
  if (result.status !== 0) {
    stop(
      2,
      `docker ${args.join(" ")} failed: ${result.stderr.trim()}\nSee that Docker runs and answers (docker info), then run pulumi up again. If the container is gone: pulumi up --refresh --run-program`,
    );
  }
  return result.stdout;
}

function fail(reason: string): never {
  const logs = spawnSync("docker", ["logs", "--tail", String(logLines), container], { encoding: "utf8" });
  const { status, restarts } = inspect();
  // A server that dies at every start would otherwise be started again for ever, also after the host's next boot.
  if (status === "restarting" || status === "exited" || restarts > restartsBefore) {
    spawnSync("docker", ["stop", "--time", "10", container], { encoding: "utf8" });
  }
  stop(
    1,
    [
      `The server in container ${container} did not become ready: ${reason}.`,
      `Its newest log lines:`,
      `${logs.stdout ?? ""}${logs.stderr ?? ""}`
        .split("\n")
        .filter((line) => line.trim() !== "")
        .slice(-logLines)
        .map((line) => `  ${line}`)
        .join("\n"),
      `Correct what the log names (a setting, an init script, …) and run pulumi up again. Whole log: docker logs ${container}`,
    ].join("\n"),
  );
}

function stop(exitCode: number, message: string): never {
  events?.kill();
  console.error(message);
  process.exit(exitCode);
}
