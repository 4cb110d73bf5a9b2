import { createHash } from "node:crypto";
import type { ResourceDefinition } from "../common/plugin.ts";
import { algorithms, curves, generateKey, keyForms, publicKeyInfo } from "./keys.ts";
import { isOneOf, noImport } from "./rules.ts";

const secretOutput = { kind: "string", secret: true, input: false } as const;
const output = { kind: "string", input: false } as const;

/** tls.PrivateKey: a private key, made once and kept in the state. */
export const privateKey: ResourceDefinition<undefined> = {
  token: "tls:index/privateKey:PrivateKey",
  schemaVersion: 1,
  properties: {
    algorithm: { kind: "string", required: true, forceNew: true, validate: isOneOf("algorithm", algorithms) },
    rsaBits: { kind: "integer", default: 2048, forceNew: true },
    ecdsaCurve: {
      kind: "string",
      default: "P224",
      forceNew: true,
      validate: isOneOf("ecdsa_curve", Object.keys(curves)),
    },
    privateKeyPem: secretOutput,
    privateKeyPemPkcs8: secretOutput,
    privateKeyOpenssh: secretOutput,
    publicKeyPem: output,
    publicKeyOpenssh: output,
    publicKeyFingerprintMd5: output,
    publicKeyFingerprintSha256: output,
  },
  create: async ({ algorithm, rsaBits = 2048, ecdsaCurve = "P224" }) => {
    const key = await generateKey(String(algorithm), Number(rsaBits), String(ecdsaCurve));
    return {
      id: createHash("sha1").update(publicKeyInfo(key)).digest("hex"),
      outputs: { algorithm: String(algorithm), rsaBits, ecdsaCurve, ...keyForms(key) },
    };
  },
  read: async (id, state) => ({ id, outputs: noImport(state) }),
  delete: async () => {},
};
