import { isIP } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

export interface ServerCertificatesArgs {
  /** Shown as the authority's name in every client that looks at the certificate. */
  readonly authorityName: string;
  /** Which authority it is, counted from 1: another one is another authority. */
  readonly authority: number;
  /** Whether clients that know only the authority before that one still take the server's certificate. */
  readonly overlap: boolean;
  /** Host names and IP addresses that clients connect to. */
  readonly hosts: readonly string[];
  /** How long the server's certificate is valid. */
  readonly validityHours: number;
}

interface Authority {
  readonly key: tls.PrivateKey;
  readonly certificate: tls.SelfSignedCert;
  readonly name: string;
}

const hoursPerDay = 24;
const caValidityHours = 3650 * hoursPerDay;
/** How long before its end `pulumi up` makes a new certificate, at the most. */
const longestRenewalHours = 60 * hoursPerDay;

/** A certificate authority of the environment's own, and the server's certificate signed by it. */
export class ServerCertificates extends pulumi.ComponentResource {
  /** PEM. Clients verify the server with it (`sslrootcert`). */
  readonly ca: pulumi.Output<string>;
  /** PEM; while two authorities overlap, followed by what leads from the new one to the old one. */
  readonly certificate: pulumi.Output<string>;
  /** PEM, secret. */
  readonly key: pulumi.Output<string>;

  private readonly componentName: string;
  private readonly args: ServerCertificatesArgs;

  constructor(name: string, args: ServerCertificatesArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:ServerCertificates", name, {}, opts);
    this.componentName = name;
    this.args = args;

    const authority = this.makeAuthority(args.authority);
    const before = args.overlap ? this.makeAuthority(args.authority - 1) : undefined;
    const { certificate, key } = this.makeServerCertificate(authority);
    this.ca = authority.certificate.certPem;
    this.certificate = before
      ? pulumi.interpolate`${certificate.certPem}${this.signAcross(authority, before).certPem}`
      : certificate.certPem;
    this.key = pulumi.secret(key.privateKeyPem);
    this.registerOutputs();
  }

  private makeAuthority(generation: number): Authority {
    const ending = generation === 1 ? "" : `-${generation}`;
    const name = `${this.args.authorityName}${generation === 1 ? "" : ` ${generation}`}`;
    const key = new tls.PrivateKey(
      `${this.componentName}-ca-key${ending}`,
      { algorithm: "ECDSA", ecdsaCurve: "P384" },
      { parent: this },
    );
    const certificate = new tls.SelfSignedCert(
      `${this.componentName}-ca${ending}`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: name },
        isCaCertificate: true,
        setSubjectKeyId: true,
        validityPeriodHours: caValidityHours,
        allowedUses: ["cert_signing", "crl_signing", "digital_signature"],
      },
      { parent: this },
    );
    return { key, certificate, name };
  }

  private makeServerCertificate(authority: Authority): {
    key: tls.PrivateKey;
    certificate: tls.LocallySignedCert;
  } {
    const { hosts, validityHours } = this.args;
    const key = new tls.PrivateKey(
      `${this.componentName}-key`,
      { algorithm: "ECDSA", ecdsaCurve: "P256" },
      { parent: this },
    );
    const names = [...new Set(hosts)];
    const request = new tls.CertRequest(
      `${this.componentName}-request`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: "postgres" },
        dnsNames: names.filter((host) => isIP(host) === 0),
        ipAddresses: names.filter((host) => isIP(host) !== 0),
      },
      { parent: this },
    );
    const certificate = new tls.LocallySignedCert(
      `${this.componentName}-certificate`,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: authority.key.privateKeyPem,
        caCertPem: authority.certificate.certPem,
        validityPeriodHours: validityHours,
        earlyRenewalHours: Math.min(longestRenewalHours, Math.floor(validityHours / 3)),
        allowedUses: ["digital_signature", "server_auth"],
      },
      { parent: this },
    );
    return { key, certificate };
  }

  /** The new authority's certificate, signed by the old one: the server shows it to clients that know only the latter. */
  private signAcross(authority: Authority, before: Authority): tls.LocallySignedCert {
    const request = new tls.CertRequest(
      `${this.componentName}-across-request`,
      { privateKeyPem: authority.key.privateKeyPem, subject: { commonName: authority.name } },
      { parent: this },
    );
    return new tls.LocallySignedCert(
      `${this.componentName}-across`,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: before.key.privateKeyPem,
        caCertPem: before.certificate.certPem,
        isCaCertificate: true,
        setSubjectKeyId: true,
        validityPeriodHours: caValidityHours,
        allowedUses: ["cert_signing", "crl_signing", "digital_signature"],
      },
      { parent: this },
    );
  }
}
