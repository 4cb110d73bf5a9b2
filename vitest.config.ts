import { defineConfig } from "vitest/config";

/** Levels that need nothing but the node packages: quick, side by side. */
const plain = ["unit", "component", "program"].map((name) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout: 30_000 },
}));

/**
 * Levels that work on a real Docker Engine. Two files at a time: each file has a server and an engine of its
 * own, and a machine with two cores makes no more progress with three. Limits are long because a first `up`
 * on a busy machine is slow, not because any step should be.
 */
const docker = ["airgap", "integration", "fault"].map((name, index) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A level starts when the one before it has ended, so that all of them together use two workers.
    sequence: { groupOrder: index + 1 },
  },
}));

export default defineConfig({ test: { projects: [...plain, ...docker] } });
