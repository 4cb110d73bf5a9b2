import { z } from "zod";
import { settingKeys } from "../settings/schema.ts";
import type { RestoreSetting } from "../settings.ts";

/**
 * Which volume an environment's data is in. Each restore fills a new one, and the server moves to it: generation 0 is
 * what the stack began with, in the volume `…-data`; generation n is in `…-data-n`.
 */
export interface DataGeneration {
  readonly generation: number;
  /** The setting that the generation was made by, also when it is gone by now; undefined in generation 0. */
  readonly restored: RestoreSetting | undefined;
  /** The upgrade that the generation was made by; undefined: none. */
  readonly upgraded?: Upgrade | undefined;
  /** The volume is there and has its data: nothing is restored or upgraded into it. */
  readonly taken?: true;
  /** The next update restores it. */
  readonly pending: boolean;
  /** The stack began with data that has roles and a database already. */
  readonly adopt: boolean;
}

/** Major versions. */
export interface Upgrade {
  readonly from: number;
  readonly to: number;
}

/** What is known of the generations so far. */
export interface KnownGenerations {
  /** The stack was never brought up as a whole, or was destroyed. */
  readonly isNew: boolean;
  /** As the last update that came to its end left it. */
  readonly recorded: Generation & { readonly adopted: boolean };
  /**
   * What the server's container has mounted. It is ahead of the record when an update has moved the server, and failed
   * later on. Undefined: there is no container, or Docker can't be asked.
   */
  readonly serving: Generation | undefined;
  /** The newest of the volumes that there are; undefined: none, or Docker can't be asked. */
  readonly newest: Generation | undefined;
}

export interface Generation {
  readonly generation: number;
  /** As `formatRestore` writes it. */
  readonly restored: string | undefined;
}

/** The same text for the same setting, whatever the order of its keys. */
export function formatRestore(restore: RestoreSetting): string {
  const sorted = (value: unknown): unknown =>
    typeof value === "object" && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .filter(([, entry]) => entry !== undefined)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, entry]) => [key, sorted(entry)]),
        )
      : value;
  return JSON.stringify(sorted(restore));
}

/** @returns Undefined for a text that is no such setting, as another version may have left it. */
export function parseRestore(text: string | undefined): RestoreSetting | undefined {
  if (text === undefined) return undefined;
  try {
    return settingKeys.restore.schema.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}

function formatUpgrade({ from, to }: Upgrade): string {
  return JSON.stringify({ upgradeFrom: from, upgradeTo: to });
}

function parseUpgrade(text: string | undefined): Upgrade | undefined {
  const [, from, to] = /^\{"upgradeFrom":(\d+),"upgradeTo":(\d+)\}$/.exec(text ?? "") ?? [];
  return from === undefined || to === undefined ? undefined : { from: Number(from), to: Number(to) };
}

/** What a generation was made by, as text. Undefined: by nothing but the stack's beginning. */
export function formatOrigin({ restored, upgraded }: DataGeneration): string | undefined {
  if (upgraded) return formatUpgrade(upgraded);
  return restored && formatRestore(restored);
}

/**
 * The setting names a state that the data is brought to once. The same setting later, or none, leaves the data where it
 * is: the server never moves back to an older volume by itself.
 *
 * @param options.adoptVolume A new stack takes over the newest volume.
 * @param options.upgrade As a restore: it is done once, and makes a new generation.
 */
export function decideGeneration(
  known: KnownGenerations,
  options: {
    readonly restore: RestoreSetting | undefined;
    readonly adoptVolume: boolean;
    readonly upgrade?: Upgrade | undefined;
  },
): DataGeneration {
  const { isNew, newest, recorded, serving } = known;
  const { adoptVolume, restore, upgrade } = options;
  if (isNew && adoptVolume) {
    const taken = serving ?? newest ?? recorded;
    return { ...parsed(taken), pending: false, adopt: true };
  }
  const current = serving && serving.generation > recorded.generation ? serving : recorded;
  if (restore === undefined && upgrade === undefined)
    return { ...parsed(current), pending: false, adopt: adoptVolume };
  const adopt = isNew || recorded.adopted;
  const made = upgrade ? { restored: undefined, upgraded: upgrade } : { restored: restore };
  const wanted = formatOrigin({ ...made, generation: 0, pending: true, adopt });
  if (current.generation > 0 && current.restored === wanted) {
    return { ...made, generation: current.generation, pending: false, adopt };
  }
  const last = Math.max(current.generation, newest?.generation ?? 0);
  // One that an interrupted update has begun is taken up again. Not in a new stack: it may be of an earlier life.
  const begun =
    !isNew && newest !== undefined && newest.generation > current.generation && newest.restored === wanted;
  return { ...made, generation: begun ? last : last + 1, pending: true, adopt };
}

function parsed({
  generation,
  restored,
}: Generation): Pick<DataGeneration, "generation" | "restored" | "upgraded"> {
  const upgraded = parseUpgrade(restored);
  return { generation, restored: parseRestore(restored), ...(upgraded ? { upgraded } : {}) };
}

/** A generation that is there already, and is taken as it is. */
export function asTaken(generation: Generation): DataGeneration {
  return { ...parsed(generation), pending: false, taken: true, adopt: false };
}

/** Name of a generation's volume. */
export function dataVolumeName(prefix: string, generation: number): string {
  return generation === 0 ? `${prefix}-data` : `${prefix}-data-${generation}`;
}

/** In words, for people: where the data will be from. */
export function describeTarget({ backup, from, latest, lsn, name, time, timeline }: RestoreSetting): string {
  const target = latest
    ? "the newest moment that the backup has"
    : time !== undefined
      ? `${time}`
      : name !== undefined
        ? `the restore point «${name}»`
        : `the log position ${lsn}`;
  return [
    target,
    ...(backup === undefined ? [] : [`from the base backup ${backup}`]),
    ...(timeline === undefined ? [] : [`on timeline ${timeline}`]),
    ...(from === undefined ? [] : [from === "copy" ? "from the copy" : `of stack ${from.stack}`]),
  ].join(", ");
}
