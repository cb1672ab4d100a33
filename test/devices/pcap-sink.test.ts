/** A capture as a sink: what tshark and scapy read from it, and what happens when the file takes no more. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, test } from "vitest";
import { COMMAND } from "../../src/batches/control.ts";
import { DROP_REASONS } from "../../src/batches/counters.ts";
import { batchCount, batchPop } from "../../src/batches/memory.ts";
import { openDiscardSink } from "../../src/devices/discard/sink.ts";
import { lockAcquire, lockBreak, lockRelease } from "../../src/devices/pcap/lock.ts";
import { type PreparedPcap, preparePcap } from "../../src/devices/pcap/prepare.ts";
import { breakPcapLock, openPcapSink } from "../../src/devices/pcap/sink.ts";
import { openPcapSource } from "../../src/devices/pcap/source.ts";
import { TestMemory } from "../support/packet-memory.ts";
import {
  Folder,
  hasScapy,
  hasTool,
  pcapDevice,
  pcapFile,
  readCapture,
  scapy,
  tshark,
  udp4,
} from "../support/pcap.ts";
import { Pktflow, until } from "../support/pktflow.ts";

const folder = new Folder();
afterAll(() => folder.remove());
const hasTshark = hasTool("tshark");
const A = [10, 0, 0, 1];
const B = [10, 0, 0, 2];
const WRITER = fileURLToPath(new URL("../support/capture-writer.mjs", import.meta.url));
const isBuilt = existsSync(new URL("../../build/devices/pcap/sink.js", import.meta.url));
const PCAP_HEADER = 24;

async function write(path: string, layer: 2 | 3, packets: Uint8Array[], time = (i: number) => BigInt(i)) {
  const prepared = await preparePcap(pcapDevice({ write: path }));
  await prepared.create(layer, [0]);
  const memory = new TestMemory({ extra: prepared.facts.bufferBytes, room: 70_000, slots: 64 });
  const port = memory.port(prepared.facts.bufferBytes);
  const sink = openPcapSink(port, structuredClone(prepared.sink!));
  const batch = memory.batch();
  for (let i = 0; i < packets.length; i += 64) {
    packets.slice(i, i + 64).forEach((bytes, k) => {
      memory.put(batch, bytes, time(i + k));
    });
    sink.transmit(batch);
    expect(batchCount(memory.m, batch)).toBe(0);
    expect(memory.freeCount).toBe(64);
  }
  sink.flush();
  sink.close();
  prepared.close();
  return memory.counted(port);
}

describe.each(["pcap", "pcapng"])("a %s file", (format) => {
  const times = [
    0n,
    1n,
    999_999_999n,
    1_000_000_000n,
    1_700_000_000_123_456_789n,
    4_294_967_295_999_999_999n,
  ];
  const packets = times.map((_, i) => udp4(A, B, [1000 + i, 40000], 10 + i));

  test.skipIf(!hasTshark)(
    "is read by tshark: every packet, no expert's complaint, times to the nanosecond (needs tshark)",
    async () => {
      const path = folder.file(`times.${format}`);
      const counted = await write(path, 3, packets, (i) => times[i]);
      const bytes = packets.reduce((sum, p) => sum + p.length, 0);
      expect(counted).toEqual({ txPackets: 6, txBytes: bytes, txDatagrams: 6 });
      const fields = ["frame.time_epoch", "frame.len", "udp.srcport", "_ws.malformed", "frame.encap_type"];
      expect(tshark(path, fields)).toEqual(
        packets.map((p, i) => [
          `${times[i] / 1_000_000_000n}.${String(times[i] % 1_000_000_000n).padStart(9, "0")}`,
          String(p.length),
          String(1000 + i),
          "",
          "7",
        ]),
      );
    },
  );

  test.skipIf(!hasScapy)("is read by scapy, with Ethernet and without (needs scapy)", async () => {
    for (const [layer, head] of [
      [2, [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]],
      [3, []],
    ] as const) {
      const path = folder.file(`scapy-${layer}.${format}`);
      const frames = packets.map((p) => new Uint8Array([...head, ...p]));
      await write(path, layer, frames);
      const seen = scapy(
        "for p in rdpcap(sys.argv[1]): print(type(p).__name__, p[UDP].sport, raw(p).hex())",
        path,
      );
      const name = layer === 2 ? "Ether" : "IP";
      expect(seen.trimEnd().split("\n")).toEqual(
        frames.map((f, i) => `${name} ${1000 + i} ${Buffer.from(f).toString("hex")}`),
      );
    }
  });

  test("comes back from our own reader as it was, for every length up to 65535", async () => {
    const lengths = [
      0,
      1,
      2,
      3,
      4,
      5,
      63,
      64,
      65,
      1500,
      9000,
      65535,
      ...Array.from({ length: 200 }, (_, i) => 300 * i),
    ];
    const list = lengths.map((length, i) => new Uint8Array(length).fill(i + 1));
    const path = folder.file(`lengths.${format}`);
    await write(path, 3, list, (i) => BigInt(i) * 1_000_000_007n);
    const read = await readCapture(path, {}, { room: 65535 });
    expect(read.error).toBeUndefined();
    // As strings: the matcher takes seconds for large arrays.
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
    expect(read.packets.map((p) => hex(p.bytes))).toEqual(list.map(hex));
    expect(read.packets.map((p) => p.timestamp)).toEqual(list.map((_, i) => BigInt(i) * 1_000_000_007n));
  });

  test("has only its header when nothing came, and replaces what was there", async () => {
    const path = folder.file(`empty.${format}`, new Uint8Array(100_000));
    await write(path, 3, []);
    const { packets, error, layer } = await readCapture(path);
    expect([packets, error, layer]).toEqual([[], undefined, 3]);
  });
});

test("times of devices are CLOCK_MONOTONIC and become wall-clock time; those of captures stay", async () => {
  const path = folder.file("clock.pcap");
  const prepared = await preparePcap(pcapDevice({ write: path }));
  await prepared.create(3, [1]);
  const memory = new TestMemory({ extra: prepared.facts.bufferBytes });
  const sink = openPcapSink(memory.port(prepared.facts.bufferBytes), prepared.sink!);
  const batch = memory.batch();
  memory.put(batch, udp4(A, B, [1, 2]), process.hrtime.bigint(), 0);
  memory.put(batch, udp4(A, B, [1, 2]), 42n, 1);
  sink.transmit(batch);
  sink.flush();
  sink.close();
  prepared.close();
  const { packets } = await readCapture(path);
  expect(Math.abs(Number(packets[0].timestamp / 1_000_000n) - Date.now())).toBeLessThan(2000);
  expect(packets[1].timestamp).toBe(42n);
});

describe("a file that takes no more", () => {
  const many = Array.from({ length: 64 }, (_, i) => udp4(A, B, [i, 1], 1400));

  function fill(prepared: PreparedPcap, rounds: number) {
    const memory = new TestMemory({ extra: prepared.facts.bufferBytes, slots: 64 });
    const port = memory.port(prepared.facts.bufferBytes);
    const sink = openPcapSink(port, prepared.sink!);
    const batch = memory.batch();
    const thrown: unknown[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const bytes of many) memory.put(batch, bytes, BigInt(round));
      try {
        sink.transmit(batch);
      } catch (error) {
        thrown.push(error);
      }
      expect(batchCount(memory.m, batch), "the batch is empty even after an error").toBe(0);
      expect(memory.freeCount).toBe(64);
    }
    for (const action of [() => sink.flush(), () => sink.close()]) {
      try {
        action();
      } catch (error) {
        thrown.push(error);
      }
    }
    return { thrown, counted: memory.counted(port) };
  }

  test("/dev/full: ENOSPC already at the header", async () => {
    const prepared = await preparePcap(pcapDevice({ write: "/dev/full" }));
    await expect(prepared.create(3, [])).rejects.toMatchObject({
      message: "write /dev/full: ENOSPC: No space left on device",
      code: "ENOSPC",
    });
    prepared.close();
  });

  test("/dev/full while running: one error, every packet counted as dropped", async () => {
    const prepared = await preparePcap(pcapDevice({ write: folder.file("unused.pcap") }));
    await prepared.create(3, []);
    const ours = prepared.sink!.fd;
    const fd = openSync("/dev/full", "w");
    prepared.sink = { ...prepared.sink!, file: "/dev/full", fd };
    const { thrown, counted } = fill(prepared, 10);
    expect(thrown).toMatchObject([
      { code: "ENOSPC", message: "write /dev/full: ENOSPC: No space left on device" },
    ]);
    expect(counted).toEqual({ "io-error": 640 });
    closeSync(ours);
    closeSync(fd);
  });

  test.skipIf(!isBuilt).each(["pcap", "pcapng"])(
    "a size limit in the midst of a record: the %s file keeps only whole records, and sums are right (needs build/)",
    async (format) => {
      // In a process of its own, for the limit (RLIMIT_FSIZE) is the process's.
      const path = folder.file(`limited.${format}`);
      const command = 'ulimit -f 700; exec "$0" "$@"';
      const result = spawnSync("sh", ["-c", command, process.execPath, WRITER, path], { encoding: "utf8" });
      expect(result.stderr).toBe("");
      const { codes, sent, drops } = JSON.parse(result.stdout);
      expect(codes).toEqual(["EFBIG"]);
      const ioErrors = drops[DROP_REASONS.indexOf("io-error")];
      expect(sent.packets + ioErrors).toBe(700);
      expect(sent.packets).toBeGreaterThan(100);
      expect(ioErrors).toBeGreaterThan(100);
      expect(sent.bytes).toBe(sent.packets * 1001);
      const { packets, error } = await readCapture(path);
      expect(error).toBeUndefined();
      expect(packets).toHaveLength(sent.packets);
    },
  );

  test("a pipe that nobody reads any more: EPIPE, the process lives, sums are right", async () => {
    const path = folder.file("broken-pipe");
    execFileSync("mkfifo", [path]);
    const reader = spawn("head", ["-c", "100000", path], { stdio: ["ignore", "pipe", "inherit"] });
    const received: Buffer[] = [];
    reader.stdout.on("data", (chunk) => received.push(chunk));
    const prepared = await preparePcap(pcapDevice({ write: path }));
    await prepared.create(3, []);
    const { thrown, counted } = fill(prepared, 20);
    expect(thrown).toMatchObject([{ code: "EPIPE", message: expect.stringContaining("broken-pipe: EPIPE") }]);
    expect(counted["txPackets"] ?? 0).toBeLessThan(1280);
    expect((counted["txPackets"] ?? 0) + counted["io-error"]).toBe(1280);
    prepared.close();
  });
});

describe("a pipe", () => {
  test("that is read slowly gets every byte", async () => {
    const path = folder.file("slow-pipe");
    execFileSync("mkfifo", [path]);
    const copy = folder.file("slow.pcap");
    const reader = spawn("sh", ["-c", `dd bs=1000 if=${path} of=${copy} 2>/dev/null`]);
    const closed = new Promise((resolve) => reader.on("close", resolve));
    const packets = Array.from({ length: 2000 }, (_, i) => udp4(A, B, [i, 1], 1000));
    await write(path, 3, packets);
    await closed;
    expect((await readCapture(copy)).packets).toHaveLength(2000);
  });
});

describe("a pipe that packets of devices go to, which wait for nobody", () => {
  /** Two ports of one pipe, whose reader reads only when it is told to. */
  async function live(name: string) {
    const path = folder.file(name);
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const prepared = await preparePcap(pcapDevice({ write: path }));
    await prepared.create(3, [0], true);
    const memory = new TestMemory({ extra: 2 * prepared.facts.bufferBytes + 200_000, room: 2000, slots: 64 });
    const lock = memory.take(4);
    const ports = [0, 1].map((queue) => memory.port(prepared.facts.bufferBytes, { lock, queue }));
    const sinks = ports.map((port) => openPcapSink(port, structuredClone(prepared.sink!)));
    const batch = memory.batch();
    let sent = 0;
    /** One packet by one port, its number in its ports, as it was given. */
    const send = (at: number) => {
      memory.put(batch, udp4(A, B, [at, sent++], 900 + (sent % 100)), 0n);
      sinks[at].transmit(batch);
      expect(batchCount(memory.m, batch)).toBe(0);
    };
    const chunks: Buffer[] = [];
    /** @returns whether there was anything */
    const read = () => {
      const chunk = Buffer.alloc(10_000);
      try {
        const bytes = readSync(reader, chunk);
        chunks.push(chunk.subarray(0, bytes));
        return bytes > 0;
      } catch {
        return false;
      }
    };
    const sum = (what: string) => ports.reduce((all, port) => all + (memory.counted(port)[what] ?? 0), 0);
    return { memory, ports, sinks, send, read, chunks, sum, prepared, reader };
  }

  test("drops, counted, what finds no room, and tears no record, whoever writes when", async () => {
    const { sinks, send, read, chunks, sum, prepared, reader } = await live("live-pipe");
    // More than the pipe and both buffers hold; from time to time somebody reads a little.
    for (let i = 0; i < 2000; i++) {
      send((i * 7) % 3 === 0 ? 0 : 1);
      if (i % 5 === 0) for (const sink of sinks) sink.flush();
      if (i % 40 === 0) read();
    }
    expect(sum("would-block")).toBeGreaterThan(100);
    while (sinks.some(({ pending }) => pending)) {
      while (read());
      for (const sink of sinks) sink.flush();
    }
    for (const sink of sinks) sink.close();
    while (read());
    prepared.close();
    closeSync(reader);
    expect(sum("txPackets") + sum("would-block")).toBe(2000);
    const copy = folder.file("live.pcap");
    writeFileSync(copy, Buffer.concat(chunks));
    const { packets, error } = await readCapture(copy);
    expect(error).toBeUndefined();
    expect(packets).toHaveLength(sum("txPackets"));
    for (const at of [0, 1]) {
      const numbers = packets
        .map(({ bytes }) => new DataView(bytes.buffer, bytes.byteOffset))
        .filter((view) => view.getUint16(20) === at)
        .map((view) => view.getUint16(22));
      expect(numbers.length).toBeGreaterThan(10);
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
  });

  test("that nobody reads does not hold up a stop, and nothing follows half a record", async () => {
    const { memory, ports, sinks, send, sum, prepared, reader, read, chunks } = await live("dead-pipe");
    for (let i = 0; i < 400; i++) send(i % 2);
    for (const sink of sinks) sink.flush();
    for (const { command } of ports) memory.m.i32[command >>> 2] = COMMAND.STOP;
    // The one that has begun a record comes first, as it does where it is waited for.
    for (const sink of sinks) sink.close();
    expect(sum("txPackets") + sum("would-block")).toBe(400);
    expect(sum("txPackets")).toBeGreaterThan(0);
    while (read());
    prepared.close();
    closeSync(reader);
    const copy = folder.file("dead.pcap");
    writeFileSync(copy, Buffer.concat(chunks));
    expect((await readCapture(copy)).packets).toHaveLength(sum("txPackets"));
  });

  test.skipIf(!isBuilt)("that nobody opens: a signal ends the wait for a reader", async () => {
    const pipe = folder.file("unopened");
    const file = folder.file("unopened.yaml");
    execFileSync("mkfifo", [pipe]);
    writeFileSync(
      file,
      `pktflow: 1
devices:
  load: { kind: generator, flows: { from: 10.0.0.1, to: 10.0.0.2 } }
  out: { kind: pcap, write: ${pipe} }
paths: { main: { from: load, to: out } }
`,
    );
    const running = new Pktflow(["run", file, "--quiet"]);
    // Node.js minds SIGTERM from the start.
    const SIGHUP = 1n;
    await until("it minds signals", () => {
      const status = readFileSync(`/proc/${running.child.pid}/status`, "utf8");
      return ((BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(status)![1]}`) >> (SIGHUP - 1n)) & 1n) === 1n;
    });
    expect(await running.stop("SIGHUP")).toMatchObject({ status: 0, stderr: "" });
  });
});

describe("several workers", () => {
  test.skipIf(!isBuilt)("write one file: no record is torn, none is lost (needs build/)", async () => {
    const path = folder.file("shared.pcap");
    const prepared = await preparePcap(pcapDevice({ write: path }));
    await prepared.create(3, [0]);
    const memory = new TestMemory({ extra: 4 * prepared.facts.bufferBytes + 400_000, slots: 64 });
    const lock = memory.take(4);
    const packets = 3000;
    const workers = [0, 1, 2, 3].map((queue) => {
      const { m: _, ...port } = memory.port(prepared.facts.bufferBytes, {
        lock,
        queue,
        free: memory.batch(),
      });
      const descriptors = [0, 1, 2, 3].map(() => batchPop(memory.m, memory.free));
      const batch = memory.batch();
      const options = prepared.sink;
      return run({ memory: memory.m.memory, port, batch, descriptors, options, packets });
    });
    await Promise.all(workers);
    prepared.close();
    const { packets: seen, error } = await readCapture(path);
    expect(error).toBeUndefined();
    expect(seen).toHaveLength(4 * packets);
    const perWorker = [0, 0, 0, 0];
    for (const { bytes } of seen) {
      const queue = bytes[0];
      const number = bytes[1] | (bytes[2] << 8);
      expect(number, "packets of one worker stay in order").toBe(perWorker[queue]++);
      expect(
        bytes.subarray(3).every((byte) => byte === queue),
        "a packet's bytes are its own",
      ).toBe(true);
    }
  });

  function run(workerData: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const worker = new Worker(WRITER, { workerData });
      worker.on("error", reject);
      worker.on("exit", () => resolve());
    });
  }

  test("the lock keeps others out, and is taken from a dead holder only", () => {
    const memory = new TestMemory();
    const { m } = memory;
    const lock = memory.take(4);
    lockAcquire(m, lock, 7);
    expect(lockBreak(m, lock, 8)).toBe(false);
    expect(Atomics.load(m.i32, lock >>> 2)).toBe(7);
    expect(lockBreak(m, lock, 7)).toBe(true);
    lockAcquire(m, lock, 8);
    lockRelease(m, lock);
    expect(Atomics.load(m.i32, lock >>> 2)).toBe(0);
    expect(breakPcapLock({ m, lock, buffer: { address: 65536, bytes: 0 } })).toBe(false);
  });
});

describe("preparing to write", () => {
  test("touches nothing before create", async () => {
    const path = folder.file("later.pcap");
    const prepared = await preparePcap(pcapDevice({ write: path }));
    expect(existsSync(path)).toBe(false);
    await prepared.create(2, []);
    expect(statSync(path).size).toBe(PCAP_HEADER);
    prepared.close();
  });

  test("a capture may not be written over itself, by whatever name", async () => {
    const path = folder.file("itself.pcap", pcapFile([]));
    const other = folder.file("link.pcap");
    execFileSync("ln", ["-s", path, other]);
    for (const name of [path, other]) {
      const prepared = await preparePcap(pcapDevice({ read: path, write: name }));
      await expect(prepared.create(3, [])).rejects.toThrow(
        /is the file that it reads: writing would destroy it/,
      );
      prepared.close();
    }
    expect(readFileSync(path)).toHaveLength(PCAP_HEADER);
  });

  test("a folder that is not there, a file that is a folder", async () => {
    for (const [path, code] of [
      [folder.file("no/such/folder.pcap"), "ENOENT"],
      [folder.path, "EISDIR"],
    ]) {
      const prepared = await preparePcap(pcapDevice({ write: path }));
      await expect(prepared.create(3, [])).rejects.toMatchObject({
        code,
        message: expect.stringContaining(path),
      });
      prepared.close();
    }
  });

  test("one device may read one file and write another", async () => {
    const input = folder.file(
      "both-in.pcap",
      pcapFile([{ seconds: 5, fraction: 6, bytes: udp4(A, B, [1, 2]) }]),
    );
    const output = folder.file("both-out.pcapng");
    const prepared = await preparePcap(pcapDevice({ read: input, write: output }));
    await prepared.create(3, [0]);
    const memory = new TestMemory({ extra: prepared.facts.bufferBytes });
    const port = memory.port(prepared.facts.bufferBytes);
    const source = openPcapSource(port, prepared.source!);
    const sink = openPcapSink(port, prepared.sink!);
    const batch = memory.batch();
    expect(source.receive(batch, 64, 0)).toBe(Number.POSITIVE_INFINITY);
    sink.transmit(batch);
    sink.flush();
    source.close();
    sink.close();
    prepared.close();
    const { packets } = await readCapture(output);
    expect(packets).toEqual([{ bytes: udp4(A, B, [1, 2]), timestamp: 5_000_006_000n }]);
  });
});

test("discard counts what it swallows and gives the descriptors back", () => {
  const memory = new TestMemory({ slots: 10 });
  const port = memory.port(0);
  const sink = openDiscardSink(port, memory.measure);
  const batch = memory.batch();
  for (const length of [1, 2, 3]) memory.put(batch, new Uint8Array(length));
  sink.transmit(batch);
  sink.flush();
  sink.close();
  expect(memory.counted(port)).toEqual({ txPackets: 3, txBytes: 6, txDatagrams: 3 });
  expect([batchCount(memory.m, batch), memory.freeCount]).toEqual([0, 10]);
});
