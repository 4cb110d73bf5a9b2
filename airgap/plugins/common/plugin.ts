import grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import statuses from "@pulumi/pulumi/proto/status_pb.js";
import anys from "google-protobuf/google/protobuf/any_pb.js";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import {
  type CheckFailure,
  checkProperties,
  type DetailedDiff,
  type DiffKind,
  diffProperties,
  markSecrets,
  type Schema,
} from "./schema.ts";
import { fromStruct, type Properties, plain, toStruct, UNKNOWN } from "./values.ts";

export type Severity = "debug" | "info" | "warning" | "error";

/** What every operation of a resource is given. */
export interface OperationContext<Config> {
  /** What {@link PluginDefinition.configure} returned. */
  config: Config;
  urn: string;
  /** `customTimeouts` of the resource, or undefined where the program sets none: the default is the resource's. */
  timeoutSeconds: number | undefined;
  /** Aborted when the user cancels. */
  signal: AbortSignal;
  /** Prints a line in the engine's output, beside the resource. */
  log(severity: Severity, message: string): void;
}

export interface CheckResult {
  inputs: Properties;
  failures: CheckFailure[];
}

export interface DiffResult {
  detailedDiff: DetailedDiff;
  /** Default: that of the resource. */
  deleteBeforeReplace?: boolean;
}

export interface State {
  id: string;
  outputs: Properties;
}

/**
 * One resource type. All values are plain: secret marks are taken off before and put on after, by the schema
 * and, for what the program marked, by the engine.
 */
export interface ResourceDefinition<Config> {
  /** Such as `docker:index/network:Network`. */
  token: string;
  /** Inputs and outputs, `id` left out. */
  properties: Schema;
  /** `schema_version` of the genuine resource, kept in the state's `__meta`. Default: 0, not written. */
  schemaVersion?: number;
  /** Default: false. */
  deleteBeforeReplace?: boolean;
  /** Called with the result of the schema's own check. Values can be {@link UNKNOWN}. */
  check?(
    checked: CheckResult,
    olds: Properties,
    context: OperationContext<Config>,
  ): CheckResult | Promise<CheckResult>;
  /** Called with the result of the schema's own diff. `inputs` can hold {@link UNKNOWN}. */
  diff?(
    result: DiffResult,
    state: Properties,
    inputs: Properties,
    context: OperationContext<Config> & { id: string },
  ): DiffResult | Promise<DiffResult>;
  /** Never called in a preview. Throw {@link PartialFailure} where something is left behind. */
  create(inputs: Properties, context: OperationContext<Config>): Promise<State>;
  /**
   * Reads what is there. `state` and `inputs` are empty for an import.
   *
   * @returns undefined where it is gone. Without `inputs`, they are derived from the outputs.
   */
  read(
    id: string,
    state: Properties,
    inputs: Properties,
    context: OperationContext<Config>,
  ): Promise<(State & { inputs?: Properties }) | undefined>;
  /** Returns the new outputs. Never called in a preview. Left out where every change replaces. */
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
  /** Provider configuration that is known. */
  config: Schema;
  /** Called once, with checked values, which can be {@link UNKNOWN} in a preview: connect lazily. */
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

/** Starts the gRPC server, and prints its port for the engine. */
export function servePlugin<Config>(definition: PluginDefinition<Config>): void {
  const server = new grpc.Server({ "grpc.max_receive_message_length": 400 * 1024 * 1024 });
  server.addService(
    providerGrpc.ResourceProviderService,
    handlers(definition, process.argv[2]) as unknown as grpc.UntypedServiceImplementation,
  );
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.stdout.write(`${port}\n`);
  });
}

type Unary<Request, Response> = (request: Request) => Response | Promise<Response>;

/** The methods of pulumirpc.ResourceProvider. */
function handlers<Config>(
  definition: PluginDefinition<Config>,
  engineAddress: string | undefined,
): grpc.UntypedServiceImplementation {
  const resources = new Map(definition.resources.map((resource) => [resource.token, resource]));
  const abort = new AbortController();
  let config: Config;
  let host = engineAddress === undefined ? undefined : connectEngine(engineAddress);

  const operation = (urn: string, timeout: number): OperationContext<Config> => ({
    config,
    urn,
    timeoutSeconds: timeout > 0 ? timeout : undefined,
    signal: abort.signal,
    log: (severity, message) => host?.(urn, severity, message),
  });
  const find = (urn: string): ResourceDefinition<Config> => {
    const token = typeOf(urn);
    const resource = resources.get(token);
    if (resource !== undefined) return resource;
    throw new Error(
      `the airgap stand-in plugin for ${definition.name} has no resource ${token}; ` +
        `it has ${[...resources.keys()].sort().join(", ")}`,
    );
  };

  const checkConfig: Unary<provider.CheckRequest, provider.CheckResponse> = (request) => {
    const { version: _, pluginDownloadURL: __, ...news } = fromStruct(request.getNews());
    const { inputs, failures } = checkProperties(
      definition.config,
      fromConfig(news),
      `the ${definition.name} provider`,
    );
    const { __defaults, ...rest } = inputs;
    return checkResponse({ inputs: toConfig(markSecrets(definition.config, rest)), failures });
  };

  const diffConfig: Unary<provider.DiffRequest, provider.DiffResponse> = (request) => {
    const olds = plain(fromConfig(fromStruct(request.getOldInputs() ?? request.getOlds())));
    const news = plain(fromConfig(fromStruct(request.getNews())));
    const diff = diffProperties(definition.config, olds, news);
    return diffResponse({ detailedDiff: diff }, false);
  };

  const configure: Unary<provider.ConfigureRequest, provider.ConfigureResponse> = async (request) => {
    config = await definition.configure(plain(fromConfig(fromStruct(request.getArgs()))));
    const response = new provider.ConfigureResponse();
    response.setSupportspreview(true);
    response.setSupportsAutonamingConfiguration(true);
    return response;
  };

  const check: Unary<provider.CheckRequest, provider.CheckResponse> = async (request) => {
    const resource = find(request.getUrn());
    const olds = plain(fromStruct(request.getOlds()));
    let result = checkProperties(resource.properties, fromStruct(request.getNews()), resource.token);
    if (resource.check) result = await resource.check(result, olds, operation(request.getUrn(), 0));
    return checkResponse({
      inputs: markSecrets(resource.properties, result.inputs),
      failures: result.failures,
    });
  };

  const diff: Unary<provider.DiffRequest, provider.DiffResponse> = async (request) => {
    const resource = find(request.getUrn());
    const state = plain(fromStruct(request.getOlds()));
    const inputs = plain(fromStruct(request.getNews()));
    let result: DiffResult = { detailedDiff: diffProperties(resource.properties, state, inputs) };
    if (resource.diff) {
      const context = { ...operation(request.getUrn(), 0), id: request.getId() };
      result = await resource.diff(result, state, inputs, context);
    }
    for (const path of Object.keys(result.detailedDiff)) {
      if (request.getIgnorechangesList().includes(topLevel(path))) delete result.detailedDiff[path];
    }
    return diffResponse(result, resource.deleteBeforeReplace ?? false);
  };

  const create: Unary<provider.CreateRequest, provider.CreateResponse> = async (request) => {
    const resource = find(request.getUrn());
    const inputs = plain(fromStruct(request.getProperties()));
    const response = new provider.CreateResponse();
    if (request.getPreview()) {
      const outputs = proposed(resource.properties, {}, inputs);
      response.setProperties(toStruct(markSecrets(resource.properties, outputs)));
      return response;
    }
    const context = operation(request.getUrn(), request.getTimeout());
    const state = await keepPartial(resource, `creating ${request.getUrn()}`, () =>
      resource.create(inputs, context),
    );
    response.setId(state.id);
    response.setProperties(outputsOf(resource, state));
    return response;
  };

  const read: Unary<provider.ReadRequest, provider.ReadResponse> = async (request) => {
    const resource = find(request.getUrn());
    const state = plain(fromStruct(request.getProperties()));
    const inputs = plain(fromStruct(request.getInputs()));
    const result = await resource.read(request.getId(), state, inputs, operation(request.getUrn(), 0));
    const response = new provider.ReadResponse();
    if (result === undefined) return response;
    response.setId(result.id);
    response.setProperties(outputsOf(resource, result));
    const readInputs = result.inputs ?? inputsFromOutputs(resource.properties, result.outputs, inputs);
    response.setInputs(toStruct(markSecrets(resource.properties, readInputs)));
    return response;
  };

  const update: Unary<provider.UpdateRequest, provider.UpdateResponse> = async (request) => {
    const resource = find(request.getUrn());
    const id = request.getId();
    const state = plain(fromStruct(request.getOlds()));
    const inputs = plain(fromStruct(request.getNews()));
    const response = new provider.UpdateResponse();
    if (request.getPreview()) {
      const outputs = { ...proposed(resource.properties, state, inputs), id };
      response.setProperties(toStruct(markSecrets(resource.properties, outputs)));
      return response;
    }
    const context = operation(request.getUrn(), request.getTimeout());
    const outputs = await keepPartial(resource, `updating ${request.getUrn()}`, async () => {
      if (!resource.update) throw new Error(`${resource.token} cannot be updated in place`);
      return resource.update(id, state, inputs, context);
    });
    response.setProperties(outputsOf(resource, { id, outputs }));
    return response;
  };

  const remove: Unary<provider.DeleteRequest, empties.Empty> = async (request) => {
    const resource = find(request.getUrn());
    const state = plain(fromStruct(request.getProperties()));
    await resource.delete(request.getId(), state, operation(request.getUrn(), request.getTimeout()));
    return new empties.Empty();
  };

  const unimplemented = (method: string) => () => {
    throw new StatusError(grpc.status.UNIMPLEMENTED, `${method} is not yet implemented`);
  };

  return {
    handshake: unary(unimplemented("Handshake")),
    parameterize: unary(unimplemented("Parameterize")),
    getSchema: unary(unimplemented("GetSchema")),
    getMapping: unary(unimplemented("GetMapping")),
    getMappings: unary(unimplemented("GetMappings")),
    construct: unary(unimplemented("Construct")),
    call: unary(unimplemented("Call")),
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
    check: unary(check),
    diff: unary(diff),
    create: unary(create),
    read: unary(read),
    update: unary(update),
    delete: unary(remove),
    cancel: unary(() => {
      abort.abort(new Error("cancelled"));
      return new empties.Empty();
    }),
    attach: unary((request: plugins.PluginAttach) => {
      host = connectEngine(request.getAddress());
      return new empties.Empty();
    }),
    getPluginInfo: unary(() => {
      const info = new plugins.PluginInfo();
      info.setVersion(definition.version);
      return info;
    }),
  };
}

class StatusError extends Error {
  readonly code: grpc.status;
  readonly metadata: grpc.Metadata | undefined;
  constructor(code: grpc.status, message: string, metadata?: grpc.Metadata) {
    super(message);
    this.code = code;
    this.metadata = metadata;
  }
}

function unary<Request, Response>(method: Unary<Request, Response>): grpc.handleUnaryCall<Request, Response> {
  return async (call, callback) => {
    try {
      callback(null, await method(call.request));
    } catch (error) {
      if (error instanceof StatusError) {
        const { code, message, metadata } = error;
        callback(metadata === undefined ? { code, details: message } : { code, details: message, metadata });
      } else {
        const details = error instanceof Error ? error.message : String(error);
        callback({ code: grpc.status.UNKNOWN, details });
      }
    }
  };
}

const unimplementedStream: grpc.handleServerStreamingCall<unknown, unknown> = (call) => {
  call.emit("error", { code: grpc.status.UNIMPLEMENTED, details: "List is not yet implemented" });
};

/** Turns a {@link PartialFailure} into the error by which the engine keeps the resource in the state. */
async function keepPartial<Config, T>(
  resource: ResourceDefinition<Config>,
  what: string,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof PartialFailure)) throw error;
    const detail = new provider.ErrorResourceInitFailed();
    detail.setId(error.state.id);
    detail.setProperties(outputsOf(resource, error.state));
    detail.setReasonsList([`${what}: ${error.message}`]);
    const any = new anys.Any();
    any.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
    const status = new statuses.Status();
    status.setCode(grpc.status.UNKNOWN);
    status.setMessage(error.message);
    status.addDetails(any);
    const metadata = new grpc.Metadata();
    metadata.add("grpc-status-details-bin", Buffer.from(status.serializeBinary()));
    throw new StatusError(grpc.status.UNKNOWN, error.message, metadata);
  }
}

function outputsOf<Config>(resource: ResourceDefinition<Config>, state: State) {
  const outputs: Properties = { ...state.outputs, id: state.id };
  if (resource.schemaVersion)
    outputs.__meta = JSON.stringify({ schema_version: String(resource.schemaVersion) });
  return toStruct(markSecrets(resource.properties, outputs));
}

/** Outputs as a preview shows them. */
function proposed(schema: Schema, state: Properties, inputs: Properties): Properties {
  const outputs: Properties = { ...state };
  for (const [name, property] of Object.entries(schema)) {
    const input = inputs[name];
    if (input !== undefined) outputs[name] = input;
    else if (property.computed || property.input === false) outputs[name] ??= UNKNOWN;
    else delete outputs[name];
  }
  return outputs;
}

/**
 * Inputs as they follow from what was read: for a refresh, the properties that the inputs already had; for an
 * import, all that a program could give and that differs from its default.
 */
function inputsFromOutputs(schema: Schema, outputs: Properties, olds: Properties): Properties {
  const isImport = Object.keys(olds).length === 0;
  const inputs: Properties = {};
  for (const [name, property] of Object.entries(schema)) {
    const value = outputs[name];
    if (property.input === false || value === undefined || value === null) continue;
    if (isImport ? !property.computed : olds[name] !== undefined) inputs[name] = value;
  }
  return { ...inputs, __defaults: isImport ? [] : (olds.__defaults ?? []) };
}

function checkResponse({ inputs, failures }: CheckResult): provider.CheckResponse {
  const response = new provider.CheckResponse();
  response.setInputs(toStruct(inputs));
  response.setFailuresList(
    failures.map(({ property, reason }) => {
      const failure = new provider.CheckFailure();
      failure.setProperty(property);
      failure.setReason(reason);
      return failure;
    }),
  );
  return response;
}

function diffResponse(result: DiffResult, deleteBeforeReplace: boolean): provider.DiffResponse {
  const response = new provider.DiffResponse();
  const paths = Object.keys(result.detailedDiff);
  const replaces = paths.filter((path) => result.detailedDiff[path]?.kind.endsWith("_REPLACE")).map(topLevel);
  response.setChanges(
    paths.length > 0
      ? provider.DiffResponse.DiffChanges.DIFF_SOME
      : provider.DiffResponse.DiffChanges.DIFF_NONE,
  );
  response.setDiffsList([...new Set(paths.map(topLevel))].sort());
  response.setReplacesList([...new Set(replaces)].sort());
  response.setDeletebeforereplace(replaces.length > 0 && (result.deleteBeforeReplace ?? deleteBeforeReplace));
  response.setHasdetaileddiff(true);
  for (const [path, { kind, inputDiff }] of Object.entries(result.detailedDiff)) {
    const property = new provider.PropertyDiff();
    property.setKind(diffKinds[kind]);
    property.setInputdiff(inputDiff ?? false);
    response.getDetaileddiffMap().set(path, property);
  }
  return response;
}

const diffKinds: Record<DiffKind, provider.PropertyDiff.Kind> = provider.PropertyDiff.Kind;

function topLevel(path: string): string {
  return path.split(/[.[]/, 1)[0] ?? path;
}

function typeOf(urn: string): string {
  const qualified = urn.split("::")[2] ?? "";
  return qualified.slice(qualified.lastIndexOf("$") + 1);
}

/** Provider configuration is strings: everything else is JSON inside a string. */
function fromConfig(config: Properties): Properties {
  return Object.fromEntries(
    Object.entries(config).map(([name, value]) => {
      const text = plain(value);
      if (typeof text !== "string" || !/^[[{]/.test(text)) return [name, value];
      try {
        return [name, JSON.parse(text)];
      } catch {
        return [name, value];
      }
    }),
  );
}

function toConfig(config: Properties): Properties {
  return config;
}

function connectEngine(address: string) {
  const client = new engineGrpc.EngineClient(address, grpc.credentials.createInsecure());
  return (urn: string, severity: Severity, message: string): void => {
    const request = new engine.LogRequest();
    request.setSeverity(engine.LogSeverity[severity.toUpperCase() as "INFO"]);
    request.setMessage(message);
    request.setUrn(urn);
    client.log(request, () => {});
  };
}
