import { createPublicKey, type JsonWebKey, type KeyObject, randomBytes } from "node:crypto";
import { encodePem } from "./pem.ts";

// Formats: RFC 4253 (6.6, public keys), RFC 5656 (3.1, ECDSA), RFC 8709 (4, Ed25519), and PROTOCOL.key in
// OpenSSH's source for private keys.

const curveNames: Record<string, string> = {
  prime256v1: "nistp256",
  secp384r1: "nistp384",
  secp521r1: "nistp521",
};

/** A public key on the wire, or undefined for a curve that OpenSSH lacks. */
export function opensshPublicKey(key: KeyObject): { type: string; blob: Buffer } | undefined {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === "ec" && (curve === undefined || curveNames[curve] === undefined)) {
    return undefined;
  }
  const jwk = (key.type === "private" ? createPublicKey(key) : key).export({ format: "jwk" });
  const type = typeName(key);
  if (type === "ssh-rsa") {
    return { type, blob: Buffer.concat([text(type), integer(jwk.e), integer(jwk.n)]) };
  }
  if (type === "ssh-ed25519") return { type, blob: Buffer.concat([text(type), bytes(field(jwk.x))]) };
  const name = type.slice("ecdsa-sha2-".length);
  return { type, blob: Buffer.concat([text(type), text(name), bytes(point(jwk))]) };
}

/** An unencrypted private key in OpenSSH's own format, with an empty comment. */
export function opensshPrivateKey(key: KeyObject): string {
  const publicKey = opensshPublicKey(key);
  if (publicKey === undefined) throw new Error("OpenSSH has no format for this key");
  const check = randomBytes(4);
  const unpadded = Buffer.concat([check, check, privateFields(key), text("")]);
  const blockSize = 8;
  const padding = (blockSize - (unpadded.length % blockSize)) % blockSize;
  const padded = Buffer.concat([
    unpadded,
    Buffer.from(Array.from({ length: padding }, (_, index) => index + 1)),
  ]);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(1);
  const der = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    text("none"),
    text("none"),
    text(""),
    count,
    bytes(publicKey.blob),
    bytes(padded),
  ]);
  return encodePem("OPENSSH PRIVATE KEY", der);
}

function privateFields(key: KeyObject): Buffer {
  const jwk = key.export({ format: "jwk" });
  const type = typeName(key);
  if (type === "ssh-rsa") {
    const numbers = [jwk.n, jwk.e, jwk.d, jwk.qi, jwk.p, jwk.q];
    return Buffer.concat([text(type), ...numbers.map(integer)]);
  }
  if (type === "ssh-ed25519") {
    const [secret, open] = [field(jwk.d), field(jwk.x)];
    return Buffer.concat([text(type), bytes(open), bytes(Buffer.concat([secret, open]))]);
  }
  const name = type.slice("ecdsa-sha2-".length);
  return Buffer.concat([text(type), text(name), bytes(point(jwk)), integer(jwk.d)]);
}

function typeName(key: KeyObject): string {
  if (key.asymmetricKeyType === "rsa") return "ssh-rsa";
  if (key.asymmetricKeyType === "ed25519") return "ssh-ed25519";
  return `ecdsa-sha2-${curveNames[key.asymmetricKeyDetails?.namedCurve ?? ""]}`;
}

function field(value: string | undefined): Buffer {
  if (value === undefined) throw new Error("the key lacks a field of its type");
  return Buffer.from(value, "base64url");
}

/** An uncompressed curve point. */
function point(jwk: JsonWebKey): Buffer {
  return Buffer.concat([Buffer.from([4]), field(jwk.x), field(jwk.y)]);
}

function bytes(value: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([length, value]);
}

function text(value: string): Buffer {
  return bytes(Buffer.from(value));
}

/** A number without leading zeros, but one where its first bit would else be a sign. */
function integer(value: string | undefined): Buffer {
  const number = field(value);
  const start = number.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Buffer.alloc(0) : number.subarray(start);
  const sign = (digits[0] ?? 0) >= 128 ? Buffer.from([0]) : Buffer.alloc(0);
  return bytes(Buffer.concat([sign, digits]));
}
