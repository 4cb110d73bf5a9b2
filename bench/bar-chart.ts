export interface Bar {
  readonly name: string;
  readonly value: number;
  /** The least and the most that was measured. */
  readonly from: number;
  readonly to: number;
  /** Drawn in the colour that the eye falls on. */
  readonly strong: boolean;
}

/** Horizontal bars on a logarithmic scale, as an SVG document that is legible on light and on dark pages. */
export function barChart({ bars, title }: { title: string; bars: readonly Bar[] }): string {
  const width = 860;
  const left = 350;
  const right = 70;
  const top = 40;
  const step = 30;
  const height = top + bars.length * step + 34;
  const least = 10 ** Math.floor(Math.log10(Math.min(...bars.map(({ from }) => from))));
  const most = 10 ** Math.ceil(Math.log10(Math.max(...bars.map(({ to }) => to))));
  const place = (value: number) =>
    round(left + (Math.log10(value / least) / Math.log10(most / least)) * (width - left - right));
  const powers: number[] = [];
  for (let power = least; power <= most * 1.01; power *= 10) powers.push(power);
  const bottom = top + bars.length * step;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="12" y="22" font-weight="600" fill="#1f2328">${escapeText(title)}</text>`,
    ...powers.map(
      (power) =>
        `<line x1="${place(power)}" y1="${top}" x2="${place(power)}" y2="${bottom}" stroke="#d1d9e0"/>` +
        `<text x="${place(power)}" y="${bottom + 18}" text-anchor="middle" fill="#59636e">${shortest(power)} s</text>`,
    ),
    ...bars.map(({ from, name, strong, to, value }, index) => {
      const y = top + index * step;
      const middle = y + step / 2;
      return (
        `<text x="${left - 10}" y="${middle + 4}" text-anchor="end" fill="#1f2328">${escapeText(name)}</text>` +
        `<rect x="${left}" y="${y + 6}" width="${round(place(value) - left)}" height="${step - 12}" fill="${strong ? "#336791" : "#9ba7b4"}"/>` +
        `<line x1="${place(from)}" y1="${middle}" x2="${place(to)}" y2="${middle}" stroke="#1f2328" stroke-width="2"/>` +
        `<text x="${place(to) + 8}" y="${middle + 4}" fill="#1f2328">${value < 1 ? value.toFixed(3) : value.toFixed(1)}</text>`
      );
    }),
    "</svg>",
  ].join("\n")}\n`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function shortest(value: number): string {
  return String(Number(value.toPrecision(1)));
}

function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
