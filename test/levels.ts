/** A level of test, as in docs: each is a folder of `test/` and a project in vitest.config.ts. */
export interface Level {
  readonly name: string;
  /** Whether it works on a real Docker Engine, with the stand-in or genuine toolchain. */
  readonly needsDocker: boolean;
}

export const levels: readonly Level[] = [
  { name: "unit", needsDocker: false },
  { name: "component", needsDocker: false },
  { name: "program", needsDocker: false },
  { name: "airgap", needsDocker: true },
  { name: "integration", needsDocker: true },
  { name: "fault", needsDocker: true },
];
