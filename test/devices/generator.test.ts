/** Made-up packets: valid to scapy and tshark, deterministic, dealt out exactly, and paced. */
import { execFileSync } from "node:child_process";
import { afterAll, describe, expect, test } from "vitest";
import { HEADROOM } from "../../src/batches/layout.ts";
import { manifest } from "../../src/devices/generator/manifest.ts";
import { generatorFacts, prepareGenerator } from "../../src/devices/generator/prepare.ts";
import { openGeneratorSource } from "../../src/devices/generator/source.ts";
import type { SoftSource } from "../../src/io/types.ts";
import type { ParamType, ParamValues } from "../../src/params/types.ts";
import { type Packet, readAll, TestMemory } from "../support/packet-memory.ts";
import { Folder, hasScapy, hasTool, pcapFile, scapy, tshark } from "../support/pcap.ts";

const folder = new Folder();
afterAll(() => folder.remove());

interface FlowParams {
  proto?: string;
  from: string;
  to: string;
  "from-port"?: [number, number];
  "to-port"?: [number, number];
  size?: number[];
  count?: number;
}

function paramsOf(flows: FlowParams[], more: ParamValues = {}): ParamValues {
  const list = flows.map((flow) => {
    const range = (ports: [number, number] | undefined, standard: [number, number]) => {
      const [first, last] = ports ?? standard;
      return { first, last };
    };
    return {
      proto: "udp",
      size: [64],
      count: 1,
      ...flow,
      "from-port": range(flow["from-port"], [1024, 65535]),
      "to-port": range(flow["to-port"], [9, 9]),
    };
  });
  return { flows: list, packets: 0, seed: 1, queues: 1, ...more };
}

function open(params: ParamValues, queue = 0) {
  const facts = generatorFacts(params);
  const memory = new TestMemory({ room: Math.max(facts.mtu, 64), extra: facts.bufferBytes });
  const port = memory.port(facts.bufferBytes, { queue, queues: facts.queues, device: 3 });
  const options = structuredClone(prepareGenerator({ id: "g", kind: "generator", params }));
  return { memory, port, source: openGeneratorSource(port, options) };
}

function generate(params: ParamValues, queue = 0): Uint8Array[] {
  const { memory, source } = open(params, queue);
  const { packets, error } = readAll(memory, source);
  expect(error).toBeUndefined();
  expect(memory.freeCount).toBe(memory.slots);
  return packets.map((p) => p.bytes);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const every: FlowParams[] = ["udp", "tcp", "icmp"].flatMap((proto) => [
  { proto, from: "10.77.0.0/29", to: "192.0.2.10/32", size: [64, 65, 1400, 40], count: 9 },
  { proto, from: "2001:db8::/64", to: "fd00::/126", size: [64, 87, 1280], count: 9 },
]);

describe("packets", () => {
  const packets = generate(paramsOf(every, { packets: 54 * 13 }));
  const path = folder.file(
    "all.pcap",
    pcapFile(packets.map((bytes, i) => ({ seconds: i, fraction: 0, bytes }))),
  );

  test.skipIf(!hasScapy)("have the lengths and checksums that scapy computes (needs scapy)", () => {
    const program = `
bad = 0
n = 0
for p in rdpcap(sys.argv[1]):
    n += 1
    q = p.copy()
    for layer in (IP, TCP, UDP, ICMP, ICMPv6EchoRequest):
        if layer in q:
            for f in ("chksum", "cksum", "len"):
                if f in q[layer].fields: delattr(q[layer], f)
    if IPv6 in q: del q[IPv6].plen
    if raw(q) != raw(p): bad += 1; print(p.summary())
print(n, bad)`;
    expect(scapy(program, path).trim()).toBe(`${packets.length} 0`);
  });

  test.skipIf(!hasTool("tshark"))("raise no complaint of tshark's, checksums verified (needs tshark)", () => {
    const checks = ["ip", "tcp", "udp"].flatMap((proto) => ["-o", `${proto}.check_checksum:TRUE`]);
    const columns = [
      "ip.checksum.status",
      "tcp.checksum.status",
      "udp.checksum.status",
      "icmp.checksum.status",
    ];
    const rows = tshark(
      path,
      [...columns, "icmpv6.checksum.status", "frame.len", "_ws.malformed"],
      ...checks,
    );
    expect(rows).toHaveLength(packets.length);
    const seen = new Set<string>();
    for (const [ip, tcp, udp, icmp, icmpv6, , malformed] of rows) {
      seen.add([ip, tcp, udp, icmp, icmpv6].join(" "));
      expect(malformed).toBe("");
    }
    // 1: good. Each packet has its IP version's and its protocol's.
    expect([...seen].sort()).toEqual([" 1   ", "  1  ", "    1", "1 1   ", "1  1  ", "1   1 "].sort());
    expect(rows.map((row) => row[5])).toEqual(packets.map((p) => String(p.length)));
    const wrong = execFileSync("tshark", ["-n", "-r", path, ...checks, "-Y", "_ws.expert.group == Checksum"]);
    expect(wrong.toString()).toBe("");
  });

  test("a UDP checksum of zero is sent as ffff (RFC 768)", () => {
    const all = generate(
      paramsOf(
        [{ from: "10.0.0.1/32", to: "10.0.0.2/32", size: [28], count: 65536, "from-port": [0, 65535] }],
        {
          packets: 65536,
        },
      ),
    );
    const checksums = all.map((p) => (p[26] << 8) | p[27]);
    expect(checksums).not.toContain(0);
    expect(checksums).toContain(0xffff);
  });

  test("carry their time, device and queue, and begin behind the headroom", () => {
    const { memory, source } = open(paramsOf([every[0]]), 0);
    const batch = memory.batch();
    expect(source.receive(batch, 1, 123_456_789_012_345)).toBe(0);
    const d = memory.m.u32[(batch + 16) >>> 2];
    expect(memory.m.u8[d + 24]).toBe(3);
    expect(memory.m.u32[d >>> 2] - memory.m.u32[(d + 56) >>> 2]).toBe(HEADROOM);
    expect(memory.drain(batch)[0].timestamp).toBe(123_456_789_012_345n);
  });
});

describe("flows", () => {
  const tuple = (p: Uint8Array) =>
    `${p.subarray(12, 16).join(".")}:${(p[20] << 8) | p[21]} ${p.subarray(16, 20).join(".")}:${(p[22] << 8) | p[23]}`;

  test("walk through source addresses, source ports, destinations, destination ports, and come round in turn", () => {
    const entry: FlowParams = {
      from: "10.0.0.0/30",
      to: "192.0.2.8/31",
      "from-port": [100, 101],
      "to-port": [53, 54],
      count: 16,
    };
    const packets = generate(paramsOf([entry], { packets: 32 })).map(tuple);
    const expected: string[] = [];
    for (const to of [53, 54]) {
      for (const host of [8, 9]) {
        for (const from of [100, 101]) {
          for (const source of [1, 2]) expected.push(`10.0.0.${source}:${from} 192.0.2.${host}:${to}`);
        }
      }
    }
    expect(packets).toEqual([...expected, ...expected]);
  });

  test("network and broadcast addresses are no hosts, but of a /31 and a /32 all are", () => {
    const sources = (prefix: string, count: number) =>
      generate(paramsOf([{ from: prefix, to: "192.0.2.1/32", count }], { packets: count })).map((p) => p[15]);
    expect(sources("10.0.0.0/29", 6)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(sources("10.0.0.6/31", 2)).toEqual([6, 7]);
    expect(sources("10.0.0.9/32", 1)).toEqual([9]);
  });

  test("of a wide IPv6 prefix carry into the next bytes", () => {
    const packets = generate(
      paramsOf([{ from: "2001:db8::/32", to: "fd00::1/128", size: [48], count: 70000 }], { packets: 70000 }),
    );
    expect(hex(packets[0].subarray(8, 24))).toBe("20010db8000000000000000000000001");
    expect(hex(packets[69999].subarray(8, 24))).toBe("20010db8000000000000000000011170");
  });

  test("of ICMP differ by identifier and count their sequence", () => {
    const entry: FlowParams = {
      proto: "icmp",
      from: "10.0.0.1/32",
      to: "10.0.0.2/32",
      "from-port": [7, 8],
      count: 2,
    };
    const packets = generate(paramsOf([entry], { packets: 6 })).map((p) => hex(p.subarray(24, 28)));
    expect(packets).toEqual(["00070000", "00080000", "00070001", "00080001", "00070002", "00080002"]);
  });

  test("a list of sizes is taken one after the other by each flow", () => {
    const entry: FlowParams = { from: "10.0.0.0/24", to: "10.1.0.1/32", size: [100, 200, 300], count: 2 };
    expect(generate(paramsOf([entry], { packets: 6 })).map((p) => p.length)).toEqual([
      100, 200, 200, 300, 300, 100,
    ]);
  });

  test("the same seed makes the same packets, another seed others of the same flows", () => {
    const packets = (seed: number) => generate(paramsOf(every, { packets: 200, seed }));
    expect(packets(5).map(hex)).toEqual(packets(5).map(hex));
    const [five, six] = [packets(5), packets(6)];
    expect(five.map(hex)).not.toEqual(six.map(hex));
    expect(five.map((p) => hex(p.subarray(0, 8)))).toEqual(six.map((p) => hex(p.subarray(0, 8))));
  });

  test.each([1, 2, 3, 7, 100])("%i queues make together exactly what one makes", (queues) => {
    const one = generate(paramsOf(every, { packets: 1001 }));
    const parts = Array.from({ length: queues }, (_, queue) =>
      generate(paramsOf(every, { packets: 1001, queues }), queue),
    );
    expect(parts.flat().map(hex).sort()).toEqual(one.map(hex).sort());
    parts.forEach((part, queue) => {
      const own = one.filter((_, k) => (k % 54) % queues === queue);
      expect(part.map(hex)).toEqual(own.map(hex));
    });
  });

  const v4 = { from: "10.0.0.0/24", to: "10.0.0.1/32" };
  test.each([
    [
      { from: "10.0.0.0/24", to: "fd00::1/128" },
      /flow 1: from 10.0.0.0\/24 is IPv4 and to fd00::1\/128 is IPv6/,
    ],
    [{ ...v4, proto: "icmpv6" }, /icmpv6 goes over IPv6/],
    [{ ...v4, size: [64, 27] }, /size 27 is too small for udp over IPv4, which takes 28 bytes/],
    [{ ...v4, proto: "tcp", size: [39] }, /size 39 is too small for tcp over IPv4, which takes 40 bytes/],
    [{ from: "fd00::/64", to: "fd00::1/128", size: [47] }, /size 47 is too small for udp over IPv6/],
    [
      { ...v4, "from-port": [1, 2], count: 509 } as FlowParams,
      /count is 509, and its addresses and ports make 508/,
    ],
  ])("that cannot be made are refused: %j", (flow, message) => {
    expect(() => generatorFacts(paramsOf([flow]))).toThrow(message);
  });
});

describe("rate", () => {
  /** Calls receive every `step` ns of a made-up clock. @returns packets by call */
  function run(source: SoftSource, memory: TestMemory, calls: number[]): Packet[][] {
    const batch = memory.batch();
    return calls.map((now) => {
      const packets: Packet[] = [];
      while (source.receive(batch, 64, now) === 0) packets.push(...memory.drain(batch));
      packets.push(...memory.drain(batch));
      return packets;
    });
  }
  const clock = (step: number, calls: number) => Array.from({ length: calls }, (_, i) => 5e9 + i * step);

  test("packets a second: one when each is due, and receive says when the next is", () => {
    const { memory, source } = open(paramsOf([every[0]], { rate: { value: 1000, unit: "packet" } }));
    const batch = memory.batch();
    const at = (now: number) => {
      const wait = source.receive(batch, 64, 5e9 + now);
      return [memory.drain(batch).length, wait];
    };
    expect(at(0)).toEqual([1, 1e6]);
    expect(at(0.25e6)).toEqual([0, 0.75e6]);
    expect(at(1e6)).toEqual([1, 1e6]);
    expect(at(4.5e6)).toEqual([3, 0.5e6]);
  });

  test("over a second it is exact, whatever the steps", () => {
    for (const step of [1e3, 37e3, 1e6, 13e6]) {
      const { memory, source } = open(paramsOf([every[0]], { rate: { value: 12345, unit: "packet" } }));
      const calls = clock(step, Math.floor(1e9 / step) + 1);
      const sent = run(source, memory, calls).flat().length;
      const elapsed = (calls.at(-1)! - calls[0]) / 1e9;
      expect(sent).toBe(Math.floor(elapsed * 12345) + 1);
    }
  });

  test("bits a second count the bytes of IP packets, over all sizes", () => {
    const entries = [
      { ...every[0], size: [64, 1400] },
      { from: "fd00::1/128", to: "fd00::2/128", size: [200] },
    ];
    const { memory, source } = open(paramsOf(entries, { rate: { value: 8e6, unit: "bit" } }));
    const packets = run(source, memory, clock(1e6, 1001)).flat();
    const bytes = packets.reduce((sum, p) => sum + p.bytes.length, 0);
    expect(bytes).toBeGreaterThanOrEqual(1e6);
    expect(bytes).toBeLessThan(1e6 + 1401);
  });

  test("what a stalled worker missed is made up for at most 50 ms' worth", () => {
    const { memory, source } = open(paramsOf([every[0]], { rate: { value: 100_000, unit: "packet" } }));
    const [first, second, third] = run(source, memory, [5e9, 15e9, 15e9 + 1e6]).map((p) => p.length);
    expect([first, second, third]).toEqual([1, 5001, 100]);
  });

  test.each(["packet", "bit"] as const)("is the sum over queues, in %ss", (unit) => {
    const rate = { value: unit === "bit" ? 80e6 : 30_000, unit };
    let units = 0;
    for (let queue = 0; queue < 4; queue++) {
      const { memory, source } = open(paramsOf(every, { rate, queues: 4 }), queue);
      for (const { bytes } of run(source, memory, clock(1e6, 1001)).flat())
        units += unit === "bit" ? 8 * bytes.length : 1;
    }
    expect(units / rate.value).toBeGreaterThan(0.998);
    expect(units / rate.value).toBeLessThan(1.002);
  });
});

test("the parameters are plain data whose enum and names the source knows", () => {
  expect(structuredClone(manifest.params)).toEqual(manifest.params);
  const flows = manifest.params.find((param) => param.name === "flows")!.type as Extract<
    ParamType,
    { kind: "list" }
  >;
  const fields = (flows.of as Extract<ParamType, { kind: "record" }>).fields.map((field) => field.name);
  expect(fields).toEqual(["proto", "from", "to", "from-port", "to-port", "size", "count"]);
});
