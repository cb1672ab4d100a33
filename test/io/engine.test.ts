// What each engine does on descriptors that behave as a tun's would, and on those that fail, without a device.
import { afterEach, describe, expect, test } from "vitest";
import { DROP_REASONS } from "../../src/batches/counters.ts";
import { ALL_OFFLOADS, DESCRIPTOR, DEVICE_INFO, HEADROOM, OUTPUT_FINISH } from "../../src/batches/layout.ts";
import {
  batchAt,
  batchCount,
  batchMove,
  batchPop,
  batchPush,
  counterRead,
  type PacketMemory,
} from "../../src/batches/memory.ts";
import { createEngine } from "../../src/io/engine.ts";
import { chooseEngine, readsWithoutWaiting } from "../../src/io/probe.ts";
import type { Engine, KernelPort } from "../../src/io/types.ts";
import { Ring } from "../../src/io/uring/ring.ts";
import type { PortPlan, WorkerPlan } from "../../src/plan/types.ts";
import {
  close,
  eventfd,
  eventfdSignal,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
  open,
  read,
} from "../../src/sys/calls.ts";
import { libc } from "../../src/sys/libc.ts";
import { addressOf } from "../../src/sys/memory.ts";
import { AF_INET, SOCK_DGRAM, socket } from "../../src/sys/socket.ts";
import { TestMemory } from "../support/packet-memory.ts";

const SLOTS = 64;
const SECOND = 1e9;
const inotifyInit = libc<(flags: number) => number>("inotify_init1", "int", ["int"]);
const noUring = chooseEngine("auto").notice;

class Bench {
  readonly memory = new TestMemory({ slots: SLOTS });
  readonly wake = eventfd(0);
  readonly engine: Engine;
  readonly plan: PortPlan;
  private closed = false;

  readonly info: number;

  constructor(name: "poll" | "uring", fd: number, header = 0) {
    const { memory } = this;
    const { counters } = memory.port(64);
    const txBatch = memory.batch();
    this.info = memory.take(DEVICE_INFO.SIZE);
    memory.m.u32[(this.info + DEVICE_INFO.OFFLOADS) >>> 2] = header === 0 ? 0 : ALL_OFFLOADS;
    this.plan = {
      device: 3,
      queue: 1,
      path: 0,
      transmits: true,
      counters,
      rxBatch: memory.batch(),
      txBatch,
      exitBatch: header === 0 ? txBatch : memory.batch(),
      buffer: { address: 0, bytes: 0 },
    };
    const worker = { free: memory.free, slots: { address: 0, count: SLOTS, bytes: 2048 } } as WorkerPlan;
    const port: KernelPort = { plan: this.plan, fd, label: "lan queue 1", info: this.info, header };
    this.engine = createEngine({ name, auto: false }, memory.m, worker, [port], this.wake).engine;
  }

  send(packets: number): void {
    for (let i = 0; i < packets; i++) this.memory.put(this.plan.txBatch, new Uint8Array([0x45, i]));
    this.engine.transmit(0);
  }

  round(): number {
    this.engine.turn();
    return this.engine.receive(0);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.engine.close();
    close(this.wake);
  }

  /** Descriptors on the free list, each once. */
  freeDescriptors(): number {
    const { m, free } = this.memory;
    const all: number[] = [];
    for (let d = batchPop(m, free); d !== 0; d = batchPop(m, free)) all.push(d);
    for (const d of all) batchPush(m, free, d);
    expect(new Set(all).size).toBe(all.length);
    return all.length;
  }
}

for (const name of ["poll", "uring"] as const) {
  const available = name === "poll" || noUring === undefined;
  describe.skipIf(!available)(`${name} engine${available ? "" : ` (skipped: ${noUring})`}`, () => {
    let bench: Bench | undefined;
    const fds: number[] = [];
    const opened = (fd: number) => {
      expect(fd).toBeGreaterThanOrEqual(0);
      fds.push(fd);
      return fd;
    };
    const start = (fd: number) => {
      bench = new Bench(name, fd);
      return bench;
    };

    afterEach(() => {
      bench?.close();
      bench = undefined;
      for (const fd of fds.splice(0)) close(fd);
    });

    test("what arrives is received though the worker never sleeps, as beside a generator without a rate", () => {
      const device = opened(eventfd(0));
      const b = start(device);
      for (let i = 0; i < 3; i++) expect(b.round()).toBe(0);
      eventfdSignal(device);
      let received = 0;
      for (let i = 0; i < 10 && received === 0; i++) received = b.round();
      expect(received).toBe(1);
      expect(b.memory.drain(b.plan.rxBatch)[0].bytes).toEqual(new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]));
    });

    test("sleep ends when a packet arrives, at a signal, and when the time is over", () => {
      const device = opened(eventfd(0));
      const b = start(device);
      expect(b.round()).toBe(0);
      const before = performance.now();
      b.engine.wait(20e6);
      expect(performance.now() - before).toBeGreaterThan(15);
      eventfdSignal(b.wake);
      b.engine.wait(30 * SECOND);
      eventfdSignal(device);
      b.engine.wait(30 * SECOND);
      expect(name === "poll" ? b.round() : b.engine.receive(0)).toBe(1);
      expect(performance.now() - before).toBeLessThan(20_000);
    });

    test("a packet that comes while it is told to settle is received or stays, and no descriptor is lost", () => {
      for (let i = 0; i < 20; i++) {
        const device = opened(eventfd(0));
        const b = start(device);
        expect(b.round()).toBe(0);
        b.engine.wait(0);
        if (i % 2 === 0) eventfdSignal(device);
        b.engine.settle();
        const received = b.memory.drain(b.plan.rxBatch).length;
        b.close();
        const left = read(device, addressOf(new Uint8Array(new SharedArrayBuffer(8))), 8) === 8 ? 1 : 0;
        expect(received + left).toBe(i % 2 === 0 ? 1 : 0);
        expect(b.freeDescriptors()).toBe(SLOTS);
      }
    });

    test("a read that fails for good is an error that names the queue; all writes before it count once", () => {
      const b = start(opened(open("/dev/null", O_WRONLY)));
      b.send(3);
      expect(() => {
        b.round();
      }).toThrow("read lan queue 1: EBADF: Bad file descriptor");
      b.close();
      expect(b.memory.counted({ ...b.memory.port(64), counters: b.plan.counters })).toEqual({
        txPackets: 3,
        txBytes: 6,
        txDatagrams: 3,
      });
      expect(b.freeDescriptors()).toBe(SLOTS);
    });

    test("a packet that fills all the room there is, for the MTU has grown, is a counted drop", () => {
      const b = start(opened(open("/dev/zero", O_RDWR | O_NONBLOCK)));
      expect(b.round()).toBe(0);
      const { rxPackets = 0, ...others } = b.memory.counted({
        ...b.memory.port(64),
        counters: b.plan.counters,
      });
      expect(rxPackets).toBeGreaterThan(0);
      const room = 2048 - HEADROOM;
      expect(others).toEqual({ rxBytes: rxPackets * room, rxDatagrams: rxPackets, "too-long": rxPackets });
      b.close();
      expect(b.freeDescriptors()).toBe(SLOTS);
    });

    describe("a packet with work left to the kernel, which refuses it (EINVAL)", () => {
      // An eventfd takes eight bytes at a time, any but all ones: here, those of a header and of a packet of two bytes.
      const header = 6;

      function refused(): { bench: Bench; d: number } {
        const one = new Bench(name, opened(eventfd(0)), header);
        bench = one;
        const { m } = one.memory;
        one.memory.put(one.plan.txBatch, new Uint8Array([0xff, 0xff]));
        const d = batchAt(m, one.plan.txBatch, 0);
        fillHeader(m, d, 0xff);
        m.u8[d + DESCRIPTOR.VNET_FLAGS] = 1;
        transmit(one);
        return { bench: one, d };
      }
      function fillHeader(m: PacketMemory, d: number, byte: number): void {
        const data = m.u32[(d + DESCRIPTOR.DATA) >>> 2];
        m.u8.fill(byte, data - header, data);
      }
      function transmit({ engine }: Bench): void {
        engine.transmit(0);
        engine.settle();
      }
      const offloads = ({ memory, info }: Bench) => memory.m.u32[(info + DEVICE_INFO.OFFLOADS) >>> 2];
      const count = ({ memory, plan }: Bench, reason: (typeof DROP_REASONS)[number]) =>
        counterRead(memory.m, plan.counters.drops + 8 * DROP_REASONS.indexOf(reason));
      const again = ({ memory, plan }: Bench) => counterRead(memory.m, plan.counters.offload + 8 * 3);

      test("comes back to be finished, neither dropped nor free", () => {
        const { bench, d } = refused();
        const { m } = bench.memory;
        expect(batchCount(m, bench.plan.exitBatch)).toBe(1);
        expect(batchAt(m, bench.plan.exitBatch, 0)).toBe(d);
        expect(m.u8[d + DESCRIPTOR.OUTPUT]).toBe(OUTPUT_FINISH);
        expect(bench.freeDescriptors()).toBe(SLOTS - 1);
        expect([count(bench, "invalid"), again(bench), offloads(bench)]).toEqual([0, 1, ALL_OFFLOADS]);
      });

      test("taken when it is finished, it was the header: the device does without offloads, and that is said", () => {
        const { bench, d } = refused();
        const { m } = bench.memory;
        fillHeader(m, d, 0);
        batchMove(m, bench.plan.exitBatch, bench.plan.txBatch);
        transmit(bench);
        expect(offloads(bench)).toBe(0);
        expect(counterRead(m, bench.plan.counters.txPackets)).toBe(1);
        expect(counterRead(m, bench.plan.counters.txBytes)).toBe(2);
        expect(bench.engine.warnings).toEqual([
          expect.stringContaining("lan queue 1: the kernel refused a packet"),
        ]);
        expect(bench.freeDescriptors()).toBe(SLOTS);
      });

      test("refused again, it was the packet: dropped as invalid, and the offloads stay", () => {
        const { bench } = refused();
        batchMove(bench.memory.m, bench.plan.exitBatch, bench.plan.txBatch);
        transmit(bench);
        expect([count(bench, "invalid"), again(bench), offloads(bench)]).toEqual([1, 1, ALL_OFFLOADS]);
        expect(bench.engine.warnings).toEqual([]);
        expect(bench.freeDescriptors()).toBe(SLOTS);
      });
    });

    test("a write refused for a reason that has no name is a counted drop and one warning", () => {
      // A datagram to nobody.
      const b = start(opened(socket(AF_INET, SOCK_DGRAM, 0)));
      b.send(5);
      b.close();
      expect(counterRead(b.memory.m, b.plan.counters.txPackets)).toBe(0);
      expect(b.memory.counted({ ...b.memory.port(64), counters: b.plan.counters })).toEqual({
        "io-error": 5,
      });
      expect(b.engine.warnings).toEqual([
        "write lan queue 1: EDESTADDRREQ: Destination address required (first of these)",
      ]);
      expect(b.freeDescriptors()).toBe(SLOTS);
    });
  });
}

describe.skipIf(noUring !== undefined)("which descriptors io_uring can read without waiting", () => {
  test.each([
    ["a TUN's, with Linux 6.4", () => open("/dev/net/tun", O_RDWR), true],
    ["not those of drivers that do not know how, as TUN before it", () => inotifyInit(O_NONBLOCK), false],
  ] as const)("%s", (_, openOne, expected) => {
    const ring = new Ring(4);
    const fd = openOne();
    expect(fd).toBeGreaterThanOrEqual(0);
    expect(readsWithoutWaiting(ring, fd)).toBe(expected);
    close(fd);
    ring.close();
  });
});
