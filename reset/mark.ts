/** What a template was made of, kept as its comment: the databases of a server and what is known of them are one. */
export interface TemplateMark {
  readonly version: 1;
  /** As listMigrations prints them. */
  readonly migrations: readonly string[];
  /** As listSeeds prints them. */
  readonly seeds: readonly string[];
  /** The application's database's own comment. */
  readonly comment: string | null;
  /** See `inputsOf` and `hashInputs`. */
  readonly inputs: readonly string[];
  readonly inputsHash: string;
  /** Of those inputs alone that a template can't follow without `pulumi up`. */
  readonly settingsHash: string;
  /** Whether Pulumi's state knows of it. */
  readonly recorded: boolean;
}

/** What a template knows of where it comes from. */
export type InputsMark = Pick<TemplateMark, "inputs" | "inputsHash" | "settingsHash" | "recorded">;

/** @returns Undefined for what another version of the program has written, or nobody. */
export function parseMark(comment: string | null | undefined): TemplateMark | undefined {
  try {
    const mark = JSON.parse(comment ?? "") as TemplateMark;
    return mark.version === 1 ? mark : undefined;
  } catch {
    return undefined;
  }
}

export function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && isPrefix(a, b);
}

export function isPrefix(beginning: readonly string[], list: readonly string[]): boolean {
  return beginning.every((entry, index) => list[index] === entry);
}
