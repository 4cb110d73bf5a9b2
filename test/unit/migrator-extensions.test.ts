import { describe, expect, it } from "vitest";
import { describeMissing, readExtensionRequests } from "../../migrator/extensions.ts";

const available = new Map([
  ["plpgsql", ["1.0"]],
  ["citext", ["1.10", "1.4", "1.5"]],
  ...Array.from(
    { length: 20 },
    (_, index) => [`another_${String(index).padStart(2, "0")}`, ["1.0"]] as const,
  ),
] as [string, string[]][]);

describe("extensions that the image lacks", () => {
  it("has nothing to say where all are there", () => {
    expect(
      describeMissing([{ name: "citext" }, { name: "plpgsql", version: "1.0" }], available),
    ).toBeUndefined();
  });

  it("names each one, and in sorted lines what the image has", () => {
    const requests = [{ name: "foo" }, { name: 'b"ar', version: "1" }, { name: "citext", version: "9.9" }];
    expect(describeMissing(requests, available)).toMatchInlineSnapshot(`
      "extension "foo" is not in the image.
      extension "b"ar" is not in the image.
      It has:
        another_00, another_01, another_02, another_03, another_04, another_05, another_06, another_07,
        another_08, another_09, another_10, another_11, another_12, another_13, another_14, another_15,
        another_16, another_17, another_18, another_19, citext, plpgsql
      extension "citext" is in the image, but not in version 9.9. It has: 1.4, 1.5, 1.10.
      What to do: correct the setting "extensions", or set "image" to one that has them."
    `);
  });

  it.each([undefined, "", "citext", "{}", "[1]", '[{"name": 1}]', '[{"name": "a", "version": 1}]'])(
    "explains the form of the list instead of %j",
    (json) => {
      expect(() => readExtensionRequests(json)).toThrow(/EXTENSIONS must be JSON of the form/);
    },
  );

  it("reads a list", () => {
    expect(readExtensionRequests('[{"name": "a"}, {"name": "b", "version": "1.0"}]')).toEqual([
      { name: "a" },
      { name: "b", version: "1.0" },
    ]);
  });
});
