// What a filter may not do is refused at build, at the place in the author's source, with what to write instead.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import { wasmPath } from "../../src/filters/build.ts";
import { FilterError } from "../../src/filters/error.ts";
import { loadFilter } from "../../src/filters/library.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "pf-refusals-"));
  vi.stubEnv("XDG_CACHE_HOME", join(home, "cache"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

const IMPORT = `import { OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";\n`;
const PACKET = `${IMPORT}export function packet(p: Packet): Output { return OUTPUT_NEXT; }\n`;

/** What is said of a filter with this index.ts: `FILE:LINE:COLUMN CODE marked | message`, a line each. */
async function refusal(index: string, more: Record<string, string> = {}): Promise<string[]> {
  const folder = join(home, "mine");
  mkdirSync(folder, { recursive: true });
  const files = { "filter.yaml": "summary: Tries.\n", "index.ts": index, ...more };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const error = await loadFilter(loadManifest(folder)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FilterError);
  expect(existsSync(wasmPath(folder))).toBe(false);
  return (error as FilterError).diagnostics.map(({ file, line, column, length, code, message, excerpt }) => {
    const marked = excerpt.slice(column - 1, column - 1 + length);
    return `${file.slice(folder.length + 1)}:${line}:${column} ${code} ${marked} | ${message}`;
  });
}

describe("refused where it stands", () => {
  const refused: [what: string, code: string, said: RegExp][] = [
    [
      "a string literal",
      "let s: string = 'text'; export function init(): void { s = s + s; }",
      /^index\.ts:3:17 string 'text' \| .*parameter/,
    ],
    [
      "a template literal",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the filter's
      "export function init(): void { if (`${1}${2}`.length > 3) unreachable(); }",
      /^index\.ts:3:36 string `.*` \| .*counter\(\)/,
    ],
    [
      "an array literal",
      "const t: u32[] = [1, 2]; export function init(): void { if (t[1] != 2) unreachable(); }",
      /^index\.ts:3:18 array \[1, 2\] \| .*workerState\(\)/,
    ],
    [
      "new",
      "class A { x: u32 = 1 } let a: A | null = null; export function init(): void { a = new A(); }",
      /^index\.ts:3:83 new new A\(\) \| .*@unmanaged/,
    ],
    [
      "a function as a value",
      "function call(f: (x: u32) => u32): u32 { return f(1); } export function init(): void { if (call((x) => x) > 1) unreachable(); }",
      /^index\.ts:3:97 closure \(x\) => x \| .*declare it at the top/,
    ],
    [
      "a value that would be computed before init()",
      "let t: u64 = load<u64>(64); export function init(): void { t++; }",
      /^index\.ts:3:14 start load<u64>\(64\) \| .*constant value/,
    ],
    [
      "a statement that would run before init()",
      "store<u32>(64, 1);",
      /^index\.ts:3:1 start store<u32>\(64, 1\);? \| .*init\(\)/,
    ],
    [
      "a function of the host",
      "declare function elapsed(): u64; export function init(): void { if (elapsed() == 1) unreachable(); }",
      /^index\.ts:3:1 import declare function elapsed\(\): u64 \| elapsed\(\)/,
    ],
    [
      "the clock of JavaScript",
      "export function init(): void { if (Date.now() == 1) unreachable(); }",
      /^index\.ts:3:36 host Date\.now\(\) \| .*now\(\)/,
    ],
    [
      "the console",
      "export function init(): void { console.log('here'); }",
      /^index\.ts:3:32 host console\.log\('here'\) \| .*log\(Logs\.name/,
    ],
    [
      "the allocator",
      "export function init(): void { if (heap.alloc(8) == 1) unreachable(); }",
      /^index\.ts:3:36 host heap\.alloc\(8\) \| .*state/,
    ],
  ];
  test.each(refused)("%s", async (_, code, said) => {
    expect((await refusal(PACKET + code))[0]).toMatch(said);
  });

  test("all of it at once, in other files of the folder too", async () => {
    const rules = "export const words: u32[] = [1];\nexport function more(): string { return 'b'; }\n";
    const index = `${PACKET}import { more, words } from "./rules";
export function init(): void { if (more() == "c" || words.length == 2) unreachable(); }`;
    const said = await refusal(index, { "rules.ts": rules });
    expect(said.map((line) => line.split(" | ")[0]).sort()).toEqual([
      'index.ts:4:46 string "c"',
      "rules.ts:1:29 array [1]",
      "rules.ts:2:41 string 'b'",
    ]);
  });

  test("what leaves nothing in the module is no offence: ERROR(), sizeof, a throw that traps", async () => {
    const folder = join(home, "fine");
    mkdirSync(folder);
    writeFileSync(join(folder, "filter.yaml"), "summary: Fine.\n");
    const code = `export function init(): void { if (load<u8>(1) == 9) throw new Error("no"); }\nif (sizeof<u32>() != 4) ERROR("no"); const size = sizeof<u64>();\n@inline function f(): u32 { return 1; }`;
    writeFileSync(join(folder, "index.ts"), PACKET + code);
    await expect(loadFilter(loadManifest(folder))).resolves.toBeDefined();
  });
});

describe("with a memory of its own", () => {
  const own = { "filter.yaml": "summary: Tries.\nisolation: memory\n" };
  test.each([
    [
      "let t: u64 = 0; export function init(): void { t = Date.now(); }",
      /^index\.ts:3:52 host Date\.now\(\) \| .*now\(\)/,
    ],
    [
      "declare function elapsed(): u64; let t: u64 = 0; export function init(): void { t = elapsed(); const s = 'a string'; }",
      /^index\.ts:3:1 import declare function elapsed\(\): u64 \|/,
    ],
    ["export function init(): void { unknown(); }", /^index\.ts:3:32 TS2304 unknown \|/],
    [
      "export function tick(a: u32): void {}",
      /^index\.ts:3:17 TS\d+ tick \| tick\(\) is called as tick\(\): void/,
    ],
  ])("what it may not do is shown where it stands, too: %s", async (code, said) => {
    const lines = await refusal(PACKET + code, own);
    expect(lines[0]).toMatch(said);
    expect(lines.join("\n")).not.toContain("a string");
  });
});

test("what cannot be read as a program is said before what it lacks", async () => {
  expect(await refusal(`${IMPORT}export function packet(p: Packet): Output { return (; }`)).toEqual([
    expect.stringMatching(/^index\.ts:2:\d+ TS1109 ; \| Expression expected/),
  ]);
});

describe("packet() returns outputs, and nothing that passes for one", () => {
  test.each([
    [
      "export function packet(p: Packet): bool { return p.isIpv4; }",
      /^index\.ts:2:36 no-output bool \| .*OUTPUT_NEXT/,
    ],
    ["export function packet(p: Packet): i32 { return -1; }", /^index\.ts:2:36 no-output i32 \|/],
    [
      "export function packet(p: Packet): Output { if (p.isIpv4) { return 77; } return 0; }",
      /^index\.ts:2:68 no-output 77 \| there is no output 77: it has next \(0\), drop \(1\)$/,
    ],
  ])("%s", async (code, said) => {
    expect((await refusal(IMPORT + code))[0]).toMatch(said);
  });
});

test("a number that is no output is known beside a parameter of 8 bits, but not where parameters name outputs", async () => {
  const number = `${IMPORT}import { params } from "./params";
export function packet(p: Packet): Output { if (params.ttl > 3) return 2; return 0; }`;
  const manifest = (more: string) => ({
    "filter.yaml": `summary: Tries.\nparams:\n  ttl: { type: u8, default: 1, doc: One. }\n${more}`,
  });
  expect(await refusal(number, manifest(""))).toEqual([
    "index.ts:3:72 no-output 2 | there is no output 2: it has next (0), drop (1)",
  ]);
  const outputs = "  to: { type: list, of: output, default: [drop], doc: Where to. }\n";
  for (const [name, text] of Object.entries(manifest(outputs))) writeFileSync(join(home, "mine", name), text);
  expect((await loadFilter(loadManifest(join(home, "mine")))).bytes.length).toBeGreaterThan(0);
});

describe("imports", () => {
  test.each([
    ['import fs from "fs";', "fs"],
    [
      'import { one } from "../shared";\nexport function tick(): void { if (one == 1) unreachable(); }',
      "../shared",
    ],
    ['export { one } from "lodash";', "lodash"],
  ])("%s", async (statement, name) => {
    writeFileSync(join(home, "shared.ts"), "export const one: u32 = 1;");
    expect((await refusal(PACKET + statement))[0]).toMatch(
      new RegExp(`^index\\.ts:3:\\d+ import "${name.replaceAll(".", "\\.")}" \\| .*its own folder`),
    );
  });
});

describe("what does not fit filter.yaml", () => {
  const manifest = {
    "filter.yaml":
      "summary: Tries.\nparams: { limit: { type: u32, doc: Any. } }\noutputs: { long: Long ones. }\n",
  };
  const returns = (value: string) => `${IMPORT}import { Counters, Outputs, params } from "./params";
export function packet(p: Packet): Output { return ${value}; }`;

  test("an output that it does not name", async () => {
    const [said] = await refusal(returns("Outputs.lomg"), manifest);
    expect(said).toMatch(
      /^index\.ts:3:60 unknown-output lomg \| .*it has next, drop, long: add it under "outputs:"/,
    );
  });
  test("a counter, a parameter", async () => {
    expect((await refusal(returns("<u8>Counters.seen"), manifest))[0]).toMatch(
      /unknown-counter seen \| .*it has none/,
    );
    expect((await refusal(returns("<u8>params.limits"), manifest))[0]).toMatch(/unknown-parameter limits \|/);
  });
  test("an output that is not given", async () => {
    const [said] = await refusal(
      `${IMPORT}export function packet(p: Packet): Output { if (p.isIpv4) return 0; }`,
    );
    expect(said).toMatch(/^index\.ts:2:36 TS2355 Output \| .*OUTPUT_NEXT/);
  });
});

test("a checksum cannot be set by hand, nor a length: views keep them right, raw ones are said to be", async () => {
  const assign = (what: string) =>
    `${IMPORT.replace("{", "{ Tcp, Ipv4,")}export function packet(p: Packet): Output { ${what}; return OUTPUT_NEXT; }`;
  for (const [what, name] of [
    ["Tcp.of(p).checksum = 1", "Tcp"],
    ["Ipv4.of(p).totalLength = 1", "Ipv4"],
  ]) {
    const [said] = await refusal(assign(what));
    expect(said).toMatch(/^index\.ts:2:45 TS2540 .* \| .*keeps? checksums right/);
    expect(said).toContain(`Raw${name}.of(p)`);
  }
});

describe("what is called is called so", () => {
  test.each([
    [
      "export function packet(p: Packet): void {}",
      /^index\.ts:2:17 TS\d+ packet \| packet\(\) is called as packet\(p: Packet\)/,
    ],
    [
      "export function packet(p: f64): u8 { return 0; }",
      /^index\.ts:2:17 TS\d+ packet \| packet\(\) is called as/,
    ],
    [
      "export function packet(p: Packet): Output { return 0; }\nexport function init(a: u32): void {}",
      /^index\.ts:3:17 TS\d+ init \| init\(\) is called as init\(\): void/,
    ],
    ["export function other(): void {}", /^index\.ts:1:1 no-entry .* \| it exports neither packet/],
    [
      "export function packet(p: Packet): Output { return 0; }\nexport function batch(b: usize): void {}",
      /^index\.ts:3:17 no-entry batch \| it exports both packet/,
    ],
  ])("%s", async (code, said) => {
    expect((await refusal(IMPORT + code))[0]).toMatch(said);
  });

  test("a closure is told what to do", async () => {
    const said = await refusal(
      `${PACKET}export function init(): void { let n = 1; const g = (): i32 => n; if (g() > 1) unreachable(); }`,
    );
    expect(said.join("\n")).toMatch(/AS100 n \| Not implemented: Closures \(give the function what it needs/);
  });
});
