import { isIPv4, isIPv6 } from "node:net";
import { AsnConvert } from "@peculiar/asn1-schema";
import {
  AttributeTypeAndValue,
  AttributeValue,
  GeneralName,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
} from "@peculiar/asn1-x509";
import { isProperties, type Properties, type Value } from "../common/values.ts";

/** A distinguished name by the property names of `subject`. */
export type Subject = { [part: string]: string[] };

// In the order in which Go's crypto/x509/pkix writes them.
const parts: [name: string, oid: string][] = [
  ["country", "2.5.4.6"],
  ["province", "2.5.4.8"],
  ["locality", "2.5.4.7"],
  ["streetAddresses", "2.5.4.9"],
  ["postalCode", "2.5.4.17"],
  ["organization", "2.5.4.10"],
  ["organizationalUnit", "2.5.4.11"],
  ["commonName", "2.5.4.3"],
  ["serialNumber", "2.5.4.5"],
  ["emailAddress", "1.2.840.113549.1.9.1"],
];

export function subjectFromInput(input: Value | undefined): Subject {
  const subject: Subject = {};
  for (const [name, value] of Object.entries(isProperties(input) ? input : {})) {
    // An empty common name or serial number counts as none; the others are written even if empty.
    if (value === "" && (name === "commonName" || name === "serialNumber")) continue;
    subject[name] = Array.isArray(value) ? value.map(String) : [String(value)];
  }
  return subject;
}

/** The parts of a request's name that a certificate takes over: all but the e-mail address. */
export function subjectFromName(name: Name): Subject {
  const subject: Subject = {};
  for (const { type, value } of name.flat()) {
    const part = parts.find(([, oid]) => oid === type)?.[0];
    if (part === undefined || part === "emailAddress") continue;
    const values = subject[part] ?? [];
    values.push(value.toString());
    subject[part] = values;
  }
  return subject;
}

export function encodeName(subject: Subject): Name {
  return new Name(
    parts.flatMap(([part, type]) => {
      const values = subject[part] ?? [];
      if (values.length === 0) return [];
      const items = values.map((value) => {
        const encoded =
          part === "emailAddress" ? new AttributeValue({ ia5String: value }) : encodeText(value);
        return new AttributeTypeAndValue({ type, value: encoded });
      });
      return [new RelativeDistinguishedName(sortSet(items))];
    }),
  );
}

function encodeText(value: string): AttributeValue {
  // The characters of PrintableString, X.680 41.4.
  const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value);
  return new AttributeValue(printable ? { printableString: value } : { utf8String: value });
}

/** DER wants the items of a set in the order of their encodings. */
function sortSet<T>(items: T[]): T[] {
  const keyed = items.map((item) => ({ item, der: Buffer.from(AsnConvert.serialize(item)) }));
  return keyed.sort((a, b) => a.der.compare(b.der)).map(({ item }) => item);
}

/** Names, addresses and URIs beside the subject, or undefined where there are none. */
export function alternativeNames(inputs: Properties): SubjectAlternativeName | undefined {
  const list = (name: string) => (Array.isArray(inputs[name]) ? inputs[name].map(String) : []);
  const ascii = (value: string) => {
    if (/^[\0-\x7f]*$/.test(value)) return value;
    throw new Error(`Invalid DNS name or URI: "${value}" cannot be encoded as an IA5String, only ASCII can`);
  };
  const names = [
    ...list("dnsNames").map((name) => new GeneralName({ dNSName: ascii(name) })),
    ...list("ipAddresses").map((address) => new GeneralName({ iPAddress: plainAddress(address) })),
    ...list("uris").map((uri) => new GeneralName({ uniformResourceIdentifier: ascii(uri) })),
  ];
  return names.length === 0 ? undefined : new SubjectAlternativeName(names);
}

/** An address in a form that has its bytes: no dotted part, and IPv4 where it is one inside IPv6. */
function plainAddress(address: string): string {
  if (isIPv4(address)) return address;
  if (!isIPv6(address) || address.includes("%")) {
    throw new Error(`Invalid IP address: Failed to parse "${address}"`);
  }
  const normal = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(normal);
  if (mapped === null) return normal;
  const words = [mapped[1], mapped[2]].map((word) => Number.parseInt(word ?? "", 16));
  return words.flatMap((word) => [word >> 8, word & 255]).join(".");
}
