import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { opensshPrivateKey, opensshPublicKey } from "./openssh.ts";
import { decodePem } from "./pem.ts";

export const algorithms = ["RSA", "ECDSA", "ED25519"];
export type Algorithm = "RSA" | "ECDSA" | "ED25519";

/** Curves by the names that the resource takes, with those of OpenSSL. */
export const curves: Record<string, string> = {
  P224: "secp224r1",
  P256: "prime256v1",
  P384: "secp384r1",
  P521: "secp521r1",
};

const generate = promisify(generateKeyPair);

/** Makes a private key. */
export async function generateKey(
  algorithm: string,
  rsaBits: number,
  ecdsaCurve: string,
): Promise<KeyObject> {
  if (algorithm === "RSA") return (await generate("rsa", { modulusLength: rsaBits })).privateKey;
  if (algorithm === "ED25519") return (await generate("ed25519", {})).privateKey;
  const namedCurve = curves[ecdsaCurve];
  if (algorithm !== "ECDSA" || namedCurve === undefined) {
    throw new Error(`Unable to generate Key from configuration: no ${algorithm} key with ${ecdsaCurve}`);
  }
  return (await generate("ec", { namedCurve })).privateKey;
}

/**
 * Reads a private key.
 *
 * @param what The input in the error message, such as `CA private key`.
 */
export function parsePrivateKey(pem: string, what: string): KeyObject {
  const { der, label } = decodePem(pem, ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"], what);
  const type = label === "RSA PRIVATE KEY" ? "pkcs1" : label === "EC PRIVATE KEY" ? "sec1" : "pkcs8";
  try {
    return createPrivateKey({ key: der, format: "der", type });
  } catch {
    // OpenSSL's own reason names its source lines.
    throw new Error(`Failed to parse ${what} PEM: it is no ${label}`);
  }
}

/** The algorithm of a key. */
export function algorithmOf(key: KeyObject): Algorithm {
  switch (key.asymmetricKeyType) {
    case "rsa":
      return "RSA";
    case "ec":
      return "ECDSA";
    case "ed25519":
      return "ED25519";
    default:
      throw new Error(`unsupported private key type: ${key.asymmetricKeyType}`);
  }
}

/** SubjectPublicKeyInfo of a key, private or public. */
export function publicKeyInfo(key: KeyObject): Buffer {
  return publicKeyOf(key).export({ type: "spki", format: "der" });
}

/** The public half of a key. */
export function publicKeyOf(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

/** All the forms in which tls.PrivateKey shows a key. OpenSSH knows no P224: those are empty then. */
export function keyForms(key: KeyObject) {
  const algorithm = algorithmOf(key);
  const ssh = opensshPublicKey(key);
  const pkcs8 = key.export({ type: "pkcs8", format: "pem" }).toString();
  const traditional = { RSA: "pkcs1", ECDSA: "sec1", ED25519: "pkcs8" } as const;
  return {
    privateKeyPem: key.export({ type: traditional[algorithm], format: "pem" }).toString(),
    privateKeyPemPkcs8: pkcs8,
    privateKeyOpenssh: ssh === undefined ? "" : opensshPrivateKey(key),
    publicKeyPem: publicKeyOf(key).export({ type: "spki", format: "pem" }).toString(),
    publicKeyOpenssh: ssh === undefined ? "" : `${ssh.type} ${ssh.blob.toString("base64")}\n`,
    publicKeyFingerprintMd5: ssh === undefined ? "" : md5Fingerprint(ssh.blob),
    publicKeyFingerprintSha256: ssh === undefined ? "" : sha256Fingerprint(ssh.blob),
  };
}

function md5Fingerprint(blob: Buffer): string {
  return createHash("md5").update(blob).digest("hex").match(/../g)?.join(":") ?? "";
}

function sha256Fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}
