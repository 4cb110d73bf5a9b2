import grpc from "@grpc/grpc-js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import { foldConfig, unfoldConfig } from "./config.ts";
import {
  type DiffResult,
  type OperationContext,
  PartialFailure,
  type PluginDefinition,
  type ResourceDefinition,
} from "./definition.ts";
import { diffInputs, diffState } from "./diff.ts";
import { connectEngine, initFailure, StatusError, unary, unimplementedStream } from "./grpc.ts";
import { inputsFromOutputs, proposedOutputs, type Timeouts, withCustomTimeout } from "./outputs.ts";
import { checkResponse, diffResponse } from "./responses.ts";
import { checkProperties, defaultOf, markSecrets, type Schema, uniqueName, withDefaults } from "./schema.ts";
import { keepMarks, readState, writeOutputs, writePreview } from "./state.ts";
import { fromStruct, type Properties, plain, toStruct, UNKNOWN, withoutNulls } from "./values.ts";

export type {
  CheckResult,
  DiffResult,
  OperationContext,
  PluginDefinition,
  ResourceDefinition,
  State,
} from "./definition.ts";
export { PartialFailure } from "./definition.ts";

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
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      // What the plugin started ends with it.
      abort.abort(new Error("the plugin was stopped"));
      process.exit(1);
    });
  }
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
    const state = readState(request.getOlds());
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
      const shown = resource.preview?.(proposed, {}, inputs) ?? proposed;
      response.setProperties(writePreview(base, resource, UNKNOWN, shown, marked));
      return response;
    }
    const timeouts = withCustomTimeout(resource.timeouts ?? {}, "create", request.getTimeout());
    const context = timedContext(resource, "create", urn, request.getTimeout());
    try {
      const state = await resource.create(inputs, context);
      response.setId(state.id);
      response.setProperties(writeOutputs(base, resource, state, marked, timeouts));
      return response;
    } catch (error) {
      if (!(error instanceof PartialFailure)) throw error;
      const outputs = writeOutputs(base, resource, error.state, marked, timeouts);
      throw initFailure(error.state.id, outputs, `creating ${urn}: ${error.message}`);
    }
  };

  const read: Unary<provider.ReadRequest, provider.ReadResponse> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const state = readState(request.getProperties());
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
    response.setProperties(writeOutputs(base, resource, result, noted, resource.timeouts ?? {}));
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
    const state = readState(request.getOlds());
    const marked = fromStruct(request.getNews());
    const { __defaults, ...inputs } = withoutNulls(plain(marked));
    const response = new provider.UpdateResponse();
    if (request.getPreview()) {
      const proposed = proposedOutputs(resource.properties, state, inputs);
      const shown = resource.preview?.(proposed, state, inputs) ?? proposed;
      response.setProperties(writePreview(base, resource, id, shown, marked));
      return response;
    }
    if (!resource.update) throw new Error(`${resource.token} cannot be updated in place`);
    const timeouts = withCustomTimeout(resource.timeouts ?? {}, "update", request.getTimeout());
    const context = timedContext(resource, "update", urn, request.getTimeout());
    try {
      const outputs = await resource.update(id, state, inputs, context);
      const newId = typeof outputs.id === "string" ? outputs.id : id;
      response.setProperties(writeOutputs(base, resource, { id: newId, outputs }, marked, timeouts));
      return response;
    } catch (error) {
      if (!(error instanceof PartialFailure)) throw error;
      const outputs = writeOutputs(base, resource, error.state, marked, timeouts);
      throw initFailure(id, outputs, `updating ${urn}: ${error.message}`);
    }
  };

  const remove: Unary<provider.DeleteRequest, empties.Empty> = async (request) => {
    const urn = request.getUrn();
    const resource = find(urn);
    const state = readState(request.getProperties());
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

async function explain<T>(what: string | undefined, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (what === undefined || !(error instanceof Error)) throw error;
    throw new Error(`${what}: ${error.message}`);
  }
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
