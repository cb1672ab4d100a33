// Named sets of prefixes in a pipeline file: what they stand for, and what is said where one is wrong.
import { writeFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { encodeParams } from "../../src/params/encode.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

let files = 0;
function pipeline(acl: string): string {
  const file = folder.file(`sets${files++}.yaml`);
  writeFileSync(
    file,
    `pktflow: 1
devices:
  a: { kind: pcap, read: a.pcap }
  b: { kind: discard }
filters:
  wall:
    kind: acl
${acl}
paths:
  p: { from: a, through: [wall], to: b }
`,
  );
  return file;
}
const rulesOf = (acl: string) =>
  loadPipeline(pipeline(acl)).filters[0].params["rules"] as Record<string, unknown>[];

function wrong(acl: string): string[] {
  try {
    loadPipeline(pipeline(acl));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.diagnostics.map(({ line, code, message, suggestion }) =>
      [line, code, message, ...(suggestion === undefined ? [] : [suggestion])].join(" "),
    );
  }
  return [];
}

describe("a set", () => {
  it("stands for its prefixes, alone and among others", () => {
    const rules = rulesOf(`    sets: { office: [10.0.0.0/8, "2001:db8::/32"], dns: 192.0.2.1 }
    rules:
      - { action: accept, from: office, to: [dns, 192.0.2.2, office] }
      - { action: accept, not-from: [office] }`);
    expect(rules[0]["from"]).toEqual(["10.0.0.0/8", "2001:db8::/32"]);
    expect(rules[0]["to"]).toEqual(["192.0.2.1/32", "192.0.2.2/32", "10.0.0.0/8", "2001:db8::/32"]);
    expect(rules[1]["not-from"]).toEqual(["10.0.0.0/8", "2001:db8::/32"]);
  });

  it("may be a file of a prefix a line, relative to the pipeline's", () => {
    writeFileSync(
      folder.file("blocked.txt"),
      "# since May\n192.0.2.0/24\n\n 2001:db8::1 # a host\r\n198.51.100.7",
    );
    const rules = rulesOf(`    sets: { blocked: { file: blocked.txt } }
    rules: [{ action: drop, from: blocked }]`);
    expect(rules[0]["from"]).toEqual(["192.0.2.0/24", "2001:db8::1/128", "198.51.100.7/32"]);
  });

  it("is read again each time the pipeline is", () => {
    const file = pipeline(`    sets: { blocked: { file: changing.txt } }
    rules: [{ action: drop, from: blocked }]`);
    for (const prefix of ["192.0.2.0/24", "198.51.100.0/24"]) {
      writeFileSync(folder.file("changing.txt"), `${prefix}\n`);
      expect(loadPipeline(file).filters[0].params["rules"]).toMatchObject([{ from: [prefix] }]);
    }
  });

  it("is encoded once, however many rules have it", () => {
    const prefixes = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
    const bytesOf = (rules: number) => {
      const list = Array.from(
        { length: rules },
        (_, i) => `      - { action: accept, from: office, to-port: ${i} }`,
      );
      const [{ manifest, params, outputs }] = loadPipeline(
        pipeline(`    sets: { office: [${prefixes.join(", ")}] }\n    rules:\n${list.join("\n")}`),
      ).filters;
      return encodeParams(manifest.params, params, outputs, 0).length;
    };
    expect(bytesOf(101) - bytesOf(1)).toBeLessThan(100 * 400);
  });
});

describe("what is wrong with a set is said at its place", () => {
  it("one that is not defined, with the one that was probably meant, which is not called unused then", () => {
    expect(
      wrong(`    sets: { office: 10.0.0.0/8 }
    rules: [{ action: accept, from: [192.0.2.1, ofice] }]`),
    ).toEqual(['9 unknown-set filter "wall": from names the set "ofice", which is not defined office']);
  });

  it("one that nothing uses", () => {
    expect(
      wrong(`    sets: { office: 10.0.0.0/8, lab: 10.1.0.0/16 }
    rules: [{ action: accept, from: office }]`),
    ).toEqual(['8 unused-set filter "wall": set "lab" is used by nothing']);
  });

  it("a prefix, a name, a key, a file that is not there", () => {
    const found = wrong(`    sets:
      office: [10.0.0.1/8]
      Lab: 10.0.0.0/8
      blocked: { path: blocked.txt }
      gone: { file: gone.txt }
    rules: [{ action: accept, from: [office, blocked, gone] }]`);
    expect(found).toHaveLength(5);
    expect(found[0]).toMatch(/^9 bad-value filter "wall": sets.office wants a prefix.* 10.0.0.0\/8$/);
    expect(found[1]).toMatch(/^10 bad-value .*a set's name is lower-case letters/);
    expect(found.join("\n")).toMatch(/^11 unknown-key .*unknown key "path" in sets.blocked$/m);
    expect(found.join("\n")).toMatch(
      /^12 bad-value .*sets.gone: open .*gone.txt: ENOENT: there is no such file$/m,
    );
  });

  it("a line of a file, at its place in the file", () => {
    const file = folder.file("broken.txt");
    writeFileSync(file, "192.0.2.0/24\n10.0.0.300\n");
    try {
      loadPipeline(
        pipeline(`    sets: { blocked: { file: broken.txt } }
    rules: [{ action: drop, from: blocked }]`),
      );
      expect.unreachable();
    } catch (error) {
      expect((error as ConfigError).diagnostics).toMatchObject([
        { file, line: 2, column: 1, code: "bad-value", excerpt: "10.0.0.300" },
      ]);
    }
  });
});
