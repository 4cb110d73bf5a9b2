import { lstat, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { digest, replaceFile, replaceLink } from "../../airgap/files.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "airgap-files-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("a digest", () => {
  it("changes with a file's content, with its name, and with a new file below", async () => {
    const source = join(folder, "source");
    await mkdir(join(source, "below"), { recursive: true });
    await writeFile(join(source, "a"), "1");
    const seen = [await digest([source])];
    await writeFile(join(source, "a"), "2");
    seen.push(await digest([source]));
    await rm(join(source, "a"));
    await writeFile(join(source, "b"), "2");
    seen.push(await digest([source]));
    await writeFile(join(source, "below", "c"), "");
    seen.push(await digest([source]));
    seen.push(await digest([source], "salt"));

    expect(new Set(seen).size).toBe(5);
  });

  it("is the same for the same files in another place", async () => {
    for (const place of ["one", "two"]) {
      await mkdir(join(folder, place, "source"), { recursive: true });
      await writeFile(join(folder, place, "source", "a"), "1");
    }

    expect(await digest([join(folder, "one", "source")])).toBe(await digest([join(folder, "two", "source")]));
  });
});

it("a replaced file has its new content and mode, and nothing is left beside it", async () => {
  const path = join(folder, "new", "launcher");
  await replaceFile(path, "old");
  await replaceFile(path, "new", 0o755);

  expect(await readFile(path, "utf8")).toBe("new");
  expect((await lstat(path)).mode & 0o777).toBe(0o755);
});

it("a link takes the place of a folder and of another link", async () => {
  const path = join(folder, "bin");
  await mkdir(path);
  await writeFile(join(path, "pulumi"), "");

  await replaceLink(path, "/first");
  expect(await readlink(path)).toBe("/first");
  await replaceLink(path, "/second");
  expect(await readlink(path)).toBe("/second");
});
