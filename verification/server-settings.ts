import type { Change, Difference } from "../catalogue/compare.ts";

/** A parameter as pg_settings has it. */
export interface Parameter {
  readonly name: string;
  /** In its base unit. */
  readonly setting: string;
  /** As SHOW prints it. */
  readonly shown: string;
  readonly unit: string | null;
  readonly vartype: "bool" | "enum" | "integer" | "real" | "string";
  /** Where the value comes from. */
  readonly source: string;
  readonly bootValue: string | null;
  /** The files say something else, which only a restart brings about. */
  readonly pendingRestart: boolean;
}

/** A line of the server's files, as pg_file_settings has it. */
export interface FileEntry {
  /** Null: the line is no setting at all. */
  readonly name: string | null;
  readonly value: string | null;
  readonly file: string;
  readonly line: number;
  readonly error: string | null;
}

/** One server's settings. */
export interface ServerSettings {
  readonly parameters: readonly Parameter[];
  readonly files: readonly FileEntry[];
}

export interface ExpectedSettings {
  /** What the program sets. */
  readonly parameters: Readonly<Record<string, string>>;
  /** A throwaway server of the same image. */
  readonly reference: ServerSettings;
  /** What that one was started with. */
  readonly referenceParameters: Readonly<Record<string, string>>;
}

/** The session's own, or computed by the server: not what somebody has set for the server. */
const passing = new Set(["client", "database", "database user", "override", "session", "user"]);

/** What ALTER SYSTEM writes; pg_file_settings has its whole path. */
const alterSystem = /(?:^|\/)postgresql\.auto\.conf$/;

/** Finds each parameter that has another value than it should have, or will have after a reload or restart. */
export function compareSettings(expected: ExpectedSettings, live: ServerSettings): Difference[] {
  const byName = new Map(live.parameters.map((parameter) => [parameter.name, parameter]));
  const reference = new Map(expected.reference.parameters.map((parameter) => [parameter.name, parameter]));
  const altered = new Map(
    live.files.flatMap(({ file, name, value }) =>
      name !== null && alterSystem.test(file) ? [[name, value ?? ""]] : [],
    ),
  );
  const changes = new Map<string, Change[]>();
  const add = (name: string, change: Change) => changes.set(name, [...(changes.get(name) ?? []), change]);

  for (const parameter of live.parameters) {
    const { name, shown } = parameter;
    const should = expectedValue(parameter, expected, reference);
    if (should !== undefined && should.setting !== parameter.setting) {
      add(name, { what: "value", was: should.shown, is: shown });
    }
  }
  for (const [name, value] of altered) {
    if (changes.has(name)) add(name, { what: "cause", was: "the program", is: "ALTER SYSTEM" });
    else add(name, { what: "value in postgresql.auto.conf", was: undefined, is: value });
  }
  for (const name of Object.keys(expected.parameters)) {
    // One with a dot in its name is known to the server only when what defines it is loaded.
    if (!byName.has(name) && !name.includes(".")) {
      add(name, { what: "value", was: expected.parameters[name], is: undefined });
    }
  }
  for (const { name, pendingRestart } of live.parameters) {
    if (pendingRestart && !changes.has(name)) {
      add(name, { what: "value of the files", was: "in force", is: "waiting for a restart" });
    }
  }
  const faulty = live.files.filter(({ error, name }) => error !== null && !changes.has(name ?? ""));
  return [
    ...[...changes]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, list]) => ({ kind: "changed" as const, object: `setting ${name}`, changes: list })),
    ...faulty.map(({ error, file, line, name }) => ({
      kind: "changed" as const,
      object: `line ${line} of ${file}`,
      changes: [{ what: name ?? "line", was: "in force", is: error ?? undefined }],
    })),
  ];
}

/** @returns Undefined where nothing can be said. */
function expectedValue(
  { bootValue, name, setting, source, unit, vartype }: Parameter,
  { parameters, referenceParameters }: ExpectedSettings,
  reference: ReadonlyMap<string, Parameter>,
): { setting: string; shown: string } | undefined {
  if (passing.has(source)) return undefined;
  const text = parameters[name];
  const there = reference.get(name);
  if (text !== undefined) {
    // The server's own reading of the same text is the best there is.
    if (there && referenceParameters[name] === text) return there;
    return { setting: canonicalValue(text, { unit, vartype, setting }), shown: text };
  }
  if (Object.hasOwn(referenceParameters, name)) {
    return bootValue === null ? undefined : { setting: bootValue, shown: bootValue };
  }
  // Nobody has set it here or there: the server makes it from others, as wal_buffers from shared_buffers.
  if (source === "default" && setting !== bootValue && there?.source === "default") return undefined;
  return there && !passing.has(there.source) ? there : undefined;
}

/** Bytes, and microseconds. */
const units: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1024,
  "8kB": 8 * 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
  us: 1,
  ms: 1000,
  s: 1000 ** 2,
  min: 60 * 1000 ** 2,
  h: 3600 * 1000 ** 2,
  d: 24 * 3600 * 1000 ** 2,
};

const yes = new Set(["on", "true", "tru", "tr", "t", "yes", "ye", "y", "1"]);
const no = new Set(["off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0"]);

/** A value as pg_settings would have it, in the parameter's base unit (manual, «Setting Parameters»). */
export function canonicalValue(
  text: string,
  { setting, unit, vartype }: Pick<Parameter, "setting" | "unit" | "vartype">,
): string {
  const word = text.trim().toLowerCase();
  switch (vartype) {
    case "string":
      return text;
    case "enum":
    case "bool": {
      // Some enumerations take the words of booleans too, and have on and off, or names of their own, for them.
      const booleanLike = vartype === "bool" || setting === "on" || setting === "off";
      if (booleanLike && yes.has(word)) return "on";
      if (booleanLike && no.has(word)) return "off";
      return word === setting.toLowerCase() ? setting : word;
    }
    case "integer":
    case "real": {
      const [, number = "", given = ""] =
        /^\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([a-zA-Z]*)\s*$/.exec(text) ?? [];
      if (number === "") return text;
      const factor = given === "" || unit === null ? 1 : (units[given] ?? 1) / (units[unit] ?? 1);
      const value = Number(number) * factor;
      return String(vartype === "integer" ? Math.round(value) : value);
    }
  }
}
