/** Prefix of every label that the program sets, in the manner that Docker's manual asks for. */
const prefix = "postgresql-environments";

/** Labels by which a stack's Docker objects are found: the stack's own ones win over none of these. */
export function objectLabels(options: {
  project: string;
  stack: string;
  role: string;
  custom: Readonly<Record<string, string>>;
}): { label: string; value: string }[] {
  const labels: Record<string, string> = {
    ...options.custom,
    [`${prefix}.project`]: options.project,
    [`${prefix}.stack`]: options.stack,
    [`${prefix}.role`]: options.role,
  };
  return Object.entries(labels)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([label, value]) => ({ label, value }));
}

/** Major version of the data in a volume, recorded when the volume is made. */
export const majorVersionLabel = `${prefix}.major-version`;
/** Hash of what Docker can only take at a container's creation but the plugin would change silently. */
export const configurationLabel = `${prefix}.configuration`;
