import { describeDifference, isFault } from "../catalogue/compare.ts";
import { formatDuration } from "../migrator/report.ts";
import { whoWaits } from "../review/locks.ts";
import type { TakenLock } from "./locks.ts";
import type { RoundTrip, Step } from "./rehearse.ts";

/** Whether a migration came back as it was, in both directions. */
export function isGood({ afterDown, afterSecondUp, failure }: RoundTrip): boolean {
  return failure === undefined && ![...afterDown, ...afterSecondUp].some(isFault);
}

/** Every fault and every note, in words. */
export function describeFindings(trip: RoundTrip): { readonly faults: string[]; readonly notes: string[] } {
  // What was different after down mostly is so ever after.
  const told = new Set(trip.afterDown.map(({ object }) => object));
  const later = trip.afterSecondUp.filter(({ object }) => !told.has(object));
  const found = [
    ...trip.afterDown.map((difference) => [difference, "after down"] as const),
    ...later.map((difference) => [difference, "after the second up"] as const),
  ];
  const words = (wanted: boolean) =>
    found
      .filter(([difference]) => isFault(difference) === wanted)
      .map(([difference, when]) => describeDifference(difference, when));
  return { faults: words(true), notes: words(false) };
}

/** One migration for a person, in several lines. */
export function formatRoundTrip(trip: RoundTrip): string {
  const { faults, notes } = describeFindings(trip);
  const steps = (["up", "down", "up again"] satisfies Step[]).flatMap((step) => {
    const duration = trip.durations[step];
    if (duration !== undefined) return [`${step} ${formatDuration(duration)}`];
    return trip.failure?.step === step ? [`${step} failed`] : [];
  });
  return [
    `${trip.name}: ${steps.join(", ")}`,
    ...formatLocks(trip),
    ...faults.map((text) => `  DIFFERENCE  ${text}`),
    ...notes.map((text) => `  note        ${text}`),
    ...(trip.failure
      ? [`  FAILED      ${trip.failure.step}: ${trip.failure.message.replaceAll("\n", "\n              ")}`]
      : []),
    ...(isGood(trip) ? ["  good        down takes everything back, and up works again"] : []),
  ].join("\n");
}

function formatLocks({ durations, locks }: RoundTrip): string[] {
  if (durations.up === undefined) return [];
  if (locks === undefined) return ["  locks       not known: it runs without a transaction"];
  const worth = locks.filter(({ mode }) => mode !== "ACCESS SHARE");
  if (worth.length === 0) return ["  locks       none on tables that were there before"];
  return worth.map((lock) => `  lock        ${describeLock(lock)}`);
}

export function describeLock({ table, mode, rewritten }: TakenLock): string {
  const effects = [whoWaits(mode), rewritten ? "writes the table anew" : undefined].filter(Boolean);
  return `${mode} on ${table}${effects.length > 0 ? ` (${effects.join(", ")})` : ""}`;
}

/** The last line. */
export function summarize(trips: readonly RoundTrip[], notRehearsed: number, took: string): string {
  const bad = trips.filter((trip) => !isGood(trip)).map(({ name }) => name);
  const counted = (count: number) => (count === 1 ? "1 migration" : `${count} migrations`);
  if (bad.length === 0)
    return `${counted(trips.length)} rehearsed in ${took}: up, down and up again leave no difference`;
  const rest = notRehearsed > 0 ? `; ${counted(notRehearsed)} not rehearsed` : "";
  return `${bad.length} of ${counted(trips.length)} rehearsed in ${took} ${bad.length === 1 ? "does" : "do"} not pass: ${bad.join(", ")}${rest}`;
}
