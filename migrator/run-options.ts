import type { Client } from "pg";
import type { ConnectionSettings } from "./connection.ts";
import type { PlanOptions } from "./plan.ts";
import type { SessionLimits } from "./session.ts";

type Optional<T> = { readonly [Key in keyof T]?: T[Key] | undefined };

/** What keeps a migration from standing in the application's way. */
interface RunLimits extends Optional<SessionLimits> {
  /** How often a migration is tried again that did not get a lock within `lockTimeout`. Default: 4. */
  readonly lockRetries?: number | undefined;
  /** The pause before the first of these, in milliseconds; each is twice the one before. Default: one second. */
  readonly lockRetryPause?: number | undefined;
}

export interface RunOptions extends PlanOptions, RunLimits {
  readonly connection: ConnectionSettings;
  readonly folder: string;
  /** The role that owns what migrations make. The connection's user must be a member of it. Default: `findOwner`. */
  readonly owner?: string | undefined;
  /** The application's schema: where unqualified names go. */
  readonly schema: string;
  readonly log: (line: string) => void;
  /** Role that may read how the last run went (`RunRecord`). Default: nobody, and nothing is kept. */
  readonly monitor?: string | undefined;
  /** Whether the way back may lose data. Default: false. */
  readonly allowDataLoss?: boolean | undefined;
  /** How long to wait for another run to end, in milliseconds. Default: one minute. */
  readonly lockPatience?: number | undefined;
  /** Connects as the role that makes restore points, of which each script gets one. Default: none are made. */
  readonly restorePoints?: ConnectionSettings | undefined;
  /** Looks at the session when a script's statements are done, and before they are committed. Default: nobody does. */
  readonly inspect?: ((script: FinishedScript) => Promise<void>) | undefined;
}

/** A script whose statements are done. */
export interface FinishedScript {
  /** Its session, in its transaction; where it runs without one, all is committed already. */
  readonly client: Client;
  readonly transaction: boolean;
  /** In milliseconds. */
  readonly duration: number;
}

/** A run whose owner is known. */
export type OwnedRun = RunOptions & { readonly owner: string };
