// What a filter's module may be: anything that could disturb others in the memory they share is refused, with the reason.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sections } from "../../src/filters/binary.ts";
import { buildCore, compile } from "../../src/filters/build.ts";
import { checkModule } from "../../src/filters/check.ts";
import { FilterError } from "../../src/filters/error.ts";
import { growsMemory } from "../../src/filters/instructions.ts";

const I32 = 0x7f;
const V128 = 0x7b;
const name = (text: string) => [text.length, ...Buffer.from(text)];
const vector = (items: number[][]) => [items.length, ...items.flat()];
const section = (id: number, body: number[]) => (body.length === 0 ? [] : [id, body.length, ...body]);

/** 65536 in LEB128. */
const MOST_PAGES = [0x80, 0x80, 4];
const SHARED_MEMORY = [...name("env"), ...name("memory"), 2, 3, 1, ...MOST_PAGES];

interface Parts {
  imports?: number[][];
  memory?: number[];
  abi?: number;
  exports?: string[];
  start?: number[];
  /** Instructions of every function, without the end. */
  /** Type, mutability and value of abi, when it is not an i32. */
  global?: number[];
  code?: number[];
  data?: number[];
}

/** A module in bytes: three functions init(i32), process(i32, i32), other() and the global abi. */
function moduleOf(parts: Parts): Uint8Array {
  const names = parts.exports ?? ["abi", "init", "process"];
  const kinds: Record<string, number[]> = { abi: [3, 0], init: [0, 0], process: [0, 1] };
  const body = [0, ...(parts.code ?? []), 0x0b];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      vector([
        [0x60, 1, I32, 0],
        [0x60, 2, I32, I32, 0],
        [0x60, 0, 0],
      ]),
    ),
    ...section(2, vector(parts.imports ?? [SHARED_MEMORY])),
    ...section(3, [3, 0, 1, 2]),
    ...section(5, parts.memory ?? []),
    ...section(6, [1, ...(parts.global ?? [I32, 0, 0x41, parts.abi ?? 1, 0x0b])]),
    ...section(7, vector(names.map((one) => [...name(one), ...kinds[one]]))),
    ...section(8, parts.start ?? []),
    ...section(10, vector(Array.from({ length: 3 }, () => [body.length, ...body]))),
    ...section(11, parts.data ?? []),
  ]);
}

function reasonFor(bytes: Uint8Array): string {
  try {
    checkModule(bytes, "mine.wasm");
  } catch (error) {
    expect(error).toBeInstanceOf(FilterError);
    return (error as Error).message;
  }
  return "accepted";
}

test("a module that keeps the rules is accepted", () => {
  expect(reasonFor(moduleOf({}))).toBe("accepted");
});

describe("refused", () => {
  const refused: [string, Parts, RegExp][] = [
    [
      "an import besides the memory",
      { imports: [SHARED_MEMORY, [...name("env"), ...name("now"), 0, 2]] },
      /imports the function env\.now.*context/,
    ],
    [
      "an import before the memory",
      { imports: [[...name("env"), ...name("base"), 3, I32, 0], SHARED_MEMORY] },
      /imports the global env\.base/,
    ],
    [
      "a memory by another name",
      { imports: [[...name("env"), ...name("heap"), 2, 3, 1, ...MOST_PAGES]] },
      /imports the memory env\.heap/,
    ],
    [
      "memory that is not shared",
      { imports: [[...name("env"), ...name("memory"), 2, 1, 1, ...MOST_PAGES]] },
      /not shared/,
    ],
    [
      "memory with other limits",
      { imports: [[...name("env"), ...name("memory"), 2, 3, 1, 2]] },
      /1 to 2 pages/,
    ],
    ["no memory", { imports: [] }, /does not import env\.memory/],
    ["a memory of its own", { imports: [], memory: [1, 0, 1] }, /memory of its own/],
    ["an active data segment", { data: [1, 0, 0x41, 8, 0x0b, 1, 42] }, /data segments/],
    ["a passive data segment", { data: [1, 1, 1, 42] }, /data segments/],
    ["a start function", { start: [2] }, /start function.*init\(\)/],
    ["an allocator", { code: [0x41, 1, 0x40, 0, 0x1a] }, /grows memory/],
    ["no process", { exports: ["abi", "init"] }, /does not export the function process/],
    ["no init", { exports: ["abi", "process"] }, /does not export the function init/],
    ["no abi", { exports: ["init", "process"] }, /does not export the global abi/],
    [
      "an abi that JavaScript cannot read",
      { global: [V128, 0, 0xfd, 12, ...new Array(16).fill(0), 0x0b] },
      /the engine does not take it/,
    ],
    ["another abi", { abi: 2 }, /built for ABI 2, this pktflow speaks 1/],
  ];
  test.each(refused)("%s", (_, parts, reason) => {
    expect(reasonFor(moduleOf(parts))).toMatch(reason);
    expect(reasonFor(moduleOf(parts))).toMatch(/^mine\.wasm is refused/);
  });
  test("what is no module: text, nothing, every truncation of one", () => {
    expect(reasonFor(Buffer.from("export function packet"))).toMatch(/no WebAssembly module/);
    const whole = moduleOf({});
    for (let length = 0; length < whole.length; length++) {
      expect(reasonFor(whole.slice(0, length))).toMatch(/refused/);
    }
  });
  test("every byte changed to another: accepted or refused, never another error", () => {
    fc.assert(
      fc.property(fc.nat(moduleOf({}).length - 1), fc.nat(255), (at, value) => {
        const bytes = moduleOf({});
        bytes[at] = value;
        reasonFor(bytes);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("looking for memory.grow passes over every other instruction", () => {
  const CODE = 10;
  const grows = (wasm: Uint8Array) => growsMemory(sections(wasm).find(({ id }) => id === CODE)!.body);
  test("of core, as the compiler makes it, with SIMD", async () => {
    expect(grows(readFileSync((await buildCore()).wasm))).toBe(false);
  });
  test("of atomics, bulk memory, tables of branches, constants of every type and lanes", async () => {
    const probe = `
      export function all(a: usize, n: i32): f64 {
        atomic.cmpxchg<u64>(a, 1, 0x4040404040404040);
        atomic.wait<i32>(a, 0, -1);
        memory.copy(a, a + 64, 64);
        memory.fill(a, 64, 64);
        let v = v128.shuffle<u8>(v128.load(a), i8x16.splat(64), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16);
        v = v128.load_lane<u8>(a, v, 7);
        v128.store(a, i64x2.add(v, i64x2(0x4040404040404040, 64)));
        let r: f64 = 2.25;
        switch (n) { case 0: r += 1.5; case 1: r *= 3; break; case 2: r = <f64>load<f32>(a) + <f64>(<f32>4.5); case 3: r -= 64; }
        return r + <f64>(<u32>r) + <f64>i8x16.extract_lane_u(v128.load(a), 3);
      }`;
    const file = new Map([["/probe/probe.ts", probe]]);
    const bytes = await compile("/probe", "probe.ts", file);
    expect(grows(bytes)).toBe(false);
    file.set("/probe/probe.ts", `${probe}\nexport function grow(): i32 { return memory.grow(1); }`);
    expect(grows(await compile("/probe", "probe.ts", file))).toBe(true);
  });
  test("the byte 0x40 as a constant, a block type and an offset is no memory.grow", () => {
    const innocent = [0x41, 0xc0, 0x00, 0x1a, 0x02, 0x40, 0x0b, 0x41, 0, 0x28, 2, 0x40, 0x1a];
    expect(reasonFor(moduleOf({ code: innocent }))).toBe("accepted");
  });
});
