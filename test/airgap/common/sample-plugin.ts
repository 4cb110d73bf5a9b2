// A plugin of each base, for the tests of the plugin server.
import {
  PartialFailure,
  type ResourceDefinition,
  servePlugin,
} from "../../../airgap/plugins/common/plugin.ts";

const thing: ResourceDefinition<{ greeting: unknown }> = {
  token: "sample:index:Thing",
  schemaVersion: 2,
  timeouts: { create: 60 },
  properties: {
    name: { kind: "string", forceNew: true, autoName: true },
    size: { kind: "integer", default: 3 },
    off: { kind: "boolean", default: false },
    password: { kind: "string", secret: true },
    address: { kind: "string", computed: true },
    labels: { kind: "map" },
    ports: {
      kind: "list",
      forceNew: true,
      element: {
        kind: "object",
        properties: {
          internal: { kind: "integer", required: true },
          protocol: { kind: "string", default: "tcp" },
        },
      },
    },
    peers: { kind: "set" },
    seen: { kind: "string", input: false },
  },
  create: async (inputs, { name, config, timeoutSeconds, signal, log }) => {
    log("info", `making ${name}`);
    const outputs = { ...inputs, address: "10.0.0.1", seen: `${config.greeting} ${timeoutSeconds}` };
    if (inputs.size === 13) throw new Error("size 13 cannot be had");
    if (inputs.size === 14) throw new PartialFailure({ id: name, outputs }, "made, but not well");
    if (inputs.size === 15) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      throw new Error(`gave up: ${signal.reason.message}`);
    }
    return { id: name, outputs };
  },
  read: async (id, state) =>
    id === "gone"
      ? undefined
      : {
          id,
          outputs: {
            ...state,
            name: id,
            size: 5,
            off: false,
            address: "10.0.0.1",
            ports: [{ internal: 80, protocol: "tcp" }],
          },
        },
  update: async (_id, state, inputs) => ({ ...state, ...inputs }),
  delete: async (id) => {
    if (id === "stuck") throw new Error("it does not go");
  },
};

const [, , engine, base = "sdk"] = process.argv;
if (base !== "sdk" && base !== "framework" && base !== "native") throw new Error(`unknown base ${engine}`);

servePlugin({
  name: "sample",
  version: "1.2.3",
  base,
  config: {
    greeting: { kind: "string", default: () => process.env.SAMPLE_GREETING },
    retries: { kind: "integer" },
    token: { kind: "string", secret: true },
  },
  configure: (config) => ({ greeting: config.greeting ?? "hello" }),
  resources: [thing],
});
