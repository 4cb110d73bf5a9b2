import type { PropertySchema, Schema } from "../common/schema.ts";
import type { Properties, Value } from "../common/values.ts";

/** Refuses a value that is not in a list, by Terraform's name of the attribute. */
export function isOneOf(attribute: string, values: string[]) {
  const list = values.map((value) => JSON.stringify(value)).join(" ");
  return (value: Value): string | undefined =>
    typeof value === "string" && !values.includes(value)
      ? `Invalid Attribute Value Match. Attribute ${attribute} value must be one of: [${list}], got: "${value}"`
      : undefined;
}

/** Refuses a number below a limit, by Terraform's name of the attribute. */
export function isAtLeast(attribute: string, limit: number) {
  return (value: Value): string | undefined =>
    typeof value === "number" && value < limit
      ? `Invalid Attribute Value. Attribute ${attribute} value must be at least ${limit}, got: ${value}`
      : undefined;
}

/** The state of a resource that is read; nothing of these resources can be read by its id alone. */
export function noImport(state: Properties): Properties {
  if (Object.keys(state).length > 0) return state;
  throw new Error("Resource Import Not Implemented: This resource does not support import.");
}

const text: PropertySchema = { kind: "string", forceNew: true };

/** Whom a certificate or request is for. */
export const holderProperties: Schema = {
  subject: {
    kind: "object",
    forceNew: true,
    properties: {
      commonName: text,
      organization: text,
      organizationalUnit: text,
      streetAddresses: { kind: "list", forceNew: true },
      locality: text,
      province: text,
      country: text,
      postalCode: text,
      serialNumber: text,
      emailAddress: text,
    },
  },
  dnsNames: { kind: "list", forceNew: true },
  ipAddresses: {
    kind: "list",
    forceNew: true,
    element: { kind: "string", validate: isNotEmpty("ip_addresses") },
  },
  uris: { kind: "list", forceNew: true, element: { kind: "string", validate: isNotEmpty("uris") } },
};

function isNotEmpty(attribute: string) {
  return (value: Value): string | undefined =>
    value === ""
      ? `Invalid Attribute Value Length. Attribute ${attribute} string length must be at least 1, got: 0`
      : undefined;
}
