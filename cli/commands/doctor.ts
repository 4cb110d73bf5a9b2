export async function doctor(_: unknown) {}
