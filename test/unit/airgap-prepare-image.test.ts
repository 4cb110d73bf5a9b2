import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { prepareImage } from "../../airgap/images.ts";

/**
 * A docker command with a folder of label files for its images. `pull` works while there is a file `registry`. A root
 * file system of Debian packages is always there, so that none is made.
 */
const fakeDocker = `#!/bin/sh
cd "$FAKE_DOCKER"
echo "$*" >> calls
case "$1 $2" in
  "image inspect")
    for name; do :; done
    case $name in postgresql-environments-airgap:*) echo '{}'; exit 0 ;; esac
    cat "images/$name" 2>/dev/null || { echo "Error: No such image: $name" >&2; exit 1; } ;;
  "pull "*)
    [ -e registry ] || { echo 'Error response from daemon: no such host' >&2; exit 1; }
    echo null > "images/$2" ;;
  "run "*) echo 17.6-1 ;;
  "build "*)
    for argument; do
      case $argument in
        --label=*) sources=\${argument##*=} ;;
        --tag=*) name=\${argument#--tag=} ;;
      esac
    done
    label=postgresql-environments.airgap
    echo "{\\"$label\\":\\"1\\",\\"$label.sources\\":\\"$sources\\"}" > "images/$name" ;;
esac
`;

const image = "postgres:17-trixie";
const found = { again: false, genuine: undefined };
const log = { start: () => ({ progress() {}, done() {}, failed() {} }), note() {} };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "airgap-docker-"));
  for (const [name, text] of [
    ["docker", fakeDocker],
    ["mmdebstrap", "#!/bin/sh\nexit 1\n"],
  ] as const) {
    await writeFile(join(folder, name), text);
    await chmod(join(folder, name), 0o755);
  }
  await mkdir(join(folder, "images"));
  vi.stubEnv("PATH", `${folder}:${process.env.PATH}`);
  vi.stubEnv("FAKE_DOCKER", folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const have = (labels: string) => writeFile(join(folder, "images", image), labels);
const openRegistry = () => writeFile(join(folder, "registry"), "");

/** What docker was asked to do since the last time, by its first word. */
async function calls(): Promise<string[]> {
  const text = await readFile(join(folder, "calls"), "utf8").catch(() => "");
  await rm(join(folder, "calls"), { force: true });
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((word) => word === "pull" || word === "build");
}

describe("an image that is needed", () => {
  it("is taken as it is where it is genuine", async () => {
    await have("null");

    expect(await prepareImage(log, image, found)).toBe(true);
    expect(await prepareImage(log, image, { again: true, genuine: undefined })).toBe(true);
    expect(await calls()).toEqual([]);
  });

  it("is pulled where it is missing", async () => {
    await openRegistry();

    expect(await prepareImage(log, image, found)).toBe(true);
    expect(await calls()).toEqual(["pull"]);
  });

  it("is built where it can't be pulled, once", async () => {
    expect(await prepareImage(log, image, found)).toBe(false);
    expect(await calls()).toEqual(["pull", "build"]);

    expect(await prepareImage(log, image, found)).toBe(false);
    expect(await calls()).toEqual([]);
  });

  it("is built again where the stand-in was made from something else", async () => {
    await have('{"postgresql-environments.airgap":"1","postgresql-environments.airgap.sources":"old"}');

    expect(await prepareImage(log, image, found)).toBe(false);
    expect(await calls()).toEqual(["build"]);
  });

  it("takes the place of a stand-in once a registry is in reach, when one looks again", async () => {
    await prepareImage(log, image, found);
    await openRegistry();
    await calls();

    expect(await prepareImage(log, image, found)).toBe(false);
    expect(await calls()).toEqual([]);
    expect(await prepareImage(log, image, { again: true, genuine: undefined })).toBe(true);
    expect(await calls()).toEqual(["pull"]);
  });

  it("stays a stand-in where one looks again in vain", async () => {
    await prepareImage(log, image, found);
    await calls();

    expect(await prepareImage(log, image, { again: true, genuine: undefined })).toBe(false);
    expect(await calls()).toEqual(["pull"]);
  });

  it("is built without a look at the registry where stand-ins are asked for", async () => {
    await openRegistry();

    expect(await prepareImage(log, image, { again: false, genuine: false })).toBe(false);
    expect(await calls()).toEqual(["build"]);
  });

  it("is refused where it must be genuine and can't be pulled", async () => {
    await expect(
      prepareImage(log, image, { again: false, genuine: true }),
    ).rejects.toThrowErrorMatchingInlineSnapshot(
      `[UserError: The image postgres:17-trixie can't be pulled: Error response from daemon: no such host]`,
    );
  });

  it("is refused where nothing stands in for it, with what it would take", async () => {
    await expect(prepareImage(log, "postgres:17-alpine", found)).rejects.toMatchObject({
      message: "The image postgres:17-alpine can't be pulled: Error response from daemon: no such host",
      next: expect.stringContaining("Stand-ins can be made for postgres:17-trixie"),
    });
    expect(await calls()).toEqual(["pull"]);
  });

  it("is refused for Grafana with what to use in its place", async () => {
    await expect(prepareImage(log, "grafana/grafana:12.4.2", found)).rejects.toMatchObject({
      next: expect.stringContaining("use monitoring prometheus here"),
    });
  });
});
