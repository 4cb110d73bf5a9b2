import { type KeyObject, sign } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import { AlgorithmIdentifier, SubjectPublicKeyInfo } from "@peculiar/asn1-x509";
import { publicKeyInfo } from "./keys.ts";

// Signature algorithms as Go's crypto/x509 chooses them: RFC 4055, RFC 5758, RFC 8410.
const rsaSha256 = { oid: "1.2.840.113549.1.1.11", digest: "sha256" };
const ed25519 = { oid: "1.3.101.112", digest: null };
const ecdsa: Record<string, { oid: string; digest: string }> = {
  secp384r1: { oid: "1.2.840.10045.4.3.3", digest: "sha384" },
  secp521r1: { oid: "1.2.840.10045.4.3.4", digest: "sha512" },
};
const ecdsaSha256 = { oid: "1.2.840.10045.4.3.2", digest: "sha256" };

function algorithmFor(key: KeyObject) {
  if (key.asymmetricKeyType === "rsa") return rsaSha256;
  if (key.asymmetricKeyType === "ed25519") return ed25519;
  return ecdsa[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? ecdsaSha256;
}

/** The identifier of the algorithm by which a key signs. */
export function signatureAlgorithm(key: KeyObject): AlgorithmIdentifier {
  const algorithm = algorithmFor(key).oid;
  return key.asymmetricKeyType === "rsa"
    ? new AlgorithmIdentifier({ algorithm, parameters: null })
    : new AlgorithmIdentifier({ algorithm });
}

export function signature(key: KeyObject, data: ArrayBuffer): ArrayBuffer {
  return toArrayBuffer(sign(algorithmFor(key).digest, Buffer.from(data), key));
}

export function subjectPublicKeyInfo(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(publicKeyInfo(key), SubjectPublicKeyInfo);
}

export function toArrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
