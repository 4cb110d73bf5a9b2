import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
const pages = [
  "README.md",
  "airgap/README.md",
  ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`),
].filter((page) => page.endsWith(".md"));
const text = (page: string) => readFileSync(join(root, page), "utf8");
/** Without code blocks, in which a # starts a comment. */
const prose = (page: string) => text(page).replace(/^```[\s\S]*?^```/gm, "");

/** A heading's anchor as GitHub makes it. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
const headings = (page: string) => [...prose(page).matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? "");

describe.each(pages)("%s", (page) => {
  it("has links to files and headings that are there", () => {
    const broken = [...prose(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)].filter(
      ([, path = "", fragment]) => {
        const file = path === "" ? page : relative(root, join(root, dirname(page), path));
        if (!existsSync(join(root, file))) return true;
        return fragment !== undefined && !headings(file).map(anchor).includes(fragment);
      },
    );
    expect(broken.map(([link]) => link)).toEqual([]);
  });
});

describe("messages of the program", () => {
  it("name pages and headings that are there", () => {
    const sources = ["cli", "components", "migrator", "readiness"].flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".ts"))
        .map((name) => join(folder, name)),
    );
    const named = [...sources, "Pulumi.yaml"].flatMap((source) => [
      ...text(source).matchAll(/(README|docs\/[\w-]+)(?:\.md)?, «([^»]+)»/g),
    ]);
    expect(named.length).toBeGreaterThan(0);
    const missing = named.filter(([, page, heading]) => !headings(`${page}.md`).includes(heading ?? ""));
    expect(missing.map(([mention]) => mention)).toEqual([]);
  });
});
