import * as pulumi from "@pulumi/pulumi";
import { connectionUrl, type Endpoint, type LoginConnection, type SslMode } from "./connection-url.ts";

export function loginConnection(
  login: { username: string; password: pulumi.Output<string> },
  server: {
    database: string;
    sslMode: SslMode;
    host: { host: string; port: pulumi.Output<number> };
    network: Endpoint;
  },
): pulumi.Output<LoginConnection> {
  return pulumi.all([login.password, server.host.port]).apply(([password, hostPort]) => {
    const from = (endpoint: Endpoint) => ({
      ...endpoint,
      source: connectionUrl({
        ...endpoint,
        username: login.username,
        password,
        database: server.database,
        sslMode: server.sslMode,
      }),
    });
    return {
      username: login.username,
      password,
      database: server.database,
      host: from({ host: server.host.host, port: hostPort }),
      network: from(server.network),
    };
  });
}
