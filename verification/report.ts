import { type Difference, describeDeviation } from "../catalogue/compare.ts";
import { type Area, areas, type Finding } from "./verify.ts";

const titles: Record<Area, string> = {
  container: "Container, against the stack's state",
  passwords: "Passwords",
  roles: "Roles",
  settings: "Settings",
  "access rules": "Access rules",
  migrations: "Migrations",
  databases: "Databases, against the migrations' result",
};

export interface VerifyReport {
  readonly stack: string;
  readonly good: boolean;
  /** What could not be compared, and why. */
  readonly notCompared: readonly string[];
  readonly differences: readonly {
    readonly area: Area;
    readonly object: string;
    readonly kind: Difference["kind"];
    /** In words. */
    readonly text: string;
  }[];
}

export function reportOf(
  stack: string,
  findings: readonly Finding[],
  notCompared: readonly string[] = [],
): VerifyReport {
  const differences = areas.flatMap((area) =>
    findings
      .filter((finding) => finding.area === area)
      .map(({ difference }) => ({
        area,
        object: difference.object,
        kind: difference.kind,
        text: describeDeviation(difference),
      })),
  );
  return { stack, good: differences.length + notCompared.length === 0, notCompared, differences };
}

/** For people. @param took As in `5.2 s`. */
export function formatReport(report: VerifyReport, took: string): string {
  const { differences, notCompared, stack } = report;
  const lines = areas.flatMap((area) => {
    const found = differences.filter((difference) => difference.area === area);
    return found.length === 0 ? [] : [titles[area], ...found.map(({ text }) => `  ${text}`)];
  });
  if (report.good) {
    return `${stack} is as the code says: container, passwords, roles, settings, access rules, migrations, databases (${took})\n`;
  }
  const count = differences.length === 1 ? "1 difference" : `${differences.length} differences`;
  return [
    ...lines,
    ...(notCompared.length > 0 ? ["Not compared", ...notCompared.map((text) => `  ${text}`)] : []),
    "",
    `${stack} is not as the code says: ${count} (${took}). docs/operations.md, «When the server is not as the code says», tells what to do.`,
    "",
  ].join("\n");
}
