/** A line that the server can't take; `name` is null for access rules. */
export interface Problem {
  readonly file: string;
  readonly line: number | null;
  readonly name: string | null;
  readonly error: string;
}

/** A parameter as a session sees it, from pg_settings. */
export interface Parameter {
  readonly name: string;
  readonly value: string | null;
  readonly source: string;
  readonly sourcefile: string | null;
  readonly pending_restart: boolean;
}

/** What keeps a server from being what its files say, in words. */
export function judge(parameters: readonly Parameter[]): string[] {
  return parameters.flatMap(({ name, pending_restart, source, sourcefile, value }) => {
    if (pending_restart) {
      return [`${name} is ${value} until a restart: docker restart makes it what the settings say`];
    }
    // A session, a role or a database may have its own value; the server's is what the file says all the same.
    const elsewhere =
      source === "default" ||
      (source === "configuration file" && sourcefile?.endsWith("/postgresql.auto.conf"));
    return elsewhere ? [`${name} is ${value}, by ${sourcefile ?? "PostgreSQL's default"}`] : [];
  });
}

/** A line for each value that has changed. */
export function reportChanges(before: readonly Parameter[], after: readonly Parameter[]): string[] {
  const old = new Map(before.map(({ name, value }) => [name, value]));
  return after
    .filter(({ name, value }) => old.get(name) !== value)
    .map(({ name, value }) => `${name}: ${old.get(name) ?? "not set"} → ${value}`);
}
