import { beforeAll, describe, expect, it } from "vitest";
import { encodeParams } from "../../src/params/encode.ts";
import { generateParams } from "../../src/params/generate.ts";
import { parseParams } from "../../src/params/parse.ts";
import type { ParamValues } from "../../src/params/types.ts";
import { compile } from "./asc.ts";
import { sample, sampleOutputs, sampleValues } from "./sample.ts";

/** Reads every parameter of the sample through the generated accessors, as a filter would. */
const READER = `
import { setParams } from "pktflow/assembly";
import { Counters, Mode, Outputs, params, RateUnit } from "./params";
export function bind(base: i32): void { setParams(base); }
export function on(): bool { return params.on; }
export function minTtl(): u32 { return params.minTtl; }
export function width(): u32 { return params.width; }
export function mode(): u32 { return params.mode; }
export function modeIsLoose(): bool { return params.mode == Mode.loose; }
export function otherModes(): u32 { return <u32>Mode._8021q * 10 + Mode.default; }
export function count(): u32 { return params.count; }
export function proto(): u32 { return params.proto; }
export function total(): u64 { return params.total; }
export function delta(): i32 { return params.delta; }
export function share(): f64 { return params.share; }
export function timeout(): u64 { return params.timeout; }
export function buffer(): u64 { return params.buffer; }
export function limit(): u64 { return params.limit.value; }
export function limitIsPackets(): bool { return params.limit.unit == RateUnit.packet; }
export function port(): u32 { return params.port; }
export function portsFirst(): u32 { return params.ports.first; }
export function portsLast(): u32 { return params.ports.last; }
export function portsHas(port: u32): bool { return params.ports.has(<u16>port); }
export function outside(): u32 { return params.outside; }
export function outside6(): usize { return params.outside6; }
export function server(): usize { return params.server.address; }
export function serverFamily(): u32 { return params.server.family; }
export function inside(): usize { return params.inside.address; }
export function insideLength(): u32 { return params.inside.length; }
export function insideFamily(): u32 { return params.inside.family; }
export function linkLength(): u32 { return params.link.length; }
export function linkFamily(): u32 { return params.link.family; }
export function hardware(): usize { return params.hardware; }
export function label(): usize { return params.label.address; }
export function labelLength(): u32 { return params.label.length; }
export function default_(): u32 { return params.default_; }
export function sizes(i: i32): u64 { return params.sizes.at(i); }
export function sizesLength(): i32 { return params.sizes.length; }
export function mac(i: i32): usize { return params.macs.at(i); }
export function matrix(i: i32, j: i32): u32 { return params.matrix.at(i).at(j); }
export function matrixLength(i: i32): i32 { return params.matrix.at(i).length; }
export function rulesLength(): i32 { return params.rules.length; }
export function ruleName(i: i32): usize { return params.rules.at(i).name.address; }
export function ruleAction(i: i32): u32 { return params.rules.at(i).action; }
export function ruleFromLength(i: i32): i32 { return params.rules.at(i).from.length; }
export function ruleFromFamily(i: i32, j: i32): u32 { return params.rules.at(i).from.at(j).family; }
export function ruleToPort(i: i32, j: i32): u32 { return params.rules.at(i).toPort.at(j).first; }
export function ruleNearFamily(i: i32): u32 { return params.rules.at(i).near.family; }
export function ruleBurst(i: i32): u32 { return params.rules.at(i).limit.burst; }
export function ruleRate(i: i32): u64 { return params.rules.at(i).limit.rate.value; }
export function hostFamily(i: i32): u32 { return params.hosts.at(i).family; }
export function outputs(): u32 { return <u32>Outputs.next + <u32>Outputs.drop * 10 + <u32>Outputs.refuse * 100; }
export function badTcp(): u32 { return Counters.badTcp; }
export function ruleRun(): u32 { return Counters.rule; }
export function hostRun(): u32 { return Counters.host; }
`;

const BASE = 4096;

describe("the generated params.ts, compiled by asc and run", () => {
  let wasm: Uint8Array;
  let read: Record<string, (...args: number[]) => number | bigint>;
  let memory: WebAssembly.Memory;
  const bytes = (address: number | bigint, length: number) => [
    ...new Uint8Array(memory.buffer, Number(address), length),
  ];

  beforeAll(async () => {
    wasm = await compile({ "reader.ts": READER, "params.ts": generateParams(sample) }, "reader.ts");
    memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
    const module = await WebAssembly.compile(wasm as BufferSource);
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    read = exports as typeof read;
    const parsed = parseParams(sample.params, sampleValues) as { value: ParamValues };
    new Uint8Array(memory.buffer).set(encodeParams(sample.params, parsed.value, sampleOutputs, BASE), BASE);
    read["bind"](BASE);
  });

  it("imports nothing but the memory and puts nothing into it", async () => {
    const module = await WebAssembly.compile(wasm as BufferSource);
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
    expect(sections(wasm)).not.toContain(11); // data
    expect(sections(wasm)).not.toContain(8); // start
  });

  it("reads numbers", () => {
    expect([read.on(), read.minTtl(), read.width(), (read.count() as number) >>> 0, read.proto()]).toEqual([
      1, 200, 0x1234, 0x89abcdef, 17,
    ]);
    expect([read.total(), read.delta(), read.share()]).toEqual([2n ** 53n - 1n, -5, 0.25]);
    expect([read.timeout(), read.buffer()]).toEqual([7_440_000_000_000n, 65536n]);
    expect([read.limit(), read.limitIsPackets()]).toEqual([100_000n, 1]);
  });

  it("reads words by their index, and has constants for them", () => {
    expect([read.mode(), read.modeIsLoose(), read.otherModes(), read.default_()]).toEqual([1, 1, 23, 1]);
  });

  it("reads ports in host order, ranges with both ends", () => {
    expect([read.port(), read.portsFirst(), read.portsLast()]).toEqual([8080, 8000, 8999]);
    expect([7999, 8000, 8999, 9000].map((port) => read.portsHas(port))).toEqual([0, 1, 1, 0]);
  });

  it("reads an IPv4 address as the number that the wire views give", () => {
    expect((read.outside() as number) >>> 0).toBe(0xc6336402);
  });

  it("reads other addresses as bytes in network order", () => {
    const v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    expect(bytes(read.outside6(), 16)).toEqual(v6);
    expect(bytes(read.server(), 16)).toEqual([...mapped, 192, 0, 2, 7]);
    expect(read.serverFamily()).toBe(4);
    expect(bytes(read.inside(), 16)).toEqual([...mapped, 10, 77, 0, 0]);
    expect([read.insideLength(), read.insideFamily()]).toEqual([96 + 24, 4]);
    expect([read.linkLength(), read.linkFamily()]).toEqual([64, 6]);
    expect(bytes(read.hardware(), 6)).toEqual([2, 0, 0x5e, 0x10, 0, 1]);
  });

  it("reads text as UTF-8", () => {
    const text = Buffer.from(bytes(read.label(), Number(read.labelLength()))).toString();
    expect(text).toBe("grün");
  });

  it("reads lists, of lists too", () => {
    expect(read.sizesLength()).toBe(3);
    expect([0, 1, 2].map((i) => read.sizes(i))).toEqual([1n, 1024n, 1_000_000n]);
    expect(bytes(read.mac(1), 6)).toEqual([2, 0, 0, 0, 0, 2]);
    expect([0, 1, 2].map((i) => read.matrixLength(i))).toEqual([3, 0, 1]);
    expect([read.matrix(0, 0), read.matrix(0, 2), read.matrix(2, 0)]).toEqual([1, 3, 4]);
  });

  it("reads records in lists, and what lies in them", () => {
    expect(read.rulesLength()).toBe(2);
    expect(Buffer.from(bytes(read.ruleName(0), 3)).toString()).toBe("web");
    expect([read.ruleAction(0), read.ruleAction(1)]).toEqual([0, 2]);
    expect([read.ruleFromLength(0), read.ruleFromLength(1)]).toEqual([2, 0]);
    expect([read.ruleFromFamily(0, 0), read.ruleFromFamily(0, 1)]).toEqual([4, 6]);
    expect([read.ruleToPort(0, 0), read.ruleToPort(0, 1), read.ruleToPort(1, 0)]).toEqual([443, 8000, 25]);
    expect([read.ruleBurst(0), read.ruleRate(0)]).toEqual([9, 10_000_000n]);
    expect(read.hostFamily(0)).toBe(6);
  });

  it("shows a prefix that was not given by its family, 0", () => {
    expect([read.ruleNearFamily(0), read.ruleNearFamily(1)]).toEqual([0, 4]);
  });

  it("has the outputs' numbers and where each run of counters begins", () => {
    expect(read.outputs()).toBe(210);
    expect([read.badTcp(), read.ruleRun(), read.hostRun()]).toEqual([0, 1, 3]);
  });
});

describe("generateParams", () => {
  const empty = { kind: "none", params: [], outputs: [], counters: [] };

  it("compiles for a filter without parameters", async () => {
    const text = generateParams(empty);
    const entry = `import { Outputs } from "./params"; export function f(): u32 { return Outputs.drop; }`;
    await expect(compile({ "f.ts": entry, "params.ts": text }, "f.ts")).resolves.toBeDefined();
  });

  it("does not let a doc end its comment", () => {
    const doc = "first */ evil(); /* \n second";
    const text = generateParams({ ...empty, params: [{ name: "a", type: { kind: "u8" }, doc }] });
    expect(text).toContain("/** first * / evil(); /* second */");
  });

  it("gives two records of the same name names of their own", async () => {
    const record = (name: string) => ({
      kind: "record" as const,
      fields: [
        {
          name: "rule",
          type: { kind: "record" as const, fields: [{ name, type: { kind: "u8" as const }, doc: "" }] },
          doc: "",
        },
      ],
    });
    const params = ["a", "b"].map((name) => ({ name: `of-${name}`, type: record(name), doc: "" }));
    const entry = `import { params } from "./params"; export function f(): u32 { return params.ofA.rule.a + params.ofB.rule.b; }`;
    const text = generateParams({ ...empty, params });
    await expect(compile({ "f.ts": entry, "params.ts": text }, "f.ts")).resolves.toBeDefined();
  });
});

/** Section ids of a Wasm module, in order. */
function sections(wasm: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < wasm.length; ) {
    ids.push(wasm[at++]);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    at += size;
  }
  return ids;
}
