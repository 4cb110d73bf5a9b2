import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { settingKeys } from "../../components/settings/schema.ts";
import { settingsTable, withSettingsTable } from "../../docs/settings-table.ts";

describe("the table of settings", () => {
  it("in README.md is up to date; if not: npm run docs:settings", () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    expect(withSettingsTable(readme)).toBe(readme);
  });

  it("has a row for every setting", () => {
    const rows = settingsTable().split("\n").slice(2);
    expect(rows.map((row) => /^\| `(\w+)` \|/.exec(row)?.[1])).toEqual(Object.keys(settingKeys));
  });

  it("says which settings are secrets, and keeps bars and angle brackets from breaking the table", () => {
    const key = {
      schema: z.string(),
      expected: "a | b",
      example: "a",
      default: "none",
      description: "The <name>, `<name>`.",
    };
    expect(settingsTable({ plain: key, hidden: { ...key, secret: true } })).toMatchInlineSnapshot(`
      "| Setting | What it is | Value | Default |
      | --- | --- | --- | --- |
      | \`plain\` | The &lt;name>, \`<name>\`. | a \\| b | none |
      | \`hidden\` | The &lt;name>, \`<name>\`. | a secret: a \\| b | none |"
    `);
  });

  it("replaces what is between the markers, and nothing else", () => {
    const page = withSettingsTable(
      "before\n<!-- settings: made by npm run docs:settings -->\nold\n<!-- /settings -->\nafter\n",
      "| new |",
    );
    expect(page).toBe(
      "before\n<!-- settings: made by npm run docs:settings -->\n| new |\n<!-- /settings -->\nafter\n",
    );
  });

  it("is refused where a marker is missing or there twice", () => {
    expect(() => withSettingsTable("no markers")).toThrow("must have one «<!-- settings");
    expect(() =>
      withSettingsTable(`${"<!-- settings: made by npm run docs:settings --><!-- /settings -->".repeat(2)}`),
    ).toThrow("must have one");
  });
});
