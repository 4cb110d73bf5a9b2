import type * as pulumi from "@pulumi/pulumi";

/**
 * Options of what is lost with an ephemeral environment's container, and has to be made again in a new one.
 * @param ready replaced with every new container: also with one that is created, not replaced, because the old one was
 * removed by hand. Undefined: a persistent environment, where a new container finds everything in the volume
 */
export function remadeWith(ready: pulumi.Resource | undefined): pulumi.CustomResourceOptions {
  return ready ? { replaceWith: [ready] } : {};
}
