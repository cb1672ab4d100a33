/** A capture as a source: truncation, damage, queues, pace, pipes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createWriteStream, existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { preparePcap } from "../../src/devices/pcap/prepare.ts";
import { openPcapSource } from "../../src/devices/pcap/source.ts";
import { type Packet, TestMemory } from "../support/packet-memory.ts";
import { block, concat, Folder, fields, pcapDevice, pcapFile, readCapture, udp4 } from "../support/pcap.ts";

const folder = new Folder();
afterAll(() => folder.remove());
const COPY = fileURLToPath(new URL("../support/capture-copy.mjs", import.meta.url));
const isBuilt = existsSync(new URL("../../build/devices/pcap/sink.js", import.meta.url));
const A = [10, 0, 0, 1];
const B = [10, 0, 0, 2];
const hex = ({ bytes }: Packet) => Buffer.from(bytes).toString("hex");

const records = [3, 0, 20].map((payload, i) => ({
  seconds: 1 + i,
  fraction: i,
  bytes: udp4(A, B, [i, 9], payload),
}));
const pcap = pcapFile(records);
const pcapng = concat([
  block(false, 0x0a0d0d0a, fields(false, [4, 0x1a2b3c4d], [2, 1], [2, 0], [8, -1])),
  block(false, 1, fields(false, [2, 101], [2, 0], [4, 0])),
  ...records.map(({ bytes }) =>
    block(false, 6, fields(false, [4, 0], [4, 0], [4, 7], [4, bytes.length], [4, bytes.length]), bytes),
  ),
]);

/** Offsets at which a record or block ends, that of the file's head first. */
const pcapEnds = endsOf(24, (length) => 16 + length);
const pcapngEnds = endsOf(28 + 20, (length) => 32 + Math.ceil(length / 4) * 4);

function endsOf(head: number, recordBytes: (length: number) => number): number[] {
  const ends = [head];
  for (const { bytes } of records) ends.push(ends.at(-1)! + recordBytes(bytes.length));
  return ends;
}

describe("a truncated capture", () => {
  const whole = records.map((r) => Buffer.from(r.bytes).toString("hex"));

  for (const [name, bytes, ends] of [
    ["pcap", pcap, pcapEnds],
    ["pcapng", pcapng, pcapngEnds],
  ] as const) {
    test(`${name}: cut at any byte, all whole packets come, then an error with the offset of the cut record`, async () => {
      expect(ends.at(-1)).toBe(bytes.length);
      for (let length = 0; length <= bytes.length; length++) {
        const path = folder.file(`cut.${name}`, bytes.subarray(0, length));
        if (length < ends[0]) {
          const wants =
            length === 0 ? /is empty/ : /truncated .* at byte (0|28): the file ends after|no interface/;
          await expect(readCapture(path), `cut at ${length}`).rejects.toThrow(wants);
          continue;
        }
        const { packets, error } = await readCapture(path);
        const complete = ends.filter((end) => end <= length).length - 1;
        expect(packets.map(hex), `cut at ${length}`).toEqual(whole.slice(0, complete));
        const start = ends[complete];
        if (start === length) expect(error, `cut at ${length}`).toBeUndefined();
        else {
          expect(error?.message, `cut at ${length}`).toMatch(
            new RegExp(
              `cut\\.${name}: truncated [a-z ]+ at byte ${start}: the file ends after ${length - start} of its`,
            ),
          );
        }
      }
    });
  }
});

describe("a damaged capture", () => {
  const mutation = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 8,
  });

  test.each([
    ["pcap", pcap],
    ["pcapng", pcapng],
  ])(
    "%s with any bytes changed ends, in order or with an error, and never gives more than the file has",
    async (name, original) => {
      const path = folder.file(`fuzz.${name}`);
      await fc.assert(
        fc.asyncProperty(mutation, fc.integer({ min: 0, max: 64 }), async (changes, cut) => {
          const bytes = new Uint8Array(original);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          folder.file(`fuzz.${name}`, bytes.subarray(0, bytes.length - cut));
          const read = await readCapture(path).catch((error: Error) => ({ packets: [], error }));
          if (read.error !== undefined) {
            expect(read.error.message).toMatch(
              new RegExp(`fuzz\\.${name}: .*(byte|link type|version|pcap|interface)`),
            );
          }
          const total = read.packets.reduce((sum, packet) => sum + packet.bytes.length, 0);
          expect(total).toBeLessThanOrEqual(bytes.length);
        }),
        { numRuns: 500 },
      );
    },
  );

  test("a pcapng of random blocks behind a good beginning ends", async () => {
    const path = folder.file("blocks.pcapng");
    const content = fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.uint8Array({ maxLength: 60 })), {
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(content, async (blocks) => {
        const parts = blocks.map(([type, body]) => block(false, type, body));
        folder.file("blocks.pcapng", concat([pcapng.subarray(0, 48), ...parts]));
        const { packets } = await readCapture(path);
        expect(packets.length).toBeLessThanOrEqual(blocks.length);
      }),
      { numRuns: 500 },
    );
  });
});

describe("queues", () => {
  const flows = Array.from({ length: 400 }, (_, i) => {
    const from = [10, 0, i >> 8, i & 255];
    return [udp4(from, B, [1000 + (i % 50), 53]), udp4(B, from, [53, 1000 + (i % 50)])];
  });
  const fragment = (offset: number) => {
    const bytes = udp4([10, 9, 9, 9], B, [offset, offset + 7]);
    bytes.set(fields(true, [2, 0x2000 | offset]), 6);
    return bytes;
  };
  const others = [
    fragment(0),
    fragment(4),
    fragment(8),
    new Uint8Array([0x99]),
    new Uint8Array(0),
    udp4(A, B, [1, 2]).subarray(0, 20),
  ];
  const all = [...flows.flat(), ...others];
  const bytes = pcapFile(all.map((b, i) => ({ seconds: i, fraction: 0, bytes: b })));
  const path = folder.file("flows.pcap", bytes);

  test.each([2, 3, 8])("%i: each packet belongs to exactly one, in the order of the file", async (queues) => {
    const seen: Packet[][] = [];
    for (let queue = 0; queue < queues; queue++) {
      const { packets, error } = await readCapture(path, { queues }, { queue });
      expect(error).toBeUndefined();
      expect(packets.map((p) => p.timestamp)).toEqual(
        packets.map((p) => p.timestamp).sort((a, b) => (a < b ? -1 : 1)),
      );
      seen.push(packets);
    }
    const together = seen.flat().sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1));
    expect(together.map((p) => p.bytes)).toEqual(all);

    const queueAt = (i: number) =>
      seen.findIndex((list) => list.some((p) => p.timestamp === BigInt(i) * 1_000_000_000n));
    for (let i = 0; i < flows.length; i++) {
      expect(queueAt(2 * i), `both directions of flow ${i}`).toBe(queueAt(2 * i + 1));
    }
    const fragments = [0, 1, 2].map((i) => queueAt(flows.length * 2 + i));
    expect(new Set(fragments).size, "fragments of one packet stay together").toBe(1);
    expect(queueAt(flows.length * 2 + 3), "what is no IP belongs to queue 0").toBe(0);
    expect(queueAt(flows.length * 2 + 4)).toBe(0);
    const share = seen.map((list) => list.length / all.length);
    expect(Math.min(...share), "flows are spread").toBeGreaterThan(0.6 / queues);
  });

  test("the hash sees through Ethernet, VLAN tags and IPv6 extension headers", async () => {
    const ethernet = (type: number[], payload: number[]) =>
      new Uint8Array([...new Array(12).fill(2), ...type, ...payload]);
    const v6 = (from: number, to: number, ports: number[], extension: boolean) => {
      const udp = [...fields(true, [2, ports[0]], [2, ports[1]], [2, 8], [2, 0])];
      const payload = extension ? [17, 0, 0, 0, 0, 0, 0, 0, ...udp] : udp;
      const address = (last: number) => [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), last];
      return [
        0x60,
        0,
        0,
        0,
        0,
        payload.length,
        extension ? 60 : 17,
        64,
        ...address(from),
        ...address(to),
        ...payload,
      ];
    };
    const groups = Array.from({ length: 64 }, (_, i) => [
      ethernet([0x86, 0xdd], v6(1, 2, [1000 + i, 80], false)),
      ethernet([0x81, 0, 0, 5, 0x86, 0xdd], v6(2, 1, [80, 1000 + i], true)),
      ethernet([0x88, 0xa8, 0, 1, 0x81, 0, 0, 5, 0x86, 0xdd], v6(1, 2, [1000 + i, 80], true)),
    ]);
    const arp = ethernet([8, 6], new Array(28).fill(1));
    const list = [...groups.flat(), arp];
    const file = folder.file(
      "ethernet.pcap",
      pcapFile(
        list.map((b, i) => ({ seconds: i, fraction: 0, bytes: b })),
        { linkType: 1 },
      ),
    );
    const zero = await readCapture(file, { queues: 2 }, { queue: 0 });
    const one = await readCapture(file, { queues: 2 }, { queue: 1 });
    const times = new Set(zero.packets.map((p) => Number(p.timestamp / 1_000_000_000n)));
    groups.forEach((_, i) => {
      const group = [3 * i, 3 * i + 1, 3 * i + 2].map((k) => times.has(k));
      expect(new Set(group).size, `flow ${i}`).toBe(1);
    });
    expect(times.has(list.length - 1)).toBe(true);
    expect(zero.packets.length + one.packets.length).toBe(list.length);
    expect(one.packets.length).toBeGreaterThan(30);
  });
});

describe("pace: recorded", () => {
  test("each packet comes when as much time has passed as between it and the first", async () => {
    const times = [0, 0.001, 0.0011, 5, 4, 5.5];
    const list = times.map((t, i) => {
      const seconds = Math.floor(t);
      return {
        seconds: 1000 + seconds,
        fraction: Math.round((t - seconds) * 1e6),
        bytes: udp4(A, B, [i, 1]),
      };
    });
    const prepared = await preparePcap(
      pcapDevice({ read: folder.file("pace.pcap", pcapFile(list)), pace: "recorded" }),
    );
    const memory = new TestMemory({ extra: prepared.facts.bufferBytes });
    const source = openPcapSource(memory.port(prepared.facts.bufferBytes), prepared.source!);
    const batch = memory.batch();
    const start = 77e9;
    const at = (now: number) => {
      const wait = source.receive(batch, 64, start + now);
      return [memory.drain(batch).length, wait];
    };
    expect(at(0)).toEqual([1, 1e6]);
    expect(at(0.4e6)).toEqual([0, 0.6e6]);
    expect(at(1e6)).toEqual([1, 0.1e6]);
    expect(at(2e6)).toEqual([1, 4998e6]);
    // A time before its predecessor's is due at once.
    expect(at(5e9)).toEqual([2, 0.5e9]);
    expect(at(5.5e9)).toEqual([1, Number.POSITIVE_INFINITY]);
    source.close();
    prepared.close();
  });
});

describe("a pipe", () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill();
  });

  test("is read as it is written, and gives nothing while there is nothing", async () => {
    const path = folder.file("pipe");
    execFileSync("mkfifo", [path]);
    const writer = createWriteStream(path);
    writer.write(pcap.subarray(0, 10));
    const preparing = preparePcap(pcapDevice({ read: path }));
    await sleep(50);
    writer.write(pcap.subarray(10, 60));
    const prepared = await preparing;
    expect(prepared.facts.layer).toBe(3);
    const memory = new TestMemory({ extra: prepared.facts.bufferBytes });
    const source = openPcapSource(memory.port(prepared.facts.bufferBytes), structuredClone(prepared.source!));
    const batch = memory.batch();
    const dry = source.receive(batch, 64, 1);
    expect(dry).toBeGreaterThan(0);
    expect(dry).toBeLessThan(100e6);
    expect(memory.drain(batch)).toEqual([]);
    await new Promise<void>((resolve) => writer.end(pcap.subarray(60), () => resolve()));
    let wait = 0;
    const packets: Packet[] = [];
    for (let i = 0; i < 1000 && wait !== Number.POSITIVE_INFINITY; i++) {
      wait = source.receive(batch, 64, 1);
      packets.push(...memory.drain(batch));
    }
    expect(packets.map((p) => p.bytes)).toEqual(records.map((r) => r.bytes));
    source.close();
    prepared.close();
  });

  test("that ends in a packet is a truncated capture; more than a pipe holds streams through", async () => {
    const path = folder.file("pipe2");
    execFileSync("mkfifo", [path]);
    const many = pcapFile(
      Array.from({ length: 5000 }, (_, i) => ({ seconds: i, fraction: 0, bytes: udp4(A, B, [i, 1], 500) })),
    );
    const file = folder.file("many.pcap", many.subarray(0, many.length - 1));
    children.push(spawn("sh", ["-c", `cat ${file} > ${path}`]));
    const { packets, error } = await readCapture(path);
    expect(packets).toHaveLength(4999);
    expect(error?.message).toMatch(/truncated record at byte \d+: the file ends after 543 of its 544 bytes/);
  });

  test("cannot be spread over queues, nor can standard input", async () => {
    const path = folder.file("pipe3");
    execFileSync("mkfifo", [path]);
    children.push(spawn("sh", ["-c", `sleep 5 > ${path}`]));
    await expect(preparePcap(pcapDevice({ read: path, queues: 2 }))).rejects.toThrow(
      /device "trace": .*pipe3 can be read only once, so it cannot be spread over 2 queues/,
    );
    await expect(preparePcap(pcapDevice({ read: "-", queues: 2 }))).rejects.toThrow(
      /standard input can be read only once/,
    );
  });
});

test("a capture that neither reads nor writes is refused", async () => {
  await expect(preparePcap(pcapDevice({}))).rejects.toThrow(
    /device "trace": a pcap wants a file to read or a file to write/,
  );
});

describe.skipIf(!isBuilt)("standard input and output (needs build/)", () => {
  const packets = 200_000;
  const record = pcapFile([{ seconds: 7, fraction: 8, bytes: udp4(A, B, [1, 2], 472) }]);
  const input = folder.file("stdin.pcap");
  const output = folder.file("stdout.pcap");

  const copy = (pipeline: string) =>
    JSON.parse(
      execFileSync("sh", [
        "-c",
        `{ ${pipeline}; } 2>&1 >/dev/null`,
        process.execPath,
        COPY,
        input,
        output,
      ]).toString(),
    );

  test("a large capture goes through, and the process does not grow with it", async () => {
    const file = Buffer.alloc(24 + packets * (record.length - 24));
    file.set(record.subarray(0, 24));
    for (let i = 0; i < packets; i++) file.set(record.subarray(24), 24 + i * (record.length - 24));
    folder.file("stdin.pcap", file);
    const { grown, ...counted } = copy('cat "$2" | "$0" "$1" > "$3"');
    expect(counted).toEqual({ received: packets, sent: packets, ioErrors: 0, thrown: [] });
    expect(file.length).toBeGreaterThan(100e6);
    expect(grown).toBeLessThan(24e6);
    const { size } = statSync(output);
    expect(size).toBe(file.length);
  });

  test("when nobody reads the output any more, it says so and counts what was not written", () => {
    const { received, sent, ioErrors, thrown } = copy('"$0" "$1" < "$2" | head -c 1000000 > "$3"');
    expect(thrown).toEqual(["write standard output: EPIPE: Broken pipe"]);
    expect(received).toBe(packets);
    expect(sent + ioErrors).toBe(packets);
    expect(ioErrors).toBeGreaterThan(packets / 2);
  });
});

test("a refused capture leaves no descriptor open", async () => {
  const open = () =>
    readdirSync("/proc/self/fd").filter((fd) => {
      const path = `/proc/self/fd/${fd}`;
      return existsSync(path) && readlinkSync(path).endsWith("refused.pcap");
    });
  const refused = [
    new Uint8Array(0),
    new Uint8Array(30),
    pcapFile([], { linkType: 113 }),
    pcap.subarray(0, 20),
  ];
  for (const bytes of refused) {
    await expect(readCapture(folder.file("refused.pcap", bytes))).rejects.toThrow();
  }
  await readCapture(folder.file("refused.pcap", pcap));
  expect(open()).toEqual([]);
});
