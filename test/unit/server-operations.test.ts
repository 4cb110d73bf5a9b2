import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { formatSessions } from "../../cli/login-sessions.ts";
import {
  generationOfPair,
  markRotation,
  pairOf,
  remindersOf,
} from "../../components/credentials/rotation.ts";
import { scramSalt, scramVerifier } from "../../components/credentials/scram.ts";
import { divideParameters, restartParameters } from "../../components/server/restart-parameters.ts";
import { judgeRestart, restartReasons, startFacts } from "../../components/server/restarts.ts";
import { serverParameters } from "../../components/server/server-settings.ts";
import { rotatedKeys } from "../../components/settings/schema.ts";
import { isWithin, parseTimeWindow } from "../../components/settings/time-window.ts";
import { parseSettings, type RotatedKey } from "../../components/settings.ts";
import { filesOf, parseConfiguration } from "../../reload/files.ts";
import { judge, type Parameter, reportChanges } from "../../reload/outcome.ts";

function settings(values: Record<string, string>) {
  const result = parseSettings(
    Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }])),
    pulumi.secret,
  );
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  return result.settings;
}

describe("a parameter", () => {
  it("needs a restart or not, by the server's major version", () => {
    expect(restartParameters(17).has("autovacuum_max_workers")).toBe(true);
    expect(restartParameters(18).has("autovacuum_max_workers")).toBe(false);
    expect(restartParameters(15).has("reserved_connections")).toBe(false);
    expect(restartParameters(16).has("reserved_connections")).toBe(true);
    expect(restartParameters(17).has("work_mem")).toBe(false);
  });

  it("of an unknown module that is preloaded gets one, since it might need it", () => {
    const parameters = {
      max_connections: "9",
      work_mem: "1MB",
      shared_preload_libraries: "pgaudit, other",
      "pgaudit.log": "ddl",
      "other.thing": "1",
      "app.flag": "1",
    };
    expect(Object.keys(divideParameters(parameters, 17).restart)).toEqual([
      "max_connections",
      "shared_preload_libraries",
      "other.thing",
    ]);
    expect(Object.keys(divideParameters(parameters, 17).reload)).toEqual([
      "work_mem",
      "pgaudit.log",
      "app.flag",
    ]);
  });
});

describe("a restart", () => {
  const before = startFacts(settings({ profile: "production" }));

  it("is needed for what a container is made with, and for nothing else", () => {
    const reasons = (values: Record<string, string>) =>
      restartReasons(before, startFacts(settings({ profile: "production", ...values })));
    expect(reasons({ serverSettings: '{"work_mem": "9MB"}', extensions: '["citext"]' })).toEqual([]);
    expect(
      reasons({ serverSettings: '{"max_connections": 200, "wal_level": "logical"}', port: "5433" }),
    ).toEqual([
      "max_connections 100 → 200",
      "port 127.0.0.1:5432 → 127.0.0.1:5433",
      "wal_level replica → logical",
    ]);
    expect(reasons({ labels: '{"team": "x"}' })).toEqual(["labels changed"]);
  });

  const sunday = new Date("2026-11-22T02:30:00Z");
  const monday = new Date("2026-11-23T02:30:00Z");

  it("is announced, and refused outside the window", () => {
    const window = parseTimeWindow("sun 02:00-04:00");
    expect(judgeRestart([], window, monday)).toBeUndefined();
    expect(judgeRestart(["port 1 → 2"], undefined, monday)?.notice).toMatchInlineSnapshot(
      `"The server will be restarted once, in a new container, for: port 1 → 2. Sessions end; new ones are taken a few seconds later."`,
    );
    expect(judgeRestart(["port 1 → 2"], window, sunday)).not.toHaveProperty("refusal");
    expect(judgeRestart(["port 1 → 2"], window, monday)).toMatchInlineSnapshot(`
      {
        "notice": "The server will be restarted once, in a new container, for: port 1 → 2. Now an update refuses that: it is outside restartWindow (sun 02:00-04:00 UTC).",
        "refusal": "This needs a restart of the server (port 1 → 2), and it is 2026-11-23T02:30Z, outside restartWindow (sun 02:00-04:00 UTC). Run pulumi up again then, or set the setting otherwise: pulumi config rm restartWindow",
      }
    `);
  });

  it.each([
    ["02:00-04:00", [sunday, monday], []],
    ["sun 02:00-04:00", [sunday], [monday]],
    ["02:30-02:31", [sunday], []],
    ["02:00-02:30", [], [sunday]],
    ["sun 23:00-03:00", [monday], [sunday]],
    ["23:00-03:00", [monday, sunday], []],
  ])("window %s knows what is within", (text, inside, outside) => {
    const window = parseTimeWindow(text);
    if (!window) throw new Error(text);
    for (const moment of inside) expect(isWithin(window, moment)).toBe(true);
    for (const moment of outside) expect(isWithin(window, moment)).toBe(false);
  });

  it.each(["", "2:00-4:00", "02:00-02:00", "sunday 02:00-04:00", "24:00-25:00"])(
    "window may not be %j",
    (text) => {
      expect(parseTimeWindow(text)).toBeUndefined();
    },
  );
});

describe("what a server keeps in a password's place", () => {
  it("fits the password, by RFC 5802", () => {
    const salt = scramSalt("secret", "app", "pencil");
    const [, iterations, storedSalt, storedKey, serverKey] =
      /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)$/.exec(scramVerifier("pencil", salt)) ?? [];
    const salted = pbkdf2Sync(
      "pencil",
      Buffer.from(storedSalt ?? "", "base64"),
      Number(iterations),
      32,
      "sha256",
    );
    const key = (text: string) => createHmac("sha256", salted).update(text).digest();
    expect(storedKey).toBe(createHash("sha256").update(key("Client Key")).digest("base64"));
    expect(serverKey).toBe(key("Server Key").toString("base64"));
  });

  it("is the same again, and another for another login, password or stack", () => {
    const salt = scramSalt("secret", "app", "pencil");
    expect(scramSalt("secret", "app", "pencil")).toEqual(salt);
    for (const other of [
      scramSalt("secret", "migrator", "pencil"),
      scramSalt("secret", "app", "pen"),
      scramSalt("other", "app", "pencil"),
    ]) {
      expect(other).not.toEqual(salt);
    }
  });
});

describe("the files of a running server", () => {
  it("hold values as PostgreSQL reads them, after those that initdb left", () => {
    const text = JSON.stringify({
      parameters: { log_line_prefix: "%m 'x' \\ ", work_mem: "4MB" },
      accessRules: ["local all all peer"],
      userNameMap: ["m root postgres"],
      certificate: "CERT",
    });
    expect(filesOf(parseConfiguration(text), "KEY", "/data")).toMatchInlineSnapshot(`
      {
        "pg_hba.conf": "local all all peer
      ",
        "pg_ident.conf": "m root postgres
      ",
        "postgresql.conf": "# Made by the program; changes here are lost.
      include_if_exists '/data/postgresql.conf'
      log_line_prefix = '%m ''x'' \\\\ '
      work_mem = '4MB'
      ",
        "server.crt": "CERT",
        "server.key": "KEY",
      }
    `);
  });

  it("come from input of the right form only", () => {
    expect(() => parseConfiguration('{"parameters": {}}')).toThrow();
  });
});

describe("what a server says after it has read them", () => {
  const parameter = (change: Partial<Parameter>): Parameter => ({
    name: "work_mem",
    value: "4MB",
    source: "configuration file",
    sourcefile: "/var/lib/postgresql/data/configuration/current/postgresql.conf",
    pending_restart: false,
    ...change,
  });

  it("is as wanted where the value is from the file, the command line or a session's own", () => {
    for (const source of ["configuration file", "command line", "database", "client"])
      expect(judge([parameter({ source })])).toEqual([]);
  });

  it("is not where the value waits for a restart or comes from elsewhere", () => {
    expect(
      judge([
        parameter({ pending_restart: true }),
        parameter({ source: "default", sourcefile: null }),
        parameter({ sourcefile: "/data/postgresql.auto.conf" }),
      ]),
    ).toMatchInlineSnapshot(`
      [
        "work_mem is 4MB until a restart: docker restart makes it what the settings say",
        "work_mem is 4MB, by PostgreSQL's default",
        "work_mem is 4MB, by /data/postgresql.auto.conf",
      ]
    `);
  });

  it("is told where it has changed", () => {
    expect(
      reportChanges(
        [parameter({}), parameter({ name: "port", value: "1" })],
        [
          parameter({ value: "5MB" }),
          parameter({ name: "port", value: "1" }),
          parameter({ name: "a.b", value: "x" }),
        ],
      ),
    ).toEqual(["work_mem: 4MB → 5MB", "a.b: not set → x"]);
  });
});

describe("a rotation", () => {
  it("gives the idle one of the pair a new password, and leaves the other one's alone", () => {
    expect(pairOf(1)).toEqual({ current: "appA", other: "appB" });
    expect(pairOf(2)).toEqual({ current: "appB", other: "appA" });
    expect([1, 2, 3, 4].map(generationOfPair)).toEqual([
      { appA: 1, appB: undefined },
      { appA: 1, appB: 2 },
      { appA: 3, appB: 2 },
      { appA: 3, appB: 4 },
    ]);
  });

  const all = (generation: number) =>
    Object.fromEntries(rotatedKeys.map((key) => [key, generation])) as Record<RotatedKey, number>;
  const first = new Date("2026-01-01T00:00:00.5Z");

  it("is remembered with its time", () => {
    const marks = markRotation(all(1), {}, first);
    expect(marks.app).toEqual({ generation: 1, since: "2026-01-01T00:00:00Z" });
    const later = markRotation({ ...all(1), app: 2 }, marks, new Date("2026-02-01T00:00:00Z"));
    expect(later.app).toEqual({ generation: 2, since: "2026-02-01T00:00:00Z" });
    expect(later.migrator).toEqual(marks.migrator);
  });

  it("is reminded of when a password is old, and when it was never finished", () => {
    const marks = {
      ...markRotation(all(1), {}, first),
      app: { generation: 2, since: "2026-03-01T00:00:00Z" },
    };
    const remind = (maxAge: number | undefined, date: string) =>
      remindersOf(marks, ["app"], maxAge, new Date(date), "production");
    expect(remind(undefined, "2026-03-02")).toEqual([]);
    expect(remind(60 * 24 * 3_600_000, "2026-03-09")).toMatchInlineSnapshot(`
      [
        "The password of migrator is 67 days old (passwordMaxAge). Rotate it: ./db rotate production --role migrator",
        "The password of readonly is 67 days old (passwordMaxAge). Rotate it: ./db rotate production --role readonly",
        "The password of monitor is 67 days old (passwordMaxAge). Rotate it: ./db rotate production --role monitor",
        "The password of backup is 67 days old (passwordMaxAge). Rotate it: ./db rotate production --role backup",
        "The password of superuser is 67 days old (passwordMaxAge). Rotate it: ./db rotate production --role superuser",
        "app was rotated 8 days ago, and what was there before is still taken. Finish it: ./db rotate production --role app --finish",
      ]
    `);
  });

  it("is told with the sessions that still use the login of before", () => {
    expect(formatSessions({ login: "shop_app_a", groups: [] })).toBe("No session uses shop_app_a.");
    const group = { application: "web", address: "172.18.0.3", count: 2, newest: "2026-01-01T00:00:00Z" };
    expect(formatSessions({ login: "shop_app_a", groups: [group] })).toMatchInlineSnapshot(`
      "2 sessions use shop_app_a:
        2 of web from 172.18.0.3, the newest since 2026-01-01T00:00:00Z"
    `);
  });
});

describe("what the server logs", () => {
  const logged = (values: Record<string, string>) =>
    Object.fromEntries(
      Object.entries(serverParameters(settings(values))).filter(([name]) =>
        /^(log_|pgaudit|shared_preload)/.test(name),
      ),
    );

  it("is useful in production, and little in development, with no values that a client binds", () => {
    expect(logged({ profile: "production" })).toEqual({
      log_connections: "off",
      log_disconnections: "off",
      log_line_prefix: "%m [%p] %q%u@%d %a %h ",
      log_lock_waits: "on",
      log_min_duration_statement: "1s",
      log_parameter_max_length: "0",
      log_parameter_max_length_on_error: "0",
      log_statement: "ddl",
      log_temp_files: "10MB",
    });
    expect(logged({ profile: "development" })).toEqual({
      log_parameter_max_length: "0",
      log_parameter_max_length_on_error: "0",
      log_statement: "none",
    });
  });

  it("follows the setting, and the server's own settings win over it", () => {
    const logging = '{"ddl": false, "slowStatements": false, "connections": true, "audit": ["ddl", "role"]}';
    const serverSettings = '{"shared_preload_libraries": "pg_stat_statements", "log_temp_files": "1MB"}';
    const parameters = logged({ profile: "production", logging, serverSettings });
    expect(parameters).toMatchObject({
      log_statement: "none",
      log_connections: "on",
      log_temp_files: "1MB",
      "pgaudit.log": "ddl, role",
      shared_preload_libraries: "pg_stat_statements,pgaudit",
    });
    expect(parameters).not.toHaveProperty("log_min_duration_statement");
  });
});

describe("settings of rotation that mean nothing", () => {
  const mistakes = (values: Record<string, string>, secret: string[] = []) => {
    const result = parseSettings(
      Object.fromEntries(
        Object.entries(values).map(([key, text]) => [key, { text, secret: secret.includes(key) }]),
      ),
      pulumi.secret,
    );
    return "mistakes" in result ? result.mistakes : [];
  };

  it("are refused with the way out", () => {
    expect([
      ...mistakes({ profile: "development", rotation: '{"app": 2}', restartWindow: "02:00-04:00" }),
      ...mistakes({ profile: "production", rotationOverlap: '["app"]' }),
      ...mistakes({ profile: "production", superuserPassword: "long enough", rotation: '{"superuser": 2}' }, [
        "superuserPassword",
      ]),
      ...mistakes({ profile: "production", rotation: '{"app": 0}' }),
      ...mistakes({ profile: "production", certificateValidity: "1h" }),
    ]).toMatchInlineSnapshot(`
      [
        "restartWindow: has no effect with profile development, whose container is made anew for any change. Fix: pulumi config rm restartWindow",
        "rotation: has no effect with profile development, which serves no TLS and gets new passwords by destroy and up. Fix: pulumi config rm rotation",
        "rotationOverlap: has app, which was never rotated: there is nothing from before. Fix: pulumi config rm rotationOverlap",
        "rotation: superuser has no effect beside superuserPassword, which is the superuser's password. Fix: pulumi config rm --path rotation.superuser, and set another superuserPassword instead",
        "rotation: got "{\\"app\\": 0}", expected a map from app, migrator, readonly, monitor, backup, superuser, authority to whole numbers from 1. Fix: correct it in the stack's file, for example rotation: {app: 2}",
        "certificateValidity: got "1h", expected at least three hours: a time with its unit (s, min, h, d), such as 12h or 7d. Fix: pulumi config set certificateValidity 90d",
      ]
    `);
  });

  it("are taken where they mean something", () => {
    expect(mistakes({ profile: "production", rotation: '{"app": 2}', rotationOverlap: '["app"]' })).toEqual(
      [],
    );
    expect(mistakes({ profile: "development", rotation: "{}", rotationOverlap: "[]" })).toEqual([]);
  });
});
