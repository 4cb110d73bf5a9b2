import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ownCheckout } from "../components/labels.ts";
import type { ProfileName } from "../components/settings/profiles.ts";
import { parseAge } from "../components/settings/units.ts";
import { developmentStack, projectRoot } from "./project.ts";
import { findServers, isLeftOver, type Server } from "./servers.ts";
import { readStackFile, stackFileName, stackFileNames, textSetting } from "./stack-files.ts";
import { readStackStates, type StackState } from "./stack-states.ts";
import type { StateBackend } from "./state-backend.ts";
import { keepForOf } from "./throwaway.ts";

/**
 * - `running`: and its health check passes.
 * - `gone`: Pulumi has made it, and its container is not there any more.
 * - `destroyed`: Pulumi has made it, and taken it away again.
 * - `left over`: it is in Docker, and no state knows of it any more.
 */
export type EnvironmentState =
  | "running"
  | "starting"
  | "unhealthy"
  | "stopped"
  | "gone"
  | "destroyed"
  | "never up"
  | "left over";

/** An environment, put together from its file, the state backend and Docker. */
export interface Environment {
  readonly stack: string;
  readonly state: EnvironmentState;
  readonly profile: ProfileName | undefined;
  readonly server: Server | undefined;
  /** Undefined: the backend has no such stack. */
  readonly pulumi: StackState | undefined;
  readonly hasFile: boolean;
  /** When it was last brought up, changed or started; undefined: never. */
  readonly used: Date | undefined;
  /** Age after which `./db prune` removes it; undefined: never. */
  readonly keepFor: string | undefined;
  /** Folder of the checkout that it belongs to, where that is another one. */
  readonly elsewhere: string | undefined;
}

interface StackFile {
  readonly stack: string;
  readonly profile: string | undefined;
  readonly keepFor: string | undefined;
  readonly changed: Date;
}

/** Every environment of the project that can be seen from here. Needs no passphrase. */
export async function findEnvironments(backend: StateBackend): Promise<Environment[]> {
  const [files, states, servers] = await Promise.all([
    readStackFiles(backend.project),
    readStackStates(backend),
    findServers(backend.project),
  ]);
  return combine(files, states, servers);
}

export function combine(
  files: readonly StackFile[],
  states: readonly StackState[],
  servers: readonly Server[],
): Environment[] {
  const names = new Set([...files.map(({ stack }) => stack), ...states.map(({ stack }) => stack)]);
  const own = [...names].sort().map((stack) => {
    const file = files.find((each) => each.stack === stack);
    const pulumi = states.find((each) => each.stack === stack);
    const server = servers.find((each) => each.stack === stack && pulumi && belongsTo(each, pulumi));
    const profile = file ? file.profile : (profileOfServer(server) ?? profileOfState(pulumi));
    const persistent = profile === "production" || pulumi?.lifetime === "persistent";
    return {
      stack,
      state: stateOf(server, pulumi),
      profile: profile === "production" || profile === "development" ? profile : undefined,
      server,
      pulumi,
      hasFile: file !== undefined,
      used: latest(pulumi?.updated, server?.container?.started, pulumi ? undefined : file?.changed),
      // The file is what its user edits; the label is what another checkout sees.
      keepFor: stack === developmentStack || persistent ? undefined : file ? file.keepFor : server?.keepFor,
      elsewhere: undefined,
    } satisfies Environment;
  });
  const known = new Set(own.map(({ server }) => server));
  const others = servers
    .filter((server) => !known.has(server))
    .map((server) => {
      const untold = states.some(({ ids, stack }) => stack === server.stack && ids === undefined);
      return environmentOfServer(server, !untold && isLeftOver(server));
    });
  return [...own, ...others.sort((a, b) => (a.stack < b.stack ? -1 : 1))];
}

function belongsTo({ checkout, container, network }: Server, { ids }: StackState): boolean {
  // All who share a backend that tells no ids share its stacks.
  if (ids === undefined)
    return checkout === undefined || checkout.backend === ownCheckout(projectRoot).backend;
  return ids.has(container?.id ?? "") || ids.has(network?.id ?? "");
}

function environmentOfServer(server: Server, leftOver: boolean): Environment {
  return {
    stack: server.stack,
    state: leftOver ? "left over" : stateOf(server, undefined),
    profile: profileOfServer(server),
    server,
    pulumi: undefined,
    hasFile: false,
    used: server.container?.started,
    keepFor: undefined,
    elsewhere: leftOver ? undefined : (server.checkout?.folder ?? "unknown"),
  };
}

function stateOf(server: Server | undefined, pulumi: StackState | undefined): EnvironmentState {
  const container = server?.container;
  if (!container) {
    if (pulumi?.updated === undefined) return "never up";
    return pulumi.resources === 0 ? "destroyed" : "gone";
  }
  if (container.status !== "running") return "stopped";
  if (container.health === "starting" || container.health === "unhealthy") return container.health;
  return "running";
}

function profileOfServer(server: Server | undefined): ProfileName | undefined {
  if (server === undefined) return undefined;
  const { checkout, container } = server;
  if (container) return container.ephemeral ? "development" : "production";
  return checkout === undefined ? undefined : "development";
}

function profileOfState(pulumi: StackState | undefined): ProfileName | undefined {
  if (pulumi?.lifetime === "persistent") return "production";
  return pulumi?.lifetime === "ephemeral" ? "development" : undefined;
}

function latest(...dates: readonly (Date | undefined)[]): Date | undefined {
  const times = dates.flatMap((date) => (date === undefined ? [] : [date.getTime()]));
  return times.length === 0 ? undefined : new Date(Math.max(...times));
}

async function readStackFiles(project: string): Promise<StackFile[]> {
  const files = (await stackFileNames()).map(async (stack) => {
    const text = await readStackFile(stack);
    const changed = (await stat(join(projectRoot, stackFileName(stack))).catch(() => undefined))?.mtime;
    if (text === undefined || changed === undefined) return undefined;
    return {
      stack,
      profile: textSetting(text, project, "profile"),
      keepFor: keepForOf(text, project),
      changed,
    };
  });
  return (await Promise.all(files)).filter((file) => file !== undefined);
}

/** Milliseconds until `./db prune` removes it; negative: it does so now. Undefined: never. */
export function timeLeft({ keepFor, used }: Environment, now: number): number | undefined {
  if (keepFor === undefined) return undefined;
  return (used?.getTime() ?? 0) + (parseAge(keepFor) ?? Number.POSITIVE_INFINITY) - now;
}
