import { describe, expect, it } from "vitest";
import type { Catalogue, CatalogueObject } from "../../catalogue/read.ts";
import {
  decideGeneration,
  formatOrigin,
  type KnownGenerations,
} from "../../components/backups/data-generation.ts";
import { compareAcrossVersions, compareContents } from "../../upgrade/database-facts.ts";
import { formatTransfer } from "../../upgrade/report.ts";

const upgrade = { from: 15, to: 17 };
const text = '{"upgradeFrom":15,"upgradeTo":17}';
const base: KnownGenerations = {
  isNew: false,
  recorded: { generation: 0, restored: undefined, adopted: false },
  serving: undefined,
  newest: undefined,
};
const decide = (known: Partial<KnownGenerations>, options: { upgrade?: typeof upgrade } = { upgrade }) =>
  decideGeneration({ ...base, ...known }, { restore: undefined, adoptVolume: false, ...options });

describe("an upgrade", () => {
  it("makes a new generation, once", () => {
    const decided = decide({});
    expect(decided).toMatchObject({ generation: 1, pending: true, upgraded: upgrade });
    expect(formatOrigin(decided)).toBe(text);
    const recorded = { generation: 1, restored: text, adopted: false };
    expect(decide({ recorded })).toMatchObject({ generation: 1, pending: false, upgraded: upgrade });
  });

  it("stays where the setting is gone, and is still known as one", () => {
    const recorded = { generation: 1, restored: text, adopted: false };
    const decided = decide({ recorded }, {});
    expect(decided).toMatchObject({ generation: 1, pending: false, upgraded: upgrade });
    expect(formatOrigin(decided)).toBe(text);
  });

  it("comes after a restore as the next generation, and is taken up again where it was interrupted", () => {
    const recorded = { generation: 1, restored: '{"latest":true}', adopted: false };
    expect(decide({ recorded })).toMatchObject({ generation: 2, pending: true });
    expect(decide({ newest: { generation: 1, restored: text } })).toMatchObject({
      generation: 1,
      pending: true,
    });
  });
});

describe("what came over", () => {
  it("is compared table by table and sequence by sequence", () => {
    const before = new Map([
      ["table a.b", "10"],
      ["table a.c", "1"],
      ["sequence a.s", "7"],
    ]);
    const after = new Map([
      ["table a.b", "9"],
      ["table a.d", "1"],
      ["sequence a.s", "7"],
    ]);
    expect(compareContents(before, before)).toEqual([]);
    expect(compareContents(before, after)).toEqual([
      "table a.b: 10 rows before, 9 rows after",
      "table a.c: 1 rows before, not there after",
      "table a.d: not there before, 1 rows after",
    ]);
  });

  it("may have newer extensions, and the right to MAINTAIN that version 17 brings", () => {
    const object = (name: string, more: Partial<CatalogueObject>): [string, CatalogueObject] => [
      name,
      { name, parent: undefined, properties: {}, privileges: {}, columns: undefined, ...more },
    ];
    const before: Catalogue = new Map([
      object("table a.b", { privileges: { owner: "INSERT, SELECT" } }),
      object("extension citext", { properties: { version: "1.6" } }),
    ]);
    const after: Catalogue = new Map([
      object("table a.b", { privileges: { owner: "INSERT, MAINTAIN, SELECT" } }),
      object("extension citext", { properties: { version: "1.7" } }),
    ]);
    expect(compareAcrossVersions(before, after)).toEqual({
      faults: [],
      notes: ["extension citext: version 1.6 before, 1.7 after"],
    });
    expect(compareAcrossVersions(after, before).faults).toHaveLength(1);
  });

  it("is reported with its times, and every difference", () => {
    const report = {
      from: "15.18",
      to: "17.12",
      size: 30 * 1024 ** 2,
      durations: { roles: 350, "database shop": 12_340 },
      databases: [
        {
          name: "shop",
          tables: 5,
          rows: 5000,
          differences: ["table a.b: 10 rows before, 9 rows after"],
          notes: [],
        },
      ],
      differences: [],
    };
    expect(formatTransfer(report)).toMatchInlineSnapshot(`
      "PostgreSQL 15.18 to 17.12, 30 MB
        roles: 0.3 s
        database shop: 12.3 s
      Database shop: 5000 rows in 5 tables
        DIFFERENCE  shop: table a.b: 10 rows before, 9 rows after
      Not everything is the same."
    `);
  });
});
