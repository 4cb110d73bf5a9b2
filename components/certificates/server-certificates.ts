import { isIP } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

export interface ServerCertificatesArgs {
  /** Shown as the authority's name in every client that looks at the certificate. */
  readonly authorityName: string;
  /** Host names and IP addresses that clients connect to. */
  readonly hosts: readonly string[];
}

const hoursPerDay = 24;
const caValidityHours = 3650 * hoursPerDay;
/** A little over two years, the longest that some TLS libraries accept (Apple's limit of 825 days). */
const certificateValidityHours = 820 * hoursPerDay;
/** `pulumi up` makes a new certificate when the old one has less than this to live. */
const renewalHours = 60 * hoursPerDay;

/** A certificate authority of the environment's own, and the server's certificate signed by it. */
export class ServerCertificates extends pulumi.ComponentResource {
  /** PEM. Clients verify the server with it (`sslrootcert`). */
  readonly ca: pulumi.Output<string>;
  /** PEM. */
  readonly certificate: pulumi.Output<string>;
  /** PEM, secret. */
  readonly key: pulumi.Output<string>;

  constructor(name: string, args: ServerCertificatesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:ServerCertificates", name, {}, opts);
    const caKey = new tls.PrivateKey(
      `${name}-ca-key`,
      { algorithm: "ECDSA", ecdsaCurve: "P384" },
      { parent: this },
    );
    const ca = new tls.SelfSignedCert(
      `${name}-ca`,
      {
        privateKeyPem: caKey.privateKeyPem,
        subject: { commonName: args.authorityName },
        isCaCertificate: true,
        setSubjectKeyId: true,
        validityPeriodHours: caValidityHours,
        allowedUses: ["cert_signing", "crl_signing", "digital_signature"],
      },
      { parent: this },
    );
    const key = new tls.PrivateKey(
      `${name}-key`,
      { algorithm: "ECDSA", ecdsaCurve: "P256" },
      { parent: this },
    );
    const hosts = [...new Set(args.hosts)];
    const request = new tls.CertRequest(
      `${name}-request`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: "postgres" },
        dnsNames: hosts.filter((host) => isIP(host) === 0),
        ipAddresses: hosts.filter((host) => isIP(host) !== 0),
      },
      { parent: this },
    );
    const certificate = new tls.LocallySignedCert(
      `${name}-certificate`,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: caKey.privateKeyPem,
        caCertPem: ca.certPem,
        validityPeriodHours: certificateValidityHours,
        earlyRenewalHours: renewalHours,
        allowedUses: ["digital_signature", "server_auth"],
      },
      { parent: this },
    );
    this.ca = ca.certPem;
    this.certificate = certificate.certPem;
    this.key = pulumi.secret(key.privateKeyPem);
    this.registerOutputs();
  }
}
