import structs from "google-protobuf/google/protobuf/struct_pb.js";

class Unknown {
  readonly unknown = true;
}

/** A value that is not known yet, as inputs and outputs hold it during a preview. */
export const UNKNOWN = new Unknown();

/** A value marked secret. The engine encrypts it; a plugin only marks. */
export class Secret {
  readonly value: Value;
  constructor(value: Value) {
    this.value = value;
  }
}

export type Value = null | boolean | number | string | Unknown | Secret | Value[] | Properties;
export type Properties = { [name: string]: Value };

// The engine's wire constants: sdk/go/common/resource/plugin/rpc.go and properties.go in pulumi/pulumi.
const unknownSentinel = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const signatureKey = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";
const outputSignature = "d0e6a833031e9bbcd3f4e8bde6ca49a4";

export function isProperties(value: Value | undefined): value is Properties {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Secret) &&
    !(value instanceof Unknown)
  );
}

/** Reads a gRPC Struct. Secrets come as {@link Secret}, unknowns as {@link UNKNOWN}. */
export function fromStruct(struct: structs.Struct | undefined): Properties {
  const result: Properties = {};
  struct?.getFieldsMap().forEach((value, name) => {
    result[name] = fromProtoValue(value);
  });
  return result;
}

function fromProtoValue(value: structs.Value): Value {
  switch (value.getKindCase()) {
    case structs.Value.KindCase.BOOL_VALUE:
      return value.getBoolValue();
    case structs.Value.KindCase.NUMBER_VALUE:
      return value.getNumberValue();
    case structs.Value.KindCase.STRING_VALUE:
      return value.getStringValue() === unknownSentinel ? UNKNOWN : value.getStringValue();
    case structs.Value.KindCase.LIST_VALUE:
      return (value.getListValue()?.getValuesList() ?? []).map(fromProtoValue);
    case structs.Value.KindCase.STRUCT_VALUE: {
      const properties = fromStruct(value.getStructValue());
      if (properties[signatureKey] === secretSignature) return new Secret(properties.value ?? null);
      if (properties[signatureKey] === outputSignature) {
        const known = properties.value === undefined ? UNKNOWN : properties.value;
        return properties.secret === true ? new Secret(known) : known;
      }
      return properties;
    }
    default:
      return null;
  }
}

/** Writes a gRPC Struct. */
export function toStruct(properties: Properties): structs.Struct {
  const struct = new structs.Struct();
  const fields = struct.getFieldsMap();
  for (const [name, value] of Object.entries(properties)) {
    if (value !== undefined) fields.set(name, toProtoValue(value));
  }
  return struct;
}

function toProtoValue(value: Value): structs.Value {
  const result = new structs.Value();
  if (value === null) result.setNullValue(structs.NullValue.NULL_VALUE);
  else if (value === UNKNOWN) result.setStringValue(unknownSentinel);
  else if (typeof value === "boolean") result.setBoolValue(value);
  else if (typeof value === "number") result.setNumberValue(value);
  else if (typeof value === "string") result.setStringValue(value);
  else if (Array.isArray(value)) {
    const list = new structs.ListValue();
    list.setValuesList(value.map(toProtoValue));
    result.setListValue(list);
  } else if (value instanceof Secret) {
    result.setStructValue(toStruct({ [signatureKey]: secretSignature, value: value.value }));
  } else if (isProperties(value)) {
    result.setStructValue(toStruct(value));
  } else {
    throw new TypeError(`cannot send a ${typeof value} to the engine`);
  }
  return result;
}

/** The same value without secret marks, at any depth. */
export function plain<T extends Value>(value: T): T;
export function plain(value: Value): Value {
  if (value instanceof Secret) return plain(value.value);
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (isProperties(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  }
  return value;
}

/** The same value without nulls in its objects, at any depth: to a plugin, null is the same as not given. */
export function withoutNulls(properties: Properties): Properties {
  const strip = (value: Value): Value => {
    if (Array.isArray(value)) return value.map(strip);
    return isProperties(value) ? withoutNulls(value) : value;
  };
  return Object.fromEntries(
    Object.entries(properties)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => [name, strip(value)]),
  );
}

/** True where any part of the value is unknown. */
export function hasUnknown(value: Value | undefined): boolean {
  if (value === UNKNOWN) return true;
  if (value instanceof Secret) return hasUnknown(value.value);
  if (Array.isArray(value)) return value.some(hasUnknown);
  if (isProperties(value)) return Object.values(value).some(hasUnknown);
  return false;
}

/** Deep equality of plain values. An unknown equals nothing, itself included. */
export function equal(a: Value | undefined, b: Value | undefined): boolean {
  if (a === UNKNOWN || b === UNKNOWN) return false;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => equal(item, b[index]));
  }
  if (isProperties(a) && isProperties(b)) {
    const names = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...names].every((name) => equal(a[name], b[name]));
  }
  return a === b;
}
