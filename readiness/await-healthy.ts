/**
 * Waits until the server's container reports healthy; run by the program's command resource after every new container.
 *
 * Environment: CONTAINER (name or id), TIMEOUT (seconds). Docker is reached as the docker command reaches it.
 * Exit codes: 0 healthy, 1 the server failed or took too long (its newest log lines are printed), 2 Docker can't be asked.
 */
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { type ContainerState, judge, parseContainerState } from "./container-state.ts";

const pollMilliseconds = 100;
const logLines = 40;

const container = process.env.CONTAINER ?? "";
const timeoutSeconds = Number(process.env.TIMEOUT);
if (!container || !(timeoutSeconds > 0)) {
  stop(2, "CONTAINER and TIMEOUT (seconds) must be set in the environment.");
}

const started = Date.now();
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
  await sleep(pollMilliseconds);
  state = inspect();
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
  console.error(message);
  process.exit(exitCode);
}
