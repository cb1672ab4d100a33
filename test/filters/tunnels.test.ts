// Tunnels there and back: what goes in comes out as it was, whatever its size; every packet between is as long as said at most,
// and another's eyes (scapy, tshark) find nothing wrong with it. Reference: fragments put together slowly.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { datagrams } from "../reference/fragments.ts";
import { hasTool } from "../support/pcap.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

interface Tunnel {
  name: string;
  kind: string;
  words: string;
  local: string;
  remote: string;
  /** Longest packet that goes in, and longest one outside. */
  mtu: number;
  outer: number;
  /** Ethernet frames go through it. */
  frames?: boolean;
}

const V4 = { local: "198.51.100.1", remote: "203.0.113.1" };
const V6 = { local: "2001:db8:1::1", remote: "2001:db8:2::1" };
const TUNNELS: Tunnel[] = [
  { name: "ipip over IPv4", kind: "ipip", words: "", ...V4, mtu: 1480, outer: 1500 },
  { name: "ipip over IPv6", kind: "ipip", words: "", ...V6, mtu: 1460, outer: 1500 },
  { name: "ipip over IPv4, small", kind: "ipip", words: "mtu: 100", ...V4, mtu: 100, outer: 120 },
  {
    name: "ipip over IPv4, cut outside",
    kind: "ipip",
    words: "mtu: 100, fragment: outer",
    ...V4,
    mtu: 100,
    outer: 120,
  },
  {
    name: "ipip over IPv6, cut outside",
    kind: "ipip",
    words: "mtu: 200, fragment: outer",
    ...V6,
    mtu: 200,
    outer: 240,
  },
  { name: "gre over IPv4", kind: "gre", words: "", ...V4, mtu: 1476, outer: 1500 },
  {
    name: "gre over IPv6",
    kind: "gre",
    words: "key: 7, checksum: true, sequence: true",
    ...V6,
    mtu: 1444,
    outer: 1500,
  },
  {
    name: "gre, small",
    kind: "gre",
    words: "mtu: 90, checksum: true, sequence: true",
    ...V4,
    mtu: 90,
    outer: 122,
  },
  {
    name: "gre over IPv6, cut outside",
    kind: "gre",
    words: "mtu: 200, fragment: outer, key: 1",
    ...V6,
    mtu: 200,
    outer: 248,
  },
  {
    name: "frames in gre",
    kind: "gre",
    words: "carries: ethernet",
    frames: true,
    ...V4,
    mtu: 1462,
    outer: 1500,
  },
  { name: "vxlan over IPv4", kind: "vxlan", words: "vni: 5", frames: true, ...V4, mtu: 1450, outer: 1500 },
  { name: "vxlan over IPv6", kind: "vxlan", words: "vni: 5", frames: true, ...V6, mtu: 1430, outer: 1500 },
  {
    name: "vxlan over IPv6, cut outside",
    kind: "vxlan",
    words: "vni: 5, mtu: 150, fragment: outer",
    frames: true,
    ...V6,
    mtu: 150,
    outer: 220,
  },
];

const QUOTE = (address: string) => JSON.stringify(address);
function pipeline({ kind, words, local, remote, frames }: Tunnel): string {
  const common = words === "" ? "" : `, ${words}`;
  return `
pktflow: 1
devices: { inside: { kind: ${frames ? "tap" : "tun"} }, outside: { kind: tun } }
filters:
  into: { kind: ${kind}, action: encap, local: ${QUOTE(local)}, remote: ${QUOTE(remote)}, too-big: long${common} }
  out-of: { kind: ${kind}, action: decap, local: ${QUOTE(remote)}, remote: ${QUOTE(local)}${common} }
paths:
  there: { from: inside, through: [{ into: { long: refused } }], to: outside }
  back: { from: outside, through: [out-of], to: inside }
  refused: { to: drop }`;
}

const size = fc.oneof(
  { weight: 2, arbitrary: fc.nat(300) },
  { weight: 1, arbitrary: fc.integer({ min: 1100, max: 1472 }) },
);
const packet = fc
  .record({
    is4: fc.boolean(),
    df: fc.boolean(),
    bytes: size,
    tos: fc.nat(63).map((dscp) => dscp * 4),
    ttl: fc.integer({ min: 1, max: 255 }),
    options: fc.constantFrom("", "", "94040000", "0707040a00000194040000"),
    id: fc.nat(0xffff),
  })
  .map(({ is4, df, bytes, tos, ttl, options, id }) => {
    // To the discard service: others' eyes take the data for a protocol's by its port.
    const transport = { udp: { "from-port": 9, "to-port": 9 }, payload: { bytes: Math.min(bytes, 1452) } };
    const v4 = { from: "10.0.0.1", to: "10.1.0.1", id, tos, ttl, flags: df ? ["df"] : [], options };
    const v6 = { from: "fd00::1", to: "fd01::1", class: tos, "hop-limit": ttl };
    return {
      is4,
      df,
      bytes: buildPacket(is4 ? { ipv4: v4, ...transport } : { ipv6: v6, ...transport }).bytes,
    };
  });

/** What left by a device since the last time. */
function take(worker: VirtualWorker, device: string): Uint8Array[] {
  return worker.left.splice(0).map((one) => {
    expect(one.device).toBe(device);
    return one.bytes;
  });
}

const LINK = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const seen: Uint8Array[] = [];

describe.each(TUNNELS)("$name", (tunnel) => {
  test("what goes in comes out, and nothing between is longer than the network carries", async () => {
    const worker = await VirtualWorker.make(pipeline(tunnel));
    let refused = 0;
    fc.assert(
      fc.property(packet, ({ is4, df, bytes: ip }) => {
        const link = tunnel.frames ? [...LINK, is4 ? 8 : 0x86, is4 ? 0 : 0xdd] : [];
        const bytes = Uint8Array.from([...link, ...ip]);
        worker.send("inside", [bytes]);
        const outside = take(worker, "outside");
        const fits = ip.length <= tunnel.mtu;
        const least = !is4 && ip.length <= 1280 && !tunnel.frames;
        if (!fits && !least && !tunnel.words.includes("outer") && (df || !is4 || tunnel.frames)) {
          expect(outside).toEqual([]);
          refused++;
          return;
        }
        if (fits) expect(outside).toHaveLength(1);
        for (const one of outside) expect(one.length).toBeLessThanOrEqual(tunnel.outer);
        if (seen.length < 2000) seen.push(...outside.map((one) => one.slice()));
        worker.send("outside", datagrams(outside));
        const came = take(worker, "inside");
        expect(
          (tunnel.frames ? came : datagrams(came)).map((one) => Buffer.from(one).toString("hex")),
        ).toEqual([Buffer.from(bytes).toString("hex")]);
      }),
      { numRuns: 300 },
    );
    const { filters } = worker.report();
    expect(filters["into"].counters["too-big"]).toBe(refused);
    expect(filters["into"].counters["no-slot"]).toBe(0);
    expect(filters["out-of"].outputs["drop"]).toBe(0);
    expect(worker.balance().missing).toBe(0);
  });
});

test.skipIf(!hasTool("tshark"))(
  "tshark finds nothing malformed, and every checksum right (needs tshark)",
  () => {
    const file = folder.file("tunnels.pcap");
    // LINKTYPE_RAW
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xa1b2c3d4, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(65_535, 16);
    header.writeUInt32LE(101, 20);
    const records = seen.map((bytes, i) => {
      const record = Buffer.alloc(16);
      record.writeUInt32LE(i, 0);
      record.writeUInt32LE(bytes.length, 8);
      record.writeUInt32LE(bytes.length, 12);
      return Buffer.concat([record, bytes]);
    });
    writeFileSync(file, Buffer.concat([header, ...records]));
    const checks = ["ip", "udp", "tcp"].flatMap((one) => ["-o", `${one}.check_checksum:TRUE`]);
    const wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || ip.fragment.error";
    const run = (filter: string) =>
      spawnSync("tshark", ["-nr", file, ...checks, "-Y", filter], { encoding: "utf8" })
        .stdout.trim()
        .split("\n");
    expect(run(wrong)).toEqual([""]);
    expect(run("frame").length).toBe(seen.length);
  },
);
