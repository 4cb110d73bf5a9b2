import { describe, expect, it } from "vitest";
import { compareSameStack, compareSeparateStacks, formatComparison } from "../../airgap/parity/compare.ts";
import { readState } from "../../airgap/parity/state.ts";

const secret = (value: unknown) => ({
  "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
  plaintext: JSON.stringify(value),
});
const password = "random:index/randomPassword:RandomPassword";
const role = "postgresql:index/role:Role";
const container = "docker:index/container:Container";

type Raw = { type: string; urn?: string; [key: string]: unknown };

function state(...resources: Raw[]) {
  return readState(
    JSON.stringify({
      version: 3,
      deployment: {
        resources: resources.map((resource) => ({
          urn: `urn:pulumi:s::p::${resource.type}::it`,
          ...resource,
        })),
      },
    }),
  );
}

function differences(left: Raw[], right: Raw[], compare = compareSeparateStacks) {
  return compare(state(...left), state(...right)).differences.map(({ path, left, right }) => [
    path,
    left,
    right,
  ]);
}

describe("comparing states", () => {
  it("finds no difference between equal states", () => {
    const one = [{ type: role, id: "app", inputs: { name: "app" }, outputs: { name: "app", login: true } }];
    expect(differences(one, one)).toEqual([]);
  });

  it("names each differing property by its path", () => {
    expect(
      differences(
        [{ type: role, inputs: { name: "a" }, outputs: { name: "a", "odd.key": { list: [1, 2] } } }],
        [{ type: role, inputs: { name: "b" }, outputs: { name: "a", "odd.key": { list: [1, 3] } } }],
      ),
    ).toEqual([
      ["inputs.name", '"a"', '"b"'],
      ['outputs["odd.key"].list[1]', "2", "3"],
    ]);
  });

  it("tells a resource that only one state has", () => {
    expect(differences([{ type: role }], [{ type: role }, { type: password }])).toEqual([
      ["", undefined, "a resource"],
    ]);
    expect(differences([{ type: role }], [])).toEqual([["", "a resource", undefined]]);
  });

  it("tells a replaced resource that waits for its deletion", () => {
    expect(differences([{ type: role }], [{ type: role }, { type: role, delete: true }])).toEqual([
      ["", undefined, "a resource"],
    ]);
  });

  it("tells a property that only one state has", () => {
    expect(differences([{ type: role, protect: true }], [{ type: role }])).toEqual([
      ["protect", "true", undefined],
    ]);
  });

  it("tells a value that is secret on one side only", () => {
    expect(
      differences(
        [{ type: role, outputs: { password: secret("hunter22") } }],
        [{ type: role, outputs: { password: "hunter22" } }],
      ),
    ).toEqual([["outputs.password(secret)", "true", undefined]]);
  });

  it("tells that secrets differ without showing them", () => {
    const comparison = compareSeparateStacks(
      state({ type: role, outputs: { env: secret({ A: "hunter22" }) } }),
      state({ type: role, outputs: { env: secret({ A: "hunter33" }) } }),
    );
    expect(formatComparison(comparison, "one", "two")).toEqual([
      `urn:pulumi:s::p::${role}::it`,
      "  outputs.env.A: one [secret], two [secret]",
    ]);
  });

  it("refuses an export whose secrets are encrypted", () => {
    const encrypted = {
      "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
      ciphertext: "v1:x",
    };
    expect(() => state({ type: role, outputs: { password: encrypted } })).toThrowErrorMatchingInlineSnapshot(
      `[Error: the state has encrypted values: export it with --show-secrets]`,
    );
  });

  it("cuts long values short", () => {
    const [found] = differences(
      [{ type: role, outputs: { name: "x".repeat(1000) } }],
      [{ type: role, outputs: { name: "y" } }],
    );
    expect(found?.[1]).toMatch(/^"x{199}… \(1002 characters\)$/);
  });
});

describe("what may differ", () => {
  it("is the time of a change, and is counted", () => {
    const comparison = compareSameStack(
      state({ type: role, modified: "2026-01-01T00:00:00Z" }),
      state({ type: role, modified: "2026-01-02T00:00:00Z" }),
    );
    expect(formatComparison(comparison, "before", "after")).toEqual([
      "ignored 1 × any resource modified: time",
    ]);
  });

  it("is a generated password, wherever it turns up, in the form it has there", () => {
    const made = (value: string, host = "db") => [
      { type: password, outputs: { result: secret(value) } },
      {
        type: role,
        inputs: { password: secret(value), url: `postgres://a:${encodeURIComponent(value)}@${host}/a` },
      },
    ];
    expect(differences(made("first#pass"), made("other#word"))).toEqual([]);
    expect(differences(made("first#pass"), made("other#word", "elsewhere"))).toEqual([
      ["inputs.url", '"postgres://a:first%23pass@db/a"', '"postgres://a:other%23word@elsewhere/a"'],
    ]);
  });

  it("is no password that is not the generated one", () => {
    const made = (value: string, used: string) => [
      { type: password, outputs: { result: secret(value) } },
      { type: "pulumi:providers:postgresql", inputs: { password: secret(used) } },
    ];
    expect(
      differences(made("first-password", "first-password"), made("other-password", "first-password")),
    ).toEqual([["inputs.password", "[secret]", "[secret]"]]);
  });

  it("is what a role has in its password's place, which has another salt in each stack", () => {
    const made = (verifier: string) => [{ type: role, inputs: { password: secret(verifier) } }];
    expect(differences(made("SCRAM-SHA-256$4096:one"), made("SCRAM-SHA-256$4096:other"))).toEqual([]);
  });

  it("is each of several verifiers, wherever it turns up, but not another role's", () => {
    const made = (salt: string, used: string) => [
      {
        type: "command:local:Command",
        inputs: {
          environment: {
            PASSWORD_VERIFIERS: secret(JSON.stringify({ a: `SCRAM-a-${salt}`, b: `SCRAM-b-${salt}` })),
          },
        },
      },
      {
        type: container,
        inputs: { command: [secret(JSON.stringify({ passwords: { a: `SCRAM-${used}-${salt}` } }))] },
      },
    ];
    expect(differences(made("one", "a"), made("other", "a"))).toEqual([]);
    expect(differences(made("one", "a"), made("other", "b"))).toEqual([
      ["inputs.command[0]", "[secret]", "[secret]"],
    ]);
  });

  it("is the end of a certificate, in seconds too", () => {
    const made = (end: string, seconds: number) => [
      { type: "tls:index/locallySignedCert:LocallySignedCert", outputs: { validityEndTime: end } },
      { type: container, inputs: { command: [`SELECT ${seconds}::float8`] } },
    ];
    const one = made("2027-01-01T00:00:00.891346579Z", 1798761600);
    expect(differences(one, made("2027-01-01T00:01:00.223Z", 1798761660))).toEqual([]);
    expect(differences(one, made("2027-01-01T00:01:00.223Z", 1798761600))).toEqual([
      ["inputs.command[0]", '"SELECT 1798761600::float8"', '"SELECT 1798761600::float8"'],
    ]);
  });

  it("is no generated value that one state lacks", () => {
    expect(
      differences(
        [{ type: password, outputs: { result: "long-enough", bcryptHash: "$2a$10$abc" } }],
        [{ type: password, outputs: { result: "as-long-as-that" } }],
      ),
    ).toEqual([["outputs.bcryptHash", '"$2a$10$abc"', undefined]]);
  });

  it("is a port chosen by Docker, but none that the program names", () => {
    const chosen = (port: number) => [
      { type: container, inputs: { ports: [{ internal: 5432 }] }, outputs: { ports: [{ external: port }] } },
      { type: role, inputs: { url: `postgres://127.0.0.1:${port}/app` } },
    ];
    expect(differences(chosen(32768), chosen(49153))).toEqual([]);
    const named = (port: number) => [
      { type: container, inputs: { ports: [{ external: 5432 }] }, outputs: { ports: [{ external: port }] } },
    ];
    expect(differences(named(5432), named(5433))).toEqual([["outputs.ports[0].external", "5432", "5433"]]);
  });

  it("is not a longer number that has a port in it", () => {
    const made = (port: number, other: number) => [
      { type: container, outputs: { ports: [{ external: port }] } },
      { type: role, inputs: { other } },
    ];
    expect(differences(made(32768, 1327680), made(49153, 1491530))).toEqual([
      ["inputs.other", "1327680", "1491530"],
    ]);
  });

  it("is the order of a set, but not of a list", () => {
    const made = (envs: unknown[], command: string[]) => [{ type: container, outputs: { envs, command } }];
    expect(differences(made(["A=1", "B=2"], ["x"]), made(["B=2", "A=1"], ["x"]))).toEqual([]);
    expect(differences(made(["A=1"], ["x", "y"]), made(["A=1"], ["y", "x"]))).toEqual([
      ["outputs.command[0]", '"x"', '"y"'],
      ["outputs.command[1]", '"y"', '"x"'],
    ]);
  });

  it("is the order of a set whose items have generated values", () => {
    const made = (key: string, order: (items: object[]) => object[]) => [
      { type: "tls:index/privateKey:PrivateKey", outputs: { privateKeyPem: secret(key) } },
      {
        type: container,
        outputs: {
          uploads: order([
            { content: secret(key), file: "/key" },
            { content: secret("mmm"), file: "/m" },
          ]),
        },
      },
    ];
    expect(
      differences(
        made("aaaaaaaa", (items) => items),
        made("zzzzzzzz", (items) => items.reverse()),
      ),
    ).toEqual([]);
  });

  it("is nothing, null, an empty list and a zero value for one another, but no value", () => {
    expect(
      differences(
        [{ type: role, outputs: { roles: null, login: false, limit: 0 } }],
        [{ type: role, outputs: { roles: [], limit: -1 } }],
      ),
    ).toEqual([["outputs.limit", "0", "-1"]]);
  });

  it("is what only the genuine plugins' framework keeps", () => {
    expect(
      differences(
        [{ type: role, outputs: { name: "a", __pulumi_raw_state_delta: { obj: { ps: { x: secret(1) } } } } }],
        [{ type: role, outputs: { name: "a" } }],
        compareSameStack,
      ),
    ).toEqual([]);
  });

  it("is not such a record that both states have", () => {
    const made = (delta: string) => [
      { type: role, outputs: { name: "a", __pulumi_raw_state_delta: { x: delta } } },
    ];
    expect(differences(made("map"), made("set"))).toEqual([
      ["outputs.__pulumi_raw_state_delta.x", '"map"', '"set"'],
    ]);
  });

  it("is no generated value in one and the same stack", () => {
    expect(
      differences(
        [{ type: password, outputs: { result: "first-password" } }],
        [{ type: password, outputs: { result: "other-password" } }],
        compareSameStack,
      ),
    ).toEqual([["outputs.result", '"first-password"', '"other-password"']]);
  });
});
