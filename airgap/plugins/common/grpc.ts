import grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import statuses from "@pulumi/pulumi/proto/status_pb.js";
import anys from "google-protobuf/google/protobuf/any_pb.js";
import type structs from "google-protobuf/google/protobuf/struct_pb.js";

/** An error that reaches the engine with a status of its own. */
export class StatusError extends Error {
  readonly code: grpc.status;
  readonly metadata: grpc.Metadata;
  constructor(code: grpc.status, message: string, metadata = new grpc.Metadata()) {
    super(message);
    this.code = code;
    this.metadata = metadata;
  }
}

/** The error by which the engine keeps a resource in the state although an operation on it failed. */
export function initFailure(id: string, outputs: structs.Struct, reason: string): StatusError {
  const detail = new provider.ErrorResourceInitFailed();
  detail.setId(id);
  detail.setProperties(outputs);
  detail.setReasonsList([reason]);
  const any = new anys.Any();
  any.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
  const status = new statuses.Status();
  status.setCode(grpc.status.UNKNOWN);
  status.setMessage(reason);
  status.addDetails(any);
  const metadata = new grpc.Metadata();
  metadata.add("grpc-status-details-bin", Buffer.from(status.serializeBinary()));
  return new StatusError(grpc.status.UNKNOWN, reason, metadata);
}

/** Serves a method by a function. What it throws reaches the engine as its message alone. */
export function unary<Request, Response>(
  method: (request: Request) => Response | Promise<Response>,
): grpc.handleUnaryCall<Request, Response> {
  return async (call, callback) => {
    try {
      callback(null, await method(call.request));
    } catch (error) {
      if (error instanceof StatusError) {
        callback({ code: error.code, details: error.message, metadata: error.metadata });
      } else {
        const details = error instanceof Error ? error.message : String(error);
        callback({ code: grpc.status.UNKNOWN, details });
      }
    }
  };
}

export const unimplementedStream: grpc.handleServerStreamingCall<unknown, unknown> = (call) => {
  call.emit("error", { code: grpc.status.UNIMPLEMENTED, details: "List is not implemented" });
};

/** The engine's log. */
export interface EngineLog {
  /** Sends a line. Lines keep their order; one that cannot be sent is dropped. */
  write(urn: string, severity: Severity, message: string, passing: boolean): void;
  /** Waits until all lines so far have arrived. */
  flush(): Promise<void>;
}

export type Severity = "debug" | "info" | "warning" | "error";

export function connectEngine(address: string): EngineLog {
  const client = new engineGrpc.EngineClient(address, grpc.credentials.createInsecure());
  const severities = engine.LogSeverity;
  const kinds: Record<Severity, engine.LogSeverity> = {
    debug: severities.DEBUG,
    info: severities.INFO,
    warning: severities.WARNING,
    error: severities.ERROR,
  };
  let last = Promise.resolve();
  return {
    write(urn, severity, message, passing) {
      const request = new engine.LogRequest();
      request.setSeverity(kinds[severity]);
      request.setMessage(message);
      request.setUrn(urn);
      request.setEphemeral(passing);
      last = last.then(() => new Promise((resolve) => client.log(request, () => resolve())));
    },
    flush: () => last,
  };
}
