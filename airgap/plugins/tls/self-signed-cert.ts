import type { ResourceDefinition } from "../common/plugin.ts";
import {
  certificateProperties,
  diffCertificate,
  makeCertificate,
  previewCertificate,
  readCertificate,
  updateCertificate,
} from "./certificate.ts";
import { algorithmOf, parsePrivateKey } from "./keys.ts";
import { alternativeNames, subjectFromInput } from "./names.ts";
import { holderProperties, noImport } from "./rules.ts";
import { subjectPublicKeyInfo } from "./signing.ts";

/** tls.SelfSignedCert: a certificate signed by the key that it is for. */
export const selfSignedCert: ResourceDefinition<undefined> = {
  token: "tls:index/selfSignedCert:SelfSignedCert",
  properties: {
    privateKeyPem: { kind: "string", required: true, forceNew: true, secret: true },
    ...holderProperties,
    ...certificateProperties,
    setAuthorityKeyId: { kind: "boolean", default: false, forceNew: true },
    keyAlgorithm: { kind: "string", input: false },
  },
  diff: diffCertificate,
  preview: previewCertificate,
  create: async (inputs) => {
    const key = parsePrivateKey(String(inputs.privateKeyPem), "private key");
    const template = {
      subject: subjectFromInput(inputs.subject),
      names: alternativeNames(inputs),
      publicKey: subjectPublicKeyInfo(key),
    };
    const { id, outputs } = makeCertificate(inputs, template, { key });
    return { id, outputs: { setAuthorityKeyId: false, ...outputs, keyAlgorithm: algorithmOf(key) } };
  },
  read: async (id, state) => ({ id, outputs: readCertificate(noImport(state)) }),
  update: async (_id, state, inputs) => updateCertificate(state, inputs),
  delete: async () => {},
};
