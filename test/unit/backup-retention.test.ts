import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const folder = join(import.meta.dirname, "..", "..", "components", "backups", "container");
const hour = 3_600;
const day = 24 * hour;

interface Entry {
  readonly id: string;
  readonly parent?: string;
  /** Seconds. */
  readonly ended: number;
  readonly timeline?: number;
  /** Position in the WAL at its end. */
  readonly stop?: number;
}

interface Period {
  readonly timeline: number;
  readonly since: number;
  /** The timelines on the way to it, and where each was left. */
  readonly history?: readonly (readonly [timeline: number, left: number])[];
}

interface Case {
  readonly backups: readonly Entry[];
  readonly timelines?: readonly Period[];
  readonly now: number;
  readonly window: number;
  readonly minimum?: number;
}

function expired({ backups, minimum = 1, now, timelines = [], window }: Case): string[] {
  const lines = [
    ...backups.map(
      ({ ended, id, parent, stop, timeline }) =>
        `backup ${id} ${parent ? "incr" : "full"} ${parent ?? "-"} ${ended} ${timeline ?? 1} ${stop ?? ended}`,
    ),
    ...timelines.flatMap(({ history = [], since, timeline }) => [
      `timeline ${timeline} ${since}`,
      ...history.map(([parent, left]) => `history ${timeline} ${parent} ${left}`),
    ]),
  ];
  const script = '. "$1/retention.sh"; decide_retention "$2" "$3" "$4"';
  const args = ["-c", script, "retention", folder, String(now), String(window), String(minimum)];
  return execFileSync("bash", args, { input: `${lines.join("\n")}\n`, encoding: "utf8" })
    .split("\n")
    .filter(Boolean);
}

describe("retention", () => {
  const fulls = [1, 2, 3, 4, 5].map((n) => ({ id: `f${n}`, ended: n * day }));
  const chains = [
    { id: "f1", ended: 1 * day },
    { id: "i2", parent: "f1", ended: 2 * day },
    { id: "i3", parent: "i2", ended: 3 * day },
    { id: "f4", ended: 4 * day },
    { id: "i5", parent: "f4", ended: 5 * day },
    { id: "i6", parent: "i5", ended: 6 * day },
    { id: "f7", ended: 7 * day },
  ];

  it.each<[string, Case, string[]]>([
    [
      "keeps the newest from before the window: its first second needs it",
      { backups: fulls, now: 5.5 * day, window: 2 * day },
      ["f1", "f2"],
    ],
    [
      "keeps one that ended exactly when the window begins, and needs none before",
      { backups: fulls, now: 5 * day, window: 2 * day },
      ["f1", "f2"],
    ],
    [
      "removes none while the window goes back before all of them",
      { backups: fulls, now: 5 * day, window: 10 * day },
      [],
    ],
    [
      "keeps the minimum whatever their age",
      { backups: fulls, now: 100 * day, window: day, minimum: 3 },
      ["f1", "f2"],
    ],
    [
      "keeps all where the minimum is more than there are",
      { backups: fulls, now: 100 * day, window: 0, minimum: 9 },
      [],
    ],
    [
      "never removes the newest, even where nothing was asked for",
      { backups: fulls, now: 100 * day, window: 0, minimum: 0 },
      ["f1", "f2", "f3", "f4"],
    ],
    [
      "keeps what an incremental backup of the window goes back to",
      { backups: chains, now: 6.5 * day, window: 3 * day },
      [],
    ],
    [
      "removes a chain whose last link the window does not need",
      { backups: chains, now: 7.5 * day, window: 3 * day },
      ["f1", "i2", "i3"],
    ],
    [
      "removes the links of a kept chain that no point needs",
      { backups: chains, now: 100 * day, window: day, minimum: 2 },
      ["f1", "i2", "i3", "i5", "i6"],
    ],
    [
      "keeps the newest chain to its last link",
      { backups: chains.slice(0, 6), now: 100 * day, window: day },
      ["f1", "i2", "i3"],
    ],
    [
      "does not take an incremental backup whose full one is missing for a way into the window",
      {
        backups: [
          { id: "f1", ended: day },
          { id: "i2", parent: "gone", ended: 2 * day },
          { id: "f5", ended: 5 * day },
        ],
        now: 6 * day,
        window: 3 * day,
      },
      ["i2"],
    ],
    ["has nothing to do without backups", { backups: [], now: day, window: day }, []],
    [
      "keeps the backup from before the point that a restore went back to: the new timeline begins there",
      {
        // Restored at day 4 to where the WAL was at day 2: f3 is no way to what came after.
        backups: [
          { id: "f1", ended: day },
          { id: "f3", ended: 3 * day },
          { id: "g5", ended: 5 * day, timeline: 2 },
        ],
        timelines: [
          { timeline: 1, since: 0 },
          { timeline: 2, since: 4 * day, history: [[1, 2 * day]] },
        ],
        now: 6 * day,
        window: 2.5 * day,
      },
      [],
    ],
    [
      "lets a former timeline's backups go when the window has left it",
      {
        backups: [
          { id: "f1", ended: day },
          { id: "f3", ended: 3 * day },
          { id: "g5", ended: 5 * day, timeline: 2 },
          { id: "g6", ended: 6 * day, timeline: 2 },
        ],
        timelines: [
          { timeline: 1, since: 0 },
          { timeline: 2, since: 4 * day, history: [[1, 2 * day]] },
        ],
        now: 9 * day,
        window: 3.5 * day,
      },
      ["f1", "f3"],
    ],
    [
      "compares positions beyond what a double holds exactly",
      {
        backups: [
          { id: "f1", ended: day, stop: 1 },
          { id: "f2", ended: 2 * day, stop: 9_007_199_254_740_991 },
        ],
        timelines: [
          { timeline: 1, since: 0 },
          { timeline: 2, since: 3 * day, history: [[1, 9_007_199_254_740_990]] },
        ],
        now: 4 * day,
        window: 0.5 * day,
        minimum: 1,
      },
      [],
    ],
  ])("%s", (_, given, gone) => {
    expect(expired(given)).toEqual(gone);
  });

  it("leaves a way to every point of the window, whatever the backups", () => {
    let state = 20_261_125;
    const random = (limit: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
    for (let round = 0; round < 60; round += 1) {
      const backups: Entry[] = [];
      const timelines: Period[] = [{ timeline: 1, since: 0 }];
      let position = 0;
      let newest: Entry | undefined;
      for (let time = hour; time < 12 * day; time += hour * (1 + random(30))) {
        const current = timelines.at(-1) as Period;
        position += 1 + random(100);
        if (random(8) === 0) {
          // Back to an earlier position, on a new timeline; what is on the way there is kept.
          position = Math.max(1, position - random(300));
          const way = [...(current.history ?? []), [current.timeline, position] as const];
          const history = way.map(([timeline, left]) => [timeline, Math.min(left, position)] as const);
          timelines.push({ timeline: timelines.length + 1, since: time, history });
          newest = undefined;
        } else {
          const parent: Entry | undefined = newest && random(3) > 0 ? newest : undefined;
          newest = {
            id: `b${backups.length}`,
            ended: time,
            timeline: current.timeline,
            stop: position,
            ...(parent && { parent: parent.id }),
          };
          backups.push(newest);
        }
      }
      const now = 12 * day;
      const window = random(10 * day);
      const gone = new Set(expired({ backups, timelines, now, window, minimum: 1 }));
      const byId = new Map(backups.map((each) => [each.id, each]));
      const kept = (each: Entry | undefined): boolean =>
        each !== undefined &&
        !gone.has(each.id) &&
        (each.parent === undefined || kept(byId.get(each.parent)));
      const way = (point: number, possible: (each: Entry) => boolean) => {
        const live = timelines.filter(({ since }, index) => index === 0 || since <= point).at(-1) as Period;
        const leads = ({ stop = 0, timeline }: Entry) =>
          timeline === live.timeline ||
          (live.history ?? []).some(([parent, left]) => parent === timeline && stop <= left);
        return backups.some((each) => each.ended <= point && leads(each) && possible(each));
      };
      for (let point = now - window; point <= now; point += hour) {
        if (way(point, () => true)) expect(way(point, kept), `round ${round}, point ${point}`).toBe(true);
      }
    }
  });
});
