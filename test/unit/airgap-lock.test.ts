import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdtemp, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { withLock } from "../../airgap/lock.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "airgap-lock-"));
  path = join(folder, "lock");
});
afterEach(() => rm(folder, { recursive: true }));

const never = () => expect.unreachable("nobody holds the lock");

describe("a lock", () => {
  it("lets one at a time work, and tells the others whom they wait for", async () => {
    const events: string[] = [];
    let go = () => {};
    const waitedFor = new Promise<void>((resolve) => {
      go = resolve;
    });
    const waiting = vi.fn(go);
    const first = withLock(path, never, async () => {
      events.push("first in");
      await waitedFor;
      await sleep(100);
      events.push("first out");
    });
    await vi.waitFor(() => expect(events).toEqual(["first in"]), { timeout: 20_000 });
    const second = withLock(path, waiting, async () => {
      events.push("second in");
    });
    await Promise.all([first, second]);

    expect(events).toEqual(["first in", "first out", "second in"]);
    expect(waiting.mock.calls).toEqual([[process.pid]]);
  });

  it("is gone after the work, also where that failed", async () => {
    await withLock(path, never, async () => undefined);
    await expect(lstat(path)).rejects.toThrow("ENOENT");

    await expect(withLock(path, never, () => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
    await expect(lstat(path)).rejects.toThrow("ENOENT");
  });

  it("is not waited for in the place of something else", async () => {
    await writeFile(path, "");
    await expect(withLock(path, never, async () => undefined)).rejects.toThrow(
      `${path} is no lock of this program, and in its place.`,
    );
  });

  it("is taken over from a process that was killed", async () => {
    const script = `
      const { withLock } = await import(${JSON.stringify(new URL("../../airgap/lock.ts", import.meta.url).href)});
      await withLock(${JSON.stringify(path)}, () => {}, () => new Promise(() => {
        console.log("held");
        setInterval(() => {}, 1000);
      }));`;
    const holder = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    expect(await readlink(path)).toMatch(new RegExp(`^${holder.pid} `));
    holder.kill("SIGKILL");
    await once(holder, "exit");

    expect(await withLock(path, never, async () => "done")).toBe("done");
  });

  it.runIf(process.platform === "linux")(
    "is taken over where its process number belongs to another one by now",
    async () => {
      await symlink(`${process.pid} 1`, path);

      expect(await withLock(path, never, async () => "done")).toBe("done");
    },
  );
});
