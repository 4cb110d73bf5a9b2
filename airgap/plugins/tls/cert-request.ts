import { createHash } from "node:crypto";
import { Attributes, CertificationRequest, CertificationRequestInfo } from "@peculiar/asn1-csr";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import { Attribute, Extension, Extensions, id_ce_subjectAltName } from "@peculiar/asn1-x509";
import type { ResourceDefinition } from "../common/plugin.ts";
import type { Properties } from "../common/values.ts";
import { algorithmOf, parsePrivateKey } from "./keys.ts";
import { alternativeNames, encodeName, subjectFromInput } from "./names.ts";
import { encodePem } from "./pem.ts";
import { holderProperties, noImport } from "./rules.ts";
import { signature, signatureAlgorithm, subjectPublicKeyInfo } from "./signing.ts";

/** The attribute of a request (PKCS #9, RFC 2985) that holds the extensions it asks for. */
export const extensionRequest = "1.2.840.113549.1.9.14";

/** tls.CertRequest: a certificate signing request (PKCS #10, RFC 2986). */
export const certRequest: ResourceDefinition<undefined> = {
  token: "tls:index/certRequest:CertRequest",
  properties: {
    privateKeyPem: { kind: "string", required: true, forceNew: true, secret: true },
    ...holderProperties,
    keyAlgorithm: { kind: "string", input: false },
    certRequestPem: { kind: "string", input: false },
  },
  create: async (inputs) => {
    const key = parsePrivateKey(String(inputs.privateKeyPem), "private key");
    const der = makeRequest(inputs, key);
    return {
      id: createHash("sha1").update(der).digest("hex"),
      outputs: {
        ...inputs,
        keyAlgorithm: algorithmOf(key),
        certRequestPem: encodePem("CERTIFICATE REQUEST", der),
      },
    };
  },
  read: async (id, state) => ({ id, outputs: noImport(state) }),
  update: async (_id, state, inputs) => ({ ...state, ...inputs }),
  delete: async () => {},
};

function makeRequest(inputs: Properties, key: ReturnType<typeof parsePrivateKey>): Buffer {
  const subject = encodeName(subjectFromInput(inputs.subject));
  const names = alternativeNames(inputs);
  const attributes = new Attributes();
  if (names !== undefined) {
    const extension = new Extension({
      extnID: id_ce_subjectAltName,
      extnValue: new OctetString(AsnConvert.serialize(names)),
    });
    const values = [AsnConvert.serialize(new Extensions([extension]))];
    attributes.push(new Attribute({ type: extensionRequest, values }));
  }
  const info = new CertificationRequestInfo({
    version: 0,
    subject,
    subjectPKInfo: subjectPublicKeyInfo(key),
    attributes,
  });
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: signatureAlgorithm(key),
    signature: signature(key, AsnConvert.serialize(info)),
  });
  return Buffer.from(AsnConvert.serialize(request));
}
