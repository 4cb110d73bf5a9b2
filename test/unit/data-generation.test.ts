import { describe, expect, it } from "vitest";
import {
  dataVolumeName,
  decideGeneration,
  describeTarget,
  formatRestore,
  type KnownGenerations,
  parseRestore,
} from "../../components/backups/data-generation.ts";
import type { RestoreSetting } from "../../components/settings.ts";

const noon: RestoreSetting = { time: "2026-11-25T12:00:00Z" };
const one: RestoreSetting = { time: "2026-11-25T13:00:00Z" };
const madeBy = (restore: RestoreSetting) => formatRestore(restore);

function known(change: Partial<KnownGenerations> = {}): KnownGenerations {
  return {
    isNew: false,
    recorded: { generation: 0, restored: undefined, adopted: false },
    serving: undefined,
    newest: undefined,
    ...change,
  };
}
const recorded = (generation: number, restore?: RestoreSetting, adopted = false) => ({
  recorded: { generation, restored: restore && madeBy(restore), adopted },
});
const generation = (number: number, restore?: RestoreSetting) => ({
  generation: number,
  restored: restore && madeBy(restore),
});

describe("the volume that the data is in", () => {
  it.each<
    [string, Partial<KnownGenerations>, RestoreSetting | undefined, { generation: number; pending: boolean }]
  >([
    ["is the first one of a new stack", { isNew: true }, undefined, { generation: 0, pending: false }],
    ["stays where it is without a restore", {}, undefined, { generation: 0, pending: false }],
    ["is a new one for a restore", {}, noon, { generation: 1, pending: true }],
    ["stays for the same restore", recorded(1, noon), noon, { generation: 1, pending: false }],
    ["stays when the setting is removed", recorded(1, noon), undefined, { generation: 1, pending: false }],
    ["is the next one for another restore", recorded(1, noon), one, { generation: 2, pending: true }],
    [
      "is a new one for what an older one was made by",
      recorded(2, one),
      noon,
      { generation: 3, pending: true },
    ],
    [
      "is the server's, where an update failed after the move",
      { ...recorded(0), serving: generation(1, noon), newest: generation(1, noon) },
      undefined,
      { generation: 1, pending: false },
    ],
    [
      "is not filled again, where an update failed after the move",
      { ...recorded(0), serving: generation(1, noon), newest: generation(1, noon) },
      noon,
      { generation: 1, pending: false },
    ],
    [
      "is the record's, where the server's container is an older one",
      { ...recorded(2, one), serving: generation(1, noon) },
      undefined,
      { generation: 2, pending: false },
    ],
    [
      "is the one that an interrupted update began",
      { serving: generation(0), newest: generation(1, noon) },
      noon,
      { generation: 1, pending: true },
    ],
    [
      "is none that an interrupted update began for another restore",
      { serving: generation(0), newest: generation(1, noon) },
      one,
      { generation: 2, pending: true },
    ],
    [
      "is none that was left behind by an earlier life of the stack",
      { isNew: true, newest: generation(4, noon) },
      noon,
      { generation: 5, pending: true },
    ],
  ])("%s", (_, facts, restore, expected) => {
    expect(decideGeneration(known(facts), { restore, adoptVolume: false })).toMatchObject(expected);
  });

  it("is the newest that a destroyed stack left, where that is taken over", () => {
    const newest = generation(3, noon);
    expect(
      decideGeneration(known({ isNew: true, newest }), { restore: undefined, adoptVolume: true }),
    ).toEqual({ generation: 3, restored: noon, pending: false, adopt: true });
    expect(decideGeneration(known({ isNew: true }), { restore: undefined, adoptVolume: true })).toMatchObject(
      {
        generation: 0,
        adopt: true,
      },
    );
  });

  it("tells what it was made by when the setting is gone, so that nothing about it changes", () => {
    const options = { restore: undefined, adoptVolume: false };
    expect(decideGeneration(known(recorded(1, noon)), options).restored).toEqual(noon);
  });
});

describe("roles and database", () => {
  const adopt = (facts: Partial<KnownGenerations>, restore?: RestoreSetting) =>
    decideGeneration(known(facts), { restore, adoptVolume: false }).adopt;

  it("are adopted by a new stack that begins with a backup, for as long as the setting is there", () => {
    expect(adopt({ isNew: true }, noon)).toBe(true);
    expect(adopt(recorded(1, noon, true), noon)).toBe(true);
    expect(adopt(recorded(1, noon, true))).toBe(false);
  });

  it("are the stack's own when it restores later", () => {
    expect(adopt({}, noon)).toBe(false);
    expect(adopt(recorded(1, noon), noon)).toBe(false);
  });
});

describe("a restore as text", () => {
  it("is the same whatever the order of its keys, and is read back", () => {
    const restore: RestoreSetting = { latest: true, from: { stack: "production" } };
    const other: RestoreSetting = { from: { stack: "production" }, latest: true };
    expect(formatRestore(restore)).toBe(formatRestore(other));
    expect(parseRestore(formatRestore(restore))).toEqual(restore);
    expect(parseRestore("{}")).toBeUndefined();
    expect(parseRestore("no json")).toBeUndefined();
  });

  it.each<[RestoreSetting, string]>([
    [noon, "2026-11-25T12:00:00Z"],
    [
      { latest: true, from: { stack: "production" } },
      "the newest moment that the backup has, of stack production",
    ],
    [{ name: "before 0007_x", timeline: 2 }, "the restore point «before 0007_x», on timeline 2"],
    [
      { lsn: "0/3000060", backup: "20261125T120000Z-full" },
      "the log position 0/3000060, from the base backup 20261125T120000Z-full",
    ],
  ])("is told to people: %j", (restore, words) => {
    expect(describeTarget(restore)).toBe(words);
  });
});

it("names volumes so that people find them", () => {
  expect(dataVolumeName("shop-production", 0)).toBe("shop-production-data");
  expect(dataVolumeName("shop-production", 2)).toBe("shop-production-data-2");
});
