import { mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { homedir, hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseDeployment } from "../../cli/deployment.ts";
import { passphraseVariables, usesPassphrase } from "../../cli/passphrase.ts";
import { projectRoot } from "../../cli/project.ts";
import { pulumiError } from "../../cli/pulumi.ts";
import { awaitStackLock, parseStackLock, readStackLocks } from "../../cli/stack-lock.ts";
import { parseStackOutputs } from "../../cli/stack-outputs.ts";
import { stateBackend } from "../../cli/state-backend.ts";
import { stackOutputs } from "./cli-outputs.ts";

describe("the state's place", () => {
  const file = "name: shop-db\nbackend:\n  # no account\n  url: file://./.pulumi-state\nruntime: nodejs\n";

  test("is Pulumi.yaml's folder, relative to the project", () => {
    expect(stateBackend(file, {})).toEqual({
      url: "file://./.pulumi-state",
      folder: join(projectRoot, ".pulumi-state"),
      project: "shop-db",
    });
  });

  test.each([
    ["file:///srv/state", "/srv/state"],
    ["file:///srv/my%20state?metadata=skip", "/srv/my state"],
    ["file://~/state", join(homedir(), "state")],
    ["file://~", homedir()],
    ["s3://bucket", undefined],
    ["https://api.pulumi.com", undefined],
  ])("is what PULUMI_BACKEND_URL says where that is set: %s", (url, folder) => {
    expect(stateBackend(file, { PULUMI_BACKEND_URL: url })).toMatchObject({ url, folder });
  });

  test("is unknown where neither names one", () => {
    expect(stateBackend("name: x\ndescription: 'url: y'\n", {})).toEqual({
      url: "",
      folder: undefined,
      project: "x",
    });
  });
});

describe("the passphrase", () => {
  const salted = "encryptionsalt: v1:x:v1:y:z\nconfig:\n  a:b: c\n";
  const backendUrl = "file://./.pulumi-state";

  test("is the empty one for development, whatever another stack's is", () => {
    const use = { stack: "development", stackFile: salted, backendUrl };
    expect(passphraseVariables(use, { PULUMI_CONFIG_PASSPHRASE: "production's" })).toEqual({
      PULUMI_CONFIG_PASSPHRASE: "",
      PULUMI_CONFIG_PASSPHRASE_FILE: "",
    });
  });

  test.each(["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])(
    "of another stack is taken from %s as it is",
    (name) =>
      expect(
        passphraseVariables({ stack: "production", stackFile: salted, backendUrl }, { [name]: "x" }),
      ).toEqual({}),
  );

  test.each([[{}], [{ PULUMI_CONFIG_PASSPHRASE: "" }]])(
    "of another stack is never empty: %j",
    (environment) => {
      expect(() =>
        passphraseVariables({ stack: "production", stackFile: salted, backendUrl }, environment),
      ).toThrow("stack production needs its passphrase");
    },
  );

  test.each([
    ["a new stack in a file backend", undefined, backendUrl, true],
    ["a new stack in a bucket", "config: {}\n", "s3://bucket", true],
    ["a stack that was made with one, wherever its state is", salted, "https://api.example.com", true],
    ["a stack whose file says so in so many words", "secretsprovider: passphrase\n", "", true],
    ["a stack of Pulumi Cloud", "config: {}\n", "https://api.example.com", false],
    ["a stack with a key service", "secretsprovider: awskms://alias/x\nencryptedkey: y\n", backendUrl, false],
  ])("%s: %#", (_, stackFile, url, isNeeded) => {
    expect(usesPassphrase({ stack: "production", stackFile, backendUrl: url })).toBe(isNeeded);
  });
});

describe("a stack's locks", () => {
  const lock = (pid: number, machine = hostname()) =>
    JSON.stringify({ pid, username: "me", hostname: machine, timestamp: "2026-01-01T00:00:00Z" });

  async function backend(files: Record<string, string>): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "state-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const locks = join(folder, ".pulumi", "locks", "organization", "project", "development");
    await mkdir(locks, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(locks, name), text);
    return folder;
  }

  test("are read as Pulumi writes them", () => {
    expect(parseStackLock(lock(7))).toMatchObject({ pid: 7, username: "me", hostname: hostname() });
    expect(parseStackLock('{"pid": 7, "user')).toBeUndefined();
    expect(parseStackLock('{"pid": "seven"}')).toBeUndefined();
  });

  test("none are found in a backend that has no folder for them", async () => {
    expect(await readStackLocks("/nonexistent", "project", "development")).toEqual({
      held: [],
      dead: 0,
      begun: 0,
    });
  });

  test("of processes that are gone, that are no Pulumi any more, or that are cut off are dead", async () => {
    // The highest number that Linux gives out is far below this one; 1 lives, and is no Pulumi.
    const folder = await backend({
      "a.json": lock(2 ** 30),
      "b.json": lock(1),
      "c.json": '{"pid"',
      "c.json.attrs": "{}",
    });
    expect(await readStackLocks(folder, "project", "development")).toEqual({ held: [], dead: 3, begun: 0 });
    expect(await awaitStackLock(folder, "project", "development", () => {})).toBe(true);
  });

  test("that were being written when Pulumi was killed are dead too, those being written now are waited for", async () => {
    const folder = await backend({ "a.json.18f.tmp": "", "a.json.attrs": "" });
    const file = join(folder, ".pulumi", "locks", "organization", "project", "development", "a.json.18f.tmp");
    expect(await readStackLocks(folder, "project", "development")).toEqual({ held: [], dead: 0, begun: 1 });
    const waiting = awaitStackLock(folder, "project", "development", () => {});
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(file, longAgo, longAgo);
    expect(await waiting).toBe(true);
    await rm(file);
    expect(await awaitStackLock(folder, "project", "development", () => {})).toBe(false);
  });

  test("of another machine count as held, and are never waited for", async () => {
    const folder = await backend({ "a.json": lock(1, "elsewhere") });
    await expect(
      awaitStackLock(folder, "project", "development", () => {}),
    ).rejects.toThrowErrorMatchingInlineSnapshot(
      "[UserError: process 1 of me@elsewhere has been working on stack development since 2026-01-01T00:00:00Z.]",
    );
  });
});

describe("a stack's exported state", () => {
  const urn = (name: string) => `urn:pulumi:development::p::t::${name}`;

  test("tells containers, lifetime and what was being created when Pulumi was killed", () => {
    const state = {
      version: 3,
      deployment: {
        resources: [
          { urn: urn("stack"), type: "pulumi:pulumi:Stack", outputs: { lifetime: "ephemeral" } },
          { urn: urn("net"), type: "docker:index/network:Network", id: "n1" },
          {
            urn: urn("db"),
            type: "docker:index/container:Container",
            id: "c1",
            outputs: { name: "shop-db" },
          },
        ],
        pending_operations: [
          { type: "creating", resource: { urn: urn("volume"), type: "docker:index/volume:Volume" } },
          { type: "updating", resource: { urn: urn("db"), type: "docker:index/container:Container" } },
        ],
      },
    };
    expect(parseDeployment(JSON.stringify(state))).toEqual({
      resources: 3,
      ids: new Set(["n1", "c1"]),
      containers: [{ id: "c1", name: "shop-db" }],
      lifetime: "ephemeral",
      interruptedCreates: ["volume"],
      interruptedInServer: false,
    });
  });

  test("tells whether something in the server was being created", () => {
    const role = { urn: urn("owner"), type: "postgresql:index/role:Role" };
    const json = JSON.stringify({
      deployment: { pending_operations: [{ type: "creating", resource: role }] },
    });
    expect(parseDeployment(json)).toMatchObject({
      interruptedCreates: ["owner"],
      interruptedInServer: true,
    });
  });

  test.each(['{"version":3,"deployment":{"manifest":{}}}', '{"version":3,"deployment":null}'])(
    "of a stack that was never up is empty: %s",
    (json) =>
      expect(parseDeployment(json)).toMatchObject({ resources: 0, containers: [], lifetime: undefined }),
  );
});

describe("a stack's outputs", () => {
  test("are taken over whole", () => {
    const outputs = stackOutputs({ tls: { mode: "require", ca: "PEM" }, volumeName: "v" });
    expect(parseStackOutputs(JSON.stringify({ ...outputs, DB_SOURCE: "x" }), "production")).toEqual(outputs);
  });

  test("without a volume and an authority are null or left out", () => {
    const { volumeName: _, ...outputs } = stackOutputs();
    expect(
      parseStackOutputs(JSON.stringify({ ...outputs, tls: { mode: "disable", ca: null } }), "x"),
    ).toEqual(stackOutputs());
  });

  test("that are missing say what to do", () => {
    expect(() => parseStackOutputs("{}", "production")).toThrowErrorMatchingInlineSnapshot(
      "[UserError: stack production has no outputs: it was never brought up, or was destroyed.]",
    );
  });

  test("of another shape are named, without their values", () => {
    const broken = JSON.stringify({ ...stackOutputs(), connections: { app: { password: "hunter2" } } });
    let message = "";
    try {
      parseStackOutputs(broken, "production");
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain("connections.app.username");
    expect(message).not.toContain("hunter2");
  });
});

test.each([
  ["error: no stack named 'x' found", "there is no stack x."],
  ["error: getting secrets manager: incorrect passphrase", "the passphrase does not open stack x."],
  [
    "error: failed to load checkpoint: EOF",
    "the state of stack x can't be read: failed to load checkpoint: EOF",
  ],
  ["error: something else", "pulumi failed on stack x: something else"],
])("Pulumi's «%s» is told as «%s»", (stderr, message) => {
  expect(pulumiError("x", stderr).message).toBe(message);
});
