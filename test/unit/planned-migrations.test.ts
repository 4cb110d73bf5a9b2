import { expect, it } from "vitest";
import { formatRecorded, parseRecorded } from "../../components/migrations/planned-migrations.ts";

it("what is recorded for the next preview comes back as it was, whatever names there are", () => {
  const recorded = {
    "0001_größe": {
      up: "0123456789ab",
      down: "ba9876543210",
      revertLoses: ['table "a\nb c"', "column x of y"],
    },
    "0002_b": { up: "", down: "", revertLoses: [] },
  };
  const text = formatRecorded(recorded);
  expect(text.split("\n")).toHaveLength(2);
  expect(parseRecorded(text)).toEqual(recorded);
  expect(parseRecorded("")).toEqual({});
});
