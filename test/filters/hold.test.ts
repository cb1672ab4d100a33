// Filters that hold packets and make others: where what they emit goes on, what is counted, and what becomes of all of it
// when they are wrong. A filter made for this does what each packet's mark says.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { parseManifest } from "../../src/config/manifest.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const JUGGLER = `import {
  copyOf, emit, giveBack, held, hold, freshPacket, now, OUTPUT_DROP, OUTPUT_HOLD, OUTPUT_NEXT, Output, Packet, wakeAt, workerState,
} from "pktflow/assembly";
import { Outputs, params } from "./params";

function keep(p: Packet): void {
  const at = workerState();
  const count = load<u32>(at);
  store<u32>(at + 4 + (<usize>count << 2), <u32>changetype<usize>(p));
  store<u32>(at, count + 1);
}

export function packet(p: Packet): Output {
  switch (p.mark) {
    case 1: { // held until it is due
      if (!hold(p)) return Outputs.full;
      keep(p);
      wakeAt(now() + params.delay);
      return OUTPUT_HOLD;
    }
    case 2: { // a copy leaves by another output, at once
      const copy = copyOf(p);
      if (changetype<usize>(copy) == 0) return Outputs.full;
      copy.mark = 22;
      emit(copy, Outputs.side);
      return OUTPUT_NEXT;
    }
    case 3: { // emitted twice
      if (!hold(p)) return Outputs.full;
      emit(p, OUTPUT_NEXT);
      emit(p, Outputs.side);
      return OUTPUT_HOLD;
    }
    case 4: { // nobody has held it
      emit(p, OUTPUT_NEXT);
      return OUTPUT_NEXT;
    }
    case 5: return OUTPUT_HOLD; // says so, without having asked
    case 6: { // a trap with packets in hand
      hold(p);
      unreachable();
    }
    case 7: { // a copy is kept
      const copy = copyOf(p);
      if (changetype<usize>(copy) == 0) return Outputs.full;
      keep(copy);
      wakeAt(now() + params.delay);
      return OUTPUT_DROP;
    }
    case 8: { // never was
      const copy = copyOf(p);
      if (changetype<usize>(copy) == 0) return Outputs.full;
      giveBack(copy);
      return OUTPUT_NEXT;
    }
    case 9: { // made of nothing: four bytes
      const fresh = freshPacket(p);
      if (changetype<usize>(fresh) == 0) return Outputs.full;
      store<u32>(<usize>fresh.data, 0x04030201);
      fresh.length = 4;
      emit(fresh, Outputs.side);
      return OUTPUT_NEXT;
    }
    case 10: { // by an output that there is not
      if (!hold(p)) return Outputs.full;
      emit(p, 77);
      return OUTPUT_HOLD;
    }
  }
  return OUTPUT_NEXT;
}

export function wake(): void {
  const at = workerState();
  const count = load<u32>(at);
  for (let i: u32 = 0; i < count; i++) {
    emit(changetype<Packet>(<usize>load<u32>(at + 4 + (<usize>i << 2))), OUTPUT_NEXT);
  }
  store<u32>(at, 0);
  if (held() != 0) unreachable();
}
`;
const MANIFEST = `summary: Does what marks say.
params:
  delay: { type: duration, default: 1ms }
  limit: { type: u32, default: 4 }
outputs:
  side: Copies.
  full: When no more may be held.
holds: limit
state: { worker: 4KiB }
`;

let folder: TemporaryFolder;
beforeAll(() => {
  folder = new TemporaryFolder();
  mkdirSync(folder.file("juggler"));
  writeFileSync(folder.file("juggler/index.ts"), JUGGLER);
  writeFileSync(folder.file("juggler/filter.yaml"), MANIFEST);
  process.env.XDG_CACHE_HOME = folder.file("cache");
});
afterAll(() => {
  delete process.env.XDG_CACHE_HOME;
  folder.remove();
});

//   a ──► one: juggler ──► ttl ──► b                c ──► two: juggler (the same) ──► d
//              └ side ──► s       full ──► f
function make(limit = 4, onTrap = "drop"): Promise<VirtualWorker> {
  const devices = ["a", "b", "c", "d", "s", "f"]
    .map((id) => `  ${id}: { kind: tun, offload: off }\n`)
    .join("");
  const through = "juggler: { side: side, full: full }";
  return VirtualWorker.make(
    `pktflow: 1
devices:
${devices}filters:
  juggler: { kind: ./juggler, limit: ${limit}, on-trap: ${onTrap} }
  hop: { kind: ttl }
paths:
  one: { from: [a, b, s, f], through: [{ ${through} }, { hop: { expired: side } }], to: b }
  two: { from: [c, d], through: [{ ${through} }], to: d }
  side: { to: s }
  full: { to: f }
`,
    folder.file("pipeline.yaml"),
  );
}

const packet = (id: number) =>
  buildPacket({ ipv4: { from: "10.0.0.1", to: "10.0.0.2", id, ttl: 9 }, udp: {} }).bytes;
const idOf = (bytes: Uint8Array) => bytes[4] * 256 + bytes[5];
const MS = 1e6;

/** Where packets went, as "b 7 at 1ms". */
function seen(worker: VirtualWorker): string[] {
  return worker.left.map(({ device, bytes, at }) => `${device} ${idOf(bytes)} at ${at / MS}ms`);
}

describe("a packet that is held", () => {
  test("goes on behind its step when it is emitted, on the path where it was held", async () => {
    const worker = await make();
    worker.send("a", [packet(1)], { mark: 1 });
    worker.send("c", [packet(2)], { mark: 1 });
    worker.send("a", [packet(3)]);
    expect(seen(worker)).toEqual(["b 3 at 0ms"]);
    expect(worker.report().filters["juggler"]).toMatchObject({ packets: 3, held: 2, fresh: 0 });
    worker.advance(0.9 * MS);
    expect(worker.left).toHaveLength(1);
    worker.advance(1 * MS);
    expect(seen(worker)).toEqual(["b 3 at 0ms", "b 1 at 1ms", "d 2 at 1ms"]);
    // The filter behind it has seen it, the one before only once.
    expect(worker.left.map(({ bytes }) => bytes[8])).toEqual([8, 8, 9]);
    const { filters, paths } = worker.report();
    expect(filters["juggler"]).toMatchObject({ packets: 3, held: 0, outputs: { next: 3 } });
    expect(filters["hop"].packets).toBe(2);
    expect(paths["one"].packets).toBe(2);
    expect(worker.balance()).toMatchObject({ in: 3, out: 3, missing: 0 });
    expect(worker.free.now).toBe(worker.free.all);
  });

  test("is one of as many as the manifest's bound; what comes beyond is told so and is not lost", async () => {
    const worker = await make(4);
    worker.send("a", [1, 2, 3, 4, 5, 6].map(packet), { mark: 1 });
    expect(seen(worker)).toEqual(["f 5 at 0ms", "f 6 at 0ms"]);
    expect(worker.balance()).toMatchObject({ in: 6, out: 2, held: 4, missing: 0 });
    worker.advance(2 * MS);
    expect(worker.balance()).toMatchObject({ in: 6, out: 6, held: 0, missing: 0 });
  });

  test("takes no slot from those that move: a full filter leaves as many as before", async () => {
    const [small, large] = [await make(1), await make(1000)];
    expect(large.free.all - small.free.all).toBe(999);
    large.send(
      "a",
      Array.from({ length: 1000 }, (_, i) => packet(i)),
      { mark: 1 },
    );
    expect(large.free.now).toBe(small.free.all - 1);
  });

  test("is dropped and counted, and says so, when the output does not exist", async () => {
    const worker = await make();
    worker.send("a", [packet(1)], { mark: 10 });
    expect(worker.report().filters["juggler"]).toMatchObject({
      badOutputs: 1,
      outputs: { drop: 1 },
      held: 0,
    });
    expect(worker.balance()).toMatchObject({ in: 1, out: 0, missing: 0 });
    expect(worker.free.now).toBe(worker.free.all);
  });
});

describe("a fresh packet", () => {
  test("is a copy, or made of nothing, and leaves by any output", async () => {
    const worker = await make();
    worker.send("a", [packet(1)], { mark: 2 });
    worker.send("a", [packet(2)], { mark: 9 });
    expect(worker.left.map(({ device, bytes }) => `${device} ${bytes.length}`)).toEqual([
      "b 28",
      "s 28",
      "b 28",
      "s 4",
    ]);
    expect(worker.left[1].bytes).toEqual(packet(1));
    expect(Array.from(worker.left[3].bytes)).toEqual([1, 2, 3, 4]);
    expect(worker.report().filters["juggler"]).toMatchObject({
      packets: 2,
      fresh: 2,
      outputs: { next: 2, side: 2 },
    });
    expect(worker.balance()).toMatchObject({ in: 2, fresh: 2, out: 4, missing: 0 });
  });

  test("may be kept, and counts as held; the one it was made of may go", async () => {
    const worker = await make();
    worker.send("a", [packet(1)], { mark: 7 });
    expect(worker.balance()).toMatchObject({ in: 1, fresh: 1, held: 1, out: 0, missing: 0 });
    worker.advance(1 * MS);
    expect(seen(worker)).toEqual(["b 1 at 1ms"]);
    expect(worker.balance()).toMatchObject({ in: 1, fresh: 1, held: 0, out: 1, missing: 0 });
  });

  test("that is given back has never been", async () => {
    const worker = await make(1);
    worker.send("a", [1, 2, 3].map(packet), { mark: 8 });
    expect(worker.balance()).toMatchObject({ in: 3, fresh: 0, out: 3, missing: 0 });
    expect(worker.free.now).toBe(worker.free.all);
  });

  test("is refused, not trapped over, when no slot is free", async () => {
    const worker = await make(1000);
    // All of the slots on their way in at once: none is left.
    const many = Array.from({ length: worker.free.all }, (_, i) => packet(i));
    worker.send("a", many.slice(0, 1000), { mark: 1 });
    worker.send("a", many.slice(1000), { mark: 7 });
    const { full } = worker.report().filters["juggler"].outputs;
    expect(full).toBeGreaterThan(0);
    expect(worker.balance().missing).toBe(0);
  });
});

describe("a filter that is wrong", () => {
  test.each([
    ["emits a packet twice", 3, { badOutputs: 1, outputs: { next: 1, side: 0 } }],
    ["emits one that it does not hold", 4, { badOutputs: 1, outputs: { next: 1 } }],
    ["says that it holds one, and does not", 5, { badOutputs: 1, outputs: { drop: 1 } }],
  ])("%s: counted, and the packet is there once", async (_, mark, expected) => {
    const worker = await make();
    worker.send("a", [packet(1)], { mark });
    expect(worker.report().filters["juggler"]).toMatchObject({ ...expected, held: 0 });
    expect(worker.balance().missing).toBe(0);
    expect(worker.free.now).toBe(worker.free.all);
  });

  test.each(["drop", "pass"])(
    "traps: what it held is counted as lost, none is there twice (on-trap: %s)",
    async (onTrap) => {
      const worker = await make(4, onTrap);
      worker.send("a", [1, 2].map(packet), { mark: 1 });
      worker.send("c", [packet(3)], { mark: 7 });
      worker.send("a", [4, 5].map(packet), { mark: 6 });
      const passed = onTrap === "pass" ? 2 : 0;
      expect(worker.report().filters["juggler"]).toMatchObject({
        traps: 2,
        held: 0,
        trapped: 3 + 2 - passed,
      });
      expect(worker.balance()).toMatchObject({ in: 5, fresh: 1, out: passed, held: 0, missing: 0 });
      expect(worker.free.now).toBe(worker.free.all);
      // It is made anew and works again; nothing of before comes back.
      worker.advance(2000 * MS);
      worker.send("a", [packet(9)], { mark: 1 });
      worker.advance(1 * MS);
      expect(seen(worker).slice(passed)).toEqual(["b 9 at 2001ms"]);
    },
  );
});

test("whatever comes in whatever order, every packet is accounted for", async () => {
  const step = fc.record({
    device: fc.constantFrom("a", "c"),
    mark: fc.nat(10),
    count: fc.integer({ min: 1, max: 5 }),
    wait: fc.constantFrom(0, 0, 0.3, 1, 1200),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      const worker = await make();
      let id = 0;
      for (const { device, mark, count, wait } of steps) {
        worker.send(
          device,
          Array.from({ length: count }, () => packet(id++)),
          { mark },
        );
        expect(worker.balance().missing).toBe(0);
        expect(worker.free.now + worker.balance().held).toBe(worker.free.all);
        worker.advance(wait * MS);
      }
      worker.advance(2 * MS);
      expect(worker.balance()).toMatchObject({ held: 0, missing: 0 });
      expect(worker.free.now).toBe(worker.free.all);
    }),
    { numRuns: 60 },
  );
});

describe("super-packets: no in a manifest", () => {
  const read = (offload: string) => {
    mkdirSync(folder.file("single"), { recursive: true });
    writeFileSync(folder.file("single/filter.yaml"), "summary: x\nsuper-packets: no\n");
    const devices = ["a", "b", "c"].map((id) => `  ${id}: { kind: tun, offload: ${offload} }\n`).join("");
    return parsePipeline(
      `pktflow: 1
devices:
${devices}filters: { hop: { kind: ttl }, single: { kind: ./single } }
paths:
  one: { from: a, through: [{ hop: { expired: other } }], to: b }
  two: { from: [b, c], to: a }
  other: { through: [single], to: b }
`,
      folder.file("pipeline.yaml"),
    ).devices.map(({ params }) => params["offload"]);
  };

  test("takes offloads from the devices whose packets may come to it, and from no other", () => {
    expect(read("auto")).toEqual(["off", "auto", "auto"]);
    expect(read("off")).toEqual(["off", "off", "off"]);
    expect(() => read("on")).toThrow(
      'pipeline.yaml:3:3 error contradiction: device "a" has "offload: on", and filter "single" takes no super-packets',
    );
  });
});

describe("holds in a manifest", () => {
  const parse = (holds: string) =>
    parseManifest(
      `summary: x\nparams: { limit: { type: u32 }, name: { type: string } }\nholds: ${holds}\n`,
      "filter.yaml",
      {
        kind: "x",
        location: join("/", "x"),
      },
    ).holds;

  test("is a number of packets, or a parameter that has it", () => {
    expect(parse("64")).toBe(64);
    expect(parse("limit")).toBe("limit");
    for (const wrong of ["0", "-1", "1.5", "16385", "name", "other", "[1]"]) {
      expect(() => parse(wrong), wrong).toThrow(ConfigError);
    }
  });
});
