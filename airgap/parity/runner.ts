import { type Comparison, compareSameStack, compareSeparateStacks } from "./compare.ts";
import type { Home } from "./homes.ts";
import type { Scenario } from "./scenarios.ts";
import type { Result, Stack } from "./stack.ts";
import { type ResourceState, readState } from "./state.ts";

/** One thing that has to hold. */
export interface Check {
  /** Such as `development, made by stand-ins: preview by genuine`. */
  readonly name: string;
  readonly ok: boolean;
  readonly seconds: number;
  /** Output of a command that failed. */
  readonly output?: string;
  /** Of two states; `ok` says that there is no difference. */
  readonly comparison?: Comparison & { readonly left: string; readonly right: string };
}

/** What a stack looked like after each stage that succeeded. */
type Made = ReadonlyMap<string, ResourceState[]>;

/** An `up` by one set; then the other must find nothing to do. */
interface Stage {
  /** As in `state after the change`. */
  readonly name: string;
  readonly by: "maker" | "other";
  /**
   * Resources are imported. The genuine plugin's next refresh takes the defaults of a schema, which an import leaves
   * null, out of the state, and calls that a change although there is none to make.
   */
  readonly imports: boolean;
  prepare(stack: Stack, home: Home): Promise<void>;
}

export interface RunnerOptions {
  readonly standIns: Home;
  readonly genuine: Home;
  /** A stack that isn't there yet; the same name each time. */
  newStack(): Stack;
  /** Empties the folder that a scenario has its backups in. */
  emptyBackupFolder(): Promise<void>;
  report(check: Check): void;
}

/** Runs a scenario both ways, and compares what both ways made. */
export async function runScenario(scenario: Scenario, options: RunnerOptions): Promise<Check[]> {
  const { standIns, genuine } = options;
  const checks: Check[] = [];
  const add = (check: Check) => {
    checks.push(check);
    options.report(check);
  };
  const byStandIns = await runDirection(scenario, standIns, genuine, options, add);
  const byGenuine = await runDirection(scenario, genuine, standIns, options, add);
  for (const { by, name } of [...stagesOf(scenario), ...stagesAfterDestroy(scenario)]) {
    const left = byStandIns.get(name);
    const right = byGenuine.get(name);
    if (left === undefined || right === undefined) continue;
    // The names say whose work a state is.
    const names = [standIns.name, genuine.name];
    const [leftName = "", rightName = ""] = by === "maker" ? names : names.toReversed();
    add(
      compared(
        `${scenario.name}: state after ${name}`,
        compareSeparateStacks(left, right),
        leftName,
        rightName,
      ),
    );
  }
  return checks;
}

function stagesOf({ change }: Scenario): Stage[] {
  return [
    { name: "up", by: "maker", imports: false, prepare: async () => {} },
    {
      name: "the change",
      by: "other",
      imports: false,
      prepare: async (stack, home) => {
        await addExtension(stack, home);
        for (const setting of change) await stack.set(home, setting);
      },
    },
  ];
}

/** A new stack on the volume that the old one left: what is in the database is imported. */
function stagesAfterDestroy({ takesOver }: Scenario): Stage[] {
  if (!takesOver) return [];
  return [
    {
      name: "taking the volume over",
      by: "maker",
      imports: true,
      prepare: async (stack, home) => {
        await stack.unset(home, "restore");
        await stack.set(home, { path: "adoptVolume", value: true });
      },
    },
    {
      name: "settling in",
      by: "other",
      imports: false,
      prepare: (stack, home) => stack.unset(home, "adoptVolume"),
    },
  ];
}

/** To a database that is in use. */
async function addExtension(stack: Stack, home: Home): Promise<void> {
  const extensions = await stack.list(home, "extensions");
  const another = ["unaccent", "fuzzystrmatch", "tablefunc"].find((name) => !extensions.includes(name));
  await stack.set(home, { path: `extensions[${extensions.length}]`, value: another ?? "isn" });
}

/** Makes a stack with one set, does everything else with the other, and removes it. */
async function runDirection(
  scenario: Scenario,
  maker: Home,
  other: Home,
  { emptyBackupFolder, newStack }: RunnerOptions,
  add: (check: Check) => void,
): Promise<Made> {
  const { keptVolumes, profile, settings } = scenario;
  const stack = newStack();
  const title = `${scenario.name}, made by ${maker.name}`;
  const step = async (name: string, run: () => Promise<Result>): Promise<boolean> => {
    const start = performance.now();
    const { ok, output } = await run();
    const seconds = (performance.now() - start) / 1000;
    add({ name: `${title}: ${name}`, ok, seconds, ...(ok ? {} : { output }) });
    return ok;
  };
  const state = async () => readState(await stack.export(other));
  /** Preview and refresh, which must find the state as it is. */
  const nothingToDo = async (by: Home, { imports, name }: Stage) => {
    const when = `after ${name}`;
    await step(`${when}, preview by ${by.name} changes nothing`, () => stack.previewExpectingNoChanges(by));
    const before = await state();
    await step(`${when}, refresh by ${by.name}${imports ? "" : " changes nothing"}`, () =>
      imports ? stack.refresh(by) : stack.refreshExpectingNoChanges(by),
    );
    const refreshed = compareSameStack(before, await state());
    add(
      compared(
        `${title}: ${when}, state before and after the refresh by ${by.name}`,
        refreshed,
        "before",
        "after",
      ),
    );
    return before;
  };

  const made = new Map<string, ResourceState[]>();
  const run = async (stages: readonly Stage[]): Promise<boolean> => {
    for (const stage of stages) {
      const { by, name, prepare } = stage;
      const [one, another] = by === "maker" ? [maker, other] : [other, maker];
      await prepare(stack, one);
      if (!(await step(`${name} by ${one.name}`, () => stack.up(one)))) return false;
      made.set(name, await nothingToDo(another, stage));
    }
    return true;
  };
  const end = async (): Promise<boolean> => {
    if (!(await step(`destroy by ${other.name}`, () => stack.destroy(other)))) return false;
    const leftovers = await stack.leftovers();
    const isKept = (name: string) => keptVolumes.some((kept) => name.endsWith(`-${stack.name}-${kept}`));
    const wrong = leftovers.filter((name) => !(name.startsWith("volume ") && isKept(name)));
    return step(
      `nothing is left in Docker${keptVolumes.length > 0 ? ` but the volumes ${keptVolumes.join(", ")}` : ""}`,
      async () => ({
        ok: wrong.length === 0 && leftovers.length === keptVolumes.length,
        output: `What is there: ${leftovers.join(", ") || "nothing"}`,
      }),
    );
  };
  try {
    await emptyBackupFolder();
    if (!(await step("stack init", () => stack.init(maker, profile, settings)))) return made;
    const later = stagesAfterDestroy(scenario);
    const whole = await run(stagesOf(scenario));
    if ((await end()) && whole && later.length > 0) {
      await run(later);
      await end();
    }
  } finally {
    const kept = await stack.removeLeftovers();
    if (kept.length > 0) {
      add({
        name: `${title}: clean up`,
        ok: false,
        seconds: 0,
        output: `could not remove ${kept.join(", ")}`,
      });
    }
  }
  return made;
}

function compared(name: string, comparison: Comparison, left: string, right: string): Check {
  return {
    name,
    ok: comparison.differences.length === 0,
    seconds: 0,
    comparison: { ...comparison, left, right },
  };
}
