import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Properties, Secret, UNKNOWN } from "../../../airgap/plugins/common/values.ts";
import { PluginClient } from "../common/client.ts";

const main = fileURLToPath(new URL("../../../airgap/plugins/command/index.ts", import.meta.url));
const token = "command:local:Command";
const state = { create: "echo a", stdout: "a", stderr: "e" };

let client: PluginClient;
let folder: string;
beforeAll(async () => {
  client = await PluginClient.start(main);
  folder = mkdtempSync(join(tmpdir(), "command-test-"));
});
beforeEach(() => {
  client.logs.length = 0;
});
afterAll(() => {
  client.stop();
  rmSync(folder, { recursive: true });
});

const create = async (inputs: Properties, timeoutSeconds = 0) =>
  (await client.create(token, inputs, { timeoutSeconds })).outputs;
const lines = () => client.logs.map((line) => line.message);
const isRunning = (pid: string) =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");

test("create runs the command by a shell, and keeps each output without its last line end", async () => {
  const { id, outputs } = await client.create(token, {
    create: "echo out; echo err >&2; printf 'more\\n\\n'; echo $0",
    triggers: [1, "a", { b: true }],
  });
  expect(id).toMatch(/^test[0-9a-f]{8}$/);
  expect(outputs).toEqual({
    create: "echo out; echo err >&2; printf 'more\\n\\n'; echo $0",
    triggers: [1, "a", { b: true }],
    stdout: "out\nmore\n\n/bin/sh",
    stderr: "err",
  });
});

test("a command gets its environment, input, directory and interpreter", async () => {
  const outputs = await create({
    create: "process.stdin.pipe(process.stdout); console.error(process.env.A, process.cwd())",
    interpreter: [process.execPath, "-e"],
    environment: { A: "ü $HOME" },
    stdin: "in\nput",
    dir: folder,
  });
  expect(outputs.stdout).toBe("in\nput");
  expect(outputs.stderr).toBe(`ü $HOME ${folder}`);
});

test("a command without input gets none, and one that does not read it is not disturbed", async () => {
  expect((await create({ create: "cat" })).stdout).toBe("");
  expect((await create({ create: "echo done", stdin: "x".repeat(1_000_000) })).stdout).toBe("done");
});

test("without a command nothing runs and the output is empty", async () => {
  expect(await create({ delete: "true" })).toEqual({ delete: "true", stdout: "", stderr: "" });
});

test("inputs keep their secret marks in the outputs", async () => {
  const inputs = {
    create: "echo $TOKEN | wc -c",
    environment: { TOKEN: new Secret("abc"), OTHER: "x" },
    triggers: [new Secret("t"), 1],
    stdin: new Secret("in"),
  };
  expect((await client.check(token, inputs)).inputs).toEqual(inputs);
  expect(await create(inputs)).toEqual({ ...inputs, stdout: expect.stringMatching(/4$/), stderr: "" });
});

test("a property that the stand-in lacks is refused by name", async () => {
  const { failures } = await client.check(token, { create: "true", assetPaths: ["*"] });
  expect(failures).toEqual([
    expect.stringContaining("does not know property 'assetPaths' of command:local:Command"),
  ]);
});

test("lines of output are shown while the command runs, as passing messages", async () => {
  const gate = join(folder, "gate");
  const running = create({
    create: `echo first; while [ ! -e ${gate} ]; do sleep 0.05; done; printf 'last' >&2`,
  });
  await expect.poll(() => client.logs).toEqual([{ severity: 1, message: "first", passing: true }]);
  writeFileSync(gate, "");
  await running;
  expect(lines()).toEqual(["first", "last"]);
});

test.each([
  ["stdout", ["a"]],
  ["stderr", ["b"]],
  ["stdoutAndStderr", ["a", "b"]],
  ["none", []],
])("logging %s shows just that", async (logging, shown) => {
  const outputs = await create({ create: "echo a; sleep 0.1; echo b >&2", logging });
  expect(lines()).toEqual(shown);
  expect(outputs).toMatchObject({ stdout: "a", stderr: "b" });
});

test.each([
  [
    { create: 'echo "it\'s"; echo b >&2; exit 3' },
    `exit status 3: running "echo \\"it's\\"; echo b >&2; exit 3":\nit's\nb\n`,
  ],
  [{ create: "kill -9 $$" }, 'signal: killed: running "kill -9 $$":\n'],
  [{ create: "true", dir: "/nope" }, 'chdir /nope: no such file or directory: running "true":\n'],
  [{ create: "true", dir: "/etc/passwd" }, 'chdir /etc/passwd: not a directory: running "true":\n'],
  [
    { create: "true", interpreter: ["/nope"] },
    'fork/exec /nope: no such file or directory: running "true":\n',
  ],
  [
    { create: "true", interpreter: ["nope-nope"] },
    'exec: "nope-nope": executable file not found in $PATH: running "true":\n',
  ],
])("%o fails with the reason, the command and its output", async (inputs, message) => {
  const error = await create(inputs).catch((caught) => caught);
  expect(error.message).toBe(message);
});

test("an update runs update, or create where there is none, with the output of the run before", async () => {
  const print = "echo $PULUMI_COMMAND_STDOUT-$PULUMI_COMMAND_STDERR";
  const update = (inputs: Properties) => client.update(token, "i", state, inputs);
  expect((await update({ create: "false", update: print })).stdout).toBe("a-e");
  expect((await update({ create: print })).stdout).toBe("a-e");
  expect((await update({ create: print, addPreviousOutputInEnv: false })).stdout).toBe("-");
  expect(await update({ delete: "true" })).toEqual({ delete: "true", stdout: "a", stderr: "e" });
  await expect(update({ create: "false" })).rejects.toThrow("exit status 1");
});

test("delete runs with the stored inputs", async () => {
  const file = join(folder, "deleted");
  const stored = { ...state, environment: { FILE: file }, delete: "echo $PULUMI_COMMAND_STDOUT > $FILE" };
  await client.delete(token, "i", stored);
  expect(readFileSync(file, "utf8")).toBe("a\n");
  await client.delete(token, "i", state);
});

test("nothing runs in a preview, and outputs are unknown where the command would run", async () => {
  const file = join(folder, "preview");
  const inputs = { create: `touch ${file}`, environment: { A: UNKNOWN, B: new Secret("x") } };
  expect((await client.create(token, inputs, { preview: true })).outputs).toEqual({
    ...inputs,
    stdout: UNKNOWN,
    stderr: UNKNOWN,
  });
  const changed = { create: `touch ${file}` };
  expect(await client.update(token, "i", state, changed, { preview: true })).toEqual({
    ...changed,
    stdout: UNKNOWN,
    stderr: UNKNOWN,
  });
  expect(existsSync(file)).toBe(false);
});

test("only triggers replace, as a whole here and item by item by the SDK's replaceOnChanges", async () => {
  const diff = async (oldInputs: Properties, news: Properties) => {
    const { replaces, detailed } = await client.diff(token, { ...state, ...oldInputs }, news, { oldInputs });
    return { replaces, detailed };
  };
  expect(await diff({ create: "a" }, { create: "a" })).toEqual({ replaces: [], detailed: {} });
  expect(await diff({ create: "a" }, { create: "b", environment: { A: "1" } })).toEqual({
    replaces: [],
    detailed: { create: "UPDATE", environment: "ADD" },
  });
  expect(await diff({ triggers: [1] }, { triggers: [2, 3] })).toEqual({
    replaces: [],
    detailed: { "triggers[0]": "UPDATE", "triggers[1]": "ADD" },
  });
  expect(await diff({ triggers: [1] }, { triggers: UNKNOWN })).toEqual({
    replaces: ["triggers"],
    detailed: { triggers: "UPDATE_REPLACE" },
  });
  expect(await diff({}, { triggers: [1] })).toEqual({
    replaces: ["triggers"],
    detailed: { triggers: "ADD_REPLACE" },
  });
  const secret = { environment: { A: new Secret("1") } };
  expect((await diff(secret, secret)).detailed).toEqual({});
});

test("a refresh gives the state back with its secret marks", async () => {
  const marked = { ...state, stdout: new Secret("a") };
  expect(await client.read(token, "i", marked, { create: "echo a" })).toEqual({
    id: "i",
    outputs: marked,
    inputs: { create: "echo a" },
  });
});

test("a command that runs out of time is killed with all that it started", async () => {
  const file = join(folder, "pids");
  const command = `sleep 60 & echo $$ $! > ${file}; wait`;
  const error = await create({ create: command }, 0.5).catch((caught) => caught);
  expect(error.message).toContain("signal: killed");
  for (const pid of readFileSync(file, "utf8").trim().split(" ")) {
    await expect.poll(() => isRunning(pid)).toBe(false);
  }
});

test("a cancelled command is killed with all that it started, and none is started after", async () => {
  const own = await PluginClient.start(main);
  try {
    const file = join(folder, "cancelled");
    const running = own.create(token, { create: `sleep 60 & echo $$ $! > ${file}; wait` });
    const ended = expect(running).rejects.toThrow("signal: killed");
    await expect.poll(() => existsSync(file) && readFileSync(file, "utf8")).toMatch(/\d+ \d+/);
    await own.call<empties.Empty, empties.Empty>(own.rpc.cancel, new empties.Empty());
    await ended;
    for (const pid of readFileSync(file, "utf8").trim().split(" ")) {
      await expect.poll(() => isRunning(pid)).toBe(false);
    }
    await expect(own.create(token, { create: "echo x" })).rejects.toThrow('cancelled: running "echo x"');
  } finally {
    own.stop();
  }
});

test("a plugin that is stopped takes its commands along", async () => {
  const own = await PluginClient.start(main);
  try {
    const file = join(folder, "stopped");
    const running = own.create(token, { create: `sleep 60 & echo $$ $! > ${file}; wait` });
    const ended = expect(running).rejects.toThrow();
    await expect.poll(() => existsSync(file) && readFileSync(file, "utf8")).toMatch(/\d+ \d+/);
    own.process.kill("SIGTERM");
    await ended;
    for (const pid of readFileSync(file, "utf8").trim().split(" ")) {
      await expect.poll(() => isRunning(pid)).toBe(false);
    }
  } finally {
    own.stop();
  }
});

test("a plugin ends when the engine is gone", async () => {
  // A shell stands for the engine: it starts the plugin, and is then killed without a chance to end it.
  const engine = spawn("/bin/sh", ["-c", '"$0" "$1" & echo $!; wait', process.execPath, main], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  engine.stdout.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
  });
  await expect.poll(() => printed, { timeout: 20_000 }).toMatch(/^\d+\n\d+\n$/);
  const pid = printed.split("\n", 1)[0] ?? "";
  expect(isRunning(pid)).toBe(true);
  engine.kill("SIGKILL");
  await expect.poll(() => isRunning(pid), { timeout: 20_000 }).toBe(false);
});
