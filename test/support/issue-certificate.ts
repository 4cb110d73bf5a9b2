import { docker, image, testLabel, testRun } from "./docker.ts";

/** PEM, each of them. */
export interface IssuedCertificate {
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
  /** The authority's own key, by which it issues another certificate. */
  readonly caKey: string;
}

const script = `
  cd /tmp
  if [ -n "$CA" ]; then
    printf %s "$CA" >ca.crt
    printf %s "$CA_KEY" >ca.key
  else
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=own-ca -keyout ca.key -out ca.crt 2>/dev/null
  fi
  openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr 2>/dev/null
  echo 'subjectAltName = IP:127.0.0.1, DNS:postgres' >server.ext
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -not_after "$(date -u -d "$SECONDS_VALID seconds" +%Y%m%d%H%M%SZ)" \
    -extfile server.ext -out server.crt 2>/dev/null
  cat server.crt; echo ====; cat server.key; echo ====; cat ca.crt; echo ====; cat ca.key`;

/**
 * A certificate for 127.0.0.1 of an authority that is none of the program's, as a team has it that has its own. Made
 * where openssl certainly is: the image's packages need it.
 * @param options.seconds how long it is valid, two days by default
 * @param options.of issued by the same authority as this one; by a new one otherwise
 */
export async function issueCertificate(
  options: { seconds?: number; of?: IssuedCertificate } = {},
): Promise<IssuedCertificate> {
  const { of, seconds = 2 * 86_400 } = options;
  const env = { SECONDS_VALID: seconds, CA: of?.ca ?? "", CA_KEY: of?.caKey ?? "" };
  const text = await docker(
    ...["run", "--rm", "--label", `${testLabel}=${testRun}`],
    ...Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]),
    ...["--entrypoint", "sh", image, "-ec", script],
  );
  const [certificate = "", key = "", ca = "", caKey = ""] = text.split("====\n");
  return { certificate, key, ca, caKey: `${caKey}\n` };
}
