import { expect, it } from "vitest";
import { barChart } from "../../bench/bar-chart.ts";

const bar = { name: "one <second>", value: 1, from: 0.1, to: 10, strong: true };

it("draws bars on a logarithmic scale, from the minimum's power of ten to the maximum's", () => {
  const svg = barChart({ title: "times", bars: [bar, { ...bar, name: "ten", value: 10, strong: false }] });
  const widths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map((match) =>
    Number(match[1]),
  );
  // 1 is half of the way from 0.1 to 10.
  expect(widths).toEqual([220, 440]);
  expect([...svg.matchAll(/>([\d.]+) s</g)].map((match) => match[1])).toEqual(["0.1", "1", "10"]);
});

it("keeps text from being taken for markup", () => {
  expect(barChart({ title: "a & b", bars: [bar] })).toContain("one &lt;second&gt;");
  expect(barChart({ title: "a & b", bars: [bar] })).toContain("<title>a &amp; b</title>");
});
