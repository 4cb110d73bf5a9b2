import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  programEntrypoint,
  programFiles,
  programFolder,
  repositoryMount,
} from "../components/backups/program.ts";
import { projectLabel, roleLabel, stackLabel } from "../components/labels.ts";
import type { RestoreSetting } from "../components/settings.ts";
import { ask, BackupError, docker } from "./docker.ts";

/** Where a repository is: a volume or a folder of the host. */
export interface Repository {
  readonly type: "volume" | "bind";
  readonly source: string;
  /** Of the container that writes it, which is of the version that its backups are; undefined: it is gone. */
  readonly image: string | undefined;
  /** Of that container. */
  readonly environment: Readonly<Record<string, string>>;
}

/** A repository by the name of its volume, or by its folder. @throws BackupError where there is no such volume. */
export async function namedRepository(source: string): Promise<Repository> {
  if (source.startsWith("/")) return { type: "bind", source, image: undefined, environment: {} };
  // Docker would make an empty one of a name that it does not know.
  if ((await docker(["volume", "inspect", source])).code !== 0) {
    throw new BackupError(
      `There is no backup to restore: Docker has no volume ${source}. docker volume ls shows those that there are.`,
    );
  }
  return { type: "volume", source, image: undefined, environment: {} };
}

/** The repository of a stack of this project on this host, by the labels of its container, or of its volume. */
export async function repositoryOfStack(project: string, stack: string): Promise<Repository> {
  const filters = (role: string) =>
    Object.entries({ [projectLabel]: project, [stackLabel]: stack, [roleLabel]: role }).flatMap(
      ([label, value]) => ["--filter", `label=${label}=${value}`],
    );
  const [container] = lines(await ask(["ps", "--all", "--quiet", "--no-trunc", ...filters("backup")]));
  if (container) {
    const [found] = JSON.parse(await ask(["container", "inspect", container])) as {
      Config: { Env: string[]; Image: string };
      Mounts: { Type: string; Name?: string; Source: string; Destination: string }[];
    }[];
    const mount = found?.Mounts.find(({ Destination }) => Destination === repositoryMount);
    if (found && mount) {
      const { Env, Image } = found.Config;
      const environment = Object.fromEntries(Env.map((line) => splitAt(line, line.indexOf("="))));
      const type = mount.Type === "bind" ? "bind" : "volume";
      return { type, source: mount.Name || mount.Source, image: Image, environment };
    }
  }
  const [volume] = lines(await ask(["volume", "ls", "--quiet", ...filters("backups")]));
  if (volume) return { type: "volume", source: volume, image: undefined, environment: {} };
  throw new BackupError(
    `Stack ${stack} of project ${project} has no backups on this host: there is neither a container nor a volume of theirs.`,
  );
}

function splitAt(text: string, index: number): [string, string] {
  return [text.slice(0, index), text.slice(index + 1)];
}

function lines(text: string): string[] {
  return text.split("\n").filter(Boolean);
}

/** Arguments of `pgbackup restore` for a setting. */
export function restoreArguments(
  { backup, latest, lsn, name, time, timeline }: RestoreSetting,
  directory: string,
): string[] {
  const target = latest
    ? ["latest"]
    : time !== undefined
      ? ["--target-time", time]
      : name !== undefined
        ? ["--target-name", name]
        : ["--target-lsn", lsn ?? ""];
  return [
    "restore",
    ...["--into", directory],
    ...(backup === undefined ? [] : ["--backup", backup]),
    ...(timeline === undefined ? [] : ["--timeline", String(timeline)]),
    ...["--sql", "-"],
    ...target,
  ];
}

export interface RestoreContainer {
  readonly name: string;
  readonly image: string;
  readonly repository: Repository;
  /** `--mount` of the data, and the data directory within it. */
  readonly mount: string;
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** In mebibytes; undefined: no limit. */
  readonly memory: number | undefined;
}

/** Makes a container that can restore, and does nothing until it is started. It reaches no network. */
export async function createRestoreContainer(
  { directory, environment, image, labels, memory, mount, name, repository }: RestoreContainer,
  command: readonly string[],
): Promise<void> {
  const { type, source } = repository;
  await docker(["rm", "--force", "--volumes", name]);
  await ask([
    ...["create", "--name", name, "--interactive", "--init", "--network", "none"],
    ...["--mount", `type=${type},source=${source},target=${repositoryMount},readonly`],
    ...["--mount", mount],
    ...(memory === undefined ? [] : ["--memory", `${memory}m`, "--memory-swap", `${memory}m`]),
    ...Object.entries({ ...environment, RESTORE_DIR: directory }).flatMap(([key, value]) => [
      "--env",
      `${key}=${value}`,
    ]),
    ...Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]),
    ...["--entrypoint", programEntrypoint, image, ...command],
  ]);
  await giveProgram(name);
}

/** Docker copies only into folders that are there, so the whole path is made here first. */
async function giveProgram(container: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "postgresql-environment-"));
  try {
    for (const { content, name } of programFiles()) {
      const path = join(folder, programFolder, name);
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      writeFileSync(path, content);
      chmodSync(path, 0o755);
    }
    const [, top = ""] = programFolder.split("/");
    await ask(["cp", join(folder, top), `${container}:/`]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
