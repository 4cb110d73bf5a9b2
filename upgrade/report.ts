import { isGood, type TransferReport } from "./transfer.ts";

/** For people: what came over, how long it took, and what is not the same. */
export function formatTransfer(report: TransferReport): string {
  const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`;
  const size =
    report.size >= 1024 ** 3
      ? `${(report.size / 1024 ** 3).toFixed(1)} GB`
      : `${Math.round(report.size / 1024 ** 2)} MB`;
  return [
    `PostgreSQL ${report.from} to ${report.to}, ${size}`,
    ...Object.entries(report.durations).map(([step, duration]) => `  ${step}: ${seconds(duration)}`),
    ...report.databases.map(
      ({ differences, name, rows, tables }) =>
        `Database ${name}: ${rows} rows in ${tables} tables${differences.length === 0 ? ", all there" : ""}`,
    ),
    ...report.databases.flatMap(({ differences, name, notes }) => [
      ...notes.map((text) => `  note        ${name}: ${text}`),
      ...differences.map((text) => `  DIFFERENCE  ${name}: ${text}`),
    ]),
    ...report.differences.map((text) => `  DIFFERENCE  ${text}`),
    isGood(report)
      ? "Rows, sequences, objects, owners, privileges and roles are the same."
      : "Not everything is the same.",
  ].join("\n");
}
