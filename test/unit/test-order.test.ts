import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { longest } from "../order.ts";

test.each(longest)("%s, which is begun early, is there", (file) => {
  expect(existsSync(file)).toBe(true);
});
