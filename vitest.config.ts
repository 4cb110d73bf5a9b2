import { defineConfig } from "vitest/config";
import { levels } from "./test/levels.ts";

const projects = levels.map(({ name, needsDocker }, index) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    ...(needsDocker
      ? {
          // Each file has servers and an engine of its own: with two cores, a third at a time makes none faster.
          maxWorkers: 2,
          // Long because a first `up` on a busy machine is slow, not because any step should be.
          testTimeout: 300_000,
          hookTimeout: 300_000,
          // One level after the other, so that all of them together have two workers.
          sequence: { groupOrder: index },
        }
      : { testTimeout: 30_000 }),
  },
}));

export default defineConfig({ test: { projects } });
