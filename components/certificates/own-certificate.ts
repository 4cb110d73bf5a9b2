import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";

/** Certificates of a PEM text, in its order. @throws where one can't be read */
export function readCertificates(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/**
 * Whether a server can show a certificate that the settings give, and the program's own clients will take it.
 * @param host that they connect to
 * @returns mistakes as the settings tell them: key, what was found, what is expected, the fix
 */
export function ownCertificateMistakes(
  own: { tlsCertificate: string; tlsKey: string; tlsCa: string },
  host: string,
  now: Date,
): string[] {
  const mistakes: string[] = [];
  const read = <Value>(key: string, what: string, parse: () => Value): Value | undefined => {
    try {
      return parse();
    } catch {
      mistakes.push(`${key}: can't be read, expected ${what}. Fix: set it again from its PEM file`);
      return undefined;
    }
  };
  const chain = read("tlsCertificate", "a PEM certificate", () => readCertificates(own.tlsCertificate));
  const authorities = read("tlsCa", "a PEM certificate", () => readCertificates(own.tlsCa));
  const key = read("tlsKey", "a PEM private key without passphrase", () => createPrivateKey(own.tlsKey));
  const [certificate] = chain ?? [];
  if (certificate === undefined || chain === undefined) return mistakes;

  if (key !== undefined && !certificate.checkPrivateKey(key)) {
    mistakes.push(
      "tlsKey: does not fit tlsCertificate, expected the key that its request was made with. Fix: set both from the same issue",
    );
  }
  for (const [index, each] of chain.entries()) {
    const of = index === 0 ? "" : `, the intermediate authority ${each.subject.replaceAll("\n", ", ")},`;
    const [from, to] = [new Date(each.validFrom), new Date(each.validTo)];
    if (now < from || to <= now) {
      mistakes.push(
        `tlsCertificate: ${of ? `${of.slice(2)} ` : ""}is valid from ${day(from)} to ${day(to)}, and today is ${day(now)}. Fix: set one that is valid`,
      );
    }
  }
  if (!(isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host, { subject: "never" }))) {
    mistakes.push(
      `tlsCertificate: is for ${certificate.subjectAltName ?? "no name"}, expected ${host} among its alternative names, which clients connect to. Fix: set the setting host to one of its names, or get one for ${host}`,
    );
  }
  if (authorities !== undefined && !isIssued(chain, authorities)) {
    mistakes.push(
      `tlsCertificate: does not lead to tlsCa: ${chain.at(-1)?.subject.replaceAll("\n", ", ")} was issued by ${chain.at(-1)?.issuer.replaceAll("\n", ", ")}. Fix: put the intermediate authorities after the certificate in their order, and the root's certificate into tlsCa`,
    );
  }
  return mistakes;
}

/** Whether each certificate was issued by the next, and the last one by one of the authorities. */
function isIssued(chain: readonly X509Certificate[], authorities: readonly X509Certificate[]): boolean {
  const issuedBy = (certificate: X509Certificate, issuer: X509Certificate) =>
    certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  return chain.every((certificate, index) => {
    const next = chain[index + 1];
    const issuers = next === undefined ? authorities : [next];
    // A server that signs for itself is its own authority.
    return issuers.some(
      (issuer) => issuedBy(certificate, issuer) || certificate.fingerprint256 === issuer.fingerprint256,
    );
  });
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
