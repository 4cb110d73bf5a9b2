import { describe, expect, it, vi } from "vitest";
import { decide, parseChoice, type Sources } from "../../airgap/decision.ts";

const cli = { path: "/opt/pulumi/bin/pulumi", version: "3.260.1" };
const docker = { name: "docker", version: "5.2.0" };
const tls = { name: "tls", version: "5.6.1" };

function sourcesThat(parts: Partial<Sources>): Sources {
  return {
    findCli: vi.fn(async () => undefined),
    downloadCli: vi.fn(async () => undefined),
    downloadPlugins: vi.fn(async () => []),
    ...parts,
  };
}

describe("which Pulumi is used", () => {
  it("is the genuine CLI on this machine with its plugins, and nothing is downloaded in its place", async () => {
    const sources = sourcesThat({ findCli: async () => cli });

    expect(await decide(undefined, sources)).toEqual({
      mode: "genuine",
      reason: "genuine Pulumi CLI v3.260.1 (/opt/pulumi/bin/pulumi) and plugins",
      cli: { path: cli.path, genuine: true },
    });
    expect(sources.downloadCli).not.toHaveBeenCalled();
  });

  it("is a downloaded genuine CLI where the machine has none", async () => {
    const decision = await decide(undefined, sourcesThat({ downloadCli: async () => cli }));

    expect(decision.mode).toBe("genuine");
    expect(decision.cli).toEqual({ path: cli.path, genuine: true });
  });

  it("is the genuine CLI with stand-ins for the plugins that are out of reach, named", async () => {
    const decision = await decide(
      undefined,
      sourcesThat({ findCli: async () => cli, downloadPlugins: async () => [docker, tls] }),
    );

    expect(decision.mode).toBe("airgap");
    expect(decision.cli).toEqual({ path: cli.path, genuine: true });
    expect(decision.reason).toBe(
      "genuine Pulumi CLI v3.260.1 (/opt/pulumi/bin/pulumi), and stand-ins for the plugins that can't be downloaded: docker, tls",
    );
  });

  it("is a CLI built here, with stand-in plugins, where no genuine one can be had", async () => {
    const sources = sourcesThat({});

    const decision = await decide(undefined, sources);

    expect(decision.mode).toBe("airgap");
    expect(decision.cli.genuine).toBe(false);
    expect(decision.reason).toMatch(
      /built here and stand-in plugins, as the genuine CLI can't be downloaded$/,
    );
    expect(sources.downloadPlugins).not.toHaveBeenCalled();
  });

  it("is all stand-ins where they are asked for, without a look at the machine or the network", async () => {
    const sources = sourcesThat({ findCli: vi.fn(async () => cli) });

    expect((await decide("airgap", sources)).cli.genuine).toBe(false);
    expect(sources.findCli).not.toHaveBeenCalled();
    expect(sources.downloadCli).not.toHaveBeenCalled();
  });

  it("is refused where genuine parts are asked for and can't be had", async () => {
    await expect(decide("genuine", sourcesThat({}))).rejects.toThrowErrorMatchingInlineSnapshot(
      `[UserError: POSTGRES_ENVIRONMENTS_TOOLCHAIN is «genuine», but the Pulumi CLI can't be downloaded.]`,
    );
    await expect(
      decide("genuine", sourcesThat({ findCli: async () => cli, downloadPlugins: async () => [tls] })),
    ).rejects.toThrowErrorMatchingInlineSnapshot(
      `[UserError: POSTGRES_ENVIRONMENTS_TOOLCHAIN is «genuine», but these plugins can't be downloaded: tls.]`,
    );
  });
});

describe("the choice of toolchain", () => {
  it("is open where the variable is unset or empty", () => {
    expect(parseChoice(undefined)).toBeUndefined();
    expect(parseChoice("")).toBeUndefined();
  });

  it("refuses any word but genuine and airgap", () => {
    expect(() => parseChoice("real")).toThrowErrorMatchingInlineSnapshot(
      `[UserError: POSTGRES_ENVIRONMENTS_TOOLCHAIN is «real».]`,
    );
  });
});
