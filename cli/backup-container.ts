import { roleLabel, stackLabel } from "../components/labels.ts";
import { engineError, findObjects, stackLabels } from "./docker.ts";
import { exitCode, UserError } from "./errors.ts";
import { capture } from "./processes.ts";
import { readStateBackend } from "./state-backend.ts";

/**
 * The container of a stack that makes its backups, or tries restores. Needs no passphrase.
 *
 * @throws UserError where there is none, or it does not run.
 */
export async function findBackupContainer(stack: string, role: "backup" | "drill"): Promise<string> {
  const { project } = await readStateBackend();
  const found = await findObjects([...stackLabels(project, stack), `${roleLabel}=${role}`]);
  const name = found.find(({ kind }) => kind === "container")?.name;
  if (name === undefined) {
    const missing = role === "backup" ? "no backups" : "no container that tries restores";
    throw new UserError(`stack ${stack} has ${missing} on this host.`, {
      next:
        role === "backup"
          ? `Production stacks have them, unless the setting backups is false: pulumi up -s ${stack}`
          : `It has one unless the setting drillEvery is 0: pulumi up -s ${stack}`,
      exitCode: exitCode.missing,
    });
  }
  const { code, stderr, stdout } = await capture("docker", [
    ...["container", "inspect", "--format", "{{.State.Running}}", name],
  ]);
  if (code !== 0) throw engineError(stderr);
  if (stdout.trim() !== "true") {
    throw new UserError(`container ${name} does not run.`, {
      next: `Start it: docker start ${name}. Its log: docker logs ${name}`,
      exitCode: exitCode.missing,
    });
  }
  return name;
}

/** When the newest base backup of each stack of the project was begun, by the stack's name. Undefined: there is none yet. */
export async function newestBackups(project: string): Promise<ReadonlyMap<string, Date | undefined>> {
  const labels = stackLabels(project, "").slice(0, 1);
  const args = [
    "ps",
    ...[...labels, `${roleLabel}=backup`].flatMap((label) => ["--filter", `label=${label}`]),
  ];
  const { code, stdout } = await capture("docker", [
    ...args,
    ...["--format", `{{.Names}}\t{{.Label "${stackLabel}"}}`],
  ]);
  if (code !== 0) return new Map();
  const rows = stdout.split("\n").filter(Boolean);
  return new Map(
    await Promise.all(
      rows.map(async (row): Promise<[string, Date | undefined]> => {
        const [container = "", stack = ""] = row.split("\t");
        const ids = await capture("docker", ["exec", container, "ls", "/repository/backups"]);
        return [stack, newestOf(ids.stdout.split("\n"))];
      }),
    ),
  );
}

/** A backup's name begins with its time. */
export function newestOf(ids: readonly string[]): Date | undefined {
  const id = ids
    .filter((name) => /^\d{8}T\d{6}Z-/.test(name))
    .toSorted()
    .at(-1);
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(id ?? "")?.map(Number) ?? [];
  return year === undefined
    ? undefined
    : new Date(Date.UTC(year, (month ?? 1) - 1, day, hour, minute, second));
}
