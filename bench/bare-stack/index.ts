import * as command from "@pulumi/command";
import * as docker from "@pulumi/docker";

// A server without a network, a role, a database or a migration of its own, until it is healthy. Its password is thrown
// away with it.
const container = new docker.Container("postgres", {
  image: "postgres:17-trixie",
  envs: ["POSTGRES_PASSWORD=bare", "POSTGRES_INITDB_ARGS=--no-sync"],
  command: ["postgres", "-c", "fsync=off"],
  tmpfs: { "/var/lib/postgresql/data": "size=256m" },
  ports: [{ internal: 5432, ip: "127.0.0.1" }],
  healthcheck: {
    tests: ["CMD", "pg_isready", "-h", "127.0.0.1"],
    interval: "1s",
    timeout: "5s",
    retries: 30,
  },
});
new command.local.Command("healthy", {
  create: `until [ "$(docker inspect --format '{{.State.Health.Status}}' "$ID")" = healthy ]; do sleep 0.05; done`,
  environment: { ID: container.id },
});
