import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { run } from "../../airgap/run.ts";

/** Unlike a signal 0, this does not take one for running that has ended and was not asked for by its parent. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "State: Z");
  return !/^State:\s+Z/m.test(status);
}

describe("a command that is run", () => {
  it("gives its standard output, and every line of both streams as it comes", async () => {
    const lines: string[] = [];

    expect(
      await run("sh", ["-c", "echo one; echo two >&2; echo three"], { onLine: (line) => lines.push(line) }),
    ).toBe("one\nthree");
    expect(lines.sort()).toEqual(["one", "three", "two"]);
  });

  it("fails with its exit code and what it said last", async () => {
    await expect(
      run("sh", ["-c", "echo no such module; exit 3"]),
    ).rejects.toThrowErrorMatchingInlineSnapshot(`
      [CommandFailed: sh failed with exit code 3.
      no such module]
    `);
  });

  it("fails where there is no such command", async () => {
    await expect(run("no-such-command-here", [])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[CommandFailed: no-such-command-here can't be run: spawn no-such-command-here ENOENT.]`,
    );
  });

  it("is ended when it is silent for too long, with the processes that it started", async () => {
    let child = 0;
    const hanging = run("sh", ["-c", "sleep 60 & echo $!; wait"], {
      silence: 300,
      onLine: (line) => {
        child = Number(line);
      },
    });

    await expect(hanging).rejects.toThrow("sh showed no sign of life for 300 ms.");
    await expect.poll(() => isRunning(child)).toBe(false);
  });

  it("ends with the process that runs it", async () => {
    const script = `
      const { run } = await import(${JSON.stringify(new URL("../../airgap/run.ts", import.meta.url).href)});
      await run("sh", ["-c", "echo $$; sleep 60"], { onLine: (line) => console.log(line) });`;
    const runner = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(runner.stdout, "data")) as [Buffer];
    runner.kill("SIGTERM");
    const [code, signal] = await once(runner, "exit");

    expect([code, signal]).toEqual([null, "SIGTERM"]);
    await expect.poll(() => isRunning(Number(line))).toBe(false);
  });
});
