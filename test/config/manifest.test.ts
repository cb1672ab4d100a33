import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { listFilters } from "../../src/config/filters.ts";
import { loadManifest, parseManifest } from "../../src/config/manifest.ts";
import { FILTERS_DIRECTORY, readyManifest } from "../../src/config/ready-manifest.ts";
import { FIXTURES, refused } from "./load.ts";

const manifest = (text: string) => parseManifest(text, "filter.yaml", { kind: "f", location: "/f" });
const complaints = (text: string) => refused(() => manifest(text)).message;
/** The type of a parameter that is declared so. */
const type = (declaration: string) =>
  manifest(`summary: S.\nparams:\n  x: { ${declaration} }`).params[0].type;

describe("a manifest", () => {
  it("needs only a summary", () => {
    expect(manifest("summary: Does nothing.")).toEqual({
      kind: "f",
      location: "/f",
      summary: "Does nothing.",
      params: [],
      outputs: [],
      counters: [],
      state: { worker: 0, shared: 0, prepared: 0 },
      holds: 0,
      superPackets: true,
    });
  });

  it("declares parameters with doc, default and range, in the units of the type", () => {
    const { params } = manifest(
      `
summary: S.
params:
  min-ttl: { type: u8, default: 1, range: [1, 255], doc: Least. }
  timeout: { type: duration, default: 2m, range: [1s, 1h] }
  buffer: { type: size, range: [4KiB, null], default: null }
  names: { type: list(string), range: [1, 4] }
  near: { type: prefix, default: null }
`.replace(", default: null }\n  names", " }\n  names"),
    );
    expect(params).toEqual([
      { name: "min-ttl", type: { kind: "u8" }, doc: "Least.", default: 1, min: 1, max: 255 },
      { name: "timeout", type: { kind: "duration" }, doc: "", default: "2m", min: 1e9, max: 3600e9 },
      { name: "buffer", type: { kind: "size" }, doc: "", min: 4096 },
      { name: "names", type: { kind: "list", of: { kind: "string" } }, doc: "", min: 1, max: 4 },
      { name: "near", type: { kind: "prefix" }, doc: "", default: null },
    ]);
  });

  it.each([
    ["type: u8", { kind: "u8" }],
    ["type: interface-address", { kind: "interface-address" }],
    ['type: "enum(a, b,c)"', { kind: "enum", values: ["a", "b", "c"] }],
    ['type: "code(tcp=6, udp = 17)"', { kind: "code", codes: { tcp: 6, udp: 17 } }],
    ["type: list(port-range)", { kind: "list", of: { kind: "port-range" } }],
    [
      'type: "list(list(enum(a, b)))"',
      { kind: "list", of: { kind: "list", of: { kind: "enum", values: ["a", "b"] } } },
    ],
    ["type: list, of: prefix", { kind: "list", of: { kind: "prefix" } }],
    ["type: list, of: { type: u16 }", { kind: "list", of: { kind: "u16" } }],
    [
      "type: list, of: { type: record, fields: { action: { type: output }, n: { type: u8, default: 3 } } }",
      {
        kind: "list",
        of: {
          kind: "record",
          fields: [
            { name: "action", type: { kind: "output" }, doc: "" },
            { name: "n", type: { kind: "u8" }, doc: "", default: 3 },
          ],
        },
      },
    ],
  ])("%s", (declaration, expected) => {
    expect(type(declaration)).toEqual(expected);
  });

  it("has outputs and counters with their docs; counters of elements are numbered last", () => {
    const { outputs, counters } = manifest(`
summary: S.
params: { rules: { type: list(u8) } }
outputs: { refuse: Refused., mirror: { doc: Mirrored. } }
counters:
  rule: { each: rules, doc: A rule's. }
  bad: Bad ones.
  plain: { doc: Plain ones. }
`);
    expect(outputs).toEqual([
      { name: "refuse", doc: "Refused." },
      { name: "mirror", doc: "Mirrored." },
    ]);
    expect(counters).toEqual([
      { name: "bad", doc: "Bad ones." },
      { name: "plain", doc: "Plain ones." },
      { name: "rule", doc: "A rule's.", each: "rules" },
    ]);
  });

  it("says how much state it wants, and what it converts", () => {
    const text = "summary: S.\nstate: { worker: 4KiB, shared: computed }\nconverts: { from: 2, to: 3 }";
    expect(manifest(text)).toMatchObject({
      state: { worker: 4096, shared: "computed", prepared: 0 },
      converts: [{ from: 2, to: 3 }],
    });
    const both = `${text.replace(/converts.*/, "")}params: { action: { type: "enum(on, off)" } }
outputs: { back: { doc: Back., layer: 2 } }
converts: [{ from: 2, to: 3, when: { action: off } }, { from: 3, to: 2 }]`;
    expect(manifest(both)).toMatchObject({
      outputs: [{ name: "back", layer: 2 }],
      converts: [
        { from: 2, to: 3, when: { action: "off" } },
        { from: 3, to: 2 },
      ],
    });
  });
});

const BAD: [string, string, string][] = [
  [
    "unknown keys and a missing summary",
    "sumary: S.\nparams: { x: { type: u8, defualt: 1 } }",
    `
filter.yaml:1:1 error unknown-key: unknown key "sumary" in the manifest
   1 | sumary: S.
     | ^^^^^^ did you mean "summary"?
filter.yaml:1:1 error missing: summary is missing
   1 | sumary: S.
     | ^^^^^^^^^^
filter.yaml:2:26 error unknown-key: unknown key "defualt" in parameter "x"
   2 | params: { x: { type: u8, defualt: 1 } }
     |                          ^^^^^^^ did you mean "default"?`,
  ],
  [
    "types that are none",
    'summary: S.\nparams:\n  a: { type: u9 }\n  b: { type: "enum(a, a)" }\n  c: { type: "code(tcp)" }\n  d: { type: list }\n  e: { type: "list(prefx)" }\n  f: { doc: x }\n  g: { type: "u8(3)" }\n  h: { type: u8, of: u8 }',
    `
filter.yaml:3:14 error bad-type: "u9" is not a type
   3 |   a: { type: u9 }
     |              ^^ did you mean "u8"?
filter.yaml:4:14 error bad-type: enum wants different words in its parentheses
   4 |   b: { type: "enum(a, a)" }
     |              ^^^^^^^^^^^^
filter.yaml:5:14 error bad-type: code wants WORD=NUMBER up to 255, has "tcp"
   5 |   c: { type: "code(tcp)" }
     |              ^^^^^^^^^^^
filter.yaml:6:14 error missing: type: list wants "of"
   6 |   d: { type: list }
     |              ^^^^
filter.yaml:7:14 error bad-type: "prefx" is not a type
   7 |   e: { type: "list(prefx)" }
     |              ^^^^^^^^^^^^^ did you mean "prefix"?
filter.yaml:8:3 error missing: type is missing
   8 |   f: { doc: x }
     |   ^
filter.yaml:9:14 error bad-type: u8 takes nothing in parentheses
   9 |   g: { type: "u8(3)" }
     |              ^^^^^^^
filter.yaml:10:18 error unknown-key: only type: list has "of"
  10 |   h: { type: u8, of: u8 }
     |                  ^^`,
  ],
  [
    "defaults that do not fit, ranges that are none",
    "summary: S.\nparams:\n  a: { type: u8, default: 300 }\n  b: { type: u8, default: null }\n  c: { type: duration, range: [1h, 1s] }\n  d: { type: mac, range: [1, 2] }\n  e: { type: list(u8), default: [1, 256] }\n  f: { type: u8, range: 5 }",
    `
filter.yaml:3:27 error bad-default: default: a wants 0 to 255, has 300
   3 |   a: { type: u8, default: 300 }
     |                           ^^^
filter.yaml:4:27 error bad-default: a u8 cannot be absent: its filter could not tell that from zero
   4 |   b: { type: u8, default: null }
     |                           ^^^^
filter.yaml:5:31 error bad-value: range wants the least value first
   5 |   c: { type: duration, range: [1h, 1s] }
     |                               ^^^^^^^^
filter.yaml:6:27 error bad-value: not a bound of a mac
   6 |   d: { type: mac, range: [1, 2] }
     |                           ^
filter.yaml:6:30 error bad-value: not a bound of a mac
   6 |   d: { type: mac, range: [1, 2] }
     |                              ^
filter.yaml:7:37 error bad-default: default: e[1] wants 0 to 255, has 256
   7 |   e: { type: list(u8), default: [1, 256] }
     |                                     ^^^
filter.yaml:8:25 error wrong-type: range wants [least, most]
   8 |   f: { type: u8, range: 5 }
     |                         ^`,
  ],
  [
    "names that belong to others",
    "summary: S.\nparams: { kind: { type: u8 }, on-trap: { type: u8 } }\noutputs: { drop: D., accept: A. }\ncounters: { c: { each: rules } }\nstate: { worker: lots }\nconverts: { from: 4, to: 3 }",
    `
filter.yaml:2:11 error reserved: a parameter cannot be called "kind": that key is the host's
   2 | params: { kind: { type: u8 }, on-trap: { type: u8 } }
     |           ^^^^
filter.yaml:2:31 error reserved: a parameter cannot be called "on-trap": that key is the host's
   2 | params: { kind: { type: u8 }, on-trap: { type: u8 } }
     |                               ^^^^^^^
filter.yaml:3:12 error reserved: an output cannot be called "drop": every filter has it
   3 | outputs: { drop: D., accept: A. }
     |            ^^^^
filter.yaml:3:22 error reserved: an output cannot be called "accept": every filter has it
   3 | outputs: { drop: D., accept: A. }
     |                      ^^^^^^
filter.yaml:4:24 error unknown-parameter: "rules" is not a list parameter
   4 | counters: { c: { each: rules } }
     |                        ^^^^^
filter.yaml:5:18 error bad-value: worker wants a size (1500, 64KiB, 1MB), has "lots", or "computed"
   5 | state: { worker: lots }
     |                  ^^^^
filter.yaml:6:19 error bad-value: from wants layer 2 or 3, has 4
   6 | converts: { from: 4, to: 3 }
     |                   ^`,
  ],
  [
    "tables that cannot be shown",
    "summary: S.\nparams: { top: { type: u8 } }\ntables:\n  a: { show: top, keys: { x: { type: string } }, values: { n: N. } }\n  b: { keys: { x: { type: u8 } } }\n  c: { keys: { x: { type: u8 } }, values: { x: X. }, rows: 5 }",
    `
filter.yaml:4:14 error bad-value: show wants a number of rows, or the name of a parameter of type u16 or u32, has "top"
   4 |   a: { show: top, keys: { x: { type: string } }, values: { n: N. } }
     |              ^^^
filter.yaml:4:25 error bad-type: x: a key of a table cannot be a string
   4 |   a: { show: top, keys: { x: { type: string } }, values: { n: N. } }
     |                         ^^^^^^^^^^^^^^^^^^^^^^^
filter.yaml:5:3 error missing: table "b" wants values
   5 |   b: { keys: { x: { type: u8 } } }
     |   ^
filter.yaml:6:45 error duplicate-name: table "c" has two columns called "x"
   6 |   c: { keys: { x: { type: u8 } }, values: { x: X. }, rows: 5 }
     |                                             ^
filter.yaml:6:54 error unknown-key: unknown key "rows" in table "c"; could be doc or show
   6 |   c: { keys: { x: { type: u8 } }, values: { x: X. }, rows: 5 }
     |                                                      ^^^^`,
  ],
];

describe("a bad manifest", () => {
  it.each(BAD)("%s", (_, text, expected) => {
    expect(complaints(text)).toBe(expected.trimStart());
  });

  it("that is not there", () => {
    expect(refused(() => loadManifest("/nowhere")).message).toBe(
      "/nowhere/filter.yaml error cannot-read: open /nowhere/filter.yaml: ENOENT: there is no such file",
    );
  });
});

describe("the built-in filters", () => {
  it.each(listFilters(FILTERS_DIRECTORY))("%s has a sound manifest with a doc for everything", (kind) => {
    const found = loadManifest(`${FILTERS_DIRECTORY}/${kind}`, kind);
    for (const { name, doc } of [...found.params, ...found.outputs, ...found.counters]) {
      expect(doc, `${kind}: ${name}`).not.toBe("");
    }
  });

  it.each(listFilters(FILTERS_DIRECTORY))("%s has the manifest that the build has read", (kind) => {
    const location = `${FILTERS_DIRECTORY}/${kind}`;
    const text = readFileSync(`${location}/filter.yaml`, "utf8");
    expect(readyManifest(text, kind, location)).toEqual(
      parseManifest(text, "filter.yaml", { kind, location }),
    );
    expect(readyManifest(`${text}\n`, kind, location), "of another text").toBeUndefined();
    expect(readyManifest(text, kind, `/nowhere/${kind}`), "of a filter elsewhere").toBeUndefined();
  });

  it("are the folders that have a manifest", () => {
    expect(listFilters(`${FIXTURES}filters`)).toEqual(["acl", "checksum", "icmp-error", "nat", "ttl"]);
    expect(listFilters(dirname(fileURLToPath(import.meta.url)))).toEqual([]);
  });
});

describe("parameters that may change while the pipeline runs", () => {
  it("say so", () => {
    const { params } = manifest(
      "summary: S.\nparams: { a: { type: u8, reload: true }, b: { type: u8, reload: false } }",
    );
    expect(params.map(({ reload }) => reload)).toEqual([true, undefined]);
  });
  it.each([
    ["params: { a: { type: u8, reload: yes please } }", "reload wants true or false"],
    [
      "params: { a: { type: list, of: { type: record, fields: { b: { type: u8, reload: true } } } } }",
      "a whole parameter is reloaded, or not: say it there",
    ],
    [
      "params: { a: { type: u16, reload: true, default: 3 } }\nholds: a",
      "a cannot have reload: true: memory and paths are laid out by its value",
    ],
  ])("%s", (text, says) => {
    expect(complaints(`summary: S.\n${text}`)).toContain(says);
  });
});
