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

/** States of a stack after `up` and after a change of settings; undefined where that failed. */
interface Made {
  readonly fresh: ResourceState[] | undefined;
  readonly changed: ResourceState[] | undefined;
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
  for (const [what, left, right] of [
    ["after up", byStandIns.fresh, byGenuine.fresh],
    ["after a change of settings", byStandIns.changed, byGenuine.changed],
  ] as const) {
    if (left === undefined || right === undefined) continue;
    // The change is made by the other set: the names say whose work a state is.
    const [leftName, rightName] =
      what === "after up" ? [standIns.name, genuine.name] : [genuine.name, standIns.name];
    add(compared(`${scenario.name}: state ${what}`, compareSeparateStacks(left, right), leftName, rightName));
  }
  return checks;
}

/** Makes a stack with one set, does everything else with the other, and removes it. */
async function runDirection(
  { change, keptVolumes, name: scenario, profile, settings }: Scenario,
  maker: Home,
  other: Home,
  { emptyBackupFolder, newStack }: RunnerOptions,
  add: (check: Check) => void,
): Promise<Made> {
  const stack = newStack();
  const title = `${scenario}, made by ${maker.name}`;
  const step = async (name: string, run: () => Promise<Result>): Promise<boolean> => {
    const start = performance.now();
    const { ok, output } = await run();
    const seconds = (performance.now() - start) / 1000;
    add({ name: `${title}: ${name}`, ok, seconds, ...(ok ? {} : { output }) });
    return ok;
  };
  const state = async () => readState(await stack.export(other));
  /** Preview and refresh, which must find the state as it is. */
  const nothingToDo = async (by: Home, when: string) => {
    await step(`${when}, preview by ${by.name} changes nothing`, () => stack.previewExpectingNoChanges(by));
    const before = await state();
    await step(`${when}, refresh by ${by.name} changes nothing`, () => stack.refreshExpectingNoChanges(by));
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

  let fresh: ResourceState[] | undefined;
  let changed: ResourceState[] | undefined;
  try {
    await emptyBackupFolder();
    if (!(await step("stack init", () => stack.init(maker, profile, settings)))) {
      return { fresh, changed };
    }
    if (await step(`up by ${maker.name}`, () => stack.up(maker))) {
      fresh = await nothingToDo(other, "after up");
      await changeSettings(stack, other, change);
      if (await step(`change of settings by ${other.name}`, () => stack.up(other))) {
        changed = await nothingToDo(maker, "after the change");
      }
    }
    await step(`destroy by ${other.name}`, () => stack.destroy(other));
    const leftovers = await stack.leftovers();
    const isKept = (name: string) => keptVolumes.some((kept) => name.endsWith(`-${stack.name}-${kept}`));
    const wrong = leftovers.filter((name) => !(name.startsWith("volume ") && isKept(name)));
    const kept = leftovers.length - wrong.length;
    await step(
      `nothing is left in Docker${keptVolumes.length > 0 ? ` but ${keptVolumes}` : ""}`,
      async () => ({
        ok: wrong.length === 0 && kept === keptVolumes.length,
        output: `What is there: ${leftovers.join(", ") || "nothing"}`,
      }),
    );
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
  return { fresh, changed };
}

/** The scenario's change, and one that adds to a database that is in use. */
async function changeSettings(stack: Stack, home: Home, change: Scenario["change"]): Promise<void> {
  const extensions = await stack.list(home, "extensions");
  const another = ["unaccent", "fuzzystrmatch", "tablefunc"].find((name) => !extensions.includes(name));
  await stack.set(home, { path: `extensions[${extensions.length}]`, value: another ?? "isn" });
  for (const setting of change) await stack.set(home, setting);
}

function compared(name: string, comparison: Comparison, left: string, right: string): Check {
  return {
    name,
    ok: comparison.differences.length === 0,
    seconds: 0,
    comparison: { ...comparison, left, right },
  };
}
