import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import type engine from "@pulumi/pulumi/proto/engine_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import statuses from "@pulumi/pulumi/proto/status_pb.js";
import empties from "google-protobuf/google/protobuf/empty_pb.js";
import { fromStruct, type Properties, toStruct } from "../../../airgap/plugins/common/values.ts";

export interface LogLine {
  severity: number;
  message: string;
  passing: boolean;
}

export interface StartOptions {
  config?: Properties;
  env?: NodeJS.ProcessEnv;
  args?: string[];
}

export interface CreateOptions {
  name?: string;
  preview?: boolean;
  timeoutSeconds?: number;
}

/** What the engine keeps of an operation that failed half-way. */
export class InitFailed extends Error {
  readonly id: string;
  readonly outputs: Properties;
  constructor(id: string, outputs: Properties, message: string) {
    super(message);
    this.id = id;
    this.outputs = outputs;
  }
}

/** A plugin in a process of its own, spoken to as the engine does. */
export class PluginClient {
  readonly logs: LogLine[] = [];
  readonly process: ChildProcess;
  readonly rpc: providerGrpc.ResourceProviderClient;
  private readonly engine: grpc.Server;

  private constructor(
    process: ChildProcess,
    rpc: providerGrpc.ResourceProviderClient,
    engine: grpc.Server,
    logs: LogLine[],
  ) {
    this.process = process;
    this.rpc = rpc;
    this.engine = engine;
    this.logs = logs;
  }

  /**
   * Starts a plugin from its main file and configures it.
   *
   * @param options.env Set besides this process's environment.
   * @param options.args Further arguments, after the engine's address.
   */
  static async start(main: string, options: StartOptions = {}): Promise<PluginClient> {
    const logs: LogLine[] = [];
    const server = new grpc.Server();
    server.addService(engineGrpc.EngineService, {
      log: (call: { request: engine.LogRequest }, callback: (error: null, empty: empties.Empty) => void) => {
        logs.push({
          severity: call.request.getSeverity(),
          message: call.request.getMessage(),
          passing: call.request.getEphemeral(),
        });
        callback(null, new empties.Empty());
      },
    } as unknown as grpc.UntypedServiceImplementation);
    const enginePort = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    });
    const child = spawn(process.execPath, [main, `127.0.0.1:${enginePort}`, ...(options.args ?? [])], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...options.env },
    });
    const port = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).once("line", resolve);
      child.once("exit", (code) => reject(new Error(`${main} exited with ${code} before it printed a port`)));
    });
    const rpc = new providerGrpc.ResourceProviderClient(
      `127.0.0.1:${port}`,
      grpc.credentials.createInsecure(),
    );
    const client = new PluginClient(child, rpc, server, logs);
    await client.configure(options.config ?? {});
    return client;
  }

  stop(): void {
    this.rpc.close();
    this.engine.forceShutdown();
    this.process.kill();
  }

  /** Calls a method by its name. */
  call<Request, Response>(
    method: (
      request: Request,
      callback: (error: grpc.ServiceError | null, response: Response) => void,
    ) => unknown,
    request: Request,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      method.call(this.rpc, request, (error, response) => {
        if (error) reject(initFailed(error) ?? new Error(error.details));
        else resolve(response);
      });
    });
  }

  async configure(config: Properties): Promise<provider.ConfigureResponse> {
    const request = new provider.ConfigureRequest();
    request.setArgs(toStruct(config));
    request.setAcceptsecrets(true);
    request.setAcceptresources(true);
    request.setSendsOldInputs(true);
    request.setSendsOldInputsToDelete(true);
    return this.call<provider.ConfigureRequest, provider.ConfigureResponse>(this.rpc.configure, request);
  }

  async check(token: string, news: Properties, olds: Properties = {}, name = "test") {
    const request = new provider.CheckRequest();
    request.setUrn(urnOf(token, name));
    request.setNews(toStruct(news));
    request.setOlds(toStruct(olds));
    request.setRandomseed(Buffer.alloc(32, 7));
    const response = await this.call<provider.CheckRequest, provider.CheckResponse>(this.rpc.check, request);
    return {
      inputs: fromStruct(response.getInputs()),
      failures: response.getFailuresList().map((failure) => failure.getReason()),
    };
  }

  async diff(token: string, state: Properties, inputs: Properties, options: DiffOptions = {}) {
    const request = new provider.DiffRequest();
    request.setUrn(urnOf(token, "test"));
    request.setId("id");
    request.setOlds(toStruct(state));
    request.setNews(toStruct(inputs));
    request.setOldInputs(toStruct(options.oldInputs ?? {}));
    request.setIgnorechangesList(options.ignoreChanges ?? []);
    const response = await this.call<provider.DiffRequest, provider.DiffResponse>(this.rpc.diff, request);
    const kinds = Object.entries(provider.PropertyDiff.Kind);
    const detailed: Record<string, string | undefined> = {};
    response.getDetaileddiffMap().forEach((value, path) => {
      detailed[path] = kinds.find(([, kind]) => kind === value.getKind())?.[0];
    });
    return {
      changes: response.getChanges() === provider.DiffResponse.DiffChanges.DIFF_SOME,
      replaces: response.getReplacesList(),
      deleteBeforeReplace: response.getDeletebeforereplace(),
      detailed,
    };
  }

  async create(token: string, inputs: Properties, options: CreateOptions = {}) {
    const request = new provider.CreateRequest();
    request.setUrn(urnOf(token, options.name ?? "test"));
    request.setProperties(toStruct(inputs));
    request.setPreview(options.preview ?? false);
    request.setTimeout(options.timeoutSeconds ?? 0);
    const response = await this.call<provider.CreateRequest, provider.CreateResponse>(
      this.rpc.create,
      request,
    );
    return { id: response.getId(), outputs: fromStruct(response.getProperties()) };
  }

  async read(token: string, id: string, state: Properties = {}, inputs: Properties = {}) {
    const request = new provider.ReadRequest();
    request.setUrn(urnOf(token, "test"));
    request.setId(id);
    request.setProperties(toStruct(state));
    request.setInputs(toStruct(inputs));
    const response = await this.call<provider.ReadRequest, provider.ReadResponse>(this.rpc.read, request);
    return {
      id: response.getId(),
      outputs: fromStruct(response.getProperties()),
      inputs: fromStruct(response.getInputs()),
    };
  }

  async update(
    token: string,
    id: string,
    state: Properties,
    inputs: Properties,
    options: CreateOptions = {},
  ): Promise<Properties> {
    const request = new provider.UpdateRequest();
    request.setUrn(urnOf(token, options.name ?? "test"));
    request.setId(id);
    request.setOlds(toStruct(state));
    request.setNews(toStruct(inputs));
    request.setPreview(options.preview ?? false);
    request.setTimeout(options.timeoutSeconds ?? 0);
    const response = await this.call<provider.UpdateRequest, provider.UpdateResponse>(
      this.rpc.update,
      request,
    );
    return fromStruct(response.getProperties());
  }

  async delete(token: string, id: string, state: Properties, timeoutSeconds = 0): Promise<void> {
    const request = new provider.DeleteRequest();
    request.setUrn(urnOf(token, "test"));
    request.setId(id);
    request.setProperties(toStruct(state));
    request.setTimeout(timeoutSeconds);
    await this.call<provider.DeleteRequest, empties.Empty>(this.rpc.delete, request);
  }
}

export interface DiffOptions {
  oldInputs?: Properties;
  ignoreChanges?: string[];
}

/** The URN of a resource in a project and stack called test. */
export function urnOf(token: string, name: string): string {
  return `urn:pulumi:test::test::${token}::${name}`;
}

function initFailed(error: grpc.ServiceError): InitFailed | undefined {
  const [details] = error.metadata.get("grpc-status-details-bin");
  if (!(details instanceof Buffer)) return undefined;
  const any = statuses.Status.deserializeBinary(details).getDetailsList()[0];
  const failed = any?.unpack(
    provider.ErrorResourceInitFailed.deserializeBinary,
    "pulumirpc.ErrorResourceInitFailed",
  );
  if (!failed) return undefined;
  return new InitFailed(
    failed.getId(),
    fromStruct(failed.getProperties()),
    failed.getReasonsList().join("\n"),
  );
}
