import { describe, expect, it } from "vitest";
import { namedRepository, restoreArguments } from "../../backup/restore-container.ts";
import { passwordLine, repositoryOf } from "../../components/backups/program.ts";
import { restoredPasswordsSql } from "../../components/server/bootstrap.ts";
import { freeName } from "../../migrator/restore-points.ts";

describe("a restore point's name", () => {
  it("gets a number where it is taken: a restore stops at the first of a name", () => {
    expect(freeName("before 0007_x", new Set())).toBe("before 0007_x");
    expect(freeName("before 0007_x", new Set(["before 0007_x"]))).toBe("before 0007_x (2)");
    expect(freeName("before 0007_x", new Set(["before 0007_x", "before 0007_x (2)"]))).toBe(
      "before 0007_x (3)",
    );
  });

  it("fits into the 63 bytes that the server takes", () => {
    const long = `before 0007_${"ü".repeat(60)}`;
    const taken = freeName(long, new Set());
    expect(Buffer.byteLength(freeName(long, new Set([taken])))).toBeLessThanOrEqual(63);
    expect(taken).toMatch(/^before 0007_ü+$/);
  });
});

describe("the password file", () => {
  it("has colons and backslashes escaped, as libpq reads them", () => {
    expect(passwordLine("sh:op_backup", "a\\b:c")).toBe("*:*:*:sh\\:op_backup:a\\\\b\\:c\n");
  });
});

describe("the restore's arguments", () => {
  it.each([
    [{ latest: true as const }, ["latest"]],
    [{ time: "2026-11-25T12:00:00Z" }, ["--target-time", "2026-11-25T12:00:00Z"]],
    [{ name: "it's; rm -rf" }, ["--target-name", "it's; rm -rf"]],
    [{ lsn: "0/30" }, ["--target-lsn", "0/30"]],
  ])("name the target: %j", (restore, expected) => {
    expect(restoreArguments(restore, "/data")).toEqual([
      "restore",
      "--into",
      "/data",
      "--sql",
      "-",
      ...expected,
    ]);
  });

  it("name base backup and timeline where they are chosen", () => {
    const restore = { latest: true as const, backup: "20261125T120000Z-full", timeline: 3 };
    expect(restoreArguments(restore, "/data").slice(3, 7)).toEqual([
      "--backup",
      "20261125T120000Z-full",
      "--timeline",
      "3",
    ]);
  });
});

describe("a repository", () => {
  it("is the stack's volume, or the folder of the settings", async () => {
    expect(repositoryOf("shop-production", undefined)).toBe("shop-production-backups");
    expect(await namedRepository("/mnt/backups")).toMatchObject({ type: "bind", source: "/mnt/backups" });
  });
});

describe("the passwords of restored logins", () => {
  it("are set by quoted SQL that fails where a role is missing", () => {
    expect(restoredPasswordsSql({ 'sh"op_app': "it's" })).toMatchInlineSnapshot(`
      "DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ''sh"op_app'') THEN RAISE EXCEPTION USING MESSAGE = ''The backup has no role "sh"op_app". appName, databaseName, schemaName and superuserName must be those that the backup was made with.''; END IF; END';
      ALTER ROLE "sh""op_app" PASSWORD 'it''s';
      "
    `);
  });
});
