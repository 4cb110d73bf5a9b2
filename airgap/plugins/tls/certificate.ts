import { createHash, type KeyObject, randomBytes, X509Certificate } from "node:crypto";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  type Name,
  type SubjectAlternativeName,
  SubjectKeyIdentifier,
  type SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from "@peculiar/asn1-x509";
import type { DiffResult } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import { type Properties, UNKNOWN } from "../common/values.ts";
import { encodeName, type Subject } from "./names.ts";
import { encodePem } from "./pem.ts";
import { isAtLeast, isOneOf } from "./rules.ts";
import { signature, signatureAlgorithm, toArrayBuffer } from "./signing.ts";

const keyUsages: Record<string, number> = {
  digital_signature: KeyUsageFlags.digitalSignature,
  content_commitment: KeyUsageFlags.nonRepudiation,
  key_encipherment: KeyUsageFlags.keyEncipherment,
  data_encipherment: KeyUsageFlags.dataEncipherment,
  key_agreement: KeyUsageFlags.keyAgreement,
  cert_signing: KeyUsageFlags.keyCertSign,
  crl_signing: KeyUsageFlags.cRLSign,
  encipher_only: KeyUsageFlags.encipherOnly,
  decipher_only: KeyUsageFlags.decipherOnly,
};

const extendedKeyUsages: Record<string, string> = {
  any_extended: "2.5.29.37.0",
  server_auth: "1.3.6.1.5.5.7.3.1",
  client_auth: "1.3.6.1.5.5.7.3.2",
  code_signing: "1.3.6.1.5.5.7.3.3",
  email_protection: "1.3.6.1.5.5.7.3.4",
  ipsec_end_system: "1.3.6.1.5.5.7.3.5",
  ipsec_tunnel: "1.3.6.1.5.5.7.3.6",
  ipsec_user: "1.3.6.1.5.5.7.3.7",
  timestamping: "1.3.6.1.5.5.7.3.8",
  ocsp_signing: "1.3.6.1.5.5.7.3.9",
  microsoft_server_gated_crypto: "1.3.6.1.4.1.311.10.3.3",
  netscape_server_gated_crypto: "2.16.840.1.113730.4.1",
  microsoft_commercial_code_signing: "1.3.6.1.4.1.311.2.1.22",
  microsoft_kernel_code_signing: "1.3.6.1.4.1.311.61.1.1",
};

const usageNames = Object.keys({ ...keyUsages, ...extendedKeyUsages }).sort();
const flag = { kind: "boolean", default: false, forceNew: true } as const;

/** Properties that both kinds of certificate have. */
export const certificateProperties: Schema = {
  validityPeriodHours: {
    kind: "integer",
    required: true,
    forceNew: true,
    validate: isAtLeast("validity_period_hours", 0),
  },
  allowedUses: {
    kind: "list",
    required: true,
    forceNew: true,
    element: { kind: "string", validate: isOneOf("allowed_uses", usageNames) },
  },
  earlyRenewalHours: { kind: "integer", default: 0, validate: isAtLeast("early_renewal_hours", 0) },
  isCaCertificate: flag,
  maxPathLength: {
    kind: "integer",
    computed: true,
    forceNew: true,
    validate: isAtLeast("max_path_length", -1),
  },
  setSubjectKeyId: flag,
  certPem: { kind: "string", input: false },
  readyForRenewal: { kind: "boolean", input: false },
  validityStartTime: { kind: "string", input: false },
  validityEndTime: { kind: "string", input: false },
};

const hour = 3_600_000;

/** Whether a certificate is in its time of renewal from the start. */
function isAlwaysReady(inputs: Properties): boolean {
  const validity = inputs.validityPeriodHours;
  const early = inputs.earlyRenewalHours ?? 0;
  return validity === 0 || (typeof early === "number" && typeof validity === "number" && early >= validity);
}

/** Whether the time of renewal has come: `earlyRenewalHours` before the end, or later. */
function isReady(state: Properties, earlyRenewalHours: Properties[string] | undefined): boolean {
  const end = typeof state.validityEndTime === "string" ? Date.parse(state.validityEndTime) : Number.NaN;
  return end - Number(earlyRenewalHours ?? 0) * hour <= Date.now();
}

/** A certificate whose time of renewal has come is replaced. */
export function diffCertificate(result: DiffResult, state: Properties, inputs: Properties): DiffResult {
  if (isReady(state, inputs.earlyRenewalHours)) result.detailedDiff.readyForRenewal = "UPDATE_REPLACE";
  else if (isAlwaysReady(inputs) !== state.readyForRenewal) result.detailedDiff.readyForRenewal = "UPDATE";
  return result;
}

/** What a preview knows of a certificate beside its inputs. */
export function previewCertificate(proposed: Properties, state: Properties, inputs: Properties): Properties {
  const readyForRenewal = isReady(state, inputs.earlyRenewalHours) ? UNKNOWN : isAlwaysReady(inputs);
  const outputs: Properties = { ...proposed, readyForRenewal };
  const isCreate = Object.keys(state).length === 0;
  if (!isCreate && outputs.maxPathLength === UNKNOWN && inputs.maxPathLength === undefined) {
    delete outputs.maxPathLength;
  }
  return outputs;
}

/** The state as a refresh leaves it. */
export function readCertificate(state: Properties): Properties {
  return isReady(state, state.earlyRenewalHours) ? { ...state, readyForRenewal: true } : state;
}

/** The state after a change that does not replace the certificate. */
export function updateCertificate(state: Properties, inputs: Properties): Properties {
  return { ...state, earlyRenewalHours: 0, ...inputs, readyForRenewal: isAlwaysReady(inputs) };
}

export interface Template {
  subject: Subject;
  names: SubjectAlternativeName | undefined;
  publicKey: SubjectPublicKeyInfo;
}

export interface Authority {
  /** Undefined: the subject itself. */
  name?: Name;
  keyIdentifier?: ArrayBuffer | undefined;
  key: KeyObject;
}

/** Makes and signs a certificate, with the extensions and their order of Go's crypto/x509. */
export function makeCertificate(inputs: Properties, template: Template, authority: Authority) {
  const isAuthority = inputs.isCaCertificate === true;
  const subject = encodeName(template.subject);
  if (isAuthority && subject.length === 0) {
    throw new Error(
      "Invalid Certificate Subject: Must contain at least one Distinguished Name when creating Certificate " +
        "Authority (CA)",
    );
  }
  const hasKeyIdentifier = isAuthority || inputs.setSubjectKeyId === true;
  const keyIdentifier = hasKeyIdentifier ? keyIdentifierOf(template.publicKey) : undefined;
  const isOwn = authority.name === undefined || sameName(authority.name, subject);
  let authorityKeyIdentifier = isOwn ? undefined : authority.keyIdentifier;
  if (inputs.setAuthorityKeyId === true) {
    authorityKeyIdentifier = keyIdentifier;
    if (keyIdentifier === undefined) {
      throw new Error("Invalid Certificate Authority: Could not determine Authority Key Identifier");
    }
  }
  const start = new Date();
  const end = new Date(start.getTime() + Number(inputs.validityPeriodHours) * hour);
  const serialNumber = randomSerialNumber();
  const body = new TBSCertificate({
    version: Version.v3,
    serialNumber: toArrayBuffer(serialNumber),
    signature: signatureAlgorithm(authority.key),
    issuer: authority.name ?? subject,
    validity: new Validity({ notBefore: start, notAfter: end }),
    subject,
    subjectPublicKeyInfo: template.publicKey,
    extensions: new Extensions([
      ...usageExtensions(inputs),
      extension(id_ce_basicConstraints, basicConstraints(inputs, isAuthority), true),
      ...(keyIdentifier === undefined
        ? []
        : [extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier))]),
      ...(authorityKeyIdentifier === undefined
        ? []
        : [
            extension(
              id_ce_authorityKeyIdentifier,
              new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(authorityKeyIdentifier) }),
            ),
          ]),
      ...(template.names === undefined
        ? []
        : [extension(id_ce_subjectAltName, template.names, subject.length === 0)]),
    ]),
  });
  const certificate = new Certificate({
    tbsCertificate: body,
    signatureAlgorithm: signatureAlgorithm(authority.key),
    signatureValue: signature(authority.key, AsnConvert.serialize(body)),
  });
  const der = Buffer.from(AsnConvert.serialize(certificate));
  return {
    id: BigInt(`0x${serialNumber.toString("hex")}`).toString(),
    outputs: {
      earlyRenewalHours: 0,
      isCaCertificate: false,
      setSubjectKeyId: false,
      ...inputs,
      certPem: encodePem("CERTIFICATE", der),
      readyForRenewal: isAlwaysReady(inputs),
      validityStartTime: start.toISOString(),
      validityEndTime: end.toISOString(),
    },
  };
}

function sameName(a: Name, b: Name): boolean {
  return Buffer.from(AsnConvert.serialize(a)).equals(Buffer.from(AsnConvert.serialize(b)));
}

function extension(extnID: string, value: unknown, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

function usageExtensions(inputs: Properties): Extension[] {
  const uses = Array.isArray(inputs.allowedUses) ? inputs.allowedUses.map(String) : [];
  const flags = uses.reduce((all, use) => all | (keyUsages[use] ?? 0), 0);
  const extended = uses.flatMap((use) => extendedKeyUsages[use] ?? []);
  return [
    ...(flags === 0 ? [] : [extension(id_ce_keyUsage, new KeyUsage(flags), true)]),
    ...(extended.length === 0 ? [] : [extension(id_ce_extKeyUsage, new ExtendedKeyUsage(extended))]),
  ];
}

function basicConstraints(inputs: Properties, isAuthority: boolean): BasicConstraints {
  const length = Number(inputs.maxPathLength ?? 0);
  // As in the genuine plugin, 0 and -1 both mean no limit: Go tells them apart by a field that it does not set.
  if (length <= 0) return new BasicConstraints({ cA: isAuthority });
  if (!isAuthority) {
    throw new Error("Failed to create certificate: x509: only CAs are allowed to specify MaxPathLen");
  }
  return new BasicConstraints({ cA: true, pathLenConstraint: length });
}

/** SHA-1 of the public key, RFC 5280 4.2.1.2 (1); of its DER octet string for Ed25519, as the genuine plugin does. */
function keyIdentifierOf({ algorithm, subjectPublicKey }: SubjectPublicKeyInfo): ArrayBuffer {
  const isEd25519 = algorithm.algorithm === "1.3.101.112";
  const bytes = isEd25519 ? AsnConvert.serialize(new OctetString(subjectPublicKey)) : subjectPublicKey;
  return toArrayBuffer(createHash("sha1").update(Buffer.from(bytes)).digest());
}

/** A positive number of up to 128 bits in the shortest form that DER allows. */
function randomSerialNumber(): Buffer {
  const bytes = randomBytes(16);
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Buffer.from([1]) : bytes.subarray(start);
  return (digits[0] ?? 0) >= 128 ? Buffer.concat([Buffer.from([0]), digits]) : digits;
}

/** Reads the certificate of an authority, which must belong to its key. */
export function parseAuthority(der: Buffer, key: KeyObject): Authority & { isAuthority: boolean } {
  let node: X509Certificate;
  try {
    node = new X509Certificate(der);
  } catch {
    throw new Error("Failed to parse CA certificate PEM: it is no certificate");
  }
  if (!node.checkPrivateKey(key)) {
    throw new Error(
      "Failed to create certificate: x509: provided PrivateKey doesn't match parent's PublicKey",
    );
  }
  const { tbsCertificate } = AsnConvert.parse(der, Certificate);
  const identifier = tbsCertificate.extensions?.find(({ extnID }) => extnID === id_ce_subjectKeyIdentifier);
  return {
    name: tbsCertificate.subject,
    keyIdentifier:
      identifier === undefined
        ? undefined
        : AsnConvert.parse(identifier.extnValue.buffer, SubjectKeyIdentifier).buffer,
    key,
    isAuthority: node.ca,
  };
}
