import { exitCode } from "../errors.ts";
import { examine, type Finding } from "../examination.ts";

/** Prints every finding; the exit code tells whether something that is needed is missing. */
export async function doctor(options: { readonly json?: true }): Promise<void> {
  const findings = await examine();
  const healthy = findings.every(({ status }) => status !== "missing");
  process.stdout.write(
    options.json ? `${JSON.stringify({ healthy, findings }, null, 2)}\n` : formatFindings(findings, healthy),
  );
  process.exitCode = healthy ? exitCode.ok : exitCode.missing;
}

const marks: Record<Finding["status"], string> = { ok: "ok", note: "note", missing: "MISSING" };

export function formatFindings(findings: readonly Finding[], healthy: boolean): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ name, status, found, next }) => [
    `${marks[status].padEnd(8)} ${name.padEnd(width)}  ${found}`,
    ...(next === undefined ? [] : [`${" ".repeat(11 + width)}${next}`]),
  ]);
  const verdict = healthy
    ? "Everything that is needed is there."
    : "Something that is needed is missing: see above.";
  return `${[...lines, "", verdict].join("\n")}\n`;
}
