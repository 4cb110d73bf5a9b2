import { fileURLToPath } from "node:url";
import bcrypt from "bcrypt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Properties, Secret, UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { makePassword } from "../../../airgap/plugins/random/password.ts";
import { PluginClient } from "../common/client.ts";

const main = fileURLToPath(new URL("../../../airgap/plugins/random/index.ts", import.meta.url));

let client: PluginClient;
beforeAll(async () => {
  client = await PluginClient.start(main);
});
afterAll(() => client.stop());

function secretText(value: Properties[string] | undefined): string {
  if (!(value instanceof Secret) || typeof value.value !== "string") throw new Error("not a secret string");
  return value.value;
}

describe("RandomPassword", () => {
  const token = "random:index/randomPassword:RandomPassword";
  const state = {
    length: 16,
    special: true,
    upper: true,
    lower: true,
    number: true,
    numeric: true,
    minNumeric: 0,
    minUpper: 0,
    minLower: 0,
    minSpecial: 0,
    result: "abcdefghijklmnop",
    bcryptHash: "$2a$10$hash",
    id: "none",
  };

  test("inputs stay as the program gives them, without defaults", async () => {
    const { inputs, failures } = await client.check(token, { length: 16, special: false });
    expect(failures).toEqual([]);
    expect(inputs).toEqual({ length: 16, special: false });
  });

  test("the state has all defaults, a secret result and its hash", async () => {
    const { id, outputs } = await client.create(token, { length: 20, keepers: { a: "b" } });
    const { result, bcryptHash, ...rest } = outputs;
    expect(id).toBe("none");
    expect(rest).toEqual({
      __meta: '{"schema_version":"3"}',
      id: "none",
      keepers: { a: "b" },
      length: 20,
      special: true,
      upper: true,
      lower: true,
      number: true,
      numeric: true,
      minNumeric: 0,
      minUpper: 0,
      minLower: 0,
      minSpecial: 0,
    });
    expect(secretText(result)).toHaveLength(20);
    expect(secretText(bcryptHash)).toMatch(/^\$2a\$10\$/);
    expect(await bcrypt.compare(secretText(result), secretText(bcryptHash))).toBe(true);
  });

  test("a password has the characters that it may have and as many of a class as it must", () => {
    for (let count = 0; count < 100; count++) {
      const result = makePassword({
        length: 12,
        lower: false,
        minUpper: 2,
        minNumeric: 3,
        minSpecial: 4,
        overrideSpecial: "_é",
      });
      expect(result).toMatch(/^[A-Z0-9_é]{12}$/);
      expect(result.match(/[A-Z]/g)?.length).toBeGreaterThanOrEqual(2);
      expect(result.match(/[0-9]/g)?.length).toBeGreaterThanOrEqual(3);
      expect(result.match(/[_é]/g)?.length).toBeGreaterThanOrEqual(4);
    }
  });

  test("passwords differ, and a class does not keep its place", () => {
    const make = () => makePassword({ length: 8, minUpper: 1, upper: false });
    const made = Array.from({ length: 12 }, make);
    expect(new Set(made).size).toBe(12);
    expect(new Set(made.map((password) => password.search(/[A-Z]/))).size).toBeGreaterThan(1);
  });

  test.each([
    [{ special: true }, "Missing required property 'length'"],
    [
      { length: 0 },
      "Invalid Attribute Value. Attribute length value must be at least 1, got: 0. Examine values at 'test.length'.",
    ],
    [
      { length: 3, minLower: 2, minUpper: 2 },
      "Invalid Attribute Value. Attribute length value must be at least sum of min_upper + min_lower + " +
        "min_numeric + min_special, got: 3. Examine values at 'test.length'.",
    ],
    [
      { length: 3, lower: false, upper: false, special: false, numeric: false },
      "Invalid Attribute Combination. At least one attribute out of [special,upper,lower,numeric] must be " +
        "specified as true. Examine values at 'test.numeric'.",
    ],
    [
      { length: 3, number: false, numeric: true },
      "Number and numeric are both configured with different values. Number is deprecated, use numeric instead. " +
        "Examine values at 'test.number'.",
    ],
  ])("%o is refused", async (inputs: Properties, reason) => {
    expect((await client.check(token, inputs)).failures).toEqual([reason]);
  });

  test("nothing new is no change, whatever was left to its default", async () => {
    expect((await client.diff(token, state, { length: 16 })).changes).toBe(false);
    expect((await client.diff(token, state, { length: 16, numeric: true, minLower: 0 })).changes).toBe(false);
  });

  test.each([
    [{ length: 17 }, ["length"]],
    [{ length: UNKNOWN }, ["length"]],
    [{ length: 16, keepers: { a: "b" } }, ["keepers"]],
    [{ length: 16, numeric: false }, ["number", "numeric"]],
    [{ length: 16, special: false, overrideSpecial: "_" }, ["overrideSpecial", "special"]],
  ])("%o replaces the password", async (inputs: Properties, replaces) => {
    expect((await client.diff(token, state, inputs)).replaces).toEqual(replaces);
  });

  test("a preview shows what is known and hides nothing but the result", async () => {
    const { outputs } = await client.create(
      token,
      { length: 16, keepers: { a: UNKNOWN } },
      { preview: true },
    );
    const { result, bcryptHash, ...known } = state;
    expect(outputs).toEqual({
      ...known,
      id: UNKNOWN,
      keepers: { a: UNKNOWN },
      result: UNKNOWN,
      bcryptHash: UNKNOWN,
    });
  });

  test("a refresh gives the state back", async () => {
    const { id, outputs, inputs } = await client.read(token, "none", state, { length: 16 });
    expect(id).toBe("none");
    expect(outputs).toMatchObject({
      ...state,
      result: new Secret(state.result),
      bcryptHash: new Secret("$2a$10$hash"),
    });
    expect(inputs).toEqual({ length: 16 });
  });

  test("an import takes the password itself as id", async () => {
    const { id, outputs, inputs } = await client.read(token, "secretpassword");
    expect(id).toBe("none");
    expect(outputs).toMatchObject({ length: 14, result: new Secret("secretpassword"), minLower: 0 });
    expect(inputs).toEqual({
      length: 14,
      special: true,
      upper: true,
      lower: true,
      number: true,
      numeric: true,
    });
  });
});

describe("RandomId", () => {
  const token = "random:index/randomId:RandomId";

  test("one number in four notations, each with the prefix, and an id without it", async () => {
    const { id, outputs } = await client.create(token, { byteLength: 8, prefix: "lab-" });
    const bytes = Buffer.from(id, "base64url");
    expect(bytes).toHaveLength(8);
    expect(outputs).toEqual({
      id,
      byteLength: 8,
      prefix: "lab-",
      hex: `lab-${bytes.toString("hex")}`,
      dec: `lab-${bytes.readBigUInt64BE()}`,
      b64Std: `lab-${bytes.toString("base64")}`,
      b64Url: `lab-${id}`,
    });
  });

  test("a change of prefix, length or keepers replaces it", async () => {
    const { outputs } = await client.create(token, { byteLength: 4 });
    expect((await client.diff(token, outputs, { byteLength: 4 })).changes).toBe(false);
    const changed = { byteLength: 5, prefix: "x", keepers: { a: "b" } };
    expect((await client.diff(token, outputs, changed)).replaces).toEqual([
      "byteLength",
      "keepers",
      "prefix",
    ]);
  });

  test("an import takes base64url, after a prefix and a comma", async () => {
    const { id, outputs, inputs } = await client.read(token, "my-,TC26sA");
    expect(id).toBe("TC26sA");
    expect(outputs).toEqual({
      id: "TC26sA",
      byteLength: 4,
      prefix: "my-",
      hex: "my-4c2dbab0",
      dec: "my-1278065328",
      b64Std: "my-TC26sA==",
      b64Url: "my-TC26sA",
    });
    expect(inputs).toEqual({ byteLength: 4, prefix: "my-" });
    await expect(client.read(token, "TC26s*")).rejects.toThrow(
      "Import Random ID Error: 'TC26s*' is not base64url without padding",
    );
  });
});
