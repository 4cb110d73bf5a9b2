/**
 * Loaded by Node.js before Pulumi's SDK (Pulumi.yaml, `nodeargs`), so that the program starts in a fraction of the time.
 * Without it, everything works all the same.
 *
 * Two thirds of a run with nothing to change would go into what the SDK loads and prepares for features that this
 * program has no use for. Each is made to wait until it is used.
 */
const Module = require("node:module");
const { join } = require("node:path");

// Also keeps TypeScript's types stripped, for which Node.js would load a compiler.
Module.enableCompileCache(join(__dirname, "..", "..", "node_modules", ".cache", "program"));

const load = Module._load;

/** Stands for a module until something in it is asked for. */
function later(request, parent) {
  let loaded;
  const get = () => {
    loaded ??= load(request, parent, false);
    return loaded;
  };
  return new Proxy(() => {}, {
    get: (_, key) => {
      // What TypeScript's import helpers ask first; any other answer would make them copy everything. They take the
      // default export from it then, which a module of the older kind is as a whole.
      if (key === "__esModule") return true;
      return key === "default" && !get().__esModule ? get() : get()[key];
    },
    has: (_, key) => key in get(),
    apply: (_, self, args) => Reflect.apply(get(), self, args),
    construct: (_, args) => Reflect.construct(get(), args),
  });
}

/**
 * Of each promise, the SDK notes the stack, and writes it out at once, for a search that is asked for by a variable. That
 * it was never resolved is found without.
 */
function withoutStacks(request, parent) {
  const debuggable = load(request, parent, false);
  if (process.env.PULUMI_DEBUG_PROMISE_LEAKS || debuggable.withoutStacks) return debuggable;
  const { debuggablePromise } = debuggable;
  debuggable.debuggablePromise = (promise, context) => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      return debuggablePromise(promise, context);
    } finally {
      Error.stackTraceLimit = limit;
    }
  };
  debuggable.withoutStacks = true;
  return debuggable;
}

/** By the name that the SDK asks for, what it gets. */
const replaced = {
  // For functions that are sent to the cloud: 9 MB of compiler, and npm's own view of node_modules.
  typescript: later,
  "@npmcli/arborist": later,
  "normalize-package-data": later,
  // For the same, a debugger that is told of every script; who needs it starts it.
  "../../runtime/closure/v8Hooks": () => ({ isInitializedAsync: async () => {} }),
  // For programs that run Pulumi.
  "./automation": later,
  // For traces, with PULUMI_EXPERIMENTAL.
  "./tracing": (request, parent) => {
    const span = { end() {}, addEvent() {}, setAttribute() {}, recordException() {} };
    return process.env.PULUMI_EXPERIMENTAL ? load(request, parent, false) : { newSpan: () => span };
  },
  // Turns places in the SDK's JavaScript into places in its TypeScript, which is not installed, and that for the
  // stacks of some thousand promises.
  "source-map-support/register": () => ({}),
  "./debuggable": withoutStacks,
};

Module._load = (request, parent, isMain) => {
  const replacement = Object.hasOwn(replaced, request) ? replaced[request] : undefined;
  return replacement && parent?.filename.includes("@pulumi")
    ? replacement(request, parent)
    : load(request, parent, isMain);
};
