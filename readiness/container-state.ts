/** What `docker inspect` tells of a container, as far as being ready depends on it. */
export interface ContainerState {
  readonly status: string;
  readonly exitCode: number;
  readonly restarts: number;
  /** Undefined where the container has no health check. */
  readonly health: string | undefined;
  /** Output of the newest health check. */
  readonly lastCheck: string;
}

export type Verdict =
  | { readonly kind: "ready" }
  | { readonly kind: "wait" }
  | { readonly kind: "failed"; readonly reason: string };

/** Reads one element of the JSON that `docker container inspect` prints. */
export function parseContainerState(inspection: {
  RestartCount?: number;
  State: { Status: string; ExitCode: number; Health?: { Status: string; Log?: { Output: string }[] | null } };
}): ContainerState {
  return {
    status: inspection.State.Status,
    exitCode: inspection.State.ExitCode,
    restarts: inspection.RestartCount ?? 0,
    health: inspection.State.Health?.Status,
    lastCheck: inspection.State.Health?.Log?.at(-1)?.Output.trim() ?? "",
  };
}

/**
 * Whether a container that is coming up is ready, may yet become so, or has failed.
 * @param restartsBefore restarts counted when the wait began: one more means that the server died meanwhile
 */
export function judge(state: ContainerState, restartsBefore: number): Verdict {
  if (state.restarts > restartsBefore || state.status === "restarting") {
    return { kind: "failed", reason: `the server stopped by itself with exit code ${state.exitCode}` };
  }
  if (state.status === "exited" || state.status === "dead") {
    return { kind: "failed", reason: `the server stopped by itself with exit code ${state.exitCode}` };
  }
  if (state.status === "paused") return { kind: "failed", reason: "the container is paused" };
  if (state.health === "healthy") return { kind: "ready" };
  if (state.health === "unhealthy") {
    return {
      kind: "failed",
      reason: `its health check fails${state.lastCheck ? `: ${state.lastCheck}` : ""}`,
    };
  }
  if (state.health === undefined) return { kind: "failed", reason: "the container has no health check" };
  return { kind: "wait" };
}
