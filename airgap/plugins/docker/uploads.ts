import type { Properties } from "../common/values.ts";
import { flag, text } from "./values.ts";

const block = 512;

/**
 * All uploads in one tar archive, as root, for one request. Docker makes the folders that are missing.
 *
 * @throws {Error} for a path of more than 100 bytes, which this form of tar cannot hold.
 */
export function uploadArchive(uploads: Properties[]): Buffer {
  const parts = uploads.flatMap((upload) => {
    const content = text(upload, "contentBase64")
      ? Buffer.from(text(upload, "contentBase64"), "base64")
      : Buffer.from(text(upload, "content"));
    const padding = Buffer.alloc((block - (content.length % block)) % block);
    return [header(text(upload, "file"), modeOf(upload), content.length), content, padding];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function modeOf(upload: Properties): number {
  const permissions = text(upload, "permissions");
  if (permissions !== "") return Number.parseInt(permissions, 8);
  return flag(upload, "executable") ? 0o744 : 0o644;
}

/** A ustar header: POSIX.1-1988, fields of fixed width, numbers in octal. */
function header(path: string, mode: number, size: number): Buffer {
  const name = Buffer.from(path.replace(/^\/+/, ""));
  if (name.length > 100) throw new Error(`the path of an upload is longer than 100 bytes: ${path}`);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;
  const bytes = Buffer.alloc(block);
  name.copy(bytes, 0);
  bytes.write(octal(mode, 8), 100);
  bytes.write(octal(0, 8), 108);
  bytes.write(octal(0, 8), 116);
  bytes.write(octal(size, 12), 124);
  bytes.write(octal(Math.floor(Date.now() / 1000), 12), 136);
  bytes.write("        ", 148);
  bytes.write("0", 156);
  bytes.write("ustar\0" + "00", 257);
  const checksum = bytes.reduce((sum, byte) => sum + byte, 0);
  bytes.write(`${checksum.toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}
