import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { mendCutOffState, readStateFile, stackOfStateFile } from "../../cli/cut-off-state.ts";
import { readStackStates } from "../../cli/stack-states.ts";

const state = JSON.stringify({
  checkpoint: { latest: { resources: [{ type: "t", id: "new" }] } },
});
const before = JSON.stringify({ checkpoint: { latest: { resources: [{ type: "t", id: "old" }] } } });
const checksum = JSON.stringify({ md5: "x" });

function backend(files: Readonly<Record<string, string | Buffer>>): { folder: string; states: string } {
  const folder = mkdtempSync(join(tmpdir(), "state-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const states = join(folder, ".pulumi", "stacks", "project");
  mkdirSync(states, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(states, name), text);
  return { folder, states };
}

const mend = (folder: string, setBack: boolean) =>
  mendCutOffState({ folder, project: "project", stack: "a", setBack });

describe("a state in a folder", () => {
  test.each(["", '{"user.cache'])(
    "whose checksum breaks off (%j) is kept as it is, whatever else may be done",
    async (part) => {
      const { folder, states } = backend({
        "a.json": state,
        "a.json.attrs": part,
        "a.json.bak": before,
        "a.json.bak.attrs": checksum,
      });
      expect(await mend(folder, true)).toBe("checksum");
      expect(existsSync(join(states, "a.json.attrs"))).toBe(false);
      expect(existsSync(join(states, "a.json.bak.attrs"))).toBe(true);
      expect(readFileSync(join(states, "a.json"), "utf8")).toBe(state);
      expect(await mend(folder, true)).toBeUndefined();
    },
  );

  test.each(["", state.slice(0, 20)])(
    "that breaks off itself (%j) is set back to the one before, where that may be",
    async (part) => {
      const files = { "a.json": part, "a.json.attrs": checksum, "a.json.bak": before };
      const kept = backend(files);
      expect(await mend(kept.folder, false)).toBeUndefined();
      expect(readFileSync(join(kept.states, "a.json"), "utf8")).toBe(part);

      const { folder, states } = backend(files);
      expect(await mend(folder, true)).toBe("set back");
      expect(readFileSync(join(states, "a.json"), "utf8")).toBe(before);
      expect(existsSync(join(states, "a.json.attrs"))).toBe(false);
    },
  );

  test.each<[string, Record<string, string>]>([
    ["is missing", {}],
    ["breaks off too", { "a.json.bak": before.slice(0, 9) }],
  ])("is left alone where the one before %s", async (_, files) => {
    const { folder, states } = backend({ "a.json": "{", ...files });
    expect(await mend(folder, true)).toBeUndefined();
    expect(readFileSync(join(states, "a.json"), "utf8")).toBe("{");
  });

  test("of another stack is not touched, whatever its name", async () => {
    const { folder, states } = backend({
      "a.json": state,
      "a.json.json": "{",
      "a.json.json.attrs": "",
      "b.json.attrs": "",
      "a.json.pulumi-tags.attrs": "",
    });
    expect(await mend(folder, true)).toBeUndefined();
    expect(existsSync(join(states, "a.json.json.attrs"))).toBe(true);
    expect(existsSync(join(states, "b.json.attrs"))).toBe(true);
  });

  test("is read compressed too", async () => {
    const { folder, states } = backend({
      "a.json.gz": gzipSync(state),
      "b.json.zst": zstdCompressSync(state),
      "c.json.gz": gzipSync(state).subarray(0, 30),
      "c.json.gz.bak": gzipSync(before),
    });
    expect(await readStateFile(join(states, "a.json.gz"))).toBe(state);
    expect(await readStateFile(join(states, "b.json.zst"))).toBe(state);
    expect(await readStateFile(join(states, "c.json.gz"))).toBe("");
    expect(await mendCutOffState({ folder, project: "project", stack: "c", setBack: true })).toBe("set back");
    expect(await readStateFile(join(states, "c.json.gz"))).toBe(before);
  });

  test.each([
    ["a.json", "a"],
    ["a.json.json", "a.json"],
    ["pr-1.json.gz", "pr-1"],
    ["pr-1.json.zst", "pr-1"],
    ["a.json.bak", undefined],
    ["a.json.attrs", undefined],
    ["a.pulumi-tags", undefined],
    ["a.json.18f3.tmp", undefined],
    [".json", undefined],
  ])("is found by its name: %s", (file, stack) => {
    expect(stackOfStateFile(file)).toBe(stack);
  });

  test("that breaks off still counts as there, so that nothing of it is taken for left over", async () => {
    const { folder } = backend({ "a.json": state, "b.json": "{" });
    const states = await readStackStates({ url: `file://${folder}`, folder, project: "project" });
    expect(states).toEqual([
      { stack: "a", resources: 1, updated: undefined, ids: new Set(["new"]), lifetime: undefined },
      { stack: "b", resources: 0, updated: undefined, ids: undefined, lifetime: undefined },
    ]);
  });
});
