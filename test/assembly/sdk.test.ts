// The SDK's tables, trees and setters against slow references.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DESCRIPTOR, PACKET_FLAG } from "../../src/batches/layout.ts";
import { compile } from "../../src/filters/build.ts";
import { buildPacket } from "../../src/filters/notation.ts";

/** 64-bit words cross as BigInt: only this test does so. */
const PROBE = `
import { Icmp, Ipv4, Ipv6, Packet, Tcp, Udp } from "pktflow/assembly";
import { Edit } from "pktflow/assembly/lib/edit";
import { flowKeyHigh, flowKeyLow, readFlowKey } from "pktflow/assembly/lib/flow";
import { SharedTable } from "pktflow/assembly/lib/shared-table";
import { PrefixTree } from "pktflow/assembly/lib/prefix-tree";
import { WorkerTable } from "pktflow/assembly/lib/worker-table";
export function treeBytes(n: u32): u32 { return <u32>PrefixTree.bytes(n); }
export function treeFormat(at: usize, n: u32): void { PrefixTree.format(at, n); }
export function treeAdd(at: usize, high: u64, low: u64, length: u32, value: u32): bool { return PrefixTree.at(at).add(high, low, length, value); }
export function treeFind(at: usize, high: u64, low: u64): u32 { return PrefixTree.at(at).find(high, low); }
export function tableBytes(n: u32, bytes: u32): u32 { return <u32>WorkerTable.bytes(n, bytes); }
export function tableFormat(at: usize, n: u32, bytes: u32, seed: u64): void { WorkerTable.format(at, n, bytes, seed); }
export function tablePut(at: usize, high: u64, low: u64, now: u64): usize { return WorkerTable.at(at).put(high, low, now); }
export function tableFind(at: usize, high: u64, low: u64): usize { return WorkerTable.at(at).find(high, low); }
export function sharedBytes(n: u32, bytes: u32): u32 { return <u32>SharedTable.bytes(n, bytes); }
export function sharedFormat(at: usize, n: u32, bytes: u32, seed: u64): void { SharedTable.format(at, n, bytes, seed); }
export function sharedPut(at: usize, high: u64, low: u64, now: u64): usize {
  const value = SharedTable.at(at).take<usize>(high, low, now);
  SharedTable.at(at).release();
  return value;
}
export function sharedTake(at: usize): usize { return SharedTable.at(at).take<usize>(0, 1, 1); }
export function flow(p: usize, to: usize): bool {
  const isIp = readFlowKey(changetype<Packet>(p));
  store<u64>(to, flowKeyHigh);
  store<u64>(to, flowKeyLow, 8);
  return isIp;
}
function edit(p: usize): Edit { return Edit.of(changetype<Packet>(p)); }
export function setTtl(p: usize, v: u32): void { edit(p).ttl = <u8>v; }
export function setDscp(p: usize, v: u32): void { edit(p).dscp = <u8>v; }
export function setSource(p: usize, v: u32): void { edit(p).source = v; }
export function setDestination(p: usize, v: u32): void { edit(p).destination = v; }
export function setSource6(p: usize, at: usize): void { edit(p).source6 = at; }
export function setDestination6(p: usize, at: usize): void { edit(p).destination6 = at; }
export function setSourcePort(p: usize, v: u32): void { edit(p).sourcePort = <u16>v; }
export function setDestinationPort(p: usize, v: u32): void { edit(p).destinationPort = <u16>v; }
export function viewIpv4(at: usize, tos: u32, id: u32, fragment: u32, ttl: u32, source: u32, destination: u32): void {
  const ip = Ipv4.of(changetype<Packet>(at));
  ip.tos = <u8>tos; ip.id = <u16>id; ip.fragment = <u16>fragment; ip.ttl = <u8>ttl;
  ip.source = source; ip.destination = destination;
}
export function viewIpv6(at: usize, traffic: u32, label: u32, hops: u32, a: u64, b: u64, c: u64, d: u64): void {
  const ip = Ipv6.of(changetype<Packet>(at));
  ip.trafficClass = <u8>traffic; ip.flowLabel = label; ip.hopLimit = <u8>hops;
  ip.setSource(a, b); ip.setDestination(c, d);
}
export function viewTcp(at: usize, from: u32, to: u32, sequence: u32, ack: u32, flags: u32, window: u32, urgent: u32): void {
  const tcp = Tcp.of(changetype<Packet>(at));
  tcp.sourcePort = <u16>from; tcp.destinationPort = <u16>to; tcp.sequence = sequence; tcp.acknowledgment = ack;
  tcp.flags = <u8>flags; tcp.window = <u16>window; tcp.urgent = <u16>urgent;
}
export function viewUdp(at: usize, from: u32, to: u32): void {
  const udp = Udp.of(changetype<Packet>(at));
  udp.sourcePort = <u16>from; udp.destinationPort = <u16>to;
}
export function viewIcmp(at: usize, type: u32, code: u32, identifier: u32, sequence: u32): void {
  const icmp = Icmp.of(changetype<Packet>(at));
  icmp.type = <u8>type; icmp.code = <u8>code; icmp.identifier = <u16>identifier; icmp.sequence = <u16>sequence;
}
`;

type Probe = Record<string, (...args: (number | bigint)[]) => number>;
const AT = 65_536;
let probe: Probe;
let u8: Uint8Array;
let view: DataView;
beforeAll(async () => {
  const bytes = await compile("/probe", "probe.ts", new Map([["/probe/probe.ts", PROBE]]));
  const memory = new WebAssembly.Memory({ initial: 8, maximum: 8, shared: true });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  probe = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Probe;
  u8 = new Uint8Array(memory.buffer);
  view = new DataView(memory.buffer);
});

describe("PrefixTree", () => {
  const half = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const ones = (1n << 128n) - 1n;
  const masked = (address: bigint, length: number) => address & (ones ^ ((1n << BigInt(128 - length)) - 1n));
  test("finds the longest prefix that covers an address, as a search through all of them does", () => {
    // Few different bits, so that prefixes nest and part at every depth.
    const near = fc
      .tuple(half, fc.integer({ min: 0, max: 3 }))
      .map(([bits, few]) => (few > 0 ? bits & 0x8000000000000003n : bits));
    const prefix = fc.record({ high: near, low: near, length: fc.integer({ min: 0, max: 128 }) });
    fc.assert(
      fc.property(
        fc.array(prefix, { maxLength: 40 }),
        fc.array(fc.tuple(near, near), { maxLength: 20 }),
        (prefixes, others) => {
          u8.fill(0, AT, AT + probe["treeBytes"](prefixes.length));
          probe["treeFormat"](AT, prefixes.length);
          prefixes.forEach(({ high, low, length }, i) => {
            expect(probe["treeAdd"](AT, high, low, length, i)).toBe(1);
          });
          const addresses = [...others, ...prefixes.map(({ high, low }) => [high, low])];
          for (const [high, low] of addresses) {
            const address = (high << 64n) | low;
            let best = -1;
            let longest = -1;
            prefixes.forEach(({ high: h, low: l, length }, i) => {
              if (length >= longest && masked(address, length) === masked((h << 64n) | l, length))
                [best, longest] = [i, length];
            });
            expect(probe["treeFind"](AT, high, low) | 0).toBe(best);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
  test("says when it is full, and is as it was", () => {
    u8.fill(0, AT, AT + probe["treeBytes"](1));
    probe["treeFormat"](AT, 1);
    expect(probe["treeAdd"](AT, 0n, 1n, 128, 1)).toBe(1);
    expect(probe["treeAdd"](AT, 0n, 2n, 128, 2)).toBe(0);
    expect(probe["treeFind"](AT, 0n, 1n)).toBe(1);
    expect(probe["treeFind"](AT, 0n, 2n) | 0).toBe(-1);
  });
});

describe.each([
  ["WorkerTable", "table", "tablePut"],
  ["SharedTable", "shared", "sharedPut"],
])("%s", (_, table, put) => {
  test("keeps what was used last, gives zeros for what is new, and never mixes two keys up", () => {
    const bytes = probe[`${table}Bytes`](64, 8);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 400 }), (keys) => {
        u8.fill(0, AT, AT + bytes);
        probe[`${table}Format`](AT, 64, 8, 12345n);
        const counts = new Map<number, bigint>();
        keys.forEach((key, i) => {
          const value = probe[put](AT, BigInt(key % 3), BigInt(key), BigInt(i + 1));
          const before = view.getBigUint64(value, true);
          // Forgotten meanwhile, or remembered rightly.
          if (before !== 0n) expect(before).toBe(counts.get(key));
          counts.set(key, before + 1n);
          view.setBigUint64(value, before + 1n, true);
          if (table === "table") expect(probe["tableFind"](AT, BigInt(key % 3), BigInt(key))).toBe(value);
        });
        // Up to 8 keys fit any set.
        if (table !== "table") return;
        for (const key of keys.slice(-8))
          expect(probe["tableFind"](AT, BigInt(key % 3), BigInt(key))).not.toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

test("SharedTable: a value that is taken is let go of before the next one is", () => {
  u8.fill(0, AT, AT + probe["sharedBytes"](8, 8));
  probe["sharedFormat"](AT, 8, 8, 1n);
  expect(probe["sharedTake"](AT)).not.toBe(0);
  expect(() => probe["sharedTake"](AT)).toThrow("unreachable");
});

describe("Edit: a field that is set leaves every checksum as a whole computation gives it", () => {
  const D = 1024;
  const DATA = 2048;
  const SCRATCH = 4096;
  type Layers = Record<string, Record<string, unknown>>;

  /** Puts a packet and its descriptor where the probe finds them. */
  function place(layers: object, protocol: number, version: 4 | 6, hasTransport: boolean): void {
    const { bytes, partial } = buildPacket(layers);
    u8.fill(0, D, D + 64);
    u8.set(bytes, DATA);
    const word = (offset: number, value: number) => view.setUint32(D + offset, value, true);
    word(DESCRIPTOR.DATA, DATA);
    word(DESCRIPTOR.LENGTH, bytes.length);
    view.setUint16(D + DESCRIPTOR.L4, hasTransport ? (version === 4 ? 20 : 40) : 0, true);
    u8[D + DESCRIPTOR.PROTOCOL] = protocol;
    word(
      DESCRIPTOR.FLAGS,
      (version === 4 ? PACKET_FLAG.IPV4 : PACKET_FLAG.IPV6) | (partial ? PACKET_FLAG.CSUM_PARTIAL : 0),
    );
  }
  const port = fc.integer({ min: 0, max: 65_535 });
  const ipv4 = fc.integer({ min: 0, max: 0xffffffff });
  const text4 = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
  const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const text6 = (bytes: Uint8Array) =>
    Array.from({ length: 8 }, (_, i) => (bytes[2 * i] * 256 + bytes[2 * i + 1]).toString(16)).join(":");
  const checksum = fc.constantFrom("right", "partial");
  const payload = fc.integer({ min: 0, max: 40 }).map((bytes) => ({ bytes }));

  test.each(["tcp", "udp"] as const)("IPv4 and %s: addresses, ports, TTL, DSCP", (transport) => {
    fc.assert(
      fc.property(
        fc.tuple(ipv4, ipv4, port, port),
        fc.tuple(ipv4, ipv4, port, port),
        checksum,
        payload,
        fc.nat(63),
        (from, to, sum, data, dscp) => {
          const layers = (v: typeof from, ttl: number, tos: number): Layers => ({
            ipv4: { from: text4(v[0]), to: text4(v[1]), ttl, tos },
            [transport]: { "from-port": v[2], "to-port": v[3], checksum: sum },
            payload: data,
          });
          place(layers(from, 64, 1), transport === "tcp" ? 6 : 17, 4, true);
          probe["setSource"](D, to[0]);
          probe["setDestination"](D, to[1]);
          probe["setSourcePort"](D, to[2]);
          probe["setDestinationPort"](D, to[3]);
          probe["setTtl"](D, 7);
          probe["setDscp"](D, dscp);
          const { bytes } = buildPacket(layers(to, 7, (dscp << 2) | 1));
          expect(Buffer.from(u8.slice(DATA, DATA + bytes.length)).toString("hex")).toBe(
            Buffer.from(bytes).toString("hex"),
          );
        },
      ),
      { numRuns: 500 },
    );
  });
  test.each(["tcp", "udp", "icmpv6"] as const)("IPv6 and %s: addresses, hop limit, DSCP", (transport) => {
    fc.assert(
      fc.property(ipv6, ipv6, ipv6, ipv6, payload, (a, b, c, d, data) => {
        const layers = (from: Uint8Array, to: Uint8Array, hops: number, traffic: number): Layers => ({
          ipv6: { from: text6(from), to: text6(to), "hop-limit": hops, class: traffic },
          [transport]: transport === "icmpv6" ? { id: 1 } : { "from-port": 1, "to-port": 2 },
          payload: data,
        });
        place(layers(a, b, 64, 2), { tcp: 6, udp: 17, icmpv6: 58 }[transport], 6, true);
        u8.set(c, SCRATCH);
        u8.set(d, SCRATCH + 16);
        probe["setSource6"](D, SCRATCH);
        probe["setDestination6"](D, SCRATCH + 16);
        probe["setTtl"](D, 3);
        probe["setDscp"](D, 46);
        const { bytes } = buildPacket(layers(c, d, 3, (46 << 2) | 2));
        expect(Buffer.from(u8.slice(DATA, DATA + bytes.length)).toString("hex")).toBe(
          Buffer.from(bytes).toString("hex"),
        );
      }),
      { numRuns: 300 },
    );
  });
  const u16 = fc.integer({ min: 0, max: 65_535 });
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  const octet = fc.integer({ min: 0, max: 255 });
  const out = (bytes: Uint8Array) => Buffer.from(u8.slice(DATA, DATA + bytes.length)).toString("hex");
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
  const flagsOf = (bits: number) => FLAGS.filter((_, i) => (bits & (1 << i)) !== 0);
  test("the views Ipv4 and Tcp: every field that can be set", () => {
    const ip = fc.record({ tos: octet, id: u16, ttl: octet, source: u32, destination: u32 });
    const tcp = fc.tuple(u16, u16, u32, u32, octet, u16, u16);
    fc.assert(
      fc.property(fc.tuple(ip, tcp), fc.tuple(ip, tcp), checksum, payload, (before, after, sum, data) => {
        const layers = ([ip4, t]: typeof before): Layers => ({
          ipv4: {
            ...{ from: text4(ip4.source), to: text4(ip4.destination) },
            ...{ tos: ip4.tos, id: ip4.id, ttl: ip4.ttl },
          },
          tcp: {
            ...{ "from-port": t[0], "to-port": t[1], seq: t[2], ack: t[3], flags: flagsOf(t[4]) },
            ...{ window: t[5], urgent: t[6], checksum: sum },
          },
          payload: data,
        });
        place(layers(before), 6, 4, true);
        const [{ tos, id, ttl, source, destination }, t] = after;
        probe["viewIpv4"](D, tos, id, 0, ttl, source, destination);
        probe["viewTcp"](D, ...t);
        const { bytes } = buildPacket(layers(after));
        expect(out(bytes)).toBe(hex(bytes));
      }),
      { numRuns: 300 },
    );
  });
  test("the views Ipv6 and Udp, and Ipv4 and Icmp", () => {
    const words = fc.tuple(...Array.from({ length: 4 }, () => fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })));
    const addresses = ([a, b, c, d]: bigint[]) =>
      [
        [a, b],
        [c, d],
      ].map(([high, low]) => {
        const digits = ((high << 64n) | low).toString(16).padStart(32, "0");
        return digits.match(/.{4}/g)!.join(":");
      });
    const label = fc.integer({ min: 0, max: 0xfffff });
    const six = fc.record({ words, traffic: octet, label, hops: octet, ports: fc.tuple(u16, u16) });
    fc.assert(
      fc.property(six, six, checksum, payload, (before, after, sum, data) => {
        const layers = ({ words, traffic, label, hops, ports }: typeof before): Layers => {
          const [from, to] = addresses(words);
          const ipv6 = { from, to, "hop-limit": hops, class: traffic, flow: label };
          return {
            ipv6,
            udp: { "from-port": ports[0], "to-port": ports[1], checksum: sum },
            payload: data,
          };
        };
        place(layers(before), 17, 6, true);
        probe["viewIpv6"](D, after.traffic, after.label, after.hops, ...after.words);
        probe["viewUdp"](D, ...after.ports);
        const { bytes } = buildPacket(layers(after));
        expect(out(bytes)).toBe(hex(bytes));
      }),
      { numRuns: 300 },
    );
    // Zeros as often as not, for then a sum of nothing but zeros comes about.
    const few = fc.constantFrom(0, 0, 8);
    const echo = fc.tuple(few, few, few, few);
    fc.assert(
      fc.property(echo, echo, u32, fc.constantFrom(0, 2, 9), (before, after, source, zeros) => {
        const layers = ([type, code, id, seq]: number[], from: number): Layers => ({
          ipv4: { from: text4(from), to: "10.0.0.1" },
          icmp: { type, code, id, seq },
          payload: { hex: "00".repeat(zeros) },
        });
        place(layers(before, 1), 1, 4, true);
        const l3 = { tos: 0, id: 0, fragment: 0, ttl: 64 };
        probe["viewIpv4"](D, l3.tos, l3.id, l3.fragment, l3.ttl, source, 0x0a000001);
        probe["viewIcmp"](D, ...after);
        const { bytes } = buildPacket(layers(after, source));
        expect(out(bytes)).toBe(hex(bytes));
      }),
      { numRuns: 300 },
    );
  });
  test("readFlowKey: packets have the same key where addresses, protocol and ports are the same, and only there", () => {
    const few = fc.integer({ min: 0, max: 2 });
    const shape = fc.record({ v6: fc.boolean(), tcp: fc.boolean(), a: few, b: few, from: few, to: few });
    const keyOf = ({
      v6,
      tcp,
      a,
      b,
      from,
      to,
    }: {
      v6: boolean;
      tcp: boolean;
      a: number;
      b: number;
      from: number;
      to: number;
    }) => {
      const address = (n: number) => (v6 ? `2001:db8::${n}` : `10.0.0.${n}`);
      const transport = { "from-port": from, "to-port": to };
      const ip = { from: address(a), to: address(b) };
      place({ [v6 ? "ipv6" : "ipv4"]: ip, [tcp ? "tcp" : "udp"]: transport }, tcp ? 6 : 17, v6 ? 6 : 4, true);
      expect(probe["flow"](D, SCRATCH)).toBe(1);
      return Buffer.from(u8.slice(SCRATCH, SCRATCH + 16)).toString("hex");
    };
    fc.assert(
      fc.property(shape, shape, (one, other) => {
        expect(keyOf(one) === keyOf(other)).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
      { numRuns: 1000 },
    );
    place({ hex: "ff00" }, 0, 4, false);
    view.setUint32(D + DESCRIPTOR.FLAGS, PACKET_FLAG.NOT_IP, true);
    expect(probe["flow"](D, SCRATCH)).toBe(0);
  });
  test("UDP without a checksum stays without (RFC 768); a packet without a transport header has its IPv4 header's alone", () => {
    const udp = { "from-port": 1, "to-port": 2, checksum: "none" };
    place({ ipv4: { from: "10.0.0.1", to: "10.0.0.2" }, udp }, 17, 4, true);
    probe["setSource"](D, 0x0a000003);
    probe["setDestinationPort"](D, 53);
    const { bytes } = buildPacket({
      ipv4: { from: "10.0.0.3", to: "10.0.0.2" },
      udp: { ...udp, "to-port": 53 },
    });
    expect([...u8.slice(DATA, DATA + bytes.length)]).toEqual([...bytes]);
    const fragment = {
      ipv4: { from: "10.0.0.1", to: "10.0.0.2", offset: 8, protocol: 17 },
      payload: { bytes: 16 },
    };
    place(fragment, 17, 4, false);
    probe["setDestination"](D, 0x0a000004);
    const moved = buildPacket({ ...fragment, ipv4: { ...fragment.ipv4, to: "10.0.0.4" } });
    expect([...u8.slice(DATA, DATA + moved.bytes.length)]).toEqual([...moved.bytes]);
  });
});
