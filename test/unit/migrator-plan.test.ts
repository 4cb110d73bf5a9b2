import { describe, expect, it } from "vitest";
import type { Migration } from "../../migrator/files.ts";
import { type PlanOptions, planRun } from "../../migrator/plan.ts";
import type { AppliedMigration } from "../../migrator/record.ts";

const migrations: Migration[] = ["0001_a", "0002_b", "0003_c", "0004_d"].map((name, index) => ({
  number: index + 1,
  name,
  up: { file: `${name}.up.sql`, sql: "", checksum: name },
  down: { file: `${name}.down.sql`, sql: "", checksum: name },
}));

const entry = (name: string, known: Partial<AppliedMigration> = {}): AppliedMigration => ({
  name,
  appliedAt: new Date("2026-01-31T12:00:00Z"),
  upChecksum: name,
  downChecksum: name,
  hasDownScript: true,
  appliedBy: "app_migrator",
  appliedFrom: "ci@runner",
  duration: 1,
  toolVersion: "0.1.0",
  ...known,
});

function plan(
  target: PlanOptions["target"],
  applied: (string | AppliedMigration)[],
  options: PlanOptions = {},
): string {
  const record = applied.map((item) => (typeof item === "string" ? entry(item) : item));
  const { up, down, end } = planRun(migrations, record, { ...options, target });
  return [
    ...up.map(({ name }) => `+${name}`),
    ...down.map(({ name }) => `-${name}`),
    `=${end?.slice(0, 4) ?? "none"}`,
  ].join(" ");
}

describe("planning a run", () => {
  it("applies everything to an empty database, in order", () => {
    expect(plan("4", [])).toBe("+0001_a +0002_b +0003_c +0004_d =0004");
    expect(plan("", [])).toBe("+0001_a +0002_b +0003_c +0004_d =0004");
  });

  it("goes on after what is applied, up to the target", () => {
    expect(plan("3", ["0001_a"])).toBe("+0002_b +0003_c =0003");
  });

  it("reverts what lies beyond the target, the newest first, in whatever order it was recorded", () => {
    expect(plan("0001_a", ["0003_c", "0001_a", "0002_b"])).toBe("-0003_c -0002_b =0001");
    expect(plan("0", ["0001_a"])).toBe("-0001_a =none");
  });

  it("has nothing to do at the target", () => {
    expect(plan("2", ["0001_a", "0002_b"])).toBe("=0002");
  });

  it("reverts what has no files any more, with the way back in the record, where a target says so", () => {
    expect(plan("4", ["0001_a", "0002_b", "0003_c", "0004_d", "0005_e"])).toBe("-0005_e =0004");
    const applied = ["0001_a", "0002_b", "0003_c", "0004_d", "0005_e", "0006_f"];
    expect(() => plan("0005_e", applied)).toThrow(
      /0005_e is applied in the database, but its files are missing/,
    );
  });

  it("reverts what has no files any more where the database is thrown away anyway", () => {
    expect(plan("", ["0001_a", "0002_b", "0003_c", "0004_d", "0005_e"], { revertMissing: true })).toBe(
      "-0005_e =0004",
    );
  });

  it("does not look at files of what is to be reverted", () => {
    expect(plan("1", ["0001_a", entry("0002_b", { upChecksum: "old", downChecksum: "old" })])).toBe(
      "-0002_b =0001",
    );
  });

  it("takes what an earlier version recorded without checksums for unchanged", () => {
    expect(plan("", [entry("0001_a", { upChecksum: undefined, downChecksum: undefined })])).toBe(
      "+0002_b +0003_c +0004_d =0004",
    );
  });
});

describe("a run is refused", () => {
  it("where an applied migration's files are missing", () => {
    expect(() => plan("", ["0001_a", "0005_e"])).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0005_e is applied in the database, but its files are missing: restore them (\`git log --all -- '*0005_e*'\` finds them); or take the migration back: set the target to "0004_d" (setting migrationsTarget, or ./db migrate down), for which the down script in the record is used
        - 0002_b is not applied, but comes before 0005_e, which is: give it a number after the newest one
        - 0003_c is not applied, but comes before 0005_e, which is: give it a number after the newest one
        - 0004_d is not applied, but comes before 0005_e, which is: give it a number after the newest one]
    `);
  });

  it("where an applied migration's files have another name now", () => {
    expect(() =>
      plan("", ["0001_a", entry("0002_old", { upChecksum: "0002_b" })]),
    ).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0002_old is applied in the database, and its files are now called 0002_b: give them their name back]
    `);
  });

  it("where a migration that is not applied comes before one that is", () => {
    expect(() => plan("", ["0001_a", "0003_c"])).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0002_b is not applied, but comes before 0003_c, which is: give it a number after the newest one]
    `);
  });

  it("where a file was changed after it was applied", () => {
    expect(() =>
      plan("", [entry("0001_a", { upChecksum: "old" }), entry("0002_b", { downChecksum: "old" })]),
    ).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0001_a.up.sql was changed after 0001_a was applied (2026-01-31 12:00 UTC): restore it (\`git log -p -- 0001_a.up.sql\` shows the change), and write a new migration for what is to be different; or record the files as they are now: ./db migrate repair 0001_a --status applied
        - 0002_b.down.sql was changed after 0002_b was applied (2026-01-31 12:00 UTC): restore it (\`git log -p -- 0002_b.down.sql\` shows the change), and leave it so: the way back is the script in the record; or record the files as they are now: ./db migrate repair 0002_b --status applied]
    `);
  });

  it("where neither the record nor the folder has a way back", () => {
    expect(() =>
      plan("4", ["0001_a", "0002_b", "0003_c", "0004_d", entry("0005_e", { hasDownScript: false })]),
    ).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The migrations do not fit the database:
        - 0005_e cannot be reverted: its files are missing, and the version that applied it recorded no down script: restore the files (\`git log --all -- '*0005_e*'\` finds them)]
    `);
  });

  it("where there is no such target", () => {
    expect(() => plan("7", ["0001_a"])).toThrow(/choose a number or a name of: 0 \(none of them\), 0001_a,/);
  });
});
