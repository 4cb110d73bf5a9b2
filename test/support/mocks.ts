import * as pulumi from "@pulumi/pulumi";

/** A resource as a program registered it. */
export interface Registered {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}

/** Answers in the engine's place and keeps what was registered. Call it before the program is imported. */
export async function mockEngine(project: string, stack: string): Promise<Registered[]> {
  const registered: Registered[] = [];
  await pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs, id }) => {
        registered.push({ type, name, inputs });
        return { id: id || `${name}-id`, state: { ...inputs, ...outputsOf(type, inputs) } };
      },
      call: ({ inputs }) => inputs,
    },
    project,
    stack,
    false,
    "organization",
  );
  return registered;
}

/** What the genuine plugins compute, as far as the program reads it. */
function outputsOf(type: string, inputs: Record<string, unknown>): Record<string, unknown> {
  switch (type) {
    case "random:index/randomPassword:RandomPassword":
      return { result: secret("generated-password") };
    case "docker:index/remoteImage:RemoteImage":
      return { imageId: `sha256:content of ${inputs.name}` };
    case "random:index/randomId:RandomId":
      return { hex: "abc123" };
    case "tls:index/privateKey:PrivateKey":
      return { privateKeyPem: secret("private key") };
    case "tls:index/selfSignedCert:SelfSignedCert":
    case "tls:index/locallySignedCert:LocallySignedCert":
      return { certPem: "certificate" };
    case "tls:index/certRequest:CertRequest":
      return { certRequestPem: "request" };
    case "docker:index/container:Container":
      return { ports: ((inputs.ports ?? []) as object[]).map((port) => ({ external: 49153, ...port })) };
    default:
      return {};
  }
}

/** A secret as it travels between engine and program (sdk/nodejs/runtime/rpc.ts). */
function secret(value: unknown): object {
  return { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", value };
}

/** The value of an output, once it is known. */
export function resolved<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((resolve) => {
    output.apply((value) => {
      resolve(value);
      return value;
    });
  });
}
