import type { Change, Difference } from "../catalogue/compare.ts";

/** A file by which the server decides who may come in. */
export interface AccessFile {
  /** `pg_hba.conf` or `pg_ident.conf`. */
  readonly name: string;
  readonly content: string;
  /** Whether it was written after the server has last read it: then another one may be in force. */
  readonly newerThanLoaded: boolean;
}

/** Compares such a file with what the program writes, rule by rule; comments and spaces don't count. */
export function compareAccessFile(expected: string, live: AccessFile): Difference[] {
  const [should, is] = [rulesOf(expected), rulesOf(live.content)];
  const changes: Change[] = [
    ...without(should, is).map((rule) => ({ what: `rule «${rule}»`, was: "there", is: undefined })),
    ...without(is, should).map((rule) => ({ what: `rule «${rule}»`, was: undefined, is: "there" })),
  ];
  if (changes.length === 0 && should.some((rule, index) => rule !== is[index])) {
    changes.push({ what: "order of the rules", was: should.join("; "), is: is.join("; ") });
  }
  if (live.newerThanLoaded) {
    changes.push({ what: "file", was: "loaded", is: "newer than what the server has read" });
  }
  return changes.length === 0 ? [] : [{ kind: "changed", object: live.name, changes }];
}

function rulesOf(content: string): string[] {
  return content
    .split("\n")
    .map((line) => (/^(?:"[^"]*"|[^"#])*/.exec(line)?.[0] ?? "").trim().replace(/\s+/g, " "))
    .filter((line) => line !== "");
}

/** Those of `list` that `other` lacks; one that is there twice counts twice. */
function without(list: readonly string[], other: readonly string[]): string[] {
  const left = [...other];
  return list.filter((rule) => {
    const index = left.indexOf(rule);
    if (index < 0) return true;
    left.splice(index, 1);
    return false;
  });
}
