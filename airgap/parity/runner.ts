import { type Comparison, compareSameStack, compareSeparateStacks } from "./compare.ts";
import type { Home } from "./homes.ts";
import type { Profile, Result, Stack } from "./stack.ts";
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
  /** A port that is free on the Docker host, for production. */
  readonly port: number;
  report(check: Check): void;
}

/** Runs a profile both ways, and compares what both ways made. */
export async function runProfile(profile: Profile, options: RunnerOptions): Promise<Check[]> {
  const { standIns, genuine } = options;
  const checks: Check[] = [];
  const add = (check: Check) => {
    checks.push(check);
    options.report(check);
  };
  const byStandIns = await runDirection(profile, standIns, genuine, options, add);
  const byGenuine = await runDirection(profile, genuine, standIns, options, add);
  for (const [what, left, right] of [
    ["after up", byStandIns.fresh, byGenuine.fresh],
    ["after a change of settings", byStandIns.changed, byGenuine.changed],
  ] as const) {
    if (left === undefined || right === undefined) continue;
    // The change is made by the other set: the names say whose work a state is.
    const [leftName, rightName] =
      what === "after up" ? [standIns.name, genuine.name] : [genuine.name, standIns.name];
    add(compared(`${profile}: state ${what}`, compareSeparateStacks(left, right), leftName, rightName));
  }
  return checks;
}

/** Makes a stack with one set, does everything else with the other, and removes it. */
async function runDirection(
  profile: Profile,
  maker: Home,
  other: Home,
  { newStack, port }: RunnerOptions,
  add: (check: Check) => void,
): Promise<Made> {
  const stack = newStack();
  const title = `${profile}, made by ${maker.name}`;
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
    const production = profile === "production";
    if (!(await step("stack init", () => stack.init(maker, profile, production ? port : undefined)))) {
      return { fresh, changed };
    }
    if (await step(`up by ${maker.name}`, () => stack.up(maker))) {
      fresh = await nothingToDo(other, "after up");
      await changeSettings(stack, other);
      if (await step(`change of settings by ${other.name}`, () => stack.up(other))) {
        changed = await nothingToDo(maker, "after the change");
      }
    }
    await step(`destroy by ${other.name}`, () => stack.destroy(other));
    const leftovers = (await stack.leftovers()).filter((name) => !(production && name.startsWith("volume ")));
    await step(`nothing is left in Docker${production ? " but the volume" : ""}`, async () => ({
      ok: leftovers.length === 0,
      output: leftovers.join("\n"),
    }));
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

/** Settings that replace the container, add to a database that is in use, and let everything be destroyed. */
async function changeSettings(stack: Stack, home: Home): Promise<void> {
  const extensions = await stack.list(home, "extensions");
  const another = ["unaccent", "fuzzystrmatch", "tablefunc"].find((name) => !extensions.includes(name));
  await stack.set(home, `extensions[${extensions.length}]`, another ?? "isn", "string");
  await stack.set(home, "serverSettings.log_min_duration_statement", "321", "int");
  await stack.set(home, "deletionProtection", "false", "bool");
}

function compared(name: string, comparison: Comparison, left: string, right: string): Check {
  return {
    name,
    ok: comparison.differences.length === 0,
    seconds: 0,
    comparison: { ...comparison, left, right },
  };
}
