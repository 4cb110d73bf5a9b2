import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";

/** PostgreSQL's request to go on with TLS (manual, «Message Formats», SSLRequest): length and code. */
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const patienceMilliseconds = 10_000;

/** SHA-256 fingerprint of the certificate that a server shows; undefined: it does not offer TLS. */
export async function servedFingerprint(host: string, port: number): Promise<string | undefined> {
  const socket = connect({ host, port });
  socket.setTimeout(patienceMilliseconds, () => socket.destroy(new Error(`${host}:${port} does not answer`)));
  try {
    await once(socket, "connect");
    socket.write(sslRequest);
    const [answer] = (await once(socket, "data")) as [Buffer];
    if (answer.toString("latin1") !== "S") return undefined;
    // Whose certificate it is shows in the fingerprint.
    const secured = connectTls({ socket, rejectUnauthorized: false });
    await once(secured, "secureConnect");
    const { fingerprint256 } = secured.getPeerCertificate();
    secured.destroy();
    return fingerprint256;
  } finally {
    socket.destroy();
  }
}
