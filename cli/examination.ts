import { stat, statfs } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join, relative } from "node:path";
import { engineState } from "../airgap/engine.ts";
import { pluginFolder, plugins } from "../airgap/folders.ts";
import { airgapLabel, labelsOf } from "../airgap/images.ts";
import { rememberedToolchain } from "../airgap/setup.ts";
import { findObjects, stackLabels } from "./docker.ts";
import { hasEmptyPassphrase, usesPassphrase } from "./passphrase.ts";
import { capture } from "./processes.ts";
import { developmentStack, findExecutable, projectRoot } from "./project.ts";
import { imageSetting, readStackFile, stackFileNames, textSetting } from "./stack-files.ts";
import { readStackLocks } from "./stack-lock.ts";
import { readStackStates } from "./stack-states.ts";
import { readStateBackend, type StateBackend } from "./state-backend.ts";

/** One thing that an environment needs, or that is good to know. */
export interface Finding {
  readonly name: string;
  /** `missing`: without it an environment can't be brought up. `note`: it works, but look at it. */
  readonly status: "ok" | "note" | "missing";
  /** What is there. */
  readonly found: string;
  /** What to do, where something is to be done. */
  readonly next?: string;
}

/** Free space that the first `./db start` can take: image, built Pulumi, and a small database. */
const wantedSpace = 5 * 1024 ** 3;

/** Looks at everything that an environment needs on this machine. Changes nothing. */
export async function examine(): Promise<Finding[]> {
  const backend = await readStateBackend();
  const stacks = await stackFileNames();
  const engine = await engineFinding();
  const images = await imageNames(backend, stacks);
  const withEngine = engine.status === "ok" ? [dockerSpace(), ...images.map(imageFinding)] : [];
  const findings = await Promise.all([
    nodeFinding(),
    toolchainFinding(),
    engine,
    ...withEngine,
    stateFinding(backend),
    ...stacks.flatMap((stack) => [
      stackFinding(backend, stack),
      ...(engine.status === "ok" ? [portFinding(backend, stack)] : []),
    ]),
    psqlFinding(),
  ]);
  return findings.filter((finding) => finding !== undefined);
}

async function nodeFinding(): Promise<Finding> {
  const packaged = process.execPath.startsWith(join(projectRoot, "node_modules"));
  return {
    name: "Node.js",
    status: "ok",
    found: `${process.version}, ${packaged ? "of the node packages" : process.execPath}; the packages are those of package-lock.json`,
  };
}

async function toolchainFinding(): Promise<Finding> {
  const toolchain = await rememberedToolchain();
  if (!toolchain) {
    return {
      name: "Pulumi",
      status: "missing",
      found: "neither the command line nor the plugins have been looked for yet",
      next: "./db start gets them, or airgap/setup alone",
    };
  }
  const { code, stdout, stderr } = await capture("pulumi", ["version"], {
    env: { ...process.env, ...toolchain.env },
  });
  if (code !== 0) {
    return { name: "Pulumi", status: "missing", found: stderr.trim(), next: "./db start gets it again" };
  }
  const home = toolchain.env.PULUMI_HOME ?? "";
  const installed = await Promise.all(
    plugins.map((plugin) => stat(pluginFolder(home, plugin)).catch(() => undefined)),
  );
  const lacking = plugins.filter((_, index) => !installed[index]).map(({ name }) => name);
  return {
    name: "Pulumi",
    status: lacking.length === 0 ? "ok" : "missing",
    found: `${stdout.trim()}: ${toolchain.reason}${lacking.length === 0 ? "" : `; without the plugins ${lacking.join(", ")}`}`,
    ...(lacking.length === 0 ? {} : { next: "./db start gets them" }),
  };
}

async function engineFinding(): Promise<Finding> {
  const name = "Docker Engine";
  const state = await engineState();
  switch (state.kind) {
    case "ready":
      return {
        name,
        status: "ok",
        found: `${state.version}${process.env.DOCKER_HOST ? ` at ${process.env.DOCKER_HOST}` : ""}`,
      };
    case "missing":
      return {
        name,
        status: "missing",
        found: "there is no docker command",
        next: "Install Docker; as root on Debian and its kin, ./db start does it",
      };
    case "denied":
      return {
        name,
        status: "missing",
        found: state.message,
        next: "Add the user to the group «docker» and log in again, or set DOCKER_HOST",
      };
    case "silent":
      return {
        name,
        status: "missing",
        found: state.message,
        next: "Start it, or set DOCKER_HOST; as root on Debian and its kin, ./db start does it",
      };
  }
}

async function dockerSpace(): Promise<Finding | undefined> {
  const { code, stdout } = await capture("docker", ["info", "--format", "{{.DockerRootDir}}"]);
  const folder = stdout.trim();
  // A remote engine's folder is not here.
  const disk = code === 0 && folder !== "" ? await statfs(folder).catch(() => undefined) : undefined;
  if (!disk) return undefined;
  const free = disk.bavail * disk.bsize;
  const found = `${(free / 1024 ** 3).toFixed(1)} GiB free in ${folder}`;
  return free >= wantedSpace
    ? { name: "Docker's disk", status: "ok", found }
    : {
        name: "Docker's disk",
        status: "note",
        found,
        next: "Make room, for example with: docker image prune",
      };
}

/** The images of all stacks, each once. */
async function imageNames({ project }: StateBackend, stacks: readonly string[]): Promise<string[]> {
  const files = await Promise.all(stacks.map(readStackFile));
  return [...new Set(files.map((file) => imageSetting(file, project)))];
}

async function imageFinding(image: string): Promise<Finding> {
  const name = "Image";
  const labels = await labelsOf(image);
  if (labels) {
    const kind = labels[airgapLabel] === "1" ? "a stand-in built here" : "genuine";
    return { name, status: "ok", found: `${image}, ${kind}` };
  }
  const next = "./db start pulls it, or builds a stand-in where no registry can be reached";
  return { name, status: "note", found: `${image} is not there yet`, next };
}

async function stateFinding({ url, folder }: StateBackend): Promise<Finding> {
  const name = "State";
  if (url === "") {
    return {
      name,
      status: "note",
      found: "wherever `pulumi login` says",
      next: "Pulumi.yaml or PULUMI_BACKEND_URL settles it",
    };
  }
  const from = process.env.PULUMI_BACKEND_URL ? "PULUMI_BACKEND_URL" : "Pulumi.yaml";
  const place = folder === undefined ? url : relative(projectRoot, folder) || folder;
  return { name, status: "ok", found: `${place} (${from})` };
}

async function stackFinding(backend: StateBackend, stack: string): Promise<Finding> {
  const name = `Stack ${stack}`;
  const passphrase = await passphraseText(backend, stack);
  if (backend.folder === undefined) {
    return { name, status: passphrase.isSet ? "ok" : "note", found: `settings are here; ${passphrase.text}` };
  }
  const { held, dead } = await readStackLocks(backend.folder, backend.project, stack);
  // Read from the files: asking Pulumi takes a second for each stack, and its passphrase.
  const kept = (await readStackStates(backend)).find((each) => each.stack === stack);
  if (kept && kept.ids === undefined) {
    return {
      name,
      status: "note",
      found: "its state breaks off, and can't be read",
      next: "docs/operations.md, «An interrupted run»; ./db start does it for its own",
    };
  }
  if (held[0]) {
    return { name, status: "note", found: `process ${held[0].pid} of ${held[0].username} is working on it` };
  }
  if (dead > 0) {
    return {
      name,
      status: "note",
      found: "a Pulumi command was killed and has left its lock behind",
      next: `pulumi cancel ${stack}; ./db start does it for its own`,
    };
  }
  const count = kept?.resources;
  const state = count === undefined ? "not made yet" : count === 0 ? "not up" : `${count} resources`;
  return { name, status: passphrase.isSet ? "ok" : "note", found: `${state}; ${passphrase.text}` };
}

async function passphraseText(
  backend: StateBackend,
  stack: string,
): Promise<{ text: string; isSet: boolean }> {
  const stackFile = await readStackFile(stack);
  const use = {
    stack,
    stackFile,
    developmentFile: await readStackFile(developmentStack),
    backendUrl: backend.url,
  };
  if (!usesPassphrase(use)) return { text: "needs no passphrase", isSet: true };
  if (hasEmptyPassphrase(use)) return { text: "the empty passphrase", isSet: true };
  for (const variable of ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"]) {
    if (process.env[variable]) return { text: `passphrase set by ${variable}`, isSet: true };
  }
  return { text: "its passphrase is not set in this shell (PULUMI_CONFIG_PASSPHRASE)", isSet: false };
}

/** Whether somebody else listens where the stack's server is to listen. */
async function portFinding({ project }: StateBackend, stack: string): Promise<Finding | undefined> {
  const stackFile = await readStackFile(stack);
  const fallback = textSetting(stackFile, project, "profile") === "production" ? "5432" : undefined;
  const port = Number(textSetting(stackFile, project, "port") ?? fallback);
  if (!Number.isInteger(port) || port < 1 || port > 65535) return undefined;
  const address = textSetting(stackFile, project, "bindAddress") ?? "127.0.0.1";
  const own = await findObjects(stackLabels(project, stack));
  // A remote engine has ports of its own.
  if (own.some(({ kind }) => kind === "container") || process.env.DOCKER_HOST?.startsWith("unix") === false) {
    return undefined;
  }
  if (await canListen(port, address)) return undefined;
  return {
    name: `Port ${port}`,
    status: "note",
    found: `stack ${stack} wants it on ${address}, and it is in use`,
    next: `End what listens there, or: pulumi config set port NUMBER --stack ${stack}`,
  };
}

function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "EADDRINUSE"));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function psqlFinding(): Promise<Finding> {
  const path = await findExecutable("psql");
  if (!path) {
    return {
      name: "psql",
      status: "ok",
      found: "not on this machine; ./db psql uses the one in the container",
    };
  }
  const { stdout } = await capture(path, ["--version"]);
  return { name: "psql", status: "ok", found: `${stdout.trim()} in ${dirname(path)}` };
}
