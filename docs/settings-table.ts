import { type SettingKey, settingKeys } from "../components/settings/schema.ts";

const begin = "<!-- settings: made by npm run docs:settings -->";
const end = "<!-- /settings -->";

/** Every setting as a Markdown table, in the order of the schema. */
export function settingsTable(keys: Readonly<Record<string, SettingKey>> = settingKeys): string {
  const rows = Object.entries(keys).map(([key, setting]) => [
    `\`${key}\``,
    setting.description,
    setting.secret ? `a secret: ${setting.expected}` : setting.expected,
    setting.default,
  ]);
  return [["Setting", "What it is", "Value", "Default"], ["---", "---", "---", "---"], ...rows]
    .map((cells) => `| ${cells.map(cell).join(" | ")} |`)
    .join("\n");
}

/** Text of a cell: a bar would end it, and names in angle brackets would be taken for HTML outside code. */
function cell(text: string): string {
  const escaped = text.replaceAll("|", "\\|");
  return escaped
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith("`") ? part : part.replaceAll("<", "&lt;")))
    .join("");
}

/**
 * Puts the table between the markers of a page.
 * @throws Error when the page has not exactly one pair of markers
 */
export function withSettingsTable(page: string, table = settingsTable()): string {
  const [before, between, ...more] = page.split(begin);
  const [, after, ...others] = between?.split(end) ?? [];
  if (before === undefined || after === undefined || more.length > 0 || others.length > 0) {
    throw new Error(`The page must have one «${begin}» and, after it, one «${end}».`);
  }
  return `${before}${begin}\n${table}\n${end}${after}`;
}
