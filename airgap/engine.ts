import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCode, UserError } from "../cli/errors.ts";
import { capture } from "../cli/processes.ts";
import { runStep, type StepReporter } from "../cli/steps.ts";
import { work } from "./folders.ts";
import { installPackages } from "./packages.ts";
import { run } from "./run.ts";

/** What the docker command says about the engine that it is pointed at. */
export type EngineState =
  | { readonly kind: "ready"; readonly version: string }
  /** No docker command. */
  | { readonly kind: "missing" }
  /** It answers to others, not to this user. */
  | { readonly kind: "denied"; readonly message: string }
  | { readonly kind: "silent"; readonly message: string };

/** Asks the engine of DOCKER_HOST, else of Docker's current context. */
export async function engineState(): Promise<EngineState> {
  const answer = await capture("docker", ["version", "--format", "{{.Server.Version}}"]).catch(
    () => undefined,
  );
  if (!answer) return { kind: "missing" };
  if (answer.code === 0) return { kind: "ready", version: answer.stdout.trim() };
  const message = answer.stderr.trim();
  return { kind: /permission denied/i.test(message) ? "denied" : "silent", message };
}

/**
 * Makes sure that a Docker Engine answers. Where none does it installs and starts one: only as root on a system with
 * apt, and never beside an engine that was chosen by DOCKER_HOST or a context.
 *
 * @throws {UserError} Where no engine can be had.
 */
export async function prepareEngine(reporter: StepReporter): Promise<void> {
  const state = await engineState();
  if (state.kind === "ready") return;
  if (state.kind === "denied") {
    throw new UserError(`The Docker Engine refuses this user: ${state.message}`, {
      next: "Add the user to the group «docker» and log in again, or set DOCKER_HOST to an engine of the user's own.",
      exitCode: exitCode.missing,
    });
  }
  const chosen = process.env.DOCKER_HOST ?? (await foreignContext());
  if (chosen) {
    throw new UserError(`No Docker Engine answers at ${chosen}.`, {
      next: "Start it, or choose another one with DOCKER_HOST or `docker context use`.",
      exitCode: exitCode.missing,
    });
  }
  if (process.platform !== "linux")
    throw noEngine("Start Docker Desktop (or Colima, OrbStack, …), then run this again.");
  // Some Debian releases ship the command in a package of its own.
  const needed = { dockerd: "docker.io", docker: "docker-cli" };
  let installed = false;
  for (const [command, name] of Object.entries(needed)) {
    if (await isInstalled(command)) continue;
    await installPackages(reporter, [name], {
      missing: "No Docker Engine answers, and none is installed.",
      next: "Install Docker, or set DOCKER_HOST to an engine that is in reach, then run this again.",
    });
    installed = true;
  }
  // The package may have started it.
  if (installed && (await engineState()).kind === "ready") return;
  if (process.getuid?.() !== 0) throw noEngine("Start it, for example with: sudo systemctl start docker");
  await runStep(reporter, "Starting the Docker Engine", async () => ({
    result: undefined,
    note: await start(),
  }));
}

function noEngine(next: string): UserError {
  return new UserError("No Docker Engine answers.", { next, exitCode: exitCode.missing });
}

/** The address of Docker's current context, unless that is this machine's default engine. */
async function foreignContext(): Promise<string | undefined> {
  const answer = await capture("docker", [
    "context",
    "inspect",
    "--format",
    "{{.Name}} {{.Endpoints.docker.Host}}",
  ]).catch(() => undefined);
  if (answer?.code !== 0) return undefined;
  const [name, address] = answer.stdout.trim().split(" ");
  return name === "default" ? undefined : address;
}

async function isInstalled(command: string): Promise<boolean> {
  return (await capture("sh", ["-c", `command -v ${command}`])).code === 0;
}

const log = join(work, "dockerd.log");

/** @returns How it was started. */
async function start(): Promise<string> {
  const systemd = await access("/run/systemd/system").then(
    () => true,
    () => false,
  );
  if (systemd) {
    await run("systemctl", ["start", "docker"]);
    await untilReady(() => undefined);
    return "by systemd";
  }
  await mkdir(work, { recursive: true });
  const output = openSync(log, "a");
  // A session of its own: it outlives this process and never sees its Ctrl-C.
  const daemon = spawn("dockerd", { detached: true, stdio: ["ignore", output, output] });
  closeSync(output);
  let ended: string | undefined;
  daemon.on("exit", (code) => {
    ended = `dockerd ended with exit code ${code}`;
  });
  daemon.on("error", (error) => {
    ended = `dockerd can't be run: ${error.message}`;
  });
  await untilReady(() => ended);
  daemon.unref();
  return `its log is ${log}`;
}

async function untilReady(ended: () => string | undefined): Promise<void> {
  const limit = 60;
  for (let waited = 0; waited < limit; waited += 0.2) {
    if ((await engineState()).kind === "ready") return;
    const problem = ended();
    if (problem) {
      const tail = readFileSync(log, "utf8").trimEnd().split("\n").slice(-5).join("\n");
      throw new UserError(`The Docker Engine did not start: ${problem}.\n${tail}`, {
        next: "Start a Docker Engine some other way, or set DOCKER_HOST to one that is in reach.",
        exitCode: exitCode.missing,
      });
    }
    await sleep(200);
  }
  throw noEngine(`It was started but did not answer within ${limit} s. See ${log} or its unit's journal.`);
}
