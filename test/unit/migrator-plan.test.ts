import { describe, expect, it } from "vitest";
import type { Migration } from "../../migrator/files.ts";
import { planRun } from "../../migrator/plan.ts";

const script = { file: "", sql: "", checksum: "" };
const migrations: Migration[] = ["0001_a", "0002_b", "0003_c", "0004_d"].map((name, index) => ({
  number: index + 1,
  name,
  up: script,
  down: script,
}));

function plan(target: number, applied: string[]): string {
  const { up, down } = planRun(migrations, migrations.slice(0, target), applied);
  return [...up.map(({ name }) => `+${name}`), ...down.map(({ name }) => `-${name}`)].join(" ");
}

describe("planning a run", () => {
  it("applies everything to an empty database, in order", () => {
    expect(plan(4, [])).toBe("+0001_a +0002_b +0003_c +0004_d");
  });

  it("goes on after what is applied, up to the target", () => {
    expect(plan(3, ["0001_a"])).toBe("+0002_b +0003_c");
  });

  it("reverts what lies beyond the target, the newest first, in whatever order it was recorded", () => {
    expect(plan(1, ["0003_c", "0001_a", "0002_b"])).toBe("-0003_c -0002_b");
    expect(plan(0, ["0001_a"])).toBe("-0001_a");
  });

  it("has nothing to do at the target", () => {
    expect(plan(2, ["0001_a", "0002_b"])).toBe("");
  });

  it("refuses where an applied migration's files are missing", () => {
    expect(() => plan(4, ["0001_a", "0005_e"])).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0005_e is applied in the database, but its files are missing: restore them (\`git log --all -- '*0005_e*'\` finds them); to take the migration back, set the target to the one before it while the files are there]
    `);
  });

  it("refuses where a migration that is not applied comes before one that is", () => {
    expect(() => plan(4, ["0001_a", "0003_c"])).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0002_b is not applied, but comes before 0003_c, which is: give it a number after the newest one]
    `);
  });
});
