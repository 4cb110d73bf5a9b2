import { durationExample, parseDuration } from "../components/settings/units.ts";

/** What a script's header says. Undefined: as the settings have it. */
export interface ScriptHeader {
  /** Whether the script is one transaction, with its entry in the record. Default: true. */
  readonly transaction: boolean;
  /** In milliseconds; 0: no limit. */
  readonly lockTimeout: number | undefined;
  /** In milliseconds; 0: no limit. */
  readonly statementTimeout: number | undefined;
  /** Rules of the review that the script may break, each with the reason. */
  readonly allowed: ReadonlyMap<string, string>;
}

export interface HeaderMistake {
  readonly offset: number;
  readonly reason: string;
}

const known = "no transaction; lock_timeout = 10s; statement_timeout = 5min; allow RULE: why it may pass";

/**
 * Reads the header of a script: lines of the form `-- migrate: no transaction, lock_timeout = 10s` among the comments
 * before the first statement; and `-- migrate: allow RULE: why it may pass`, each on a line of its own.
 */
export function readHeader(sql: string): ScriptHeader & { readonly mistakes: readonly HeaderMistake[] } {
  const header = {
    transaction: true,
    lockTimeout: undefined as number | undefined,
    statementTimeout: undefined as number | undefined,
    allowed: new Map<string, string>(),
  };
  const mistakes: HeaderMistake[] = [];
  for (const { offset, text } of directives(sql)) {
    const [name = "", value] = text.split("=").map((part) => part.trim());
    const [, rule, reason = ""] = /^allow\b\s*([\w-]*)[\s:]*(.*)$/.exec(text) ?? [];
    if (rule !== undefined) {
      if (rule !== "" && reason !== "") header.allowed.set(rule, reason);
      else
        mistakes.push({ offset, reason: `"${text}" gives no reason: write "allow RULE: why it may pass"` });
    } else if (name === "no transaction" && value === undefined) {
      header.transaction = false;
    } else if (name === "lock_timeout" || name === "statement_timeout") {
      const duration = parseDuration(value ?? "");
      if (duration === undefined) {
        mistakes.push({
          offset,
          reason: `${name} is "${value ?? ""}", which is no time: expected ${durationExample}`,
        });
      } else if (name === "lock_timeout") header.lockTimeout = duration;
      else header.statementTimeout = duration;
    } else {
      mistakes.push({ offset, reason: `"${text}" is not known in a header, which can say: ${known}` });
    }
  }
  return { ...header, mistakes };
}

function directives(sql: string): { offset: number; text: string }[] {
  const found: { offset: number; text: string }[] = [];
  const line = /[^\S\r\n]*(?:--([^\r\n]*))?(?:\r\n|\n|\r|$)/uy;
  for (let match = line.exec(sql); match !== null && line.lastIndex > match.index; match = line.exec(sql)) {
    const [, list] = /^\s*migrate:(.*)$/.exec(match[1] ?? "") ?? [];
    if (list === undefined) continue;
    const offset = match.index + match[0].indexOf("--");
    // A reason may have commas in it.
    const parts = /^\s*allow\b/.test(list) ? [list] : list.split(",");
    for (const text of parts) found.push({ offset, text: text.trim().replace(/\s+/g, " ") });
  }
  return found;
}
