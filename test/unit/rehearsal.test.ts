import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../../cli/errors.ts";
import type { InputError } from "../../migrator/errors.ts";
import { readMigrations } from "../../migrator/files.ts";
import { findBase, splitByBase } from "../../rehearsal/base.ts";
import { describeLock } from "../../rehearsal/report.ts";
import { rehearsalParameters } from "../../rehearsal/server.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";

const projectFile = `
name: shop-databases
config:
  appName: {type: string, default: app}
  image: {type: string, default: "postgres:17-trixie"}
  schemaName: {value: sales}
`;

describe("a stack's settings are read without Pulumi", () => {
  it("with the project's defaults and values, and with or without a namespace", () => {
    const settings = stackSettings(
      "production",
      projectFile,
      `encryptionsalt: v1:abc
config:
  profile: production
  shop-databases:appName: shop
  shop-databases:port: 5433
  aws:region: eu-central-1
  serverSettings: {max_connections: 200}
  extensions: [citext, {name: pg_trgm, version: "1.6"}]`,
    );
    expect(settings).toMatchObject({
      appName: "shop",
      schemaName: "sales",
      databaseName: "shop",
      port: 5433,
      majorVersion: 17,
      serverSettings: { max_connections: "200" },
      extensions: [{ name: "citext" }, { name: "pg_trgm", version: "1.6" }],
    });
  });

  it("and without the passphrase: what is encrypted is left out", () => {
    const settings = stackSettings(
      "production",
      projectFile,
      `config:
  profile: production
  superuserPassword: {secure: "v1:xyz"}
  tlsKey: {secure: "v1:xyz"}
  tlsCertificate: certificate
  tlsCa: authority`,
    );
    expect(settings.superuserPassword).toBeUndefined();
    expect(settings.ownCertificate).toBeUndefined();
  });

  it("and every mistake is named", () => {
    const read = () =>
      stackSettings("production", projectFile, "config: {profile: staging, port: 0, memroy: 1GB}");
    expect(read).toThrow(UserError);
    try {
      read();
    } catch (error) {
      expect((error as UserError).next.split("\n")).toHaveLength(3);
      expect((error as UserError).exitCode).toBe(2);
    }
  });
});

it("the server has the stack's parameters, except for those of memory, disks and copies, and no care for the data", () => {
  const parameters = rehearsalParameters({
    serverSettings: {
      shared_preload_libraries: "pg_cron",
      "cron.database_name": "shop",
      shared_buffers: "64GB",
      archive_mode: "on",
      archive_command: "false",
      synchronous_standby_names: "*",
      fsync: "on",
    },
  });
  expect(parameters).toMatchObject({
    shared_preload_libraries: "pg_cron",
    "cron.database_name": "shop",
    shared_buffers: "128MB",
    fsync: "off",
    ssl: "off",
  });
  expect(Object.keys(parameters).filter((key) => /archive|standby/.test(key))).toEqual([]);
});

it.each([
  [
    { table: "shop.t", mode: "ACCESS EXCLUSIVE", rewritten: true },
    "ACCESS EXCLUSIVE on shop.t (reads and writes wait, writes the table anew)",
  ],
  [{ table: "shop.t", mode: "SHARE", rewritten: false }, "SHARE on shop.t (writes wait)"],
  [{ table: "shop.t", mode: "SHARE UPDATE EXCLUSIVE", rewritten: false }, "SHARE UPDATE EXCLUSIVE on shop.t"],
] as const)("a lock is told with what it keeps others from: %j", (lock, text) => {
  expect(describeLock(lock)).toBe(text);
});

describe("the migrations of the base", () => {
  let folder: string;
  const migrations = () => join(folder, "db", "migrations");
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.com", ...args], {
      stdio: "pipe",
    }).toString();
  const commit = (message = "m") => {
    git("add", ".");
    git("commit", "--quiet", "--allow-empty", `--message=${message}`);
  };
  const write = (name: string, up = "SELECT 1;", down = "SELECT 2;") => {
    writeFileSync(join(migrations(), `${name}.up.sql`), up);
    writeFileSync(join(migrations(), `${name}.down.sql`), down);
  };
  const split = async (ref?: string) => {
    const { applied, pending } = await splitByBase(
      migrations(),
      readMigrations(migrations()),
      await findBase(migrations(), ref),
    );
    return [applied, pending].map((list) => list.map(({ name }) => name).join());
  };
  const problems = async () => {
    const error = (await split().catch((failure: unknown) => failure)) as InputError;
    return error.problems.map((text) => text.replace(/git checkout \w+ -- \S+/, "git checkout …"));
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "base-"));
    mkdirSync(migrations(), { recursive: true });
    git("init", "--quiet", "--initial-branch=main");
    write("0001_a");
    write("0002_b", "SELECT 'ä';\n");
    commit();
    git("checkout", "--quiet", "-b", "feature");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("are those of the commit where the branch has left it, also where it has gone on since", async () => {
    write("0003_c");
    commit();
    git("checkout", "--quiet", "main");
    commit("main goes on");
    git("checkout", "--quiet", "feature");
    write("0004_d");
    expect(await split()).toEqual(["0001_a,0002_b", "0003_c,0004_d"]);
    expect(await split("feature")).toEqual(["0001_a,0002_b,0003_c", "0004_d"]);
  });

  it("are none where the base has no such folder yet", async () => {
    git("checkout", "--quiet", "--orphan", "other");
    git("rm", "--quiet", "-r", "--cached", ".");
    git("commit", "--quiet", "--allow-empty", "--message=empty");
    git("branch", "start");
    git("add", ".");
    git("commit", "--quiet", "--message=m");
    expect(await split("start")).toEqual(["", "0001_a,0002_b"]);
  });

  it("may differ in whitespace and line endings, and in nothing else", async () => {
    write("0002_b", "\ufeffSELECT   'ä';\r\n");
    expect(await split()).toEqual(["0001_a,0002_b", ""]);
    write("0002_b", "SELECT 'ö';\n");
    expect(await problems()).toEqual([
      "0002_b.up.sql is not as main has it, where it may be applied already: restore it: git checkout … and write a new migration for what is to be different",
    ]);
  });

  it("may not be missing, and a new one may not come before one of them", async () => {
    git("mv", "db/migrations/0001_a.up.sql", "db/migrations/0001_renamed.up.sql");
    git("mv", "db/migrations/0001_a.down.sql", "db/migrations/0001_renamed.down.sql");
    expect(await problems()).toEqual([
      "0001_a.down.sql is on main, and missing here: restore it: git checkout …",
      "0001_a.up.sql is on main, and missing here: restore it: git checkout …",
      "0001_renamed is new, but comes before 0002_b, which main has: give it a number after that",
    ]);
  });

  it.each([
    [
      "a base that there is not",
      () => findBase(migrations(), "nowhere"),
      "git knows no commit «nowhere».",
      2,
    ],
    [
      "an option in the place of a base",
      () => findBase(migrations(), "--help"),
      "git knows no commit «--help».",
      2,
    ],
    [
      "a folder outside of git",
      () => findBase(tmpdir()),
      /^git does not say which migrations in .* are new: /,
      3,
    ],
    [
      "a base with another history",
      () => {
        git("checkout", "--quiet", "--orphan", "alone");
        commit("another");
        return findBase(migrations(), "main");
      },
      "this branch and main have no commit in common here.",
      3,
    ],
    [
      "no base branch at all",
      () => {
        git("branch", "--delete", "--force", "main");
        return findBase(migrations());
      },
      "git knows none of origin/HEAD, origin/main, main.",
      3,
    ],
  ] as const)("cannot be had with %s", async (_, find, message, code) => {
    const error = (await find().catch((failure: unknown) => failure)) as UserError;
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toEqual(typeof message === "string" ? message : expect.stringMatching(message));
    expect(error.exitCode).toBe(code);
  });
});
