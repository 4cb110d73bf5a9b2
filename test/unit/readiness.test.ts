import { describe, expect, it } from "vitest";
import { type ContainerState, judge, parseContainerState } from "../../readiness/container-state.ts";

const state = (part: Partial<ContainerState>): ContainerState => ({
  status: "running",
  exitCode: 0,
  restarts: 0,
  health: "starting",
  lastCheck: "",
  ...part,
});

describe("a container that comes up", () => {
  it("is ready when its health check says so, and waited for until then", () => {
    expect(judge(state({ health: "healthy" }), 0)).toEqual({ kind: "ready" });
    expect(judge(state({ health: "starting" }), 0)).toEqual({ kind: "wait" });
  });

  it.each([
    [state({ status: "exited", exitCode: 3 }), "the server stopped by itself with exit code 3"],
    [state({ status: "restarting", exitCode: 1 }), "the server stopped by itself with exit code 1"],
    [state({ restarts: 1, health: "healthy" }), "the server stopped by itself with exit code 0"],
    [state({ status: "paused" }), "the container is paused"],
    [state({ health: "unhealthy", lastCheck: "no route" }), "its health check fails: no route"],
    [state({ health: undefined }), "the container has no health check"],
  ])("has failed: %j", (failed, reason) => {
    expect(judge(failed, 0)).toEqual({ kind: "failed", reason });
  });

  it("may have been restarted before it was looked at", () => {
    expect(judge(state({ restarts: 4, health: "healthy" }), 4)).toEqual({ kind: "ready" });
  });
});

it("reads what docker inspect prints", () => {
  expect(
    parseContainerState({
      RestartCount: 2,
      State: {
        Status: "running",
        ExitCode: 0,
        Health: { Status: "unhealthy", Log: [{ Output: "a" }, { Output: "b\n" }] },
      },
    }),
  ).toEqual({ status: "running", exitCode: 0, restarts: 2, health: "unhealthy", lastCheck: "b" });
  expect(parseContainerState({ State: { Status: "created", ExitCode: 0 } }).health).toBeUndefined();
});
