import { describe, expect, it } from "vitest";
import { standInFor } from "../../airgap/images.ts";

describe("a stand-in image", () => {
  it.each([
    ["postgres:17-trixie", "17", "trixie"],
    ["postgres:17", "17", "trixie"],
    ["postgres:17.6", "17", "trixie"],
    ["docker.io/library/postgres:17-trixie", "17", "trixie"],
    ["postgres:15-bookworm", "15", "bookworm"],
    ["postgres:15", "15", "bookworm"],
  ])("for %s has PostgreSQL %s of Debian %s", (name, major, suite) => {
    expect(standInFor(name)).toEqual({ name, program: "postgres", major, suite });
  });

  it.each([
    ["quay.io/prometheuscommunity/postgres-exporter:v0.19.1", "postgres-exporter"],
    ["quay.io/prometheus/node-exporter:v1.9.1", "node-exporter"],
    ["quay.io/prometheus/prometheus:v3.5.3", "prometheus"],
  ])("for %s has Debian's %s", (name, program) => {
    expect(standInFor(name)).toEqual({ name, program, major: "", suite: "trixie" });
  });

  it.each(["rclone/rclone:1.75.0", "docker.io/rclone/rclone:1.75"])("for %s has Debian's rclone", (name) => {
    expect(standInFor(name)).toEqual({ name, program: "rclone", major: "", suite: "trixie" });
  });

  it.each([
    "postgres",
    "postgres:latest",
    "postgres:17-alpine",
    "postgres:17-bookworm",
    "postgres:16",
    "postgres:17-trixie@sha256:0123",
    "registry.test/postgres:17-trixie",
    "postgis/postgis:17",
    "quay.io/prometheus/prometheus:latest",
    "quay.io/prometheus/alertmanager:v0.28.0",
    "grafana/grafana:12.4.2",
    "rclone/rclone:latest",
    "example/rclone:1.75.0",
  ])("is not made for %s", (name) => {
    expect(standInFor(name)).toBeUndefined();
  });
});
