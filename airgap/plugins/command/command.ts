import { randomBytes } from "node:crypto";
import type { OperationContext, ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import { equal, hasUnknown, isProperties, type Properties, UNKNOWN } from "../common/values.ts";
import { runCommand } from "./run.ts";

const properties: Schema = {
  create: { kind: "string" },
  update: { kind: "string" },
  delete: { kind: "string" },
  triggers: { kind: "list", element: { kind: "any" } },
  stdin: { kind: "string" },
  logging: { kind: "string" },
  interpreter: { kind: "list" },
  dir: { kind: "string" },
  environment: { kind: "map" },
  addPreviousOutputInEnv: { kind: "boolean" },
  stdout: { kind: "string", input: false },
  stderr: { kind: "string", input: false },
};

/** command.local.Command: runs a command when it is created, updated and deleted; never in a preview. */
export const localCommand: ResourceDefinition<undefined> = {
  token: "command:local:Command",
  properties,
  diff: (result) => {
    // A change within `triggers` is made a replacement by the SDK, by its option replaceOnChanges.
    const { triggers } = result.detailedDiff;
    if (triggers === "ADD" || triggers === "DELETE" || triggers === "UPDATE") {
      result.detailedDiff.triggers = `${triggers}_REPLACE`;
    }
    return result;
  },
  preview: (proposed, state, inputs) => {
    const isOutput = (name: string) => properties[name]?.input === false;
    const changed = Object.keys(properties).some(
      (name) =>
        !isOutput(name) && (hasUnknown(inputs[name]) || (name in state && !equal(inputs[name], state[name]))),
    );
    if (!changed) return proposed;
    return Object.fromEntries(
      Object.entries(proposed).map(([name, value]) => [name, isOutput(name) ? UNKNOWN : value]),
    );
  },
  create: async (inputs, context) => ({
    id: `${context.name}${randomBytes(4).toString("hex")}`,
    outputs: { ...inputs, ...(await run(inputs.create, inputs, { stdout: "", stderr: "" }, context)) },
  }),
  read: async (id, state, inputs) => ({ id, outputs: state, inputs }),
  update: async (_id, state, inputs, context) => {
    const { stdout = "", stderr = "" } = state;
    const command = inputs.update ?? inputs.create;
    return { ...inputs, ...(await run(command, inputs, { stdout, stderr }, context)) };
  },
  delete: async (_id, state, context) => {
    await run(state.delete, state, state, context);
  },
};

/** Runs a command, if there is one, and returns its output, else that of the run before. */
async function run(
  command: Properties[string] | undefined,
  inputs: Properties,
  previous: Properties,
  context: OperationContext<undefined>,
): Promise<Properties> {
  if (typeof command !== "string") return previous;
  const { interpreter, dir, stdin, logging } = inputs;
  const environment = isProperties(inputs.environment) ? inputs.environment : {};
  const env: NodeJS.ProcessEnv = { ...process.env };
  for (const [name, value] of Object.entries(environment)) env[name] = String(value);
  if (inputs.addPreviousOutputInEnv !== false) {
    if (previous.stdout) env.PULUMI_COMMAND_STDOUT = String(previous.stdout);
    if (previous.stderr) env.PULUMI_COMMAND_STDERR = String(previous.stderr);
  }
  const program = Array.isArray(interpreter) && interpreter.length > 0 ? interpreter : ["/bin/sh", "-c"];
  const logged = (stream: string) =>
    logging === undefined || logging === stream || logging === "stdoutAndStderr";
  return runCommand({
    command,
    interpreter: program.map(String),
    directory: typeof dir === "string" ? dir : process.cwd(),
    env,
    stdin: typeof stdin === "string" ? stdin : "",
    signal: context.signal,
    onLine: (stream, line) => {
      if (logged(stream)) context.log("info", line, true);
    },
  });
}
