import { describe, expect, it } from "vitest";
import { compareCatalogues, describeDifference, isFault } from "../../catalogue/compare.ts";
import type { Catalogue, CatalogueObject } from "../../catalogue/read.ts";

type Given = Partial<Omit<CatalogueObject, "name">>;

function catalogue(objects: Readonly<Record<string, Given>>): Catalogue {
  return new Map(
    Object.entries(objects).map(([name, given]) => [
      name,
      { name, parent: undefined, properties: {}, privileges: {}, columns: undefined, ...given },
    ]),
  );
}

function differences(
  before: Readonly<Record<string, Given>>,
  after: Readonly<Record<string, Given>>,
): string[] {
  return compareCatalogues(catalogue(before), catalogue(after)).map((found) =>
    describeDifference(found, "after down"),
  );
}

const table = "table shop.orders";
const parts: Record<string, Given> = {
  [table]: { parent: "schema shop" },
  "column id of shop.orders": { parent: table },
  "column total of shop.orders": { parent: table },
  "constraint orders_pkey on shop.orders": { parent: table },
  "index orders_pkey on shop.orders": { parent: "constraint orders_pkey on shop.orders" },
  "index orders_total on shop.orders": { parent: table },
  "policy a on shop.orders": { parent: table },
  "policy b on shop.orders": { parent: table },
};

describe("two catalogues", () => {
  it("that are the same have no difference", () => {
    expect(differences(parts, parts)).toEqual([]);
  });

  it("tell what goes with a missing or extra object together with it", () => {
    const rest = { "schema shop": {} };
    expect(differences({ ...rest, ...parts }, rest)).toEqual([
      "table shop.orders is missing after down (with 2 columns, 1 constraint, 2 indexes and 2 policies)",
    ]);
    expect(differences(rest, { ...rest, ...parts })).toEqual([
      "table shop.orders is there after down, and was not before (with 2 columns, 1 constraint, 2 indexes and 2 policies)",
    ]);
    expect(differences({ ...rest, ...parts }, {})).toEqual([
      "schema shop is missing after down (with 1 table, 2 columns, 1 constraint, 2 indexes and 2 policies)",
    ]);
  });

  it("tell a part alone where what it goes with stays", () => {
    const { "index orders_total on shop.orders": _, ...rest } = parts;
    expect(differences(parts, rest)).toEqual(["index orders_total on shop.orders is missing after down"]);
  });

  it("tell each change of an object in one line", () => {
    expect(
      differences(
        {
          [table]: {
            properties: { owner: "a", comment: "x" },
            privileges: { b: "SELECT", PUBLIC: "SELECT" },
          },
        },
        {
          [table]: {
            properties: { owner: "c", persistence: "unlogged" },
            privileges: { b: "SELECT", d: "INSERT" },
          },
        },
      ),
    ).toEqual([
      "table shop.orders, after down: comment was «x», is none; owner was a, is c; persistence was none, is unlogged; " +
        "privileges of PUBLIC were SELECT, are none; privileges of d were none, are INSERT",
    ]);
  });

  it("show a long text at the place where it first differs", () => {
    const lines = (text: string) => ({ f: { properties: { definition: `BEGIN\n  ${text}\nEND` } } });
    expect(differences(lines("RETURN 1;"), lines("RETURN 2;"))).toEqual([
      "f, after down: definition differs in line 2: was «RETURN 1;», is «RETURN 2;»",
    ]);
    expect(differences(lines("RETURN 1;"), { f: { properties: { definition: "BEGIN" } } })).toEqual([
      "f, after down: definition differs in line 2: was «RETURN 1;», is nothing",
    ]);
    const long = (end: string) => ({
      f: { properties: { definition: `${"x".repeat(300)}${end}${"y".repeat(300)}` } },
    });
    const [text = ""] = differences(long("1"), long("2"));
    expect(text).toMatch(/^f, after down: definition differs: was «… x+1y+ …», is «… x+2y+ …»$/);
    expect(text.length).toBeLessThan(300);
  });

  it("take another order of the columns for no fault, and leave out columns that only one has", () => {
    const found = compareCatalogues(
      catalogue({ [table]: { columns: ["a", "b", "c", "d"] } }),
      catalogue({ [table]: { columns: ["a", "c", "b", "e"] } }),
    );
    expect(found.map((difference) => describeDifference(difference, "after down"))).toEqual([
      "table shop.orders: the order of the columns was a, b, c, is a, c, b after down",
    ]);
    expect(found.map(isFault)).toEqual([false]);
    const added = catalogue({ [table]: { columns: ["a", "x", "b"] } });
    expect(compareCatalogues(catalogue({ [table]: { columns: ["a", "b"] } }), added)).toEqual([]);
  });
});
