// assembly/lib/fragment-table.ts: a fragment finds what the first one of its datagram left, and nothing else; the table
// stays as large as it is.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { compile } from "../../src/filters/build.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { coreOnMemory, DESCRIPTORS, dissectAt } from "./core.ts";

const PROBE = `
import { Packet } from "pktflow/assembly";
import { FragmentTable, fragmentOffset } from "pktflow/assembly/lib/fragment-table";
const at: usize = 131072;
function ns(seconds: u32): u64 { return <u64>seconds * 1000000000; }
export function bytes(datagrams: u32): u32 { return <u32>FragmentTable.bytes(datagrams); }
export function format(datagrams: u32, seed: u32, life: u32): void {
  memory.fill(at, 0, FragmentTable.bytes(datagrams));
  FragmentTable.format(at, datagrams, seed, ns(life));
}
export function put(p: usize, value: u32, now: u32): i32 {
  return FragmentTable.at(at).put(changetype<Packet>(p), value, value + 1, ns(now));
}
export function find(p: usize, now: u32): i32 {
  const t = FragmentTable.at(at);
  if (!t.find(changetype<Packet>(p), ns(now))) return -1;
  return t.other == t.value + 1 ? <i32>t.value : -2;
}
export function remove(p: usize, now: u32): void { FragmentTable.at(at).remove(changetype<Packet>(p), ns(now)); }
export function offset(p: usize): u32 { return fragmentOffset(changetype<Packet>(p)); }
`;

const [KEPT, KNOWN, EVICTED, REFUSED] = [0, 1, 2, -1];
const DATA = 32_768;
type Probe = Record<"bytes" | "format" | "put" | "find" | "remove" | "offset", (...args: number[]) => number>;
let lib: Probe;
let memory: Awaited<ReturnType<typeof coreOnMemory>>;
beforeAll(async () => {
  memory = await coreOnMemory();
  const bytes = await compile("/probe", "probe.ts", new Map([["/probe/probe.ts", PROBE]]));
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  const { exports } = new WebAssembly.Instance(module, { env: { memory: memory.m.memory } });
  lib = exports as unknown as Probe;
});

interface Name {
  family: 4 | 6;
  from: number;
  to: number;
  id: number;
  protocol: number;
}
const plain: Name = { family: 4, from: 1, to: 2, id: 7, protocol: 17 };
const text = ({ family, from, to, id, protocol }: Name) =>
  [family, from, to, id, family === 4 ? protocol : ""].join(" ");

/** Dissects a fragment. @returns its descriptor */
function fragment({ family, from, to, id, protocol }: Name, offset: number): number {
  const payload = { bytes: 16 };
  const notation =
    family === 4
      ? {
          ipv4: { from: `10.0.0.${from}`, to: `10.0.0.${to}`, id, protocol, offset, flags: ["mf"] },
          payload,
        }
      : {
          ipv6: {
            from: `2001:db8::${from}`,
            to: `2001:db8::${to}`,
            extensions: [{ "hop-by-hop": {} }, { fragment: { offset, more: true, id } }],
          },
          payload,
        };
  dissectAt(memory, buildPacket(notation).bytes, 3, DATA);
  return DESCRIPTORS;
}

test("IPv4: source, destination, identification and protocol name a datagram (RFC 791, 3.2)", () => {
  lib.format(64, 1, 30);
  expect(lib.put(fragment(plain, 0), 5, 0)).toBe(KEPT);
  expect(lib.find(fragment(plain, 16), 1)).toBe(5);
  expect(lib.offset(fragment(plain, 16))).toBe(16);
  for (const other of [{ from: 3 }, { to: 3 }, { id: 8 }, { protocol: 6 }, { family: 6 as const }]) {
    expect(lib.find(fragment({ ...plain, ...other }, 16), 1)).toBe(-1);
  }
});

test("IPv6: source, destination and identification do (RFC 8200, 4.5), behind other extension headers too", () => {
  lib.format(64, 1, 30);
  const name: Name = { ...plain, family: 6, id: 0xdead };
  expect(lib.put(fragment(name, 0), 6, 0)).toBe(KEPT);
  expect(lib.find(fragment(name, 1448), 1)).toBe(6);
  expect(lib.offset(fragment(name, 1448))).toBe(1448);
  for (const other of [{ from: 3 }, { to: 3 }, { id: 8 }, { family: 4 as const }]) {
    expect(lib.find(fragment({ ...name, ...other }, 16), 1)).toBe(-1);
  }
});

test("a second first fragment changes nothing; what is removed or too old is forgotten; what is none has no name", () => {
  lib.format(64, 1, 30);
  lib.put(fragment(plain, 0), 5, 0);
  expect(lib.put(fragment(plain, 0), 9, 10)).toBe(KNOWN);
  expect(lib.find(fragment(plain, 16), 30)).toBe(5);
  expect(lib.find(fragment(plain, 16), 31)).toBe(-1);
  expect(lib.put(fragment(plain, 0), 9, 31)).toBe(KEPT);
  lib.remove(fragment(plain, 0), 31);
  expect(lib.find(fragment(plain, 16), 31)).toBe(-1);
  dissectAt(memory, buildPacket({ ipv4: { from: "10.0.0.1", to: "10.0.0.2" }, udp: {} }).bytes, 3, DATA);
  expect(lib.put(DESCRIPTORS, 1, 31)).toBe(REFUSED);
  expect(lib.find(DESCRIPTORS, 31)).toBe(-1);
  expect(lib.offset(DESCRIPTORS)).toBe(0);
});

describe("of many datagrams", () => {
  const names = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    from: fc.integer({ min: 1, max: 3 }),
    to: fc.integer({ min: 1, max: 3 }),
    id: fc.nat(5),
    protocol: fc.constantFrom(17, 6),
  });
  const event = fc.record({ name: names, isFirst: fc.boolean(), wait: fc.nat(3) });
  test("each is found by its own name or not at all; without an eviction every live one is", () => {
    let evictions = 0;
    let found = 0;
    fc.assert(
      fc.property(
        fc.array(event, { minLength: 60, maxLength: 150 }),
        fc.constantFrom(1, 4, 12, 60),
        (events, room) => {
          lib.format(room, 77, 20);
          const kept = new Map<string, { value: number; until: number }>();
          let now = 0;
          let evicted = false;
          events.forEach(({ name, isFirst, wait }, value) => {
            now += wait;
            const known = kept.get(text(name));
            const live = known !== undefined && now <= known.until;
            const p = fragment(name, isFirst ? 0 : 64);
            const seen = lib.find(p, now);
            if (seen >= 0) expect(live && seen === known.value, `${text(name)} at ${now}`).toBe(true);
            if (live && !evicted) expect(seen).toBe(known.value);
            if (seen >= 0) found++;
            if (!isFirst) return;
            const result = lib.put(p, value, now);
            expect(result === KNOWN).toBe(seen >= 0);
            if (result === EVICTED) {
              evicted = true;
              evictions++;
            }
            if (result !== KNOWN) kept.set(text(name), { value, until: now + 20 });
          });
        },
      ),
      { numRuns: 200 },
    );
    expect(evictions).toBeGreaterThan(100);
    expect(found).toBeGreaterThan(500);
  });
});
