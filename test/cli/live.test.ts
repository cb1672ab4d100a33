// The live table on terminals of every size: it must be erased by moving up, so it neither wraps nor scrolls.
import fc from "fast-check";
import { expect, test } from "vitest";
import { fitting } from "../../src/cli/live.ts";

const lines = Array.from({ length: 30 }, (_, i) => (i % 5 === 4 ? "" : `${i} `.padEnd(100, "x")));

test("what fits is shown as it is", () => {
  expect(fitting(lines, 31, 100)).toEqual(lines);
});

test("what does not is said: how many more lines, and that a line goes on", () => {
  expect(fitting(lines, 24, 80)).toEqual([
    ...lines.slice(0, 22).map((line) => (line === "" ? "" : `${line.slice(0, 79)}…`)),
    "… 6 more lines",
  ]);
  expect(fitting(lines, 1, 80)).toEqual(["… 24 more lines"]);
});

test("colours are no columns", () => {
  expect(fitting(["\x1b[1mhead\x1b[22m"], 2, 4)).toEqual(["\x1b[1mhead\x1b[22m"]);
});

test("on no terminal does it wrap, or take the cursor's line", () => {
  const size = fc.integer({ min: 1, max: 200 });
  fc.assert(
    fc.property(size, size, fc.integer({ min: 0, max: 30 }), (rows, columns, count) => {
      const shown = fitting(lines.slice(0, count), rows, columns);
      expect(shown.length).toBeLessThanOrEqual(Math.max(1, rows - 1));
      for (const line of shown) expect(line.length).toBeLessThanOrEqual(columns);
    }),
  );
});
