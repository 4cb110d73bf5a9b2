/**
 * Environment of commands that Node.js runs: keeps what it compiled, and the types that it stripped, for the next run.
 * A program can ask for it itself, but its first file has been through both by then. Relative to the project, where
 * commands run.
 */
export const compileCache = { NODE_COMPILE_CACHE: "node_modules/.cache/db" } as const;
