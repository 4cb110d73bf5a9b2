import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { rcloneConfigMistake } from "../../components/settings/rclone-config.ts";
import { parseSettings } from "../../components/settings.ts";

const remote = "[nas]\ntype = sftp\nhost = nas.example.com\nuser = backup\n";
const secrets = ["backupCopyConfig", "backupCopyKey"];

function parse(values: Record<string, string>) {
  return parseSettings(
    Object.fromEntries(
      Object.entries({ profile: "production", ...values }).map(([key, text]) => [
        key,
        { text, secret: secrets.includes(key) },
      ]),
    ),
    pulumi.secret,
  );
}

function refused(values: Record<string, string>): string[] {
  const result = parse(values);
  if (!("mistakes" in result)) throw new Error("the settings were accepted");
  return result.mistakes;
}

describe("a copy of the backups", () => {
  it("is made where the settings name a storage, every minute and encrypted", () => {
    const result = parse({ backupCopyConfig: remote, backupCopyPath: "shop/production" });
    if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
    expect(result.settings.backup?.copy).toMatchObject({
      path: "shop/production",
      every: 60,
      encryption: true,
      key: undefined,
    });
  });

  it("is not made without", () => {
    const result = parse({});
    expect("settings" in result && result.settings.backup?.copy).toBeUndefined();
  });

  it("keeps a secret's value out of the error", () => {
    expect(
      refused({ backupCopyConfig: "[nas]\ntype = local\npass = hunter22\n", backupCopyPath: "x" }).join(),
    ).not.toContain("hunter22");
  });

  it.each<[Record<string, string>]>([
    [{ backupCopyConfig: remote }],
    [{ backupCopyPath: "shop", backupCopyKey: "0123456789abcdef" }],
    [{ backupCopyConfig: remote, backupCopyPath: "shop/" }],
    [{ backupCopyConfig: remote, backupCopyPath: "shop", backupCopyEvery: "1s" }],
    [{ backupCopyConfig: remote, backupCopyPath: "shop", backupCopyKey: "short" }],
    [
      {
        backupCopyConfig: remote,
        backupCopyPath: "shop",
        backupCopyEncryption: "false",
        backupCopyKey: "0123456789abcdef",
      },
    ],
    [{ restore: '{"from": "copy", "latest": true}' }],
    [
      {
        backups: "false",
        exceptions: '{"noBackup": "a copy of another system"}',
        backupCopyConfig: remote,
        backupCopyPath: "shop",
      },
    ],
  ])("is refused with the way out: %j", (values) => {
    expect(refused(values)).toMatchSnapshot();
  });

  it("takes its secrets as such only", () => {
    const result = parseSettings(
      {
        profile: { text: "production", secret: false },
        backupCopyConfig: { text: remote, secret: false },
        backupCopyPath: { text: "shop", secret: false },
      },
      pulumi.secret,
    );
    expect(result).toMatchObject({
      mistakes: [expect.stringContaining("backupCopyConfig: is in plain text")],
    });
  });
});

describe("an rclone.conf", () => {
  it.each([
    ["[nas]\ntype = sftp\n", undefined],
    ["# made by rclone config\n[my s3]\r\ntype = s3\r\nsecret_access_key = a[b]c\r\n", undefined],
    ["type = sftp\n", "it has 0 remotes"],
    ["[a]\ntype = sftp\n[b]\ntype = s3\n", "it has 2 remotes"],
    ["[a]\nhost = x\n", "its remote has no type"],
    ["[a]\ntype = local\n", "its type is local"],
    ["[a]\ntype = crypt\nremote = b:\n", "its type is crypt"],
    ["[:sftp]\ntype = sftp\n", "its remote has a name that rclone does not take"],
    [
      "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc\n",
      "it is encrypted with a passphrase",
    ],
  ])("%j: %s", (text, mistake) => {
    expect(rcloneConfigMistake(text)).toBe(mistake);
  });
});
