import { mkdtempSync, realpathSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatAge, formatBytes, formatTable } from "../../cli/amounts.ts";
import { noBackups } from "../../cli/backup-report.ts";
import { formatList, type ListedStack } from "../../cli/commands/list.ts";
import { maskPasswords, passwordMask } from "../../cli/commands/logs.ts";
import { candidates } from "../../cli/commands/prune.ts";
import { formatStatus, type StatusReport } from "../../cli/commands/status.ts";
import { hasEmptyPassphrase } from "../../cli/passphrase.ts";
import { projectRoot } from "../../cli/project.ts";
import { idsOfOtherCheckouts, type Server, type ServerContainer } from "../../cli/servers.ts";
import { combine, type Environment } from "../../cli/stack-rows.ts";
import { parseCheckpoint, parseStackList, type StackState } from "../../cli/stack-states.ts";
import { isThrownAway, keepForOf, throwawayFile, withKeepFor } from "../../cli/throwaway.ts";
import { formatCheckoutMark, ownCheckout, parseCheckoutMark } from "../../components/labels.ts";
import { parseAge } from "../../components/settings/units.ts";

const day = 86_400_000;
const now = Date.parse("2026-11-23T12:00:00Z");
const ago = (days: number) => new Date(now - days * day);

const development = `# by hand
encryptionsalt: v1:abc
config:
  profile: development
  appName: shop
  port: 5440
  postgres-environments:superuserPassword:
    secure: v1:xyz
`;

describe("amounts", () => {
  test.each([
    [0, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [3_599_000, "59 min"],
    [47 * 3_600_000, "47 h"],
    [2 * day, "2 d"],
    [-5, "0 s"],
  ])("an age of %d ms is %s", (milliseconds, text) => expect(formatAge(milliseconds)).toBe(text));

  test.each([
    [8192, "8192 bytes"],
    [10_240, "10 kB"],
    [8_296_000, "8102 kB"],
    [50 * 1024 ** 2, "50 MB"],
    [3 * 1024 ** 4, "3072 GB"],
  ])("%d bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    ["0", 0],
    ["90s", 90_000],
    ["12 h", 43_200_000],
    ["7d", 7 * day],
  ])("the age %s is %d ms", (text, milliseconds) => expect(parseAge(text)).toBe(milliseconds));

  test.each(["7", "d", "-1d", "1w", "7d x", ""])("%j is no age", (text) =>
    expect(parseAge(text)).toBeUndefined(),
  );

  test("a table's columns line up", () => {
    expect(
      formatTable(
        [
          ["A", "B", "C"],
          ["long", "1", ""],
        ],
        [1],
      ),
    ).toEqual(["A     B  C", "long  1"]);
  });
});

describe("a stack's file that start makes", () => {
  test("has development's settings and salt, and neither its port nor its comments", () => {
    expect(throwawayFile("pr-1", development, "3d")).toMatchInlineSnapshot(`
      "# Made by ./db start from Pulumi.development.yaml, whose empty passphrase it has. Yours to edit; git ignores it.
      # «./db prune» removes the stack and this file when the last update is longer ago than keepFor.
      encryptionsalt: v1:abc
      config:
        profile: development
        appName: shop
        postgres-environments:superuserPassword:
          secure: v1:xyz
        keepFor: 3d
      "
    `);
  });

  test.each([
    ["there is no file of development", undefined, /there is none/],
    ["development's file is for production", "config:\n  profile: production\n", /does not have profile/],
  ])("is refused where %s", (_, file, message) => {
    expect(() => throwawayFile("pr-1", file, "7d")).toThrow(message);
  });

  test("gets another age without losing what its user has written", () => {
    expect(withKeepFor("# mine\nconfig:\n  profile: development # yes\n  keepFor: 7d\n", "p", "0s")).toBe(
      "# mine\nconfig:\n  profile: development # yes\n  keepFor: 0s\n",
    );
    expect(withKeepFor("config:\n  p:keepFor: 7d\n", "p", "9d")).toBe("config:\n  p:keepFor: 9d\n");
  });

  test("has the empty passphrase, as long as it has development's salt and profile", () => {
    const use = { stack: "pr-1", developmentFile: development, backendUrl: "file://x" };
    const made = throwawayFile("pr-1", development, "7d");
    expect(hasEmptyPassphrase({ ...use, stackFile: made })).toBe(true);
    const without = [
      made.replace("v1:abc", "v1:other"),
      made.replace(/encryptionsalt.*\n/, ""),
      made.replace("profile: development", "profile: production"),
      undefined,
    ];
    for (const stackFile of without) expect(hasEmptyPassphrase({ ...use, stackFile })).toBe(false);
    const unsalted = {
      ...use,
      developmentFile: "config: {}",
      stackFile: made.replace(/encryptionsalt.*\n/, ""),
    };
    expect(hasEmptyPassphrase(unsalted)).toBe(false);
  });

  test("is thrown away by its age only with profile development", () => {
    const file = (profile: string) => `config:\n  profile: ${profile}\n  keepFor: 7d\n`;
    expect(isThrownAway("pr-1", file("development"), "p")).toBe(true);
    expect(isThrownAway("pr-1", file("production"), "p")).toBe(false);
    expect(isThrownAway("pr-1", "config:\n  profile: development\n", "p")).toBe(false);
    expect(keepForOf("config:\n  profile: development\n  keepFor: soon\n", "p")).toBeUndefined();
  });
});

describe("the state backend's listing", () => {
  test("of a file backend has number, ids, time and lifetime", () => {
    const text = JSON.stringify({
      version: 3,
      checkpoint: {
        latest: {
          manifest: { time: "2026-11-20T12:00:00Z" },
          resources: [
            { type: "pulumi:pulumi:Stack", outputs: { lifetime: "ephemeral", connections: { secret: "x" } } },
            { type: "docker:index/network:Network", id: "n1" },
          ],
        },
      },
    });
    expect(parseCheckpoint("pr-1", text)).toEqual({
      stack: "pr-1",
      resources: 2,
      updated: ago(3),
      ids: new Set(["n1"]),
      lifetime: "ephemeral",
    });
  });

  test("knows a stack that was never up", () => {
    for (const latest of [null, { manifest: { time: "0001-01-01T00:00:00Z" } }]) {
      expect(parseCheckpoint("new", JSON.stringify({ checkpoint: { latest } }))).toMatchObject({
        resources: 0,
        updated: undefined,
      });
    }
  });

  test.each(["", '{"checkpoint": {"lat', "[]"])("leaves out a file that is cut off: %j", (text) => {
    expect(parseCheckpoint("x", text)).toBeUndefined();
  });

  test("of Pulumi's own command takes the stack's name without the organization", () => {
    const json =
      '[{"name":"team/p/pr-1","current":false,"lastUpdate":"2026-11-20T12:00:00.000Z","resourceCount":3}]';
    expect(parseStackList(json)).toEqual([
      { stack: "pr-1", resources: 3, updated: ago(3), ids: undefined, lifetime: undefined },
    ]);
  });
});

const own = ownCheckout(projectRoot);

function container(overrides: Partial<ServerContainer> = {}): ServerContainer {
  return {
    id: "c1",
    name: "p-pr-1-abc-postgres",
    image: "postgres:17-trixie",
    status: "running",
    health: "healthy",
    created: ago(5),
    started: ago(4),
    ephemeral: true,
    port: 32_800,
    ...overrides,
  };
}

function server(overrides: Partial<Server> = {}): Server {
  return {
    stack: "pr-1",
    network: { kind: "network", id: "n1", name: "p-pr-1-abc-network" },
    container: container(),
    checkout: own,
    keepFor: "7d",
    ...overrides,
  };
}

function pulumi(overrides: Partial<StackState> = {}): StackState {
  return {
    stack: "pr-1",
    resources: 50,
    updated: ago(3),
    ids: new Set(["c1", "n1"]),
    lifetime: "ephemeral",
    ...overrides,
  };
}

const file = { stack: "pr-1", profile: "development", keepFor: "2d", changed: ago(6) };

function only(environments: readonly Environment[]): Environment {
  expect(environments).toHaveLength(1);
  return environments[0] as Environment;
}

describe("an environment's state", () => {
  test.each([
    ["running", container()],
    ["running", container({ health: undefined })],
    ["starting", container({ health: "starting" })],
    ["unhealthy", container({ health: "unhealthy" })],
    ["stopped", container({ status: "exited", health: "unhealthy" })],
    ["gone", undefined],
  ])("is %s", (state, found) => {
    expect(only(combine([file], [pulumi()], [server({ container: found })])).state).toBe(state);
  });

  test("is told from the backend where Docker has nothing", () => {
    expect(only(combine([file], [], [])).state).toBe("never up");
    expect(only(combine([file], [pulumi({ resources: 0, updated: undefined })], [])).state).toBe("never up");
    expect(only(combine([file], [pulumi({ resources: 0 })], [])).state).toBe("destroyed");
    expect(only(combine([file], [pulumi()], [])).state).toBe("gone");
  });

  test("is that of this checkout's own, where another has a stack of the same name", () => {
    const other = server({
      container: container({ id: "c2" }),
      network: { kind: "network", id: "n2", name: "other" },
      checkout: { ...own, folder: realpathSync(tmpdir()) },
    });
    const [mine, theirs] = combine([file], [pulumi()], [other, server()]);
    expect(mine).toMatchObject({ state: "running", elsewhere: undefined, server: { checkout: own } });
    expect(theirs).toMatchObject({ state: "running", elsewhere: realpathSync(tmpdir()), keepFor: undefined });
  });

  test("is left over where this checkout's or a deleted one's state knows nothing of it", () => {
    const gone = join(mkdtempSync(join(tmpdir(), "x-")), "deleted");
    for (const folder of [own.folder, gone]) {
      expect(only(combine([], [], [server({ checkout: { ...own, folder } })])).state).toBe("left over");
    }
  });

  test.each([
    ["another machine's", { checkout: { ...own, host: `${hostname()}-2` } }],
    ["one with its state in another place", { checkout: { ...own, backend: "abc" } }],
    ["one that keeps its data", { container: container({ ephemeral: false }) }],
    ["one without a mark", { checkout: undefined }],
  ])("is not left over: %s", (_, overrides) => {
    expect(only(combine([], [], [server(overrides)])).state).toBe("running");
  });

  test("is never left over where a backend without ids has a stack of that name", () => {
    const listed = pulumi({ ids: undefined, lifetime: undefined });
    const states = combine([], [listed], [server(), server({ container: container({ id: "c2" }) })]);
    expect(states.map(({ state }) => state)).toEqual(["running", "running"]);
  });
});

describe("what prune removes", () => {
  const names = (environments: readonly Environment[], olderThan?: string) =>
    candidates(environments, olderThan, now).map(
      ({ environment: { stack }, reason }) => `${stack}: ${reason}`,
    );
  const of = (stack: string, keepFor: string | undefined, used: Date, profile = "development") =>
    combine([{ ...file, stack, keepFor, profile }], [pulumi({ stack, updated: used, ids: new Set() })], []);

  test("is what was not used for as long as its age says", () => {
    expect(names([...of("old", "2d", ago(3)), ...of("young", "4d", ago(3))])).toEqual([
      "old: last used 3 d ago, kept for 2d",
    ]);
    expect(names([...of("old", "2d", ago(3)), ...of("young", "4d", ago(3))], "3d")).toHaveLength(2);
    expect(names([...of("old", "2d", ago(3)), ...of("young", "4d", ago(3))], "5d")).toEqual([]);
  });

  test("counts a start of the container as use", () => {
    expect(
      names(
        combine(
          [file],
          [pulumi({ updated: ago(9) })],
          [server({ container: container({ started: ago(1) }) })],
        ),
      ),
    ).toEqual([]);
  });

  test("is never development, a stack without an age, or one that keeps its data", () => {
    expect(names(of("development", "1d", ago(99)), "0")).toEqual([]);
    expect(names(of("demo", undefined, ago(99)), "0")).toEqual([]);
    expect(names(of("staging", "1d", ago(99), "production"), "0")).toEqual([]);
    const kept = pulumi({ stack: "kept", lifetime: "persistent", updated: ago(99) });
    expect(names(combine([{ ...file, stack: "kept" }], [kept], []), "0")).toEqual([]);
  });

  test("goes on with what an interrupted prune has begun, whatever age is asked for", () => {
    expect(names(of("half", "0s", ago(0)), "30d")).toEqual(["half: last used 0 s ago, kept for 0"]);
  });

  test("is another checkout's stack too, by its label, where both share a backend", () => {
    const listed = pulumi({ ids: undefined, lifetime: undefined, updated: ago(9) });
    const started = container({ started: ago(9) });
    expect(names(combine([], [listed], [server({ container: started })]))).toEqual([
      "pr-1: last used 9 d ago, kept for 7d",
    ]);
  });
});

test("what another checkout has made is told from this one's", () => {
  const other = server({
    container: container({ id: "c2" }),
    network: { kind: "network", id: "n2", name: "other" },
    checkout: { ...own, folder: "/srv/other" },
  });
  expect(idsOfOtherCheckouts([server(), other, server({ checkout: undefined })])).toEqual(
    new Set(["c2", "n2"]),
  );
});

test("a checkout's mark can be read back, colons in the folder included", () => {
  const mark = { host: "h", backend: "", folder: "/a:b" };
  expect(parseCheckoutMark(formatCheckoutMark(mark))).toEqual(mark);
  expect(parseCheckoutMark("")).toBeUndefined();
});

test("the list has a line for each stack", () => {
  const row: ListedStack = {
    stack: "development",
    state: "running",
    profile: "development",
    lifetime: "ephemeral",
    port: 32_795,
    container: "p-development-1-postgres",
    created: ago(2).toISOString(),
    used: ago(1).toISOString(),
    data: 40 * 1024 ** 2,
    memory: 120 * 1024 ** 2,
    backup: undefined,
    keepFor: undefined,
    prunable: undefined,
    folder: undefined,
  };
  const none = {
    port: undefined,
    container: undefined,
    created: undefined,
    data: undefined,
    memory: undefined,
  };
  const stacks: ListedStack[] = [
    row,
    {
      ...row,
      stack: "pr-1",
      state: "stopped",
      keepFor: "7d",
      prunable: ago(-6).toISOString(),
      data: undefined,
    },
    { ...row, ...none, stack: "pr-2", state: "gone", keepFor: "7d", prunable: ago(1).toISOString() },
    { ...row, stack: "pr-3", state: "left over" },
    { ...row, stack: "pr-4", folder: "/srv/other" },
    { ...row, ...none, stack: "production", state: "never up", profile: "production", used: undefined },
    { ...row, stack: "staging", profile: "production", backup: ago(0.5).toISOString() },
  ];
  expect(formatList(stacks, now)).toMatchInlineSnapshot(`
    "STACK        STATE      PROFILE       PORT  AGE  USED   DATA  MEMORY  BACKUP  NOTE
    development  running    development  32795  2 d  24 h  40 MB  120 MB
    pr-1         stopped    development  32795  2 d  24 h         120 MB          kept until 2026-11-29 12:00 UTC
    pr-2         gone       development              24 h                         ./db prune removes it
    pr-3         left over  development  32795  2 d  24 h  40 MB  120 MB          its state is gone: ./db prune removes it
    pr-4         running    development  32795  2 d  24 h  40 MB  120 MB          of /srv/other
    production   never up   production
    staging      running    production   32795  2 d  24 h  40 MB  120 MB    12 h
    "
  `);
  expect(formatList([], now)).toBe("There is no stack yet: ./db start brings development up.\n");
});

describe("a server's log", () => {
  test.each([
    ["ALTER ROLE a PASSWORD 'geheim'", "ALTER ROLE a PASSWORD '***'"],
    [
      "create role a login password 'it''s' valid until 'x'",
      "create role a login password '***' valid until 'x'",
    ],
    ["PASSWORD E'a\\'b' x", "PASSWORD '***' x"],
    ["PASSWORD $$a b$$; SELECT 1", "PASSWORD '***'; SELECT 1"],
    ["PASSWORD $q$a$$b$q$ x", "PASSWORD '***' x"],
    ["PASSWORD 'cut off", "PASSWORD '***'"],
    ["postgresql://me:geheim@host/db?sslmode=disable", "postgresql://me:***@host/db?sslmode=disable"],
    ["host=h password=geheim user=u", "host=h password=*** user=u"],
    ['password authentication failed for user "x"', 'password authentication failed for user "x"'],
    ["SELECT 'a' WHERE x = 'b'", "SELECT 'a' WHERE x = 'b'"],
  ])("shows %j as %j", (line, masked) => expect(maskPasswords(line)).toBe(masked));

  test.each([
    [
      "a password on a line of its own",
      ["STATEMENT:  ALTER ROLE a PASSWORD", "\t'geheim' VALID UNTIL 'x'", "\tAND 'y'"],
      ["STATEMENT:  ALTER ROLE a PASSWORD", "\t'***' VALID UNTIL 'x'", "\tAND 'y'"],
    ],
    [
      "a password of several lines",
      ["ALTER ROLE a PASSWORD 'ge", "\the", "\tim'; SELECT 'b'"],
      ["ALTER ROLE a PASSWORD '***'", "\t***", "\t***; SELECT 'b'"],
    ],
    [
      "another message in between",
      ["ERROR:  syntax error at or near PASSWORD", "LOG:  it's 'fine'"],
      ["ERROR:  syntax error at or near PASSWORD", "LOG:  it's 'fine'"],
    ],
  ])("masks %s", (_, lines, masked) => {
    expect(lines.map(passwordMask())).toEqual(masked);
  });
});

describe("the status", () => {
  const report: StatusReport = {
    stack: "production",
    state: "running",
    lifetime: "persistent",
    image: "postgres:17-trixie",
    container: "p-production-postgres",
    database: "shop",
    host: "127.0.0.1",
    port: 5432,
    server: {
      version: "17.6",
      startedAt: ago(3).toISOString(),
      databaseSize: 8_296_000,
      connections: {
        used: 3,
        max: 100,
        sessions: [
          { role: "shop_app_a", state: "idle", count: 2 },
          { role: "shop_reader", state: "active", count: 1 },
        ],
      },
      longestTransaction: {
        role: "shop_reader",
        state: "active",
        pid: 42,
        milliseconds: 90_000,
        query: `SELECT ${"long, ".repeat(30)} 1`,
      },
      slowQueries: {
        available: true,
        statements: [
          { calls: 12, total: 34_567, mean: 2880.6, rows: 12, role: "shop_app_a", query: "SELECT\n  1" },
        ],
      },
    },
    migrations: { applied: 7, newest: "0007_b", pending: ["0008_c"], problems: ["0003_x was changed"] },
    seeds: undefined,
    backups: noBackups,
    problem: undefined,
  };

  test("tells health, sizes, sessions, migrations, backups and slow queries", () => {
    expect(formatStatus(report, now)).toMatchInlineSnapshot(`
      "Stack         production (persistent)
      Server        running, p-production-postgres at 127.0.0.1:5432
      Version       PostgreSQL 17.6 of postgres:17-trixie, up for 3 d
      Database      shop, 8102 kB
      Connections   3 of 100
      Transactions  the longest for 1 min, by shop_reader (active, pid 42): SELECT long, long, long, long, long, long, long, long, long, long, long, long, …
      Migrations    0007_b is the newest of 7 in place, 1 pending: 0008_c
      Seed data     none
      Backups       none: the setting backups is false

      ROLE         STATE   SESSIONS
      shop_app_a   idle           2
      shop_reader  active         1

      Migrations can't run:
        0003_x was changed

      Queries that took most time:
      CALLS   TOTAL     MEAN  ROWS  ROLE        QUERY
         12  34.6 s  2881 ms    12  shop_app_a  SELECT 1
      "
    `);
  });

  test("says how to get slow queries, and that there are no backups of what is in memory", () => {
    const slowQueries = {
      available: false,
      reason: "the server has not loaded it",
      preloaded: false,
      installed: false,
    } as const;
    const text = formatStatus(
      {
        ...report,
        stack: "development",
        lifetime: "ephemeral",
        server: report.server && { ...report.server, longestTransaction: undefined, slowQueries },
      },
      now,
    );
    expect(text).toContain("Transactions  none open");
    expect(text).toContain("Backups       none: the data is in memory");
    expect(text).toContain("pulumi config set -s development --path serverSettings.shared_preload_libraries");
    expect(text).toContain("add pg_stat_statements to extensions in Pulumi.development.yaml");
  });

  test.each([
    [{}, "no base backup yet; no restore tried yet"],
    [
      { newest: ago(0.5).toISOString(), kind: "incr" },
      "the newest base backup (incr) is of 12 h ago; no restore tried yet",
    ],
    [
      {
        newest: ago(0.5).toISOString(),
        kind: "full",
        drill: { ended: ago(0.25).toISOString(), ok: false, seconds: 41.2 },
      },
      "the newest base backup (full) is of 12 h ago; a restore FAILED 6 h ago, in 41 s",
    ],
  ])("tells how old the backups are, and what trying them gave: %j", (found, words) => {
    const text = formatStatus({ ...report, backups: { ...noBackups, made: true, ...found } }, now);
    expect(text).toContain(`Backups       ${words}`);
  });

  test("says what is wrong with a server that does not answer, and what to do", () => {
    const text = formatStatus(
      { ...report, state: "stopped", server: undefined, migrations: undefined, problem: "no answer" },
      now,
    );
    expect(text).toMatchInlineSnapshot(`
      "Stack      production (persistent)
      Server     stopped, p-production-postgres at 127.0.0.1:5432
      Problem    no answer
      Seed data  none
      Backups    not known

      ./db start --stack production brings it up; ./db logs production shows its log.
      "
    `);
  });
});
