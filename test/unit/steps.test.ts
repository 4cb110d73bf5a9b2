import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { consoleReporter, runStep, seconds } from "../../cli/steps.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function screen(isTTY: boolean) {
  const stream = { text: "", isTTY, columns: 60, write: (text: string) => (stream.text += text) };
  return { stream, reporter: consoleReporter({ stream, now: () => Date.now() }) };
}

describe("steps on the console", () => {
  it("print a line when they end: what came of it, and how long it took", async () => {
    const { stream, reporter } = screen(false);
    const step = reporter.start("Building the image");
    await vi.advanceTimersByTimeAsync(1500);
    step.done("PostgreSQL 17");

    expect(stream.text).toBe("Building the image: PostgreSQL 17 (1.5 s)\n");
  });

  it("show no progress before three seconds, and after that a line every ten seconds", async () => {
    const { stream, reporter } = screen(false);
    const step = reporter.start("Building");
    step.progress("100 packages");
    await vi.advanceTimersByTimeAsync(2900);
    expect(stream.text).toBe("");

    await vi.advanceTimersByTimeAsync(5000);
    expect(stream.text).toBe("Building: 3.0 s, 100 packages\n");
    step.progress("900 packages");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(stream.text).toBe("Building: 3.0 s, 100 packages\nBuilding: 13 s, 900 packages\n");
    step.done();
  });

  it("show progress in place on a terminal, all of them in a line that does not wrap", async () => {
    const { stream, reporter } = screen(true);
    const one = reporter.start("One");
    const two = reporter.start("Two");
    two.progress("a text that is longer than a terminal of sixty columns has room for");
    await vi.advanceTimersByTimeAsync(3000);

    expect(stream.text).toBe("One: 3.0 s; Two: 3.0 s, a text that is longer than a termin");
    stream.text = "";
    one.done();
    expect(stream.text).toBe("\r\u001b[KOne: done (3.0 s)\n");
    two.done();
  });

  it("leave no timer behind that would keep the process alive or print on", async () => {
    const { stream, reporter } = screen(false);
    reporter.start("Building").done();
    expect(vi.getTimerCount()).toBe(0);
    stream.text = "";
    await vi.advanceTimersByTimeAsync(20_000);
    expect(stream.text).toBe("");
  });

  it("say that they failed, and pass the error on", async () => {
    const { stream, reporter } = screen(false);
    const work = runStep(reporter, "Building", async () => {
      throw new Error("no compiler");
    });

    await expect(work).rejects.toThrow("no compiler");
    expect(stream.text).toBe("Building: failed after 0.0 s\n");
  });
});

it.each([
  [40, "0.0 s"],
  [1540, "1.5 s"],
  [12_400, "12 s"],
  [59_700, "1 min 0 s"],
  [252_000, "4 min 12 s"],
])("%i ms reads %s", (milliseconds, text) => {
  expect(seconds(milliseconds)).toBe(text);
});
