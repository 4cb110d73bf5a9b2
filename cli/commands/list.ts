import { formatAge, formatBytes, formatTable } from "../amounts.ts";
import { newestBackups } from "../backup-container.ts";
import { measureUsage, type Usage } from "../servers.ts";
import { type Environment, findEnvironments, timeLeft } from "../stack-rows.ts";
import { readStateBackend } from "../state-backend.ts";

/** A line of what `./db list` prints. Times are ISO 8601, sizes are bytes. */
export interface ListedStack {
  readonly stack: string;
  readonly state: Environment["state"];
  readonly profile: Environment["profile"];
  readonly lifetime: "persistent" | "ephemeral" | undefined;
  readonly port: number | undefined;
  readonly container: string | undefined;
  /** When the server's container was made. */
  readonly created: string | undefined;
  readonly used: string | undefined;
  readonly data: number | undefined;
  readonly memory: number | undefined;
  /** When the newest base backup was begun. */
  readonly backup: string | undefined;
  readonly keepFor: string | undefined;
  /** When `./db prune` removes it; undefined: never. */
  readonly prunable: string | undefined;
  /** Of the checkout that it belongs to, where that is another one. */
  readonly folder: string | undefined;
}

export async function list(options: { readonly json?: true }): Promise<void> {
  const backend = await readStateBackend();
  const environments = await findEnvironments(backend);
  const [usages, backups] = await Promise.all([
    Promise.all(
      environments.map(({ server }) => (server?.container ? measureUsage(server.container) : undefined)),
    ),
    environments.some(({ profile }) => profile === "production")
      ? newestBackups(backend.project)
      : new Map<string, Date>(),
  ]);
  const now = Date.now();
  const stacks = environments.map((environment, index) =>
    listed(environment, usages[index], backups.get(environment.stack), now),
  );
  process.stdout.write(options.json ? `${JSON.stringify(stacks, null, 2)}\n` : formatList(stacks, now));
}

function listed(
  environment: Environment,
  usage: Usage | undefined,
  backup: Date | undefined,
  now: number,
): ListedStack {
  const { keepFor, profile, server, stack, state, used } = environment;
  const left = timeLeft(environment, now);
  return {
    stack,
    state,
    profile,
    lifetime: profile && (profile === "production" ? "persistent" : "ephemeral"),
    port: server?.container?.port,
    container: server?.container?.name,
    created: server?.container?.created.toISOString(),
    used: state === "never up" ? undefined : used?.toISOString(),
    data: usage?.data,
    memory: usage?.memory,
    backup: profile === "production" ? backup?.toISOString() : undefined,
    keepFor,
    prunable: left === undefined ? undefined : new Date(now + left).toISOString(),
    folder: environment.elsewhere,
  };
}

/** @param now In milliseconds since 1970. */
export function formatList(stacks: readonly ListedStack[], now: number): string {
  if (stacks.length === 0) return "There is no stack yet: ./db start brings development up.\n";
  const age = (time: string | undefined) => (time === undefined ? "" : formatAge(now - Date.parse(time)));
  const bytes = (size: number | undefined) => (size === undefined ? "" : formatBytes(size));
  const rows = stacks.map(
    ({ backup, created, data, folder, memory, port, profile, prunable, stack, state, used }) => [
      stack,
      state,
      profile ?? "",
      port === undefined ? "" : String(port),
      age(created),
      age(used),
      bytes(data),
      bytes(memory),
      age(backup),
      note(prunable, state, folder, now),
    ],
  );
  const heading = ["STACK", "STATE", "PROFILE", "PORT", "AGE", "USED", "DATA", "MEMORY", "BACKUP", "NOTE"];
  return `${formatTable([heading, ...rows], [3, 4, 5, 6, 7, 8]).join("\n")}\n`;
}

function note(
  prunable: string | undefined,
  state: ListedStack["state"],
  folder: string | undefined,
  now: number,
): string {
  if (folder !== undefined) return folder === "unknown" ? "of another state" : `of ${folder}`;
  if (state === "left over") return "its state is gone: ./db prune removes it";
  if (prunable === undefined) return "";
  if (Date.parse(prunable) <= now) return "./db prune removes it";
  return `kept until ${prunable.slice(0, 16).replace("T", " ")} UTC`;
}
