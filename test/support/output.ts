/**
 * Takes out what every production environment of the tests is warned of: its image has no digest where there is no
 * registry, and some have no backups or are not protected.
 */
export function withoutGuardRails(output: string): string {
  return output
    .replace(/^ +warning: (?:backups: is|deletionProtection: is|image: \S+ is a tag[,:]) .*\n/gm, "")
    .replace(/^ *pulumi:pulumi:Stack \(.*\):\n(?=\n|$)/gm, "");
}

/**
 * What a failed command tells its user: the part from `Diagnostics:` on without outputs and counts, or for a command
 * that did not get that far all of it. Names, ports and times that differ from run to run are replaced.
 */
export function diagnostics(output: string, replace: Readonly<Record<string, string>> = {}): string {
  const begin = output.lastIndexOf("\nDiagnostics:\n");
  let text = begin < 0 ? output : output.slice(begin + "\nDiagnostics:\n".length);
  text = withoutGuardRails(text.replace(/\n(?:Outputs|Resources|Duration):?[\s\S]*$/, "\n"));
  // Says nothing, and stands before or after what does.
  text = text.replace(/^ *pulumi:pulumi:Stack \(.*\):\n +error: update failed\n/m, "");
  for (const [found, name] of Object.entries(replace)) text = text.replaceAll(found, name);
  return (
    text
      .split("\n")
      .map((line) => line.trimEnd())
      // Progress, and the engine's own count of what it has not printed.
      .filter(
        (line) =>
          line !== "" && !/^@ |^ *[-+~]+ +\w+:\w+:\w+ |^(?:Previewing|Updating|Destroying) /.test(line),
      )
      .join("\n")
      .replace(/\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: UTC|Z)?/g, "TIME")
      .replace(/\b\d+(?:\.\d+)? (m?s)\b/g, "N $1")
      .replace(/\[\d+\]/g, "[PID]")
      .replace(/\b[0-9a-f]{64}\b/g, "ID")
      .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "UUID")
  );
}

/** Whether a message shows the insides of the program, which no user's mistake should. */
export function hasStackTrace(output: string): boolean {
  return /^\s+at \S+.*:\d+:\d+\)?$/m.test(output);
}
