// dissect, the checksum filter and the notation of cases.yaml against scapy, which shares no code with them.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { PACKET_FLAG } from "../../src/batches/layout.ts";
import { loadManifest } from "../../src/config/manifest.ts";
import { BUILTIN, buildCore } from "../../src/filters/build.ts";
import { type Case, readCases } from "../../src/filters/cases.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { runCase } from "../../src/filters/runner.ts";
import { coreOnMemory, dissectAt, MEMORY_BYTES } from "./core.ts";

/** What scapy_packets.py writes. */
interface ScapyPacket {
  name: string;
  layer: 2 | 3;
  hex: string;
  broken: string;
  version: 0 | 4 | 6;
  l3: number;
  l4: number;
  payload: number;
  protocol: number;
  fragment: "first" | "later" | null;
}

const PYTHON = "/usr/bin/python3";
const hasScapy = (() => {
  try {
    execFileSync(PYTHON, ["-c", "import scapy"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();
const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));

describe.skipIf(!hasScapy)(`with scapy (skipped without: ${PYTHON} -c "import scapy")`, () => {
  let packets: ScapyPacket[];
  beforeAll(() => {
    const script = join(import.meta.dirname, "../reference/scapy_packets.py");
    packets = JSON.parse(execFileSync(PYTHON, [script], { encoding: "utf8", maxBuffer: 64 << 20 }));
  });

  test("dissect finds every header where scapy finds it", async () => {
    const bench = await coreOnMemory();
    expect(packets.length).toBeGreaterThan(400);
    for (const { name, layer, hex, version, fragment, ...expected } of packets) {
      const bytes = bytesOf(hex);
      const { flags, ...found } = dissectAt(bench, bytes, layer, MEMORY_BYTES - bytes.length);
      expect({ ...found, flags }, name).toMatchObject({
        error: 0,
        l3: expected.l3,
        l4: expected.l4,
        payload: expected.payload,
        protocol: expected.protocol,
      });
      const kinds = PACKET_FLAG.IPV4 | PACKET_FLAG.IPV6 | PACKET_FLAG.NOT_IP;
      const kind = { 0: PACKET_FLAG.NOT_IP, 4: PACKET_FLAG.IPV4, 6: PACKET_FLAG.IPV6 }[version];
      expect(flags & kinds, name).toBe(kind);
      const pieces = PACKET_FLAG.FRAGMENT | PACKET_FLAG.FIRST_FRAGMENT;
      const piece = { none: 0, first: pieces, later: PACKET_FLAG.FRAGMENT }[fragment ?? "none"];
      expect(flags & pieces, name).toBe(piece);
    }
  });

  describe("the checksum filter", () => {
    let core: WebAssembly.Module;
    let module: WebAssembly.Module;
    let base: Case;
    const folder = join(BUILTIN, "checksum");
    beforeAll(async () => {
      core = new WebAssembly.Module(readFileSync((await buildCore()).wasm));
      module = (await loadFilter(loadManifest(folder, "checksum"))).module;
      base = readCases(folder)[0];
    });
    const ALL = ["ipv4", "tcp", "udp", "icmp"];

    /** One packet, expected to pass with these bytes; counters are not looked at. */
    function failures(packet: ScapyPacket, params: Record<string, string[]>, input: string, output: string) {
      const filter = { ...base.filter, params: { verify: [], fix: [], ...params } };
      const one: Case = {
        ...base,
        filter,
        layer: packet.layer,
        devices: base.devices.map((device) => ({ ...device, layer: packet.layer })),
        packets: [{ in: { hex: input }, bytes: output }],
      };
      return runCase(one, core, module).filter((failure) => !failure.startsWith("counter"));
    }

    test("finds every checksum right that scapy computed", () => {
      for (const packet of packets) {
        expect(failures(packet, { verify: ALL }, packet.hex, packet.hex), packet.name).toEqual([]);
      }
    });
    test("computes what scapy computed, but for fragments", () => {
      const whole = packets.filter(({ fragment }) => fragment === null);
      for (const packet of whole) {
        expect(failures(packet, { fix: ALL }, packet.broken, packet.hex), packet.name).toEqual([]);
      }
    });
    test("drops every packet with a checksum that scapy did not compute", () => {
      for (const packet of packets.filter(({ fragment, version }) => fragment === null && version !== 0)) {
        expect(failures(packet, { verify: ALL }, packet.broken, packet.broken), packet.name).toContain(
          "packet 1: left by drop, not by next",
        );
      }
    });
  });
});

describe.skipIf(!hasScapy)("the notation of cases.yaml writes what scapy writes", () => {
  const pairs: [string, Record<string, unknown>][] = [
    [
      "IP(src='10.0.0.1',dst='10.0.0.2',ttl=9,id=5,flags='DF',tos=4)/UDP(sport=1,dport=2)/b'hello'",
      {
        ipv4: { from: "10.0.0.1", to: "10.0.0.2", ttl: 9, id: 5, flags: "df", tos: 4 },
        udp: { "from-port": 1, "to-port": 2 },
        payload: "hello",
      },
    ],
    [
      "IP(src='10.0.0.1',dst='10.0.0.2',id=0)/TCP(sport=1,dport=2,seq=3,ack=4,flags='SA',window=5,options=[('MSS',1460)])",
      {
        ipv4: { from: "10.0.0.1", to: "10.0.0.2" },
        tcp: {
          "from-port": 1,
          "to-port": 2,
          seq: 3,
          ack: 4,
          flags: ["syn", "ack"],
          window: 5,
          options: "020405b4",
        },
      },
    ],
    [
      "IP(src='10.0.0.1',dst='10.0.0.2',id=0)/ICMP(type=3,code=1)/IP(src='10.0.0.2',dst='10.0.0.3',id=0)/UDP(sport=7,dport=8)",
      {
        ipv4: { from: "10.0.0.1", to: "10.0.0.2" },
        icmp: { type: 3, code: 1, rest: 0 },
        payload: {
          packet: { ipv4: { from: "10.0.0.2", to: "10.0.0.3" }, udp: { "from-port": 7, "to-port": 8 } },
        },
      },
    ],
    [
      "IPv6(src='2001:db8::1',dst='2001:db8::2',hlim=9,fl=5,tc=3)/ICMPv6EchoRequest(id=1,seq=2,data=b'abc')",
      {
        ipv6: { from: "2001:db8::1", to: "2001:db8::2", "hop-limit": 9, flow: 5, class: 3 },
        icmpv6: { type: 128, id: 1, seq: 2 },
        payload: "abc",
      },
    ],
    [
      "IPv6(src='::1',dst='::2')/IPv6ExtHdrHopByHop(options=[PadN(optdata=b'\\0'*4)])/IPv6ExtHdrFragment(offset=4,m=1,id=9)/Raw(b'x'*8)",
      {
        ipv6: {
          from: "::1",
          to: "::2",
          extensions: [{ "hop-by-hop": {} }, { fragment: { offset: 32, more: true, id: 9, next: 59 } }],
        },
        payload: "xxxxxxxx",
      },
    ],
    [
      "Ether(src='02:00:00:00:00:01',dst='02:00:00:00:00:02')/Dot1AD(vlan=5)/Dot1Q(vlan=6,prio=7)/IP(src='10.0.0.1',dst='10.0.0.2',id=0)/UDP(sport=1,dport=2)",
      {
        ethernet: {},
        vlan: [{ id: 5 }, { id: 6, priority: 7 }],
        ipv4: { from: "10.0.0.1", to: "10.0.0.2" },
        udp: { "from-port": 1, "to-port": 2 },
      },
    ],
  ];
  test.each(pairs)("%s", (scapy, notation) => {
    const program = `import logging; logging.disable(50)
from scapy.all import *
p = ${scapy}
if IPv6 in p: p[IPv6].hlim = p[IPv6].fields.get('hlim', 64)
sys.stdout.write(bytes(p).hex())`;
    const expected = execFileSync(PYTHON, ["-c", `import sys; ${program}`], { encoding: "utf8" });
    expect(Buffer.from(buildPacket(notation).bytes).toString("hex")).toBe(expected);
  });
});
