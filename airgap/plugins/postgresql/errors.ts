import type { ResourceDefinition } from "../common/plugin.ts";

/** Words the errors of a resource's operations as the genuine plugin's Terraform SDK does. */
export function withTerraformErrors<Config>(
  resource: ResourceDefinition<Config>,
): ResourceDefinition<Config> {
  const { create, read, update } = resource;
  return {
    ...resource,
    create: (...operation) => word(create(...operation)),
    read: (...operation) => word(read(...operation)),
    ...(update && { update: (...operation) => word(update(...operation)) }),
    delete: (...operation) => word(resource.delete(...operation)),
  };
}

async function word<T>(operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`1 error occurred:\n\t* ${message}\n\n`);
  }
}
