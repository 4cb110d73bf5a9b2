import { relative, sep } from "node:path";

/** What vitest's JSON reporter writes, as far as it is read here. */
export interface VitestReport {
  readonly testResults: readonly {
    /** The file's path. */
    readonly name: string;
    /** `failed` with no assertion: the file itself could not be run. */
    readonly status: "passed" | "failed";
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: "passed" | "failed" | "skipped" | "pending" | "todo";
    }[];
  }[];
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Summary {
  readonly total: Counts;
  /** In the order of the run's files. */
  readonly levels: ReadonlyMap<string, Counts>;
  /** Full names of tests that were not run, with their files. */
  readonly skipped: readonly string[];
}

/** Counts a run's tests by level. A file that could not be run counts as a failed test. */
export function summarize(report: VitestReport, testFolder: string): Summary {
  const levels = new Map<string, Counts>();
  const skipped: string[] = [];
  for (const { name, status, assertionResults } of report.testResults) {
    const path = relative(testFolder, name);
    const level = path.split(sep)[0] ?? "";
    const count = (wanted: string) => assertionResults.filter((result) => result.status === wanted).length;
    const left = assertionResults.filter((result) => !["passed", "failed"].includes(result.status));
    skipped.push(...left.map(({ fullName }) => `${path}: ${fullName}`));
    const failed = count("failed");
    const counts = {
      passed: count("passed"),
      failed: failed === 0 && status === "failed" ? 1 : failed,
      skipped: left.length,
    };
    levels.set(level, add(levels.get(level) ?? none, counts));
  }
  return { total: [...levels.values()].reduce(add, none), levels, skipped };
}

export const none: Counts = { passed: 0, failed: 0, skipped: 0 };

export function add(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

export function formatCounts({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
