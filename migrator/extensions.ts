import { InputError } from "./errors.ts";

export interface ExtensionRequest {
  readonly name: string;
  /** Default: the one that the server would choose. */
  readonly version?: string;
}

/**
 * Reads a JSON list of `{name, version?}`.
 *
 * @throws InputError that shows the form.
 */
export function readExtensionRequests(json: string | undefined): ExtensionRequest[] {
  try {
    const list: unknown = JSON.parse(json ?? "");
    if (Array.isArray(list) && list.every(isRequest)) return list;
  } catch {
    // Said below, with the form.
  }
  throw new InputError("The list of extensions cannot be read:", [
    `EXTENSIONS must be JSON of the form [{"name": "citext"}, {"name": "hstore", "version": "1.8"}]`,
  ]);
}

function isRequest(value: unknown): value is ExtensionRequest {
  if (typeof value !== "object" || value === null) return false;
  const { name, version } = value as Record<string, unknown>;
  return typeof name === "string" && (version === undefined || typeof version === "string");
}

/**
 * Says which of the extensions the server does not have, and what it has instead.
 *
 * @param available Names with their versions.
 * @returns undefined where nothing is missing.
 */
export function describeMissing(
  requests: readonly ExtensionRequest[],
  available: ReadonlyMap<string, readonly string[]>,
): string | undefined {
  const unknown = requests.filter(({ name }) => !available.has(name));
  const wrongVersion = requests.filter(
    ({ name, version }) => version !== undefined && available.get(name)?.includes(version) === false,
  );
  if (unknown.length === 0 && wrongVersion.length === 0) return undefined;
  return [
    ...unknown.map(({ name }) => `extension "${name}" is not in the image.`),
    ...(unknown.length > 0 ? ["It has:", ...wrap([...available.keys()].toSorted())] : []),
    ...wrongVersion.map(
      ({ name, version }) =>
        `extension "${name}" is in the image, but not in version ${version}. ` +
        `It has: ${(available.get(name) ?? []).toSorted(byVersion).join(", ")}.`,
    ),
    'What to do: correct the setting "extensions", or set "image" to one that has them.',
  ].join("\n");
}

function byVersion(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/** Words in indented lines of at most 100 columns, separated by commas. */
function wrap(words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = "";
  words.forEach((word, index) => {
    const piece = index < words.length - 1 ? `${word},` : word;
    if (line !== "" && line.length + 1 + piece.length > 98) {
      lines.push(`  ${line}`);
      line = "";
    }
    line = line === "" ? piece : `${line} ${piece}`;
  });
  if (line !== "") lines.push(`  ${line}`);
  return lines;
}
