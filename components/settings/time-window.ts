const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;
const form = /^(?:(sun|mon|tue|wed|thu|fri|sat) )?([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/;

/** Some time of every day, or of one day of the week, in UTC. It may end on the day after. */
export interface TimeWindow {
  readonly text: string;
  /** 0 is Sunday; undefined: every day. */
  readonly day: number | undefined;
  /** Minutes since midnight. */
  readonly start: number;
  readonly minutes: number;
}

/** Completes «expected …». */
export const timeWindowExample =
  "a time of every day or of one day of the week in UTC, such as 02:00-04:00 or sun 23:00-01:00";

/** @returns undefined for anything but `02:00-04:00` or `sun 02:00-04:00` */
export function parseTimeWindow(text: string): TimeWindow | undefined {
  const match = form.exec(text);
  if (!match) return undefined;
  const [, day, ...parts] = match;
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = parts.map(Number);
  const start = fromHour * 60 + fromMinute;
  const minutes = toHour * 60 + toMinute - start;
  if (minutes === 0) return undefined;
  return {
    text,
    day: day === undefined ? undefined : days.indexOf(day as (typeof days)[number]),
    start,
    minutes: minutes < 0 ? minutes + 24 * 60 : minutes,
  };
}

/** Whether a moment is in the window: its end is not. */
export function isWithin({ day, minutes, start }: TimeWindow, moment: Date): boolean {
  const now = moment.getUTCHours() * 60 + moment.getUTCMinutes();
  // The one that began today, and yesterday's, which may go on.
  return [0, 1].some((daysAgo) => {
    const began = (moment.getUTCDay() + 7 - daysAgo) % 7;
    const since = now + daysAgo * 24 * 60 - start;
    return (day === undefined || day === began) && since >= 0 && since < minutes;
  });
}
