import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { environmentVariables, formatEnvironment } from "../../cli/env-file.ts";
import { connection, stackOutputs } from "./cli-outputs.ts";

const ca = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

describe("the variables of an environment", () => {
  test("without TLS they name no certificate", () => {
    expect(environmentVariables(stackOutputs(), { role: "app", from: "host", caFile: undefined })).toEqual({
      POSTGRES_USER: "shop_app_a",
      POSTGRES_PASSWORD: "shop_app_a-secret",
      POSTGRES_DB: "shop",
      DB_DRIVER: "postgres",
      DB_SOURCE: "postgresql://shop_app_a@127.0.0.1:49153/shop",
      DB_HOST: "127.0.0.1",
      DB_PORT: "49153",
      DB_SSLMODE: "disable",
    });
  });

  test("they follow the login and the place that are asked for", () => {
    const variables = environmentVariables(stackOutputs(), {
      role: "migrator",
      from: "network",
      caFile: undefined,
    });
    expect(variables).toMatchObject({
      POSTGRES_USER: "shop_migrator",
      DB_SOURCE: "postgresql://shop_migrator@postgres:5432/shop",
      DB_HOST: "postgres",
      DB_PORT: "5432",
    });
  });

  test("with TLS they carry the authority's certificate, and its file where there is one", () => {
    const outputs = stackOutputs({ tls: { mode: "require", ca } });
    const variables = environmentVariables(outputs, { role: "app", from: "host", caFile: "/x/ca.pem" });
    expect(variables).toMatchObject({ DB_SSLMODE: "require", DB_SSLROOTCERT: "/x/ca.pem" });
    expect(Buffer.from(variables.DB_SSLROOTCERT_BASE64 ?? "", "base64").toString()).toBe(ca);
    expect(
      environmentVariables(outputs, { role: "app", from: "network", caFile: undefined }),
    ).not.toHaveProperty("DB_SSLROOTCERT");
  });
});

const hostile = {
  QUOTES: `a'b"c`,
  // biome-ignore lint/suspicious/noTemplateCurlyInString: what a shell would expand
  EXPANSIONS: "$HOME ${HOME} `id` $(id) \\n %s",
  HASH: "#not a comment",
  SPACES: "  two before, two after  ",
  UNICODE: "päss wörd – ключ",
  EQUALS: "a=b=c",
  EMPTY: "",
};

describe("format docker", () => {
  test("writes every value as it stands, since docker takes everything after the first = sign", () => {
    expect(formatEnvironment(hostile, "docker")).toBe(
      Object.entries(hostile)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(""),
    );
  });

  test.each([
    ["a line feed", "a\nB=c"],
    ["a carriage return", "a\r"],
    ["a NUL", "a\0b"],
  ])("refuses a value with %s, and does not show the value", (_, value) => {
    expect(() =>
      formatEnvironment({ POSTGRES_PASSWORD: value }, "docker"),
    ).toThrowErrorMatchingInlineSnapshot(
      "[UserError: POSTGRES_PASSWORD contains a line break, which a Docker env file cannot hold.]",
    );
  });
});

describe("format sh", () => {
  test("is read back by a shell as it was, line breaks included", () => {
    const values = { ...hostile, LINES: "one\ntwo\n\nfour" };
    const script = `${formatEnvironment(values, "sh")}\nfor name; do eval "printf '%s\\0' \\"\\$$name\\""; done`;
    const printed = execFileSync("sh", ["-c", script, "sh", ...Object.keys(values)]).toString();
    expect(printed.split("\0").slice(0, -1)).toEqual(Object.values(values));
  });

  test("refuses a NUL, which no variable can hold", () => {
    expect(() => formatEnvironment({ DB_SOURCE: "a\0b" }, "sh")).toThrow(
      "DB_SOURCE contains a NUL character",
    );
  });
});

test("format json is read back as it was", () => {
  const values = { ...hostile, LINES: "one\r\ntwo" };
  expect(JSON.parse(formatEnvironment(values, "json"))).toEqual(values);
});

test("an odd password reaches the file as it is", () => {
  const outputs = stackOutputs();
  const app = connection("o'neil", { password: "p:a\\s's $w" });
  const variables = environmentVariables(
    { ...outputs, connections: { ...outputs.connections, app } },
    { role: "app", from: "host", caFile: undefined },
  );
  expect(formatEnvironment(variables, "docker")).toContain("\nPOSTGRES_PASSWORD=p:a\\s's $w\n");
});
