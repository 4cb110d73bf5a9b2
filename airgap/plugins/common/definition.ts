import type { DetailedDiff } from "./diff.ts";
import type { Severity } from "./grpc.ts";
import type { Timeouts } from "./outputs.ts";
import type { CheckFailure, Schema } from "./schema.ts";
import type { Properties } from "./values.ts";

/** What every operation of a resource is given. */
export interface OperationContext<Config> {
  /** What {@link PluginDefinition.configure} returned. */
  config: Config;
  urn: string;
  /** The resource's name, the last part of the URN. */
  name: string;
  /** `customTimeouts`, else the default in {@link ResourceDefinition.timeouts}; undefined: no limit. */
  timeoutSeconds: number | undefined;
  /** Aborted when the user cancels or the time is up. */
  signal: AbortSignal;
  /** Prints a line beside the resource. A passing one shows progress, and is gone in the final report. */
  log(severity: Severity, message: string, passing?: boolean): void;
}

export interface CheckResult {
  inputs: Properties;
  failures: CheckFailure[];
}

export interface DiffResult {
  detailedDiff: DetailedDiff;
  deleteBeforeReplace: boolean;
}

export interface State {
  id: string;
  outputs: Properties;
}

/**
 * One resource type. Inputs and states are plain and without nulls: secret marks are taken off before and put on
 * after, by the schema and, for what the program marked, by the engine.
 */
export interface ResourceDefinition<Config> {
  /** Such as `docker:index/network:Network`. */
  token: string;
  /** Inputs and outputs, `id` left out. */
  properties: Schema;
  /** `SchemaVersion` of the genuine resource, kept in the state's `__meta`. Default: 0. */
  schemaVersion?: number;
  /** Default limits. A customTimeout for an operation that is not named here is ignored with a warning. */
  timeouts?: Timeouts;
  /** Default: false. True for an {@link PropertySchema.autoName} property that the program sets. */
  deleteBeforeReplace?: boolean;
  /** Called with the result of the schema's own check. Values can be {@link UNKNOWN} or {@link Secret}. */
  check?(
    checked: CheckResult,
    olds: Properties,
    context: OperationContext<Config>,
  ): CheckResult | Promise<CheckResult>;
  /** Called with the result of the schema's own diff. Inputs can be {@link UNKNOWN}. */
  diff?(
    result: DiffResult,
    state: Properties,
    inputs: Properties,
    context: OperationContext<Config> & { id: string },
  ): DiffResult | Promise<DiffResult>;
  /** Changes what a preview shows. `state` is empty for a create. */
  preview?(proposed: Properties, state: Properties, inputs: Properties): Properties;
  /** Never called in a preview. Throw {@link PartialFailure} where something is left behind. */
  create(inputs: Properties, context: OperationContext<Config>): Promise<State>;
  /**
   * Reads what is there. `state` and `inputs` are empty for an import.
   *
   * @returns undefined where it is gone. Inputs are derived from the outputs where not given.
   */
  read(
    id: string,
    state: Properties,
    inputs: Properties,
    context: OperationContext<Config>,
  ): Promise<(State & { inputs?: Properties }) | undefined>;
  /**
   * Returns the new outputs, with an `id` of their own where the change gave the resource another one. Never
   * called in a preview. Left out where every change replaces.
   */
  update?(
    id: string,
    state: Properties,
    inputs: Properties,
    context: OperationContext<Config>,
  ): Promise<Properties>;
  delete(id: string, state: Properties, context: OperationContext<Config>): Promise<void>;
}

export interface PluginDefinition<Config> {
  /** Such as `docker`. */
  name: string;
  version: string;
  /**
   * What the genuine plugin is built on, which decides how its state looks.
   * - `sdk`: Terraform's SDK v2, bridged. Defaults in the inputs, `__defaults`, nulls for what has no value.
   * - `framework`: Terraform's Plugin Framework, bridged. Defaults in the outputs only, no nulls.
   * - `native`: pulumi-go-provider. As framework; the diff compares old and new inputs.
   */
  base: "sdk" | "framework" | "native";
  /** Provider configuration that is known. */
  config: Schema;
  /** Called with checked values and defaults, all of them known. */
  configure(config: Properties): Config | Promise<Config>;
  resources: ResourceDefinition<Config>[];
}

/** An operation failed, and left a resource that the state must keep. */
export class PartialFailure extends Error {
  readonly state: State;
  constructor(state: State, message: string) {
    super(message);
    this.state = state;
  }
}
