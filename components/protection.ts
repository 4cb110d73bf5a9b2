import type * as pulumi from "@pulumi/pulumi";

/**
 * Resources that Pulumi replaces in normal life: a changed setting makes a new container, an
 * image gets a newer tag, a certificate ends one day.
 * Protection would refuse that too. Protected resources depend on each of them (roles, database, migrations), and
 * `pulumi destroy` deletes dependents first: it is refused before it reaches them.
 */
const replacedInNormalLife = new Set([
  "docker:index/container:Container",
  "docker:index/remoteImage:RemoteImage",
  "random:index/randomPassword:RandomPassword",
  "tls:index/certRequest:CertRequest",
  "tls:index/locallySignedCert:LocallySignedCert",
  "tls:index/privateKey:PrivateKey",
  "tls:index/selfSignedCert:SelfSignedCert",
]);

/**
 * Protects every resource below a component but those that are replaced in normal life, and those that say
 * `protect: false`: a setting that is taken back removes them.
 *
 * One by one, and not by `protect` on the component: older language hosts lose a child's `protect: false` on the way
 * to the engine, which then hands the parent's protection down. Not on the volume alone: `pulumi destroy` would first
 * drop everything inside the database.
 */
export const protectResources: pulumi.ResourceTransformation = ({ type, props, opts }) =>
  type.startsWith("postgresql-environments:") || replacedInNormalLife.has(type) || opts.protect === false
    ? undefined
    : { props, opts: { ...opts, protect: true } };
