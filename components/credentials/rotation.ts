import type { RotatedKey } from "../settings.ts";

/** The application's logins are a pair: each rotation gives the idle one a new password and makes it the current one. */
export type PairedLogin = "appA" | "appB";

/** Which of the pair is the current one. @param generation how often it was rotated, counted from 1 */
export function pairOf(generation: number): { current: PairedLogin; other: PairedLogin } {
  return generation % 2 === 1 ? { current: "appA", other: "appB" } : { current: "appB", other: "appA" };
}

/** In which generation each of the pair got its password; undefined: it has none yet. */
export function generationOfPair(generation: number): { appA: number; appB: number | undefined } {
  const before = generation - 1;
  return generation % 2 === 1
    ? { appA: generation, appB: before === 0 ? undefined : before }
    : { appA: before, appB: generation };
}

/** Since when a generation is in use. */
export interface RotationMark {
  readonly generation: number;
  /** ISO 8601, to the second. */
  readonly since: string;
}

export type RotationMarks = Readonly<Record<RotatedKey, RotationMark>>;

/** Marks of today: an unchanged generation keeps its time. */
export function markRotation(
  rotation: Readonly<Record<RotatedKey, number>>,
  before: Readonly<Partial<RotationMarks>>,
  now: Date,
): RotationMarks {
  const since = `${now.toISOString().slice(0, 19)}Z`;
  return Object.fromEntries(
    Object.entries(rotation).map(([key, generation]) => {
      const known = before[key as RotatedKey];
      return [key, known?.generation === generation ? known : { generation, since }];
    }),
  ) as unknown as RotationMarks;
}

const day = 24 * 3_600_000;
/** Overlaps are for days; a week is time to give an application its new settings. */
const longOverlap = 7 * day;

/** What a preview reminds of. @param maxAge of passwords, in milliseconds */
export function remindersOf(
  marks: RotationMarks,
  overlap: readonly ("app" | "authority")[],
  maxAge: number | undefined,
  now: Date,
  stack: string,
): string[] {
  const ages = Object.entries(marks).map(([key, { since }]) => ({
    key: key as RotatedKey,
    age: now.getTime() - Date.parse(since),
  }));
  const old = ages.filter(({ age, key }) => maxAge !== undefined && key !== "authority" && age > maxAge);
  const unfinished = ages.filter(
    ({ age, key }) => (key === "app" || key === "authority") && overlap.includes(key) && age > longOverlap,
  );
  return [
    ...old.map(
      ({ age, key }) =>
        `The password of ${key} is ${days(age)} old (passwordMaxAge). Rotate it: ./db rotate ${stack} --role ${key}`,
    ),
    ...unfinished.map(
      ({ age, key }) =>
        `${key} was rotated ${days(age)} ago, and what was there before is still taken. Finish it: ./db rotate ${stack} ${key === "app" ? "--role app" : "--authority"} --finish`,
    ),
  ];
}

function days(age: number): string {
  const count = Math.floor(age / day);
  return count === 1 ? "1 day" : `${count} days`;
}
