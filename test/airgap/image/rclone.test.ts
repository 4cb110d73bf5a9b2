import { expect, it } from "vitest";
import { copyImage } from "../../../components/backups/copy-image.ts";
import { docker, testLabel, testRun } from "../../support/docker.ts";

// What the image of rclone promises, and the copy of the backups uses: the same tests hold for the genuine image.

const label = ["--label", `${testLabel}=${testRun}`];
const shell = (script: string) =>
  docker("run", "--rm", "--network", "none", ...label, "--entrypoint", "sh", copyImage, "-c", script);

it("runs rclone, whose configuration is in /config", async () => {
  expect(await docker("run", "--rm", "--network", "none", ...label, copyImage, "version")).toMatch(
    /^rclone v1\./,
  );
  expect(await shell("rclone config file | tail -n 1")).toBe("/config/rclone/rclone.conf");
});

it("starts as root, in /data", async () => {
  expect(await shell('echo "$(id -u) $(pwd)"')).toBe("0 /data");
});

it("has the authorities that storages are verified with", async () => {
  expect(Number(await shell("grep -c BEGIN.CERTIFICATE /etc/ssl/certs/ca-certificates.crt"))).toBeGreaterThan(
    50,
  );
});

it("has busybox's tools and no others", async () => {
  // Not `command -v`: this shell finds its own tools before those of the PATH, and tells no path then.
  expect(await shell("for tool in sh awk tar; do readlink -f /bin/$tool; done")).toMatch(
    /^(\S*busybox\n?){3}$/,
  );
  expect(await shell("command -v bash perl python3 || echo none")).toBe("none");
});
