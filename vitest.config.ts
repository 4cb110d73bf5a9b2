import { defineConfig } from "vitest/config";
import { levels } from "./test/levels.ts";
import { LongestFirst } from "./test/order.ts";

const projects = levels.map(({ name, needsDocker }, index) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    // Polling ends as soon as what is waited for is there: how long that takes is the machine's business.
    expect: { poll: { timeout: needsDocker ? 120_000 : 60_000 } },
    ...(needsDocker
      ? {
          // Each file has servers and an engine of its own. Two fill two cores but for the moments in which both wait:
          // for a container, a health check, an answer of a server.
          maxWorkers: 3,
          // Long because a first `up` on a busy machine is slow, not because any step should be.
          testTimeout: 900_000,
          hookTimeout: 900_000,
          // All of these together: one level after the other would end each with idle cores.
          sequence: { groupOrder: levels.length },
        }
      : { testTimeout: 180_000, hookTimeout: 180_000, sequence: { groupOrder: index } }),
  },
}));

export default defineConfig({ test: { projects, sequence: { sequencer: LongestFirst } } });
