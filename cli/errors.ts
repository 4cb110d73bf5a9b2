import { MigratorError } from "../migrator/errors.ts";

/** What `./db` exits with. `./db psql` passes on psql's own code instead. */
export const exitCode = {
  ok: 0,
  /** What was asked for did not work; the message says why. */
  failure: 1,
  /** A wrong command, option or argument. */
  usage: 2,
  /** Something that must be there first is missing; the message says how to get it. */
  missing: 3,
  /** Ended by Ctrl-C: 128 and the number of SIGINT, as shells do. */
  interrupted: 130,
} as const;

/**
 * A mistake or a state of affairs that a user can mend. It is printed without a stack trace.
 *
 * `message` says what happened and where; `next` what to do about it.
 */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly next: string;
  readonly exitCode: number;

  constructor(message: string, options: { next: string; exitCode?: number; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.next = options.next;
    this.exitCode = options.exitCode ?? exitCode.failure;
  }
}

/** A child process that failed and has already told the user why: only its exit code is passed on. */
export class ChildFailure extends Error {
  override readonly name = "ChildFailure";
  readonly exitCode: number;

  constructor(command: string, code: number) {
    super(`${command} failed with exit code ${code}`);
    this.exitCode = code;
  }
}

/** The text for standard error. `trace` adds the stack of an error nobody expected. */
export function describeError(error: unknown, trace: boolean): string {
  if (error instanceof UserError) {
    return `db: ${error.message}\n    ${error.next.replaceAll("\n", "\n    ")}`;
  }
  // Says by itself what to do.
  if (error instanceof MigratorError) return `db: ${error.message}`;
  if (!(error instanceof Error)) return `db: ${String(error)}`;
  if (trace) return `db: ${error.stack ?? error.message}`;
  return `db: ${error.message}\n    This was not expected. Run it again with DEBUG=1 for the stack trace.`;
}
