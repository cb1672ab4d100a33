// Lists of one-line maps are read by a reader of their own: it must read what the YAML parser reads, at the same places.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Diagnostics } from "../../src/config/diagnostics.ts";
import { readDocument } from "../../src/config/document.ts";
import { cutRuns } from "../../src/config/lines.ts";
import { Source } from "../../src/config/source.ts";
import type { Node } from "../../src/config/tree.ts";

const plain = fc.constantFrom(
  ..."accept tcp 443 8000-8999 10.0.0.0/8 null true False 0x1f 0o17 1e3 1.5 -1 mark 7 on $office 00 1_0 ~".split(
    " ",
  ),
  ..."2001:db8::/32 a b|'x'|a#b| |x y|&a|*a|!t|{}".split("|"),
);
const quoted = fc.constantFrom('"2001:db8::/32"', '"a, b"', '""', '"x\\ty"', '"$' + '{X}"');
const scalar = fc.oneof({ weight: 6, arbitrary: plain }, { weight: 1, arbitrary: quoted });
const list = fc.array(scalar, { maxLength: 3 }).map((items) => `[${items.join(", ")}]`);
const key = fc.constantFrom("action", "proto", "from", "to-port", "x", "Y");
const pair = fc.tuple(key, fc.oneof(scalar, list)).map(([k, v]) => `${k}: ${v}`);
const map = fc
  .tuple(fc.array(pair, { maxLength: 4 }), fc.constantFrom("", " "), fc.constantFrom("", "", " # why", " #"))
  .map(([pairs, space, comment]) => `- {${space}${pairs.join(", ")}${space}}${comment}`);
const item = fc.oneof(
  { weight: 20, arbitrary: map },
  { weight: 1, arbitrary: fc.constantFrom("- 0", "# note", "- a: 1") },
);
/** Seventy lines of the same kind around the odd ones, so that there is a run. */
const usual = Array.from({ length: 70 }, (_, i) => `- { action: accept, to-port: [${i}, 80], from: "::1" }`);

function read(text: string) {
  const diagnostics = new Diagnostics();
  const root = readDocument(new Source("f", text), { X: "y" }, diagnostics);
  return {
    root: root && shown(root),
    problems: diagnostics.sorted().map(({ line, column, message }) => [line, column, message]),
  };
}

/** A tree with its places, as plain data. */
function shown(node: Node): unknown {
  const place = [node.span.start, node.span.end];
  if (node.kind === "scalar") return [place, node.value];
  if (node.kind === "list") return [place, node.items.map(shown)];
  return [
    place,
    node.entries.map(({ key, keySpan, value }) => [key, keySpan.start, keySpan.end, shown(value)]),
  ];
}

/** The same text to YAML, and as long, but not to the reader of lines. */
const bySlowPath = (text: string) => text.replaceAll('from: "::1" }', 'from: "::1",}');

describe("a run of lines", () => {
  it("is read as the YAML parser reads it", () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 6 }), (odd) => {
        const lines = [...odd, ...usual, ...odd].map((line) => `  ${line}`);
        const text = `rules:\n${lines.join("\n")}\nlast: 1\n`;
        const slow = bySlowPath(text);
        expect(cutRuns(slow).runs.size).toBe(0);
        expect(read(text)).toEqual(read(slow));
      }),
      { numRuns: 400 },
    );
  });

  it("has its places where the text stands", () => {
    const text = `a: 1\nrules:\n${usual.join("\n")}\n`;
    expect(cutRuns(text).runs.size).toBe(1);
    const diagnostics = new Diagnostics();
    const root = readDocument(new Source("f", text), {}, diagnostics);
    if (root?.kind !== "map") throw new Error("no map");
    const rules = root.entries[1].value;
    if (rules.kind !== "list") throw new Error("no list");
    expect(rules.items).toHaveLength(70);
    const at = (span: { start: number; end: number }) => text.slice(span.start, span.end);
    expect(at(rules.items[3].span)).toBe('{ action: accept, to-port: [3, 80], from: "::1" }');
    const third = rules.items[3];
    if (third.kind !== "map") throw new Error("no map");
    expect(third.entries.map(({ keySpan, value }) => [at(keySpan), at(value.span)])).toEqual([
      ["action", "accept"],
      ["to-port", "[3, 80]"],
      ["from", '"::1"'],
    ]);
  });

  it("inside of a text is text", () => {
    const text = `doc: |\n${usual.map((line) => `  ${line}\n`).join("")}rules: []\n`;
    expect(cutRuns(text).runs.size).toBe(1);
    expect(JSON.stringify(read(text).root)).toContain("to-port: [69, 80]");
  });
});
