import { expect, test } from "vitest";
import { formatCounts, summarize, type VitestReport } from "../summary.ts";

const file = (
  name: string,
  statuses: VitestReport["testResults"][number]["assertionResults"][number]["status"][],
  status: "passed" | "failed" = statuses.includes("failed") ? "failed" : "passed",
) => ({
  name: `/clone/test/${name}`,
  status,
  message: "",
  assertionResults: statuses.map((each, index) => ({ fullName: `test ${index}`, status: each })),
});

test("tests are counted by level", () => {
  const { total, levels } = summarize(
    {
      testResults: [
        file("unit/a.test.ts", ["passed", "passed"]),
        file("airgap/docker/b.test.ts", ["passed", "failed"]),
        file("unit/c.test.ts", ["passed"]),
      ],
    },
    "/clone/test",
  );
  expect([...levels]).toEqual([
    ["unit", { passed: 3, failed: 0, skipped: 0 }],
    ["airgap", { passed: 1, failed: 1, skipped: 0 }],
  ]);
  expect(formatCounts(total)).toBe("4 passed, 1 failed");
});

test("a file that cannot be run, or whose set-up fails, counts as a failure", () => {
  const report = {
    testResults: [
      file("unit/broken.test.ts", [], "failed"),
      file("fault/hook.test.ts", ["passed"], "failed"),
    ],
  };
  expect(summarize(report, "/clone/test").total).toEqual({ passed: 1, failed: 2, skipped: 0 });
});

test("tests that were not run are named and counted", () => {
  const { total, skipped } = summarize(
    { testResults: [file("fault/a.test.ts", ["skipped", "todo", "pending", "passed"])] },
    "/clone/test",
  );
  expect(formatCounts(total)).toBe("1 passed, 0 failed, 3 skipped");
  expect(skipped).toEqual(["fault/a.test.ts: test 0", "fault/a.test.ts: test 1", "fault/a.test.ts: test 2"]);
});

test("a run of nothing counts nothing", () => {
  expect(formatCounts(summarize({ testResults: [] }, "/clone/test").total)).toBe("0 passed, 0 failed");
});
