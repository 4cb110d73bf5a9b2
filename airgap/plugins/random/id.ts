import { randomBytes } from "node:crypto";
import type { ResourceDefinition } from "../common/plugin.ts";
import type { Properties } from "../common/values.ts";

/** random.RandomId: random bytes in four notations, made once and kept in the state. */
export const randomId: ResourceDefinition<undefined> = {
  token: "random:index/randomId:RandomId",
  properties: {
    keepers: { kind: "map", forceNew: true },
    byteLength: { kind: "integer", required: true, forceNew: true },
    prefix: { kind: "string", forceNew: true },
    hex: { kind: "string", input: false },
    dec: { kind: "string", input: false },
    b64Std: { kind: "string", input: false },
    b64Url: { kind: "string", input: false },
  },
  create: async (inputs) => idState(randomBytes(Number(inputs.byteLength)), inputs),
  read: async (id, state) => {
    if (Object.keys(state).length > 0) return { id, outputs: state };
    // An import's id is `<prefix>,<base64url>`, or the base64url alone.
    const separator = id.lastIndexOf(",");
    const text = id.slice(separator + 1);
    const bytes = Buffer.from(text, "base64url");
    if (bytes.toString("base64url") !== text) {
      throw new Error(`Import Random ID Error: '${text}' is not base64url without padding`);
    }
    const prefix: Properties = separator > 0 ? { prefix: id.slice(0, separator) } : {};
    return idState(bytes, { byteLength: bytes.length, ...prefix });
  },
  // Nothing that is changed in place changes the bytes.
  update: async (_id, state, inputs) => ({ ...state, ...inputs }),
  delete: async () => {},
};

function idState(bytes: Buffer, inputs: Properties) {
  const prefix = inputs.prefix ?? "";
  const hex = bytes.toString("hex");
  return {
    id: bytes.toString("base64url"),
    outputs: {
      ...inputs,
      hex: `${prefix}${hex}`,
      dec: `${prefix}${BigInt(`0x0${hex}`)}`,
      b64Std: `${prefix}${bytes.toString("base64")}`,
      b64Url: `${prefix}${bytes.toString("base64url")}`,
    },
  };
}
