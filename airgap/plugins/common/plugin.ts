import { isDeepStrictEqual } from "node:util";
import grpc from "@grpc/grpc-js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import type structs from "google-protobuf/google/protobuf/struct_pb.js";
import { type DetailedDiff, type DiffKind, diffInputs, diffState } from "./diff.ts";
import {
  connectEngine,
  initFailure,
  type Severity,
  StatusError,
  unary,
  unimplementedStream,
} from "./grpc.ts";
import { fillNulls, inputsFromOutputs, metaText, proposedOutputs, type Timeouts } from "./outputs.ts";
import {
  type CheckFailure,
  checkProperties,
  defaultOf,
  markSecrets,
  type Schema,
  uniqueName,
} from "./schema.ts";
import {
  fromStruct,
  hasUnknown,
  type Properties,
  plain,
  Secret,
  toStruct,
  UNKNOWN,
  type Value,
  withoutNulls,
} from "./values.ts";

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

/**
 * Starts the gRPC server, and prints its port for the engine. The process ends when the one that started it does.
 */
export function servePlugin<Config>(definition: PluginDefinition<Config>): void {
  const abort = new AbortController();
  const server = new grpc.Server({ "grpc.max_receive_message_length": 400 * 1024 * 1024 });
  server.addService(
    providerGrpc.ResourceProviderService,
    handlers(definition, abort, process.argv[2]) as unknown as grpc.UntypedServiceImplementation,
  );
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.stdout.write(`${port}\n`);
  });
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid === parent) return;
    abort.abort(new Error("the Pulumi engine is gone"));
    setTimeout(() => process.exit(1), 1000);
  }, 2000).unref();
}

type Unary<Request, Response> = (request: Request) => Response | Promise<Response>;

/** The methods of pulumirpc.ResourceProvider. */
function handlers<Config>(
  definition: PluginDefinition<Config>,
  abort: AbortController,
  engineAddress: string | undefined,
) {
  const { base } = definition;
  const resources = new Map(definition.resources.map((resource) => [resource.token, resource]));
  let config: Config;
  let log = engineAddress === undefined ? undefined : connectEngine(engineAddress);

  const find = (urn: string): ResourceDefinition<Config> => {
    const resource = resources.get(typeOf(urn));
    if (resource !== undefined) return resource;
    throw new Error(
      `the airgap stand-in plugin for ${definition.name} has no resource ${typeOf(urn)}; ` +
        `it has ${[...resources.keys()].sort().join(", ")}`,
    );
  };
  const contextOf = (urn: string, timeoutSeconds?: number): OperationContext<Config> => ({
    config,
    urn,
    name: nameOf(urn),
    timeoutSeconds,
    signal:
      timeoutSeconds === undefined
        ? abort.signal
        : AbortSignal.any([abort.signal, AbortSignal.timeout(timeoutSeconds * 1000)]),
    log: (severity, message, passing) => log?.write(urn, severity, message, passing ?? false),
  });
  const timedContext = (
    resource: ResourceDefinition<Config>,
    what: keyof Timeouts,
    urn: string,
    custom: number,
  ) => {
    const standard = resource.timeouts?.[what];
    if (base === "native") return contextOf(urn, custom > 0 ? custom : undefined);
    if (standard === undefined && custom > 0 && base === "sdk") {
      const ignored = `${what}=${custom}s`;
      log?.write(urn, "warning", `Resource does not support customTimeouts, ignoring: ${ignored}`, false);
    }
    return contextOf(urn, standard === undefined ? undefined : custom > 0 ? custom : standard);
  };
  const outputsOf = (
    resource: ResourceDefinition<Config>,
    state: State,
    inputs: Properties,
    timeouts = {},
  ) => {
    const outputs =
      base === "sdk" ? fillNulls(resource.properties, state.outputs) : withoutNulls(state.outputs);
    const meta = metaText(resource.schemaVersion ?? 0, timeouts);
    if (meta !== undefined) outputs.__meta = meta;
    const marked = markSecrets(resource.properties, outputs);
    // A native plugin gives back the marks of the inputs that it repeats; for a bridged one the engine does it.
    if (base === "native") keepMarks(marked, inputs);
    else marked.id = state.id;
    return toStruct(marked);
  };
  const timeoutsOf = (
    resource: ResourceDefinition<Config>,
    what: keyof Timeouts,
    custom: number,
  ): Timeouts => ({
    ...resource.timeouts,
    ...(resource.timeouts?.[what] !== undefined && custom > 0 ? { [what]: custom } : {}),
  });

  const checkConfig: Unary<provider.CheckRequest, provider.CheckResponse> = (request) => {
    const raw = fromStruct(request.getNews());
    const { version, pluginDownloadURL, ...news } = unfoldConfig(definition.config, raw);
    const what = `the ${definition.name} provider`;
    const { inputs, failures } = checkProperties(definition.config, news, { filling: "outputs", what });
    const reserved = Object.entries(raw).filter(
      ([name]) => name.startsWith("__") || name === "version" || name === "pluginDownloadURL",
    );
    return checkResponse(nameOf(request.getUrn()), {
      inputs: { ...Object.fromEntries(reserved), ...foldConfig(markSecrets(definition.config, inputs)) },
      failures,
    });
  };

  const diffConfig: Unary<provider.DiffRequest, provider.DiffResponse> = (request) => {
    const olds = fromStruct(request.getOldInputs() ?? request.getOlds());
    return diffResponse(
      {
        detailedDiff: diffInputs(plain(olds), plain(fromStruct(request.getNews()))),
        deleteBeforeReplace: false,
      },
      true,
    );
  };

  const configure: Unary<provider.ConfigureRequest, provider.ConfigureResponse> = async (request) => {
    const values = withoutNulls(plain(unfoldConfig(definition.config, fromStruct(request.getArgs()))));
    for (const [name, property] of Object.entries(definition.config)) {
      const standard = values[name] ?? defaultOf(property);
      if (standard !== undefined) values[name] = standard;
    }
    config = await definition.configure(values);
    const response = new provider.ConfigureResponse();
    response.setSupportspreview(true);
    // Without this the engine sends no secret marks, and marks outputs named as secret inputs itself.
    response.setAcceptsecrets(base === "native");
    response.setSupportsAutonamingConfiguration(base !== "native");
    return response;
  };

  const check: Unary<provider.CheckRequest, provider.CheckResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const olds = plain(fromStruct(request.getOlds()));
    const autonaming = request.getAutonaming();
    let result = checkProperties(resource.properties, fromStruct(request.getNews()), {
      filling: base === "sdk" ? "inputs" : "outputs",
      what: resource.token,
      olds,
      nameResource: () => {
        if (autonaming === undefined) return uniqueName(nameOf(urn), request.getRandomseed_asU8());
        if (autonaming.getMode() !== provider.CheckRequest.AutonamingOptions.Mode.DISABLE) {
          return autonaming.getProposedName();
        }
        throw new Error("automatic naming is disabled but no explicit name was provided");
      },
    });
    if (resource.check) result = await resource.check(result, olds, contextOf(urn));
    const inputs = markSecrets(resource.properties, result.inputs);
    return checkResponse(nameOf(urn), { inputs, failures: result.failures });
  };

  const diff: Unary<provider.DiffRequest, provider.DiffResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const state = stateOf(request.getOlds());
    const inputs = withoutNulls(plain(fromStruct(request.getNews())));
    let result: DiffResult = {
      detailedDiff:
        base === "native"
          ? diffInputs(fromStruct(request.getOldInputs()), fromStruct(request.getNews()))
          : diffState(resource.properties, state, withDefaults(resource.properties, inputs)),
      deleteBeforeReplace:
        (resource.deleteBeforeReplace ?? false) || namedByHand(resource.properties, inputs),
    };
    if (resource.diff) {
      result = await resource.diff(result, state, inputs, { ...contextOf(urn), id: request.getId() });
    }
    for (const path of Object.keys(result.detailedDiff)) {
      if (request.getIgnorechangesList().some((ignored) => isWithin(path, ignored))) {
        delete result.detailedDiff[path];
      }
    }
    // The framework's bridge tells top-level names only.
    return diffResponse(result, base !== "framework");
  };

  const create: Unary<provider.CreateRequest, provider.CreateResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const marked = fromStruct(request.getProperties());
    const { __defaults, ...inputs } = withoutNulls(plain(marked));
    const response = new provider.CreateResponse();
    if (request.getPreview()) {
      const proposed = proposedOutputs(resource.properties, {}, inputs);
      response.setProperties(previewOf(resource, UNKNOWN, proposed, {}, inputs, marked));
      return response;
    }
    const timeouts = timeoutsOf(resource, "create", request.getTimeout());
    const context = timedContext(resource, "create", urn, request.getTimeout());
    try {
      const state = await resource.create(inputs, context);
      response.setId(state.id);
      response.setProperties(outputsOf(resource, state, marked, timeouts));
      return response;
    } catch (error) {
      if (!(error instanceof PartialFailure)) throw error;
      const outputs = outputsOf(resource, error.state, marked, timeouts);
      throw initFailure(error.state.id, outputs, `creating ${urn}: ${error.message}`);
    }
  };

  const previewOf = (
    resource: ResourceDefinition<Config>,
    id: Value,
    proposed: Properties,
    state: Properties,
    inputs: Properties,
    marked: Properties,
  ) => {
    const outputs = resource.preview?.(proposed, state, inputs) ?? proposed;
    const shown = markSecrets(resource.properties, outputs);
    if (base === "native") keepMarks(shown, marked);
    else shown.id = id;
    if (base === "framework") {
      // Its bridge marks outputs that are known only.
      for (const [name, value] of Object.entries(shown)) {
        if (value instanceof Secret && value.value === UNKNOWN) shown[name] = UNKNOWN;
      }
    }
    return toStruct(shown);
  };

  const read: Unary<provider.ReadRequest, provider.ReadResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const state = stateOf(request.getProperties());
    const marked = fromStruct(request.getInputs());
    const olds = withoutNulls(plain(marked));
    const isImport = Object.keys(state).length === 0;
    const response = new provider.ReadResponse();
    const { __defaults, ...inputs } = olds;
    const result = await explain(base === "sdk" ? `refreshing ${urn}` : undefined, () =>
      resource.read(request.getId(), state, inputs, contextOf(urn)),
    );
    if (result === undefined) return response;
    response.setId(result.id);
    const noted = { ...fromStruct(request.getProperties()), ...marked };
    response.setProperties(outputsOf(resource, result, noted, resource.timeouts));
    const filling = base === "sdk" ? "inputs" : "outputs";
    const derived =
      result.inputs ??
      inputsFromOutputs(resource.properties, result.outputs, isImport ? undefined : olds, filling);
    const shown = markSecrets(resource.properties, derived);
    if (base === "native") keepMarks(shown, marked);
    response.setInputs(toStruct(shown));
    return response;
  };

  const update: Unary<provider.UpdateRequest, provider.UpdateResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const id = request.getId();
    const state = stateOf(request.getOlds());
    const marked = fromStruct(request.getNews());
    const { __defaults, ...inputs } = withoutNulls(plain(marked));
    const response = new provider.UpdateResponse();
    if (request.getPreview()) {
      const proposed = proposedOutputs(resource.properties, state, inputs);
      response.setProperties(previewOf(resource, id, proposed, state, inputs, marked));
      return response;
    }
    if (!resource.update) throw new Error(`${resource.token} cannot be updated in place`);
    const timeouts = timeoutsOf(resource, "update", request.getTimeout());
    const context = timedContext(resource, "update", urn, request.getTimeout());
    try {
      const outputs = await resource.update(id, state, inputs, context);
      const newId = typeof outputs.id === "string" ? outputs.id : id;
      response.setProperties(outputsOf(resource, { id: newId, outputs }, marked, timeouts));
      return response;
    } catch (error) {
      if (!(error instanceof PartialFailure)) throw error;
      const outputs = outputsOf(resource, error.state, marked, timeouts);
      throw initFailure(id, outputs, `updating ${urn}: ${error.message}`);
    }
  };

  const remove: Unary<provider.DeleteRequest, empties.Empty> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const state = stateOf(request.getProperties());
    const context = timedContext(resource, "delete", urn, request.getTimeout());
    await explain(base === "sdk" ? `deleting ${urn}` : undefined, () =>
      resource.delete(request.getId(), state, context),
    );
    return new empties.Empty();
  };

  const unimplemented = (method: string) =>
    unary(() => {
      throw new StatusError(grpc.status.UNIMPLEMENTED, `${method} is not implemented`);
    });

  /** Has the engine show what an operation logged before it shows that the operation has ended. */
  const logged =
    <Request, Response>(method: Unary<Request, Response>): Unary<Request, Response> =>
    async (request) => {
      try {
        return await method(request);
      } finally {
        await log?.flush();
      }
    };

  return {
    handshake: unimplemented("Handshake"),
    parameterize: unimplemented("Parameterize"),
    getSchema: unimplemented("GetSchema"),
    getMapping: unimplemented("GetMapping"),
    getMappings: unimplemented("GetMappings"),
    construct: unimplemented("Construct"),
    call: unimplemented("Call"),
    list: unimplementedStream,
    invoke: unary((request: provider.InvokeRequest) => {
      throw new StatusError(
        grpc.status.UNIMPLEMENTED,
        `the airgap stand-in plugin for ${definition.name} has no function ${request.getTok()}`,
      );
    }),
    checkConfig: unary(checkConfig),
    diffConfig: unary(diffConfig),
    configure: unary(configure),
    check: unary(logged(check)),
    diff: unary(diff),
    create: unary(logged(create)),
    read: unary(logged(read)),
    update: unary(logged(update)),
    delete: unary(logged(remove)),
    cancel: unary(() => {
      abort.abort(new Error("cancelled"));
      return new empties.Empty();
    }),
    attach: unary((request: plugins.PluginAttach) => {
      log = connectEngine(request.getAddress());
      return new empties.Empty();
    }),
    getPluginInfo: unary(() => {
      const info = new plugins.PluginInfo();
      info.setVersion(definition.version);
      return info;
    }),
  };
}

/** The part of a URN that names the type: after the last `$` of its third field. */
function typeOf(urn: string): string {
  const types = urn.split("::")[2] ?? "";
  return types.slice(types.lastIndexOf("$") + 1);
}

function nameOf(urn: string): string {
  return urn.split("::").slice(3).join("::");
}

/**
 * The outputs in a state, as a resource sees them. What a bridge keeps there for itself is left out: it describes
 * these outputs, and would mislead the genuine plugin beside new ones.
 */
function stateOf(struct: structs.Struct | undefined): Properties {
  const state = withoutNulls(plain(fromStruct(struct)));
  return Object.fromEntries(Object.entries(state).filter(([name]) => !name.startsWith("__")));
}

async function explain<T>(what: string | undefined, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (what === undefined || !(error instanceof Error)) throw error;
    throw new Error(`${what}: ${error.message}`);
  }
}

function withDefaults(schema: Schema, inputs: Properties): Properties {
  const result = { ...inputs };
  for (const [name, property] of Object.entries(schema)) {
    const standard = property.input === false || property.autoName ? undefined : defaultOf(property);
    if (result[name] === undefined && standard !== undefined) result[name] = standard;
  }
  return result;
}

/** Whether the program chose a name that would else be unique: two resources of that name cannot exist at once. */
function namedByHand(schema: Schema, inputs: Properties): boolean {
  const defaults = inputs.__defaults;
  if (!Array.isArray(defaults)) return false;
  return Object.keys(inputs).some((name) => schema[name]?.autoName && !defaults.includes(name));
}

function isWithin(path: string, ignored: string): boolean {
  return path === ignored || path.startsWith(`${ignored}.`) || path.startsWith(`${ignored}[`);
}

/** Replaces the values that repeat an input by that input, with its marks. */
function keepMarks(values: Properties, marked: Properties): void {
  for (const [name, value] of Object.entries(values)) {
    const input = marked[name];
    if (input !== undefined && isDeepStrictEqual(plain(input), plain(value))) values[name] = input;
  }
}

/** Provider configuration travels as strings: everything else is JSON in a string. */
function unfoldConfig(schema: Schema, config: Properties): Properties {
  const unfold = (name: string, value: Value): Value => {
    if (value instanceof Secret) return new Secret(unfold(name, value.value));
    const kind = schema[name]?.kind;
    if (typeof value !== "string" || kind === undefined || kind === "string") return value;
    try {
      return value === "" ? null : JSON.parse(value);
    } catch {
      return value;
    }
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, unfold(name, value)]));
}

function foldConfig(config: Properties): Properties {
  const fold = (value: Value): Value => {
    if (hasUnknown(value)) return UNKNOWN;
    if (value instanceof Secret) return new Secret(fold(value.value));
    return typeof value === "string" ? value : JSON.stringify(plain(value));
  };
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, fold(value)]));
}

function checkResponse(resourceName: string, { inputs, failures }: CheckResult): provider.CheckResponse {
  const response = new provider.CheckResponse();
  response.setInputs(toStruct(inputs));
  response.setFailuresList(
    failures.map(({ property, reason }) => {
      // The path goes into the text: the engine would print the value of a property named in its own field.
      const failure = new provider.CheckFailure();
      const place = property === "" ? "" : `. Examine values at '${resourceName}.${property}'.`;
      failure.setReason(reason + place);
      return failure;
    }),
  );
  return response;
}

const diffKinds: Record<DiffKind, provider.PropertyDiff.Kind> = provider.PropertyDiff.Kind;

function diffResponse(
  { detailedDiff, deleteBeforeReplace }: DiffResult,
  detailed: boolean,
): provider.DiffResponse {
  const response = new provider.DiffResponse();
  const { DIFF_SOME, DIFF_NONE } = provider.DiffResponse.DiffChanges;
  const changes = Object.entries(detailedDiff);
  const topLevel = (path: string) => path.split(/[.[]/, 1)[0] ?? path;
  const replaces = changes.filter(([, kind]) => kind.endsWith("_REPLACE")).map(([path]) => topLevel(path));
  response.setChanges(changes.length > 0 ? DIFF_SOME : DIFF_NONE);
  response.setDiffsList([...new Set(changes.map(([path]) => topLevel(path)))].sort());
  response.setReplacesList([...new Set(replaces)].sort());
  response.setDeletebeforereplace(replaces.length > 0 && deleteBeforeReplace);
  response.setHasdetaileddiff(detailed);
  if (!detailed) return response;
  for (const [path, kind] of changes) {
    const property = new provider.PropertyDiff();
    property.setKind(diffKinds[kind]);
    response.getDetaileddiffMap().set(path, property);
  }
  return response;
}
