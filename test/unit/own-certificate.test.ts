import { beforeAll, describe, expect, it } from "vitest";
import { certRequest } from "../../airgap/plugins/tls/cert-request.ts";
import { locallySignedCert } from "../../airgap/plugins/tls/locally-signed-cert.ts";
import { privateKey } from "../../airgap/plugins/tls/private-key.ts";
import { selfSignedCert } from "../../airgap/plugins/tls/self-signed-cert.ts";
import { ownCertificateMistakes } from "../../components/certificates/own-certificate.ts";

type Creator = { create(inputs: never, context: never): Promise<{ outputs: Record<string, unknown> }> };

async function make(resource: unknown, inputs: object): Promise<Record<string, unknown>> {
  const context = { log: () => {}, name: "test" };
  return (await (resource as Creator).create(inputs as never, context as never)).outputs;
}

const newKey = async () =>
  String((await make(privateKey, { algorithm: "ECDSA", ecdsaCurve: "P256" })).privateKeyPem);

async function authority(name: string, issuer?: { key: string; certificate: string }) {
  const key = await newKey();
  const common = {
    isCaCertificate: true,
    setSubjectKeyId: true,
    validityPeriodHours: 48,
    allowedUses: ["cert_signing"],
  };
  const subject = { commonName: name };
  if (issuer === undefined) {
    const made = await make(selfSignedCert, { ...common, privateKeyPem: key, subject });
    return { key, certificate: String(made.certPem) };
  }
  const request = await make(certRequest, { privateKeyPem: key, subject });
  const signed = await make(locallySignedCert, {
    ...common,
    certRequestPem: request.certRequestPem,
    caPrivateKeyPem: issuer.key,
    caCertPem: issuer.certificate,
  });
  return { key, certificate: String(signed.certPem) };
}

async function server(issuer: { key: string; certificate: string }) {
  const key = await newKey();
  const request = await make(certRequest, {
    privateKeyPem: key,
    subject: { commonName: "server" },
    dnsNames: ["db.example.com"],
    ipAddresses: ["192.0.2.1"],
  });
  const signed = await make(locallySignedCert, {
    certRequestPem: request.certRequestPem,
    caPrivateKeyPem: issuer.key,
    caCertPem: issuer.certificate,
    validityPeriodHours: 24,
    allowedUses: ["server_auth"],
  });
  return { key, certificate: String(signed.certPem) };
}

describe("an own certificate", () => {
  let root: { key: string; certificate: string };
  let intermediate: { key: string; certificate: string };
  let direct: { key: string; certificate: string };
  let indirect: { key: string; certificate: string };
  const now = new Date();
  const mistakes = (
    own: { certificate: string; key: string; ca: string },
    host = "db.example.com",
    when = now,
  ) =>
    ownCertificateMistakes(
      { tlsCertificate: own.certificate, tlsKey: own.key, tlsCa: own.ca },
      host,
      new Date(when.getTime() + 1_000),
    );

  beforeAll(async () => {
    root = await authority("root");
    intermediate = await authority("intermediate", root);
    direct = await server(root);
    indirect = await server(intermediate);
  }, 60_000);

  it("is taken by its name or address, also with an intermediate authority, or signed by itself", () => {
    const ca = root.certificate;
    expect(mistakes({ ...direct, ca })).toEqual([]);
    expect(mistakes({ ...direct, ca }, "192.0.2.1")).toEqual([]);
    const chain = `${indirect.certificate}${intermediate.certificate}`;
    expect(mistakes({ ...indirect, certificate: chain, ca })).toEqual([]);
    expect(mistakes({ ...indirect, ca: `${direct.certificate}${intermediate.certificate}` })).toEqual([]);
    expect(mistakes({ ...direct, ca: direct.certificate })).toEqual([]);
  });

  it("is refused where key, name or chain do not fit, all at once", () => {
    expect(
      mistakes({ certificate: indirect.certificate, key: direct.key, ca: root.certificate }, "elsewhere"),
    ).toMatchInlineSnapshot(`
      [
        "tlsKey: does not fit tlsCertificate, expected the key that its request was made with. Fix: set both from the same issue",
        "tlsCertificate: is for DNS:db.example.com, IP Address:192.0.2.1, expected elsewhere among its alternative names, which clients connect to. Fix: set the setting host to one of its names, or get one for elsewhere",
        "tlsCertificate: does not lead to tlsCa: CN=server was issued by CN=intermediate. Fix: put the intermediate authorities after the certificate in their order, and the root's certificate into tlsCa",
      ]
    `);
  });

  it("is refused when it has expired or is not valid yet", () => {
    const own = { ...direct, ca: root.certificate };
    for (const hours of [-24, 25]) {
      const when = new Date(now.getTime() + hours * 3_600_000);
      expect(mistakes(own, undefined, when)).toEqual([
        expect.stringMatching(/^tlsCertificate: is valid from [\d-]+ to [\d-]+, and today is [\d-]+\. Fix:/),
      ]);
    }
  });

  it("is refused where a part of it can't be read", () => {
    const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    expect(mistakes({ ...direct, ca: broken })).toEqual([
      "tlsCa: can't be read, expected a PEM certificate. Fix: set it again from its PEM file",
    ]);
    expect(mistakes({ ...direct, key: "x", ca: root.certificate })).toEqual([
      "tlsKey: can't be read, expected a PEM private key without passphrase. Fix: set it again from its PEM file",
    ]);
  });
});
