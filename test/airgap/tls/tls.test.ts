import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type JsonWebKey,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import { fileURLToPath } from "node:url";
import { CertificationRequest } from "@peculiar/asn1-csr";
import { AsnConvert } from "@peculiar/asn1-schema";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Properties, Secret, UNKNOWN, type Value } from "../../../airgap/plugins/common/values.ts";
import { PluginClient } from "../common/client.ts";

const main = fileURLToPath(new URL("../../../airgap/plugins/tls/index.ts", import.meta.url));
const keyToken = "tls:index/privateKey:PrivateKey";
const requestToken = "tls:index/certRequest:CertRequest";
const selfSignedToken = "tls:index/selfSignedCert:SelfSignedCert";
const locallySignedToken = "tls:index/locallySignedCert:LocallySignedCert";

let client: PluginClient;
beforeAll(async () => {
  client = await PluginClient.start(main);
});
afterAll(() => client.stop());

function text(value: Value | undefined): string {
  const plain = value instanceof Secret ? value.value : value;
  if (typeof plain !== "string") throw new Error("not a string");
  return plain;
}

async function makeKey(inputs: Properties = { algorithm: "ECDSA", ecdsaCurve: "P256" }) {
  const { id, outputs } = await client.create(keyToken, inputs);
  return { id, outputs, pem: text(outputs.privateKeyPem) };
}

const authorityInputs = {
  subject: { commonName: "test CA", organization: "Test" },
  allowedUses: ["cert_signing", "crl_signing", "digital_signature"],
  validityPeriodHours: 87600,
  isCaCertificate: true,
};

async function makeAuthority(inputs: Properties = {}) {
  const key = await makeKey();
  const { outputs } = await client.create(selfSignedToken, {
    privateKeyPem: key.pem,
    ...authorityInputs,
    ...inputs,
  });
  return { caPrivateKeyPem: key.pem, caCertPem: text(outputs.certPem) };
}

describe("PrivateKey", () => {
  const forms = {
    RSA: { inputs: { algorithm: "RSA" }, label: "RSA PRIVATE KEY", ssh: "ssh-rsa" },
    P256: {
      inputs: { algorithm: "ECDSA", ecdsaCurve: "P256" },
      label: "EC PRIVATE KEY",
      ssh: "ecdsa-sha2-nistp256",
    },
    P521: {
      inputs: { algorithm: "ECDSA", ecdsaCurve: "P521" },
      label: "EC PRIVATE KEY",
      ssh: "ecdsa-sha2-nistp521",
    },
    ED25519: { inputs: { algorithm: "ED25519" }, label: "PRIVATE KEY", ssh: "ssh-ed25519" },
  };

  test.each(Object.entries(forms))("%s: all forms are of one key", async (_, { inputs, label, ssh }) => {
    const { id, outputs, pem } = await makeKey(inputs);
    const key = createPrivateKey(pem);
    const open = createPublicKey(key);
    expect(pem).toMatch(
      new RegExp(`^-----BEGIN ${label}-----\n(.{64}\n)*.{1,64}\n-----END ${label}-----\n$`),
    );
    expect(createPrivateKey(text(outputs.privateKeyPemPkcs8)).equals(key)).toBe(true);
    expect(text(outputs.privateKeyPemPkcs8)).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(createPublicKey(text(outputs.publicKeyPem)).equals(open)).toBe(true);
    const [type, base64] = text(outputs.publicKeyOpenssh).trimEnd().split(" ");
    const blob = Buffer.from(base64 ?? "", "base64");
    expect(type).toBe(ssh);
    expect(readOpenssh(text(outputs.privateKeyOpenssh), blob).equals(key)).toBe(true);
    expect(outputs.publicKeyFingerprintSha256).toBe(
      `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=*$/, "")}`,
    );
    expect(text(outputs.publicKeyFingerprintMd5).replaceAll(":", "")).toBe(
      createHash("md5").update(blob).digest("hex"),
    );
    expect(id).toBe(
      createHash("sha1")
        .update(open.export({ type: "spki", format: "der" }))
        .digest("hex"),
    );
    for (const name of ["privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"]) {
      expect(outputs[name]).toBeInstanceOf(Secret);
    }
  });

  test("P224 is the default curve, and has no form in OpenSSH", async () => {
    const { outputs, pem } = await makeKey({ algorithm: "ECDSA" });
    expect(createPrivateKey(pem).asymmetricKeyDetails?.namedCurve).toBe("secp224r1");
    expect(outputs).toMatchObject({
      __meta: '{"schema_version":"1"}',
      ecdsaCurve: "P224",
      rsaBits: 2048,
      privateKeyOpenssh: new Secret(""),
      publicKeyOpenssh: "",
      publicKeyFingerprintMd5: "",
      publicKeyFingerprintSha256: "",
    });
  });

  test("an unknown algorithm or curve is refused", async () => {
    const { failures } = await client.check(keyToken, { algorithm: "DSA", ecdsaCurve: "P1" });
    expect(failures).toMatchInlineSnapshot(`
      [
        "Invalid Attribute Value Match. Attribute algorithm value must be one of: ["RSA" "ECDSA" "ED25519"], got: "DSA". Examine values at 'test.algorithm'.",
        "Invalid Attribute Value Match. Attribute ecdsa_curve value must be one of: ["P224" "P256" "P384" "P521"], got: "P1". Examine values at 'test.ecdsaCurve'.",
      ]
    `);
  });

  test("every change replaces the key, a default that is spelled out does not", async () => {
    const { outputs } = await makeKey({ algorithm: "ED25519" });
    expect((await client.diff(keyToken, outputs, { algorithm: "ED25519", rsaBits: 2048 })).changes).toBe(
      false,
    );
    const changed = { algorithm: "RSA", rsaBits: 4096, ecdsaCurve: "P256" };
    expect((await client.diff(keyToken, outputs, changed)).replaces).toEqual([
      "algorithm",
      "ecdsaCurve",
      "rsaBits",
    ]);
  });

  test("an import is refused", async () => {
    await expect(client.read(keyToken, "x")).rejects.toThrow("This resource does not support import.");
  });
});

describe("SelfSignedCert", () => {
  test("an authority's certificate says so and verifies itself", async () => {
    const { pem } = await makeKey();
    const { id, outputs } = await client.create(selfSignedToken, {
      privateKeyPem: pem,
      ...authorityInputs,
      setAuthorityKeyId: true,
    });
    const certificate = new X509Certificate(text(outputs.certPem));
    expect(certificate.ca).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(pem))).toBe(true);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.checkIssued(certificate)).toBe(true);
    expect(certificate.subject).toBe("O=Test\nCN=test CA");
    expect(BigInt(`0x${certificate.serialNumber}`).toString()).toBe(id);
    const hours = (certificate.validToDate.getTime() - certificate.validFromDate.getTime()) / 3_600_000;
    expect(hours).toBe(87600);
    expect(Date.parse(text(outputs.validityEndTime)) - Date.parse(text(outputs.validityStartTime))).toBe(
      87600 * 3_600_000,
    );
    expect(outputs).toMatchObject({
      privateKeyPem: new Secret(pem),
      keyAlgorithm: "ECDSA",
      earlyRenewalHours: 0,
      isCaCertificate: true,
      setSubjectKeyId: false,
      setAuthorityKeyId: true,
      readyForRenewal: false,
    });
    expect(outputs.maxPathLength).toBeUndefined();
  });

  test("names of every kind reach the certificate", async () => {
    const { pem } = await makeKey({ algorithm: "ED25519" });
    const subject = {
      commonName: "Ünï",
      organization: "O",
      organizationalUnit: "OU",
      streetAddresses: ["B", "A"],
      locality: "L",
      province: "P",
      country: "DE",
      postalCode: "1",
      serialNumber: "9",
      emailAddress: "a@b.c",
    };
    const { outputs } = await client.create(selfSignedToken, {
      privateKeyPem: pem,
      subject,
      dnsNames: ["db.test", "db"],
      ipAddresses: ["127.0.0.1", "::1", "fe80::1:2", "::ffff:1.2.3.4"],
      uris: ["spiffe://x/y"],
      allowedUses: ["server_auth", "client_auth", "key_encipherment"],
      validityPeriodHours: 24,
    });
    const certificate = new X509Certificate(text(outputs.certPem));
    expect(certificate.subject).toMatchInlineSnapshot(`
      "C=DE
      ST=P
      L=L
      street=A + street=B
      postalCode=1
      O=O
      OU=OU
      CN=Ünï
      serialNumber=9
      emailAddress=a@b.c"
    `);
    expect(certificate.subjectAltName).toMatchInlineSnapshot(
      `"DNS:db.test, DNS:db, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:FE80:0:0:0:0:0:1:2, IP Address:1.2.3.4, URI:spiffe://x/y"`,
    );
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.ca).toBe(false);
  });

  test.each(["RSA", "ED25519", "P224", "P256", "P384", "P521"])("a %s key can sign", async (kind) => {
    const inputs = kind.startsWith("P") ? { algorithm: "ECDSA", ecdsaCurve: kind } : { algorithm: kind };
    const { pem } = await makeKey(inputs);
    const { outputs } = await client.create(selfSignedToken, { privateKeyPem: pem, ...authorityInputs });
    const certificate = new X509Certificate(text(outputs.certPem));
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(pem))).toBe(true);
  });

  test.each<[string, Properties]>([
    ["Failed to parse private key PEM: there is no PEM block in it", { privateKeyPem: "hello" }],
    [
      "Failed to parse private key PEM: it is no EC PRIVATE KEY",
      { privateKeyPem: "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n" },
    ],
    ['Invalid IP address: Failed to parse "1.2.3"', { ipAddresses: ["1.2.3"] }],
    ['Invalid DNS name or URI: "ü" cannot be encoded as an IA5String, only ASCII can', { dnsNames: ["ü"] }],
    [
      "Invalid Certificate Subject: Must contain at least one Distinguished Name when creating Certificate Authority (CA)",
      { subject: {} },
    ],
    [
      "Invalid Certificate Authority: Could not determine Authority Key Identifier",
      { isCaCertificate: false, setAuthorityKeyId: true },
    ],
    [
      "Failed to create certificate: x509: only CAs are allowed to specify MaxPathLen",
      { isCaCertificate: false, maxPathLength: 1 },
    ],
  ])("refused: %s", async (message, inputs) => {
    const { pem } = await makeKey();
    const error = await client
      .create(selfSignedToken, { privateKeyPem: pem, ...authorityInputs, ...inputs })
      .catch((caught) => caught);
    expect(error.message).toBe(message);
  });

  test("check names each value that is out of its range", async () => {
    const { failures } = await client.check(selfSignedToken, {
      privateKeyPem: "p",
      allowedUses: [],
      validityPeriodHours: -1,
      earlyRenewalHours: -1,
      maxPathLength: -2,
      ipAddresses: [""],
    });
    expect(failures).toMatchInlineSnapshot(`
      [
        "Invalid Attribute Value. Attribute early_renewal_hours value must be at least 0, got: -1. Examine values at 'test.earlyRenewalHours'.",
        "Invalid Attribute Value Length. Attribute ip_addresses string length must be at least 1, got: 0. Examine values at 'test.ipAddresses[0]'.",
        "Invalid Attribute Value. Attribute max_path_length value must be at least -1, got: -2. Examine values at 'test.maxPathLength'.",
        "Invalid Attribute Value. Attribute validity_period_hours value must be at least 0, got: -1. Examine values at 'test.validityPeriodHours'.",
      ]
    `);
    const { failures: uses } = await client.check(selfSignedToken, {
      privateKeyPem: "p",
      allowedUses: ["nope"],
      validityPeriodHours: 1,
    });
    expect(uses).toEqual([expect.stringContaining('"timestamping"], got: "nope"')]);
  });

  test("a private key is secret in the inputs, even unknown", async () => {
    const inputs = { privateKeyPem: UNKNOWN, allowedUses: [], validityPeriodHours: 1 };
    expect((await client.check(selfSignedToken, inputs)).inputs.privateKeyPem).toEqual(new Secret(UNKNOWN));
  });
});

describe("renewal", () => {
  const inputs = { privateKeyPem: "p", allowedUses: [], validityPeriodHours: 10 };
  const hoursFromNow = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();
  const state = {
    ...inputs,
    certPem: "c",
    keyAlgorithm: "ECDSA",
    earlyRenewalHours: 0,
    isCaCertificate: false,
    setSubjectKeyId: false,
    setAuthorityKeyId: false,
    readyForRenewal: false,
    validityStartTime: hoursFromNow(-1),
    validityEndTime: hoursFromNow(9),
  };
  const expired = { ...state, validityEndTime: hoursFromNow(-1) };

  test("a certificate in its time has no diff", async () => {
    expect((await client.diff(selfSignedToken, state, inputs)).changes).toBe(false);
  });

  test.each([
    ["is over", expired, inputs],
    ["is over and a refresh said so", { ...expired, readyForRenewal: true }, inputs],
    ["comes early", state, { ...inputs, earlyRenewalHours: 9 }],
  ])("a certificate whose time %s is replaced", async (_, old, news) => {
    expect((await client.diff(selfSignedToken, old, news)).replaces).toEqual(["readyForRenewal"]);
  });

  test("a later or earlier time of renewal alone is an update that keeps the certificate", async () => {
    const changed = { ...inputs, earlyRenewalHours: 2 };
    expect(await client.diff(selfSignedToken, state, changed)).toMatchObject({ changes: true, replaces: [] });
    const outputs = await client.update(selfSignedToken, "1", state, changed);
    expect(outputs).toMatchObject({ certPem: "c", earlyRenewalHours: 2, readyForRenewal: false });
    expect((await client.diff(selfSignedToken, outputs, changed)).changes).toBe(false);
    expect(await client.update(selfSignedToken, "1", outputs, inputs)).toMatchObject({
      earlyRenewalHours: 0,
    });
  });

  test("a refresh tells that the time of renewal has come", async () => {
    const { outputs } = await client.read(selfSignedToken, "1", expired, inputs);
    expect(outputs.readyForRenewal).toBe(true);
    expect((await client.read(selfSignedToken, "1", state, inputs)).outputs.readyForRenewal).toBe(false);
  });

  test("anything else that changes replaces the certificate", async () => {
    const changed = {
      privateKeyPem: UNKNOWN,
      allowedUses: ["server_auth"],
      validityPeriodHours: 20,
      subject: { commonName: "x" },
      dnsNames: ["a"],
      isCaCertificate: true,
      maxPathLength: 1,
      setSubjectKeyId: true,
      setAuthorityKeyId: true,
    };
    expect((await client.diff(selfSignedToken, state, changed)).replaces).toEqual(
      Object.keys(changed).sort(),
    );
  });

  test("a preview shows what follows from the inputs alone", async () => {
    const { outputs } = await client.create(
      selfSignedToken,
      { ...inputs, privateKeyPem: UNKNOWN, earlyRenewalHours: 10 },
      { preview: true },
    );
    expect(outputs).toMatchObject({ readyForRenewal: true, certPem: UNKNOWN, isCaCertificate: false });
  });
});

describe("CertRequest and LocallySignedCert", () => {
  async function makeRequest(inputs: Properties = {}) {
    const key = await makeKey();
    const { id, outputs } = await client.create(requestToken, {
      privateKeyPem: key.pem,
      subject: { commonName: "localhost", emailAddress: "a@b.c" },
      dnsNames: ["localhost", "db"],
      ipAddresses: ["127.0.0.1"],
      uris: ["spiffe://x"],
      ...inputs,
    });
    return { id, key: key.pem, outputs, pem: text(outputs.certRequestPem) };
  }

  test("a request holds subject, key and names, and its id follows from it", async () => {
    const { id, outputs, pem } = await makeRequest();
    const der = Buffer.from(pem.replace(/-----.*-----|\n/g, ""), "base64");
    expect(id).toBe(createHash("sha1").update(der).digest("hex"));
    expect(outputs.keyAlgorithm).toBe("ECDSA");
    const { certificationRequestInfo } = AsnConvert.parse(der, CertificationRequest);
    expect(certificationRequestInfo.subject.flat().map(({ value }) => value.toString())).toEqual([
      "localhost",
      "a@b.c",
    ]);
    expect(certificationRequestInfo.attributes).toHaveLength(1);
  });

  test("a certificate takes over what its request asks for, and only that", async () => {
    const authority = await makeAuthority();
    const request = await makeRequest();
    const { id, outputs } = await client.create(locallySignedToken, {
      ...authority,
      certRequestPem: request.pem,
      allowedUses: ["server_auth", "digital_signature"],
      validityPeriodHours: 8760,
      earlyRenewalHours: 720,
    });
    const certificate = new X509Certificate(text(outputs.certPem));
    const issuer = new X509Certificate(authority.caCertPem);
    expect(certificate.checkIssued(issuer)).toBe(true);
    expect(certificate.verify(issuer.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(request.key))).toBe(true);
    expect(certificate.subject).toBe("CN=localhost");
    expect(certificate.subjectAltName).toBe("DNS:localhost, DNS:db, IP Address:127.0.0.1, URI:spiffe://x");
    expect(BigInt(`0x${certificate.serialNumber}`).toString()).toBe(id);
    expect(outputs).toMatchObject({
      caKeyAlgorithm: "ECDSA",
      earlyRenewalHours: 720,
      isCaCertificate: false,
      setSubjectKeyId: false,
      readyForRenewal: false,
    });
    expect(Object.keys(outputs)).not.toContain("setAuthorityKeyId");
  });

  test("a TLS client that trusts the authority alone accepts the server's certificate, by name and address", async () => {
    const authority = await makeAuthority();
    const request = await makeRequest();
    const { outputs } = await client.create(locallySignedToken, {
      ...authority,
      certRequestPem: request.pem,
      allowedUses: ["server_auth", "digital_signature", "key_encipherment"],
      validityPeriodHours: 24,
    });
    const server = createServer({ key: request.key, cert: text(outputs.certPem) }, (socket) =>
      socket.end("hi"),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const greet = (ca: string, servername?: string) =>
      new Promise<string>((resolve, reject) => {
        const names = servername === undefined ? {} : { servername };
        const socket = connect({ host: "127.0.0.1", port, ca, ...names });
        socket.once("data", (data) => resolve(data.toString()));
        socket.once("error", reject);
      });
    try {
      expect(await greet(authority.caCertPem)).toBe("hi");
      expect(await greet(authority.caCertPem, "db")).toBe("hi");
      await expect(greet(authority.caCertPem, "other")).rejects.toThrow("altnames");
      await expect(greet((await makeAuthority()).caCertPem)).rejects.toThrow("unable to verify");
    } finally {
      server.close();
    }
  });

  test("a certificate by one that is no authority is made, with a warning", async () => {
    const authority = await makeAuthority({ isCaCertificate: false });
    const request = await makeRequest();
    await client.create(locallySignedToken, {
      ...authority,
      certRequestPem: request.pem,
      allowedUses: [],
      validityPeriodHours: 1,
    });
    await expect
      .poll(() => client.logs.map(({ message }) => message))
      .toContain("the certificate given as caCertPem is not one of a certificate authority");
  });

  test("an authority's certificate and key must belong together, and inputs be what they should", async () => {
    const authority = await makeAuthority();
    const request = await makeRequest();
    const inputs = { ...authority, certRequestPem: request.pem, allowedUses: [], validityPeriodHours: 1 };
    await expect(
      client.create(locallySignedToken, { ...inputs, caPrivateKeyPem: request.key }),
    ).rejects.toThrow("x509: provided PrivateKey doesn't match parent's PublicKey");
    await expect(
      client.create(locallySignedToken, { ...inputs, certRequestPem: authority.caCertPem }),
    ).rejects.toThrow(
      'Failed to parse certificate request PEM: expected "CERTIFICATE REQUEST", got "CERTIFICATE"',
    );
    const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    await expect(client.create(locallySignedToken, { ...inputs, caCertPem: broken })).rejects.toThrow(
      "Failed to parse CA certificate PEM: it is no certificate",
    );
  });
});

/** Reads a private key in OpenSSH's format (PROTOCOL.key in its source) that belongs to a public key. */
function readOpenssh(pem: string, publicKey: Buffer): KeyObject {
  const der = Buffer.from(pem.replace(/-----.*-----|\n/g, ""), "base64");
  const reader = (bytes: Buffer) => {
    let at = 0;
    const skip = (length: number) => {
      at += length;
      return bytes.subarray(at - length, at);
    };
    return { skip, next: () => skip(skip(4).readUInt32BE()), rest: () => bytes.subarray(at) };
  };
  const file = reader(der);
  expect(file.skip(15).toString()).toBe("openssh-key-v1\0");
  expect([file.next(), file.next(), file.next()].map(String)).toEqual(["none", "none", ""]);
  expect(file.skip(4).readUInt32BE()).toBe(1);
  expect(file.next().equals(publicKey)).toBe(true);
  const block = file.next();
  expect(block.length % 8).toBe(0);
  const fields = reader(block);
  expect(fields.skip(4).equals(fields.skip(4))).toBe(true);
  const type = fields.next().toString();
  const url = (bytes: Buffer) => bytes.toString("base64url");
  const number = (bytes: Buffer) => url(bytes[0] === 0 ? bytes.subarray(1) : bytes);
  let jwk: JsonWebKey;
  if (type === "ssh-rsa") {
    const [n, e, d, qi, p, q] = Array.from({ length: 6 }, () => fields.next());
    if (!n || !e || !d || !qi || !p || !q) throw new Error("too few numbers");
    const dp = BigInt(`0x${d.toString("hex")}`) % (BigInt(`0x${p.toString("hex")}`) - 1n);
    const dq = BigInt(`0x${d.toString("hex")}`) % (BigInt(`0x${q.toString("hex")}`) - 1n);
    const big = (value: bigint) => {
      const hex = value.toString(16);
      return Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex").toString("base64url");
    };
    jwk = {
      kty: "RSA",
      n: number(n),
      e: number(e),
      d: number(d),
      qi: number(qi),
      p: number(p),
      q: number(q),
      dp: big(dp),
      dq: big(dq),
    };
  } else if (type === "ssh-ed25519") {
    const x = fields.next();
    const secret = fields.next();
    expect(secret.subarray(32).equals(x)).toBe(true);
    jwk = { kty: "OKP", crv: "Ed25519", x: url(x), d: url(secret.subarray(0, 32)) };
  } else {
    const curve = fields.next().toString();
    const point = fields.next();
    const size = (point.length - 1) / 2;
    const d = Buffer.from(number(fields.next()), "base64url");
    jwk = {
      kty: "EC",
      crv: `P-${curve.slice("nistp".length)}`,
      x: url(point.subarray(1, 1 + size)),
      y: url(point.subarray(1 + size)),
      d: url(Buffer.concat([Buffer.alloc(size - d.length), d])),
    };
  }
  expect(fields.next().toString()).toBe("");
  expect([...fields.rest()]).toEqual(Array.from(fields.rest(), (_, index) => index + 1));
  return createPrivateKey({ key: jwk, format: "jwk" });
}
