import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { connectReport, formatConnectReport, psqlLine, shellWord } from "../../cli/connect.ts";
import { formatPasswordFile } from "../../cli/password-file.ts";
import { connection, stackOutputs } from "./cli-outputs.ts";

describe("what start prints", () => {
  const psql = "PGPASSFILE=.environments/development.pgpass psql URL";

  test("tells how to connect, without passwords", () => {
    const report = connectReport("development", stackOutputs(), { psql, showPasswords: false });
    expect(formatConnectReport(report)).toMatchInlineSnapshot(`
      "
      Connect:
        PGPASSFILE=.environments/development.pgpass psql URL

      Host      127.0.0.1
      Port      49153
      Database  shop
      Users
        shop_app_a     application
        shop_migrator  migrations
        shop_reader    reports and other readers
        shop_monitor   statistics, no rows
        postgres       PostgreSQL's superuser, in database postgres

      Passwords: ./db env development writes a file for an application; --show-passwords prints them here.
      "
    `);
    expect(JSON.stringify(report)).not.toContain("secret");
  });

  test("shows passwords when asked to", () => {
    const report = connectReport("development", stackOutputs(), { psql, showPasswords: true });
    const text = formatConnectReport(report);
    expect(text).toContain("  shop_app_a     shop_app_a-secret  application\n");
    expect(text).not.toContain("--show-passwords");
  });
});

describe("the psql line", () => {
  test("holds no password and needs no quotes beyond the address", () => {
    const line = psqlLine(stackOutputs(), {
      passwordFile: ".environments/development.pgpass",
      caFile: undefined,
    });
    expect(line).toMatchInlineSnapshot(
      `"PGPASSFILE=.environments/development.pgpass psql 'postgresql://shop_app_a@127.0.0.1:49153/shop?sslmode=disable'"`,
    );
  });

  test("with TLS makes the server prove who it is", () => {
    const line = psqlLine(stackOutputs({ tls: { mode: "require", ca: "PEM" } }), {
      passwordFile: "/my files/x.pgpass",
      caFile: "/my files/ca.pem",
    });
    expect(line).toMatchInlineSnapshot(
      `"PGPASSFILE='/my files/x.pgpass' psql 'postgresql://shop_app_a@127.0.0.1:49153/shop?sslmode=verify-full&sslrootcert=%2Fmy%20files%2Fca.pem'"`,
    );
  });

  test("survives names that mean something to a shell or in an address", () => {
    const outputs = stackOutputs();
    const app = connection("o'neil @$x", { database: "a/b?c#d" });
    const line = psqlLine(
      { ...outputs, connections: { ...outputs.connections, app } },
      { passwordFile: "p", caFile: undefined },
    );
    const [word] = execFileSync("sh", ["-c", `psql() { printf '%s\\n' "$@"; }; ${line}`])
      .toString()
      .split("\n");
    const url = new URL(word ?? "");
    expect(decodeURIComponent(url.username)).toBe("o'neil @$x");
    expect(decodeURIComponent(url.pathname)).toBe("/a/b?c#d");
    expect(url.password).toBe("");
  });
});

test.each(["plain", "", "two words", "it's", '$(id) `id` \\ "', "a\nb", "*", "~", "--x=ä"])(
  "shellWord(%j) is one word for a shell, unchanged",
  (word) => {
    expect(execFileSync("sh", ["-c", `printf '%s' ${shellWord(word)}`]).toString()).toBe(word);
  },
);

describe("the password file", () => {
  test("has a line for each login", () => {
    expect(formatPasswordFile(Object.values(stackOutputs().connections))).toMatchInlineSnapshot(`
      "127.0.0.1:49153:shop:shop_app_a:shop_app_a-secret
      127.0.0.1:49153:shop:shop_migrator:shop_migrator-secret
      127.0.0.1:49153:shop:shop_reader:shop_reader-secret
      127.0.0.1:49153:shop:shop_monitor:shop_monitor-secret
      127.0.0.1:49153:postgres:postgres:postgres-secret
      "
    `);
  });

  test("escapes colons and backslashes, the two characters that libpq treats specially", () => {
    const odd = connection("a:b", { password: "x\\y:z", host: { host: "::1", port: 5432, source: "" } });
    expect(formatPasswordFile([odd])).toBe("\\:\\:1:5432:shop:a\\:b:x\\\\y\\:z\n");
  });

  test("refuses a line break", () => {
    expect(() =>
      formatPasswordFile([connection("app", { password: "a\nb" })]),
    ).toThrowErrorMatchingInlineSnapshot(
      "[UserError: the connection of app has a line break, which a password file cannot hold.]",
    );
  });
});
