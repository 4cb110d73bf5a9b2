import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { resourceFaults } from "../../components/guarded.ts";
import { parseSettings } from "../../components/settings.ts";

const digest = `sha256:${"a".repeat(64)}`;
/** A production environment without a risk. */
const safe = { profile: "production", image: `postgres:17-trixie@${digest}` };

function parse(values: Record<string, string>) {
  return parseSettings(
    Object.fromEntries(Object.entries(values).map(([key, text]) => [key, { text, secret: false }])),
    pulumi.secret,
  );
}
function warnings(values: Record<string, string>): readonly string[] {
  const result = parse(values);
  if ("mistakes" in result) throw new Error(result.mistakes.join("\n"));
  return result.settings.warnings;
}
function mistakes(values: Record<string, string>): readonly string[] {
  const result = parse(values);
  return "mistakes" in result ? result.mistakes : [];
}

describe("a production environment", () => {
  it("with a pinned image and protection has no risk", () => {
    expect(warnings(safe)).toEqual([]);
  });

  it("is warned of an image that may change and of a missing protection, and goes on", () => {
    expect(warnings({ profile: "production", deletionProtection: "false" })).toMatchInlineSnapshot(`
      [
        "deletionProtection: is false, so that \`pulumi destroy\` is not refused. Fix: pulumi config rm deletionProtection",
        "image: postgres:17-trixie is a tag: this environment stays with the image that it has, by its digest, but made anew or on another host it may get another one. Fix: pin it: pulumi config set image postgres:17-trixie@sha256:… with the digest that docker buildx imagetools inspect postgres:17-trixie prints",
      ]
    `);
  });

  it.each([
    ["autovacuum", "off", "unsafeServerSetting"],
    ["zero_damaged_pages", "on", "unsafeServerSetting"],
    ["ignore_checksum_failure", "yes", "unsafeServerSetting"],
    ["allow_system_table_mods", "true", "unsafeServerSetting"],
    ["ssl_min_protocol_version", "TLSv1", "weakTls"],
    ["ssl_min_protocol_version", "tlsv1.1", "weakTls"],
    ["ssl_min_protocol_version", "", "weakTls"],
    ["primary_conninfo", "host=a password=b", "plainTextSecret"],
    ["restore_command", "curl https://me:secret@example.com/%f", "plainTextSecret"],
  ])("is refused with %s set to «%s», unless there is a reason", (name, value, risk) => {
    const serverSettings = JSON.stringify({ [name]: value });
    expect(mistakes({ ...safe, serverSettings })).toEqual([
      expect.stringContaining(`exceptions: {${risk}: why it must be}`),
    ]);
    const exceptions = JSON.stringify({ [risk]: "a vendor asks for it" });
    expect(warnings({ ...safe, serverSettings, exceptions })).toEqual([
      expect.stringContaining(`Accepted (exceptions, ${risk}): a vendor asks for it`),
    ]);
  });

  it.each([
    ["autovacuum", "on"],
    ["ssl_min_protocol_version", "TLSv1.3"],
    ["ignore_checksum_failure", "off"],
    ["archive_command", "copy --password-file /run/secret %p"],
  ])("has no risk with %s set to «%s»", (name, value) => {
    expect(warnings({ ...safe, serverSettings: JSON.stringify({ [name]: value }) })).toEqual([]);
  });

  it("is refused without backups, unless there is a reason", () => {
    expect(mistakes({ ...safe, backups: "false" })).toMatchInlineSnapshot(`
      [
        "backups: is false, so that a lost disk or a wrong DELETE is final. Fix: pulumi config rm backups; or give the reason for it in the stack's file, as in exceptions: {noBackup: why it must be}",
      ]
    `);
    const exceptions = '{"noBackup": "the data is a copy of another system\'s"}';
    expect(warnings({ ...safe, backups: "false", exceptions })).toHaveLength(1);
  });

  it("names exceptions that excuse nothing, are none, or have no reason", () => {
    expect(mistakes({ ...safe, exceptions: '{"noProtection": "to be destroyed"}' })).toMatchInlineSnapshot(`
      [
        "exceptions: noProtection excuses nothing any more. Fix: pulumi config rm --path exceptions.noProtection",
      ]
    `);
    expect(mistakes({ ...safe, exceptions: '{"noBackups": "none wanted"}' })).toMatchInlineSnapshot(`
      [
        "exceptions: noBackups is none that there is, expected noBackup, noProtection, unpinnedImage, plainTextSecret, weakTls, unsafeServerSetting. Fix: correct it in the stack's file",
      ]
    `);
    expect(mistakes({ ...safe, exceptions: '{"noProtection": "because"}' })).toEqual([
      expect.stringMatching(/^exceptions: got /),
    ]);
  });

  it("is refused a superuser under the name of one of the application's roles", () => {
    expect(mistakes({ ...safe, appName: "shop", superuserName: "shop_app_a" })).toMatchInlineSnapshot(`
      [
        "superuserName: shop_app_a is a role of the application, which would be a superuser. Fix: pulumi config set superuserName postgres",
      ]
    `);
  });

  it("is all this and not development, which has no exceptions", () => {
    expect(warnings({ profile: "development", serverSettings: '{"autovacuum": "off"}' })).toEqual([]);
    expect(mistakes({ profile: "development", exceptions: '{"weakTls": "why not"}' })).toEqual([
      expect.stringContaining("no effect with profile development"),
    ]);
  });
});

describe("a resource of a production environment", () => {
  const container = { image: digest, memory: 512, memorySwap: 512, logOpts: { "max-size": "10m" } };
  const faults = (type: string, props: object, opts: object = {}) =>
    resourceFaults(type, props as Record<string, unknown>, opts);

  it("is a container with limits, without secrets in its variables", () => {
    const type = "docker:index/container:Container";
    expect(faults(type, { ...container, envs: ["PGDATA=/data", "POSTGRES_PASSWORD_FILE=/run/x"] })).toEqual(
      [],
    );
    expect(
      faults(type, {
        image: "postgres:17-trixie",
        privileged: true,
        volumes: [{ hostPath: "/var/run/docker.sock" }],
        envs: ["DB_PASSWORD=x"],
      }),
    ).toMatchInlineSnapshot(`
      [
        "is made from a tag, which may be another image tomorrow (RemoteImage's imageId)",
        "has no memory limit (memory, and the same as memorySwap)",
        "has a log without a limit (logOpts, max-size)",
        "is privileged",
        "has Docker's socket, which is root on the host",
        "has a secret in the variable DB_PASSWORD",
      ]
    `);
  });

  it("is a volume that stays, and a role without a superuser's rights", () => {
    expect(faults("docker:index/volume:Volume", {}, { retainOnDelete: true })).toEqual([]);
    expect(faults("docker:index/volume:Volume", {})).toHaveLength(1);
    const role = (value: string) => ({ labels: [{ label: "postgresql-environments.role", value }] });
    expect(faults("docker:index/volume:Volume", role("backups"))).toHaveLength(1);
    expect(faults("docker:index/volume:Volume", role("drill"))).toEqual([]);
    expect(faults("postgresql:index/role:Role", { login: true, superuser: false })).toEqual([]);
    expect(faults("postgresql:index/role:Role", { superuser: true, createRole: true })).toEqual([
      "is a role with superuser",
      "is a role with createRole",
    ]);
  });
});
