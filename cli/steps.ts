/** A piece of work that the user waits for. */
export interface Step {
  /** Where the work is, in a few words. Shown only once it takes long. */
  progress(text: string): void;
  /** @param note What came of it, in a few words. */
  done(note?: string): void;
  /** Ends the step; the error itself is reported by whoever catches it. */
  failed(): void;
}

/** Tells the user what is being done and how long it took. Steps may overlap. */
export interface StepReporter {
  /** @param title What is being done, as in «Building the image». */
  start(title: string): Step;
  /** A line that belongs to no step. */
  note(text: string): void;
}

/** Runs `work` as a step. What `work` returns in `note` closes the line. */
export async function runStep<T>(
  reporter: StepReporter,
  title: string,
  work: (step: Pick<Step, "progress">) => Promise<{ result: T; note?: string }>,
): Promise<T> {
  const step = reporter.start(title);
  try {
    const { result, note } = await work(step);
    step.done(note);
    return result;
  } catch (error) {
    step.failed();
    throw error;
  }
}

export interface ConsoleOptions {
  /** Default: standard error, so that standard output stays clean for scripts. */
  readonly stream?: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  /** Milliseconds after which a step shows that it is alive. Default 3000. */
  readonly slow?: number;
  /** Milliseconds between two signs of life where there is no terminal to draw on. Default 10000. */
  readonly interval?: number;
  /** Milliseconds. */
  readonly now?: () => number;
}

/**
 * Prints a line for each step that ends. Slow steps show their progress before that: in place on a terminal, as
 * lines of their own elsewhere.
 */
export function consoleReporter(options: ConsoleOptions = {}): StepReporter {
  const { stream = process.stderr, slow = 3000, interval = 10_000, now = () => performance.now() } = options;
  const active = new Set<{ title: string; text: string; since: number; shown: number }>();
  let timer: NodeJS.Timeout | undefined;
  let drawn = false;

  const erase = () => {
    if (drawn) stream.write("\r\u001b[K");
    drawn = false;
  };
  const print = (line: string) => {
    erase();
    stream.write(`${line}\n`);
  };
  const describe = ({ title, text, since }: { title: string; text: string; since: number }) =>
    `${title}: ${seconds(now() - since)}${text && `, ${text}`}`;

  const tick = () => {
    const late = [...active].filter((step) => now() - step.since >= slow);
    if (stream.isTTY) {
      if (late.length === 0) return;
      const line = late.map(describe).join("; ");
      erase();
      // A line longer than the terminal would wrap and could not be erased.
      stream.write(line.slice(0, (stream.columns ?? 80) - 1));
      drawn = true;
      return;
    }
    for (const step of late) {
      if (now() - step.shown < interval) continue;
      step.shown = now();
      print(describe(step));
    }
  };

  return {
    note: print,
    start(title) {
      const entry = { title, text: "", since: now(), shown: Number.NEGATIVE_INFINITY };
      active.add(entry);
      timer ??= setInterval(tick, Math.min(slow, 1000)).unref();
      const end = (line: string) => {
        if (!active.delete(entry)) return;
        if (active.size === 0) {
          clearInterval(timer);
          timer = undefined;
        }
        print(line);
      };
      return {
        progress(text) {
          entry.text = text;
        },
        done: (note) => end(`${title}: ${note ?? "done"} (${seconds(now() - entry.since)})`),
        failed: () => end(`${title}: failed after ${seconds(now() - entry.since)}`),
      };
    },
  };
}

/** @param milliseconds A duration. @returns `0.4 s`, `12 s` or `4 min 12 s`. */
export function seconds(milliseconds: number): string {
  const whole = Math.round(milliseconds / 1000);
  if (whole < 10) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
