/**
 * Exit codes of the migrator's commands.
 *
 * - `failed`: a migration failed, or the database refused what every run needs (its role, schema or record).
 * - `input`: the environment, the folder or the target is wrong; nothing in the database was changed.
 * - `connection`: no connection to the server.
 * - `busy`: another run held the lock until the wait ended.
 */
export const exitCodes = { done: 0, failed: 1, input: 2, connection: 3, busy: 4 } as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** A failure that a person can act on: its message says what happened, where, and what to do next. */
export class MigratorError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.name = "MigratorError";
    this.exitCode = exitCode;
  }
}

/** Several mistakes of one kind, reported at once; `problems` has one entry for each. */
export class InputError extends MigratorError {
  readonly problems: readonly string[];

  constructor(headline: string, problems: readonly string[]) {
    super(exitCodes.input, [headline, ...problems.map((problem) => `  - ${problem}`)].join("\n"));
    this.name = "InputError";
    this.problems = problems;
  }
}
