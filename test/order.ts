import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Files of the levels that need Docker which take longest, the longest first: where one of these begins last, all cores
 * but one wait for it. By their CPU time; which of two that are close comes first does not matter.
 */
export const longest: readonly string[] = [
  "test/integration/production.test.ts",
  "test/integration/cli.test.ts",
  "test/integration/development.test.ts",
  "test/integration/wrong-input.test.ts",
  "test/integration/operations.test.ts",
  "test/fault/migrations-killed.test.ts",
  "test/integration/reset.test.ts",
  "test/integration/stacks.test.ts",
  "test/fault/interrupted.test.ts",
  "test/integration/migrations-preview.test.ts",
  "test/integration/initdb.test.ts",
  "test/integration/hostile-names.test.ts",
  "test/fault/docker-stopped.test.ts",
  "test/integration/rehearse.test.ts",
  "test/integration/migrator.test.ts",
  "test/airgap/image/contract.test.ts",
  "test/airgap/toolchain/toolchain.test.ts",
];

/** Begins with the files that take longest, also where vitest has no times of an earlier run. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const index = longest.findIndex((file) => moduleId.endsWith(`/${file}`));
      return index < 0 ? longest.length : index;
    };
    return (await super.sort(files)).toSorted((a, b) => group(a) - group(b) || place(a) - place(b));
  }
}

const group = ({ project }: TestSpecification) => project.config.sequence.groupOrder;
