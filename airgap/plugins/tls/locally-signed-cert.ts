import { CertificationRequest } from "@peculiar/asn1-csr";
import { AsnConvert } from "@peculiar/asn1-schema";
import { Extensions, GeneralName, id_ce_subjectAltName, SubjectAlternativeName } from "@peculiar/asn1-x509";
import type { ResourceDefinition } from "../common/plugin.ts";
import { extensionRequest } from "./cert-request.ts";
import {
  certificateProperties,
  diffCertificate,
  makeCertificate,
  parseAuthority,
  previewCertificate,
  readCertificate,
  type Template,
  updateCertificate,
} from "./certificate.ts";
import { algorithmOf, parsePrivateKey } from "./keys.ts";
import { subjectFromName } from "./names.ts";
import { decodePem } from "./pem.ts";
import { noImport } from "./rules.ts";

const pem = { kind: "string", required: true, forceNew: true } as const;

/** tls.LocallySignedCert: a certificate for a request, signed by an authority whose key is at hand. */
export const locallySignedCert: ResourceDefinition<undefined> = {
  token: "tls:index/locallySignedCert:LocallySignedCert",
  properties: {
    caCertPem: pem,
    caPrivateKeyPem: { ...pem, secret: true },
    certRequestPem: pem,
    ...certificateProperties,
    caKeyAlgorithm: { kind: "string", input: false },
  },
  diff: diffCertificate,
  preview: previewCertificate,
  create: async (inputs, { log }) => {
    const template = parseRequest(String(inputs.certRequestPem));
    const key = parsePrivateKey(String(inputs.caPrivateKeyPem), "CA private key");
    const { der } = decodePem(String(inputs.caCertPem), ["CERTIFICATE"], "CA certificate");
    const { isAuthority, ...authority } = parseAuthority(der, key);
    if (!isAuthority) {
      log("warning", "the certificate given as caCertPem is not one of a certificate authority");
    }
    const { id, outputs } = makeCertificate(inputs, template, authority);
    return { id, outputs: { ...outputs, caKeyAlgorithm: algorithmOf(key) } };
  },
  read: async (id, state) => ({ id, outputs: readCertificate(noImport(state)) }),
  update: async (_id, state, inputs) => updateCertificate(state, inputs),
  delete: async () => {},
};

/** What a certificate takes over from a request: name, key, and names beside it but e-mail addresses. */
function parseRequest(text: string): Template {
  const { der } = decodePem(text, ["CERTIFICATE REQUEST"], "certificate request");
  let request: CertificationRequest;
  try {
    request = AsnConvert.parse(der, CertificationRequest);
  } catch {
    throw new Error("Failed to parse certificate request PEM: it is no certificate request");
  }
  const { subject, subjectPKInfo, attributes } = request.certificationRequestInfo;
  const extensions = attributes
    .filter(({ type }) => type === extensionRequest)
    .flatMap(({ values }) => values.flatMap((value) => [...AsnConvert.parse(value, Extensions)]));
  const names = extensions
    .filter(({ extnID }) => extnID === id_ce_subjectAltName)
    .flatMap(({ extnValue }) => [...AsnConvert.parse(extnValue.buffer, SubjectAlternativeName)]);
  const kinds = [
    names.flatMap(({ dNSName }) => (dNSName === undefined ? [] : [new GeneralName({ dNSName })])),
    names.flatMap(({ iPAddress }) => (iPAddress === undefined ? [] : [new GeneralName({ iPAddress })])),
    names.flatMap(({ uniformResourceIdentifier }) =>
      uniformResourceIdentifier === undefined ? [] : [new GeneralName({ uniformResourceIdentifier })],
    ),
  ].flat();
  return {
    subject: subjectFromName(subject),
    names: kinds.length === 0 ? undefined : new SubjectAlternativeName(kinds),
    publicKey: subjectPKInfo,
  };
}
