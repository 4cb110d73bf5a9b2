/** Brings the table of settings in README.md up to date: npm run docs:settings */
import { readFileSync, writeFileSync } from "node:fs";
import { withSettingsTable } from "./settings-table.ts";

const readme = new URL("../README.md", import.meta.url);
writeFileSync(readme, withSettingsTable(readFileSync(readme, "utf8")));
