/** Reading captures: formats, byte orders, clocks, link types; made by scapy, editcap or hand, judged by tshark. */
import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import {
  block,
  concat,
  Folder,
  fields,
  hasScapy,
  hasTool,
  option,
  pcapFile,
  readCapture,
  scapy,
  tshark,
  udp4,
} from "../support/pcap.ts";

const folder = new Folder();
afterAll(() => folder.remove());
const A = [10, 0, 0, 1];
const B = [10, 0, 0, 2];
const packet = udp4(A, B, [1000, 2000]);
const hasTshark = hasTool("tshark", "editcap");

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("a pcap file", () => {
  for (const bigEndian of [false, true]) {
    for (const nanoseconds of [false, true]) {
      const name = `${bigEndian ? "big" : "little"}-endian with ${nanoseconds ? "nano" : "micro"}seconds`;
      const records = [
        { seconds: 1_700_000_000, fraction: 123_456, bytes: packet },
        { seconds: 0xffff_ffff, fraction: 999_999, bytes: udp4(B, A, [5, 6], 33) },
      ];
      const bytes = pcapFile(records, { bigEndian, nanoseconds });
      const unit = nanoseconds ? 1n : 1000n;

      test(`${name} gives its packets with their times`, async () => {
        const { packets, error, layer } = await readCapture(folder.file(`${name}.pcap`, bytes));
        expect(error).toBeUndefined();
        expect(layer).toBe(3);
        expect(packets.map((p) => hex(p.bytes))).toEqual(records.map((r) => hex(r.bytes)));
        expect(packets.map((p) => p.timestamp)).toEqual(
          records.map((r) => BigInt(r.seconds) * 1_000_000_000n + BigInt(r.fraction) * unit),
        );
      });

      test.skipIf(!hasTshark)(`${name}: tshark reads the same from it (needs tshark)`, () => {
        const path = folder.file(
          `${name}-tshark.pcap`,
          pcapFile(records.slice(0, 1), { bigEndian, nanoseconds }),
        );
        const fraction = String(123_456n * unit).padStart(9, "0");
        expect(tshark(path, ["frame.time_epoch", "frame.len", "udp.dstport"])).toEqual([
          [`1700000000.${fraction}`, "36", "2000"],
        ]);
      });
    }
  }

  test.each([
    [1, 2],
    [12, 3],
    [14, 3],
    [101, 3],
    [228, 3],
    [229, 3],
  ])("of link type %i has packets of layer %i", async (linkType, layer) => {
    const bytes = pcapFile([{ seconds: 1, fraction: 2, bytes: packet }], { linkType });
    const read = await readCapture(folder.file("link.pcap", bytes));
    expect(read.layer).toBe(layer);
    expect(read.packets).toHaveLength(1);
  });

  test.each([
    [
      113,
      /has link type 113 \(LINUX_SLL\): only Ethernet \(1\), raw IP \(101\), IPv4 \(228\) and IPv6 \(229\)/,
    ],
    [0x3ff_fff0, /has link type 67108848: only/],
  ])("of link type %i is refused by name", async (linkType, message) => {
    const path = folder.file("other.pcap", pcapFile([], { linkType }));
    await expect(readCapture(path)).rejects.toThrow(message);
  });

  test("of a packet cut to the snaplen gives what was captured", async () => {
    const record = { seconds: 1, fraction: 0, bytes: packet.subarray(0, 24), length: 1500 };
    const { packets } = await readCapture(folder.file("cut.pcap", pcapFile([record], { snaplen: 24 })));
    expect(packets[0].bytes).toEqual(packet.subarray(0, 24));
  });

  test("with a record longer than a slot: it is counted, the others pass, nothing is lost", async () => {
    const sizes = [100, 1473, 1472, 9000, 0];
    const records = sizes.map((size, i) => ({ seconds: i, fraction: 0, bytes: udp4(A, B, [1, 2], size) }));
    const path = folder.file("long.pcap", pcapFile(records));
    const { packets, counted, error } = await readCapture(path, {}, { room: 1500 });
    expect(error).toBeUndefined();
    expect(packets.map((p) => p.bytes.length)).toEqual([128, 1500, 28]);
    // Dissect counts what is delivered as received; what is not delivered was received and dropped.
    expect(counted).toEqual({ "too-long": 2, rxPackets: 2, rxBytes: 1501 + 9028, rxDatagrams: 2 });
  });

  test("without packets ends at once", async () => {
    const { packets, error } = await readCapture(folder.file("none.pcap", pcapFile([])));
    expect([packets, error]).toEqual([[], undefined]);
  });

  test("larger than the window arrives whole", async () => {
    const records = Array.from({ length: 1500 }, (_, i) => ({
      seconds: i,
      fraction: i,
      bytes: udp4(A, B, [i, 65535 - i], (i * 7) % 1400),
    }));
    const { packets, error } = await readCapture(folder.file("large.pcap", pcapFile(records)));
    expect(error).toBeUndefined();
    expect(packets.map((p) => hex(p.bytes))).toEqual(records.map((r) => hex(r.bytes)));
  });
});

describe.skipIf(!hasScapy || !hasTshark)("captures of other programs (needs scapy, tshark, editcap)", () => {
  const original = folder.file("scapy.pcap");
  const scapyNg = folder.file("scapy.pcapng");
  const make = `
packets = []
for i in range(200):
    p = IP(src="10.0.%d.1" % (i % 7), dst="192.0.2.%d" % (i % 250)) / UDP(sport=i+1, dport=53) / Raw(bytes([i & 255]) * (i * 5 % 1200))
    if i % 3 == 1: p = IPv6(src="2001:db8::%x" % i, dst="fd00::1") / TCP(sport=i+1, dport=80) / Raw(b"x" * (i % 50))
    packets.append(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / p)
    packets[-1].time = 1600000000 + i * 0.25
`;
  const expected = () => tshark(original, ["frame.len", "frame.time_epoch"]);

  test("scapy's pcap, and what editcap makes of it", async () => {
    scapy(`${make}wrpcap(sys.argv[1], packets)`, original);
    const formats = ["pcap", "nsecpcap", "pcapng"];
    const paths = formats.map((format) => {
      const path = folder.file(`editcap.${format}`);
      execFileSync("editcap", ["-F", format, original, path], { stdio: "pipe" });
      return path;
    });
    const wanted = expected();
    expect(wanted).toHaveLength(200);
    for (const path of [original, ...paths]) {
      const { packets, error, layer } = await readCapture(path);
      expect(error).toBeUndefined();
      expect(layer).toBe(2);
      const seen = packets.map((p) => [String(p.bytes.length), epoch(p.timestamp)]);
      expect(seen).toEqual(wanted);
    }
  });

  test("scapy's pcapng", async () => {
    scapy(`${make}w = PcapNgWriter(sys.argv[2])\nfor p in packets: w.write(p)\nw.close()`, original, scapyNg);
    const { packets, error } = await readCapture(scapyNg);
    expect(error).toBeUndefined();
    const wanted = tshark(scapyNg, ["frame.len", "frame.time_epoch"]);
    expect(wanted).toHaveLength(200);
    expect(packets.map((p) => [String(p.bytes.length), epoch(p.timestamp)])).toEqual(wanted);
  });
});

function epoch(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, "0")}`;
}

describe("a pcapng file", () => {
  const section = (be: boolean) =>
    block(be, 0x0a0d0d0a, fields(be, [4, 0x1a2b3c4d], [2, 1], [2, 0], [8, -1]));
  const network = (be: boolean, linkType = 101, options: Uint8Array[] = [], snaplen = 0) =>
    block(be, 1, fields(be, [2, linkType], [2, 0], [4, snaplen]), ...options);
  const resolution = (be: boolean, value: number) => option(be, 9, fields(be, [1, value]));
  const offset = (be: boolean, seconds: bigint) => option(be, 14, fields(be, [8, seconds]));
  const enhanced = (be: boolean, index: number, time: bigint, bytes = packet, options: Uint8Array[] = []) => {
    const high = time >> 32n;
    const low = time & 0xffff_ffffn;
    const head = fields(be, [4, index], [4, high], [4, low], [4, bytes.length], [4, bytes.length]);
    return block(be, 6, head, pad(bytes), ...options);
  };
  const pad = (bytes: Uint8Array) => concat([bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]);
  const comment = (be: boolean) => option(be, 1, new TextEncoder().encode("a comment"));
  const end = new Uint8Array(4);

  const read = (name: string, parts: Uint8Array[]) => readCapture(folder.file(name, concat(parts)));
  const seconds = 1_700_000_000n;

  const resolutions: [name: string, value: number, time: bigint, ns: bigint][] = [
    ["seconds", 0, seconds, seconds * 1_000_000_000n],
    ["milliseconds", 3, seconds * 1000n + 7n, seconds * 1_000_000_000n + 7_000_000n],
    ["microseconds", 6, seconds * 1_000_000n + 7n, seconds * 1_000_000_000n + 7_000n],
    ["10^-8", 8, seconds * 100_000_000n + 7n, seconds * 1_000_000_000n + 70n],
    ["nanoseconds", 9, seconds * 1_000_000_000n + 7n, seconds * 1_000_000_000n + 7n],
    ["10^-10, rounded down", 10, seconds * 10_000_000_000n + 79n, seconds * 1_000_000_000n + 7n],
    ["2^-10", 0x80 | 10, seconds * 1024n + 512n, seconds * 1_000_000_000n + 500_000_000n],
    ["2^-32 (NTP)", 0x80 | 32, (seconds << 32n) + (3n << 30n), seconds * 1_000_000_000n + 750_000_000n],
  ];
  for (const bigEndian of [false, true]) {
    const order = bigEndian ? "big-endian" : "little-endian";
    test.each(resolutions)(`${order}, times in %s`, async (_, value, time, ns) => {
      const parts = [
        section(bigEndian),
        network(bigEndian, 101, [comment(bigEndian), resolution(bigEndian, value), end]),
        enhanced(bigEndian, 0, time),
      ];
      const { packets, error } = await read("resolution.pcapng", parts);
      expect(error).toBeUndefined();
      expect(packets).toEqual([{ bytes: packet, timestamp: ns }]);
      if (hasTshark)
        expect(tshark(folder.file("resolution.pcapng"), ["frame.time_epoch"])).toEqual([[epoch(ns)]]);
    });

    test(`${order}, with if_tsoffset`, async () => {
      const options = [offset(bigEndian, seconds - 5n), resolution(bigEndian, 6)];
      const parts = [
        section(bigEndian),
        network(bigEndian, 101, options),
        enhanced(bigEndian, 0, 5_000_001n),
      ];
      const { packets } = await read("offset.pcapng", parts);
      expect(packets[0].timestamp).toBe(seconds * 1_000_000_000n + 1000n);
    });
  }

  test("a negative if_tsoffset", async () => {
    const parts = [section(true), network(true, 101, [offset(true, -3n)]), enhanced(true, 0, 10_000_000n)];
    const { packets } = await read("negative.pcapng", parts);
    expect(packets[0].timestamp).toBe(7_000_000_000n);
  });

  test("has a clock of its own for each interface, and forgets them at the next section", async () => {
    const parts = [
      section(false),
      network(false, 101, [resolution(false, 9)]),
      network(false, 228, [resolution(false, 3)]),
      enhanced(false, 1, 5n),
      enhanced(false, 0, 5n),
      section(true),
      network(true, 229),
      enhanced(true, 0, 5n),
    ];
    const { packets, error } = await read("interfaces.pcapng", parts);
    expect(error).toBeUndefined();
    expect(packets.map((p) => p.timestamp)).toEqual([5_000_000n, 5n, 5_000n]);
  });

  test("with simple packets, obsolete packets, options, comments and blocks nobody knows", async () => {
    const parts = [
      section(false),
      block(false, 0x0bad, new Uint8Array(40)),
      network(false, 101, [], 30),
      block(false, 4, new Uint8Array(8)),
      enhanced(false, 0, 9n, packet, [comment(false), end]),
      block(false, 3, fields(false, [4, packet.length]), pad(packet.subarray(0, 30))),
      block(false, 0x4000_0bad, new Uint8Array(1_500_000)),
      block(false, 2, fields(false, [2, 0], [2, 3], [4, 0], [4, 11], [4, 36], [4, 36]), packet),
    ];
    const { packets, error } = await read("blocks.pcapng", parts);
    expect(error).toBeUndefined();
    expect(packets).toEqual([
      { bytes: packet, timestamp: 9000n },
      { bytes: packet.subarray(0, 30), timestamp: 9000n },
      { bytes: packet, timestamp: 11_000n },
    ]);
  });

  const head = [section(false), network(false)];
  const start = head[0].length + head[1].length;
  const damaged = (at: number, value: number, bytes = enhanced(false, 0, 1n)) => {
    const copy = new Uint8Array(bytes);
    copy.set(fields(false, [4, value]), at);
    return copy;
  };
  const refusals: [name: string, parts: Uint8Array[], message: RegExp][] = [
    ["block length 8", [...head, damaged(4, 8)], new RegExp(`block at byte ${start} claims to be 8 bytes`)],
    ["block length 70", [...head, damaged(4, 70)], /claims to be 70 bytes long/],
    ["4 GiB block", [...head, damaged(4, 0xffff_fffc)], /is 4294967292 bytes long, and 524288 is the most/],
    ["lengths that differ", [...head, damaged(64, 72)], /68 bytes long by its start and 72 by its end/],
    [
      "4 GiB captured",
      [...head, damaged(20, 0xffff_ffff)],
      /claims 4294967295 captured bytes in a block of 68/,
    ],
    ["captured beyond the block", [...head, damaged(20, 37)], /claims 37 captured bytes in a block of 68/],
    ["an unknown interface", [...head, damaged(8, 1)], /came by interface 1, and there are 1 before it/],
    ["a packet block of 16", [...head, block(false, 6, new Uint8Array(4))], /only 16 bytes long/],
    ["another layer", [...head, network(false, 1)], /link type 1 and the first one 101/],
    ["a useless link type", [...head, network(false, 113)], /has link type 113 \(LINUX_SLL\)/],
    [
      "an option without end",
      [...head, network(false, 101, [fields(false, [2, 9], [2, 99])])],
      /reaches beyond/,
    ],
    [
      "a section of version 2",
      [...head, block(false, 0x0a0d0d0a, fields(false, [4, 0x1a2b3c4d], [2, 2], [2, 0], [8, -1]))],
      /pcapng version 2.0/,
    ],
    ["a section without byte order", [...head, damaged(8, 0, section(false))], /has no byte-order magic/],
  ];
  test.each(refusals)("with %s is read until there", async (_, parts, message) => {
    const good = enhanced(false, 0, 1n);
    const { packets, error } = await read("damaged.pcapng", [...head, good, ...parts.slice(2)]);
    expect(packets).toHaveLength(1);
    const shifted = new RegExp(message.source.replace(String(start), String(start + good.length)));
    expect(error?.message).toMatch(shifted);
    expect(error?.message).toContain("damaged.pcapng: ");
  });

  test("without an interface is refused", async () => {
    await expect(read("no-interface.pcapng", [section(false)])).rejects.toThrow(/has no interface block/);
  });

  test("with more interfaces than anyone has is refused", async () => {
    const many = Array.from({ length: 4100 }, () => network(false));
    const { error } = await read("many.pcapng", [section(false), ...many]);
    expect(error?.message).toMatch(/one more than 4096/);
  });
});

describe("what is no capture", () => {
  test.each([
    ["gzip", gzipSync(pcapFile([])), /is gzip-compressed: decompress it first/],
    ["text", new TextEncoder().encode("hello world"), /is neither pcap nor pcapng: .* 68 65 6c 6c/],
    ["an empty file", new Uint8Array(0), /is empty/],
    [
      "three bytes",
      new Uint8Array([0xd4, 0xc3, 0xb2]),
      /truncated file header at byte 0: .* 3 of its 24 bytes/,
    ],
    ["pcap 2.2", damagedVersion(), /is pcap version 2.2, and only 2.4/],
  ])("%s is refused before anything runs", async (_, bytes, message) => {
    await expect(readCapture(folder.file("not", bytes))).rejects.toThrow(message);
  });

  test("a file that is not there, a folder", async () => {
    await expect(readCapture(folder.file("missing.pcap"))).rejects.toMatchObject({
      code: "ENOENT",
      message: expect.stringMatching(/^open .*missing\.pcap: ENOENT/),
    });
    await expect(readCapture(folder.path)).rejects.toMatchObject({ code: "EISDIR" });
  });

  function damagedVersion() {
    const bytes = pcapFile([]);
    bytes[6] = 2;
    return bytes;
  }
});

describe("a record that lies about its length", () => {
  test.each([262145, 0x7fff_ffff, 0xffff_ffff])(
    "%i captured bytes: what was before it is delivered",
    async (claim) => {
      const records = [1, 2].map((seconds) => ({ seconds, fraction: 0, bytes: packet }));
      const bytes = pcapFile(records);
      bytes.set(fields(false, [4, claim]), 24 + 52 + 8);
      const { packets, error } = await readCapture(folder.file("lie.pcap", bytes));
      expect(packets).toHaveLength(1);
      expect(error?.message).toMatch(new RegExp(`record at byte 76 claims ${claim} captured bytes`));
    },
  );
});
