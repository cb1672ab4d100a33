// The table of requirements in nat's README: each row names cases that there are, or says why there is none.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUILTIN } from "../../src/filters/build.ts";
import { readCases } from "../../src/filters/cases.ts";

const folder = join(BUILTIN, "nat");
const purposes = readCases(folder).map(({ purpose }) => purpose);
const text = readFileSync(join(folder, "README.md"), "utf8");
const sections = text
  .split("\n### ")
  .slice(1)
  .map((section) => section.split("\n## ")[0]);
/** How many requirements each RFC has. */
const REQUIREMENTS = { "RFC 4787": 14, "RFC 5382": 10, "RFC 5508": 11, "RFC 6888": 15 };

const rows = sections.flatMap((section) => {
  const rfc = section.slice(0, 8);
  return section
    .split("\n")
    .filter((line) => /^\| (REQ-|\d)/.test(line))
    .map((line) => {
      const [requirement, , where] = line.slice(2, -2).split(" | ");
      return { rfc, requirement, where };
    });
});

describe("nat's README", () => {
  test.each(Object.entries(REQUIREMENTS))("has every requirement of %s", (rfc, count) => {
    const own = rows.filter((row) => row.rfc === rfc).map(({ requirement }) => requirement);
    expect(own).toEqual(expect.arrayContaining(Array.from({ length: count }, (_, i) => `REQ-${i + 1}`)));
  });
  test("has every section of RFC 7857 that updates something", () => {
    const sections = rows
      .filter(({ rfc }) => rfc === "RFC 7857")
      .flatMap(({ requirement }) => requirement.split(", ").map((section) => Number.parseInt(section, 10)));
    expect(new Set(sections)).toEqual(new Set([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]));
  });
  test.each(rows.map(({ rfc, requirement, where }) => [`${rfc}, ${requirement}`, where]))(
    "%s: cases that it quotes are there, and what has none says why",
    (_, where) => {
      const quoted = [...where.matchAll(/\*([^*]+)\*/g)];
      for (const [, beginning] of quoted) {
        const found = purposes.some((purpose) => purpose.startsWith(beginning));
        expect(found, `no case begins with ${beginning}`).toBe(true);
      }
      if (quoted.length === 0) expect(where.length).toBeGreaterThan(9);
    },
  );
});
