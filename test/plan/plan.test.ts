// Queues to workers, paths to steps, memory ranges.
import { describe, expect, test } from "vitest";
import {
  ALL_OFFLOADS,
  BATCH_PACKETS,
  COALESCE_FLOWS,
  DESCRIPTOR,
  HEADROOM,
  VNET_HEADER,
} from "../../src/batches/layout.ts";
import type { Manifest, PathConfig, Pipeline } from "../../src/config/types.ts";
import { orderPaths, sourcesOf } from "../../src/plan/paths.ts";
import { makePlan } from "../../src/plan/plan.ts";
import type { DeviceFacts, FilterFacts, Plan } from "../../src/plan/types.ts";

const manifest: Manifest = {
  kind: "acl",
  location: "/nowhere",
  summary: "",
  params: [],
  outputs: [],
  counters: [],
  state: { worker: 100, shared: 1000, prepared: 0 },
  holds: 0,
  superPackets: true,
};
const tun = (queues: number): DeviceFacts => ({
  layer: 3,
  mtu: 1500,
  queues,
  kernel: true,
  finite: false,
  bufferBytes: 0,
  offloads: 0,
  vnetHeader: 0,
});
const withOffloads = (facts: DeviceFacts): DeviceFacts => ({
  ...facts,
  offloads: ALL_OFFLOADS,
  vnetHeader: VNET_HEADER,
});
const state: FilterFacts = {
  paramsBytes: 40,
  workerStateBytes: 100,
  sharedStateBytes: 1000,
  preparedStateBytes: 0,
};

function gateway(workers: number): Pipeline {
  return {
    file: "gateway.yaml",
    name: "gateway",
    workers,
    devices: [
      { id: "lan", kind: "tun", params: {} },
      { id: "wan", kind: "tun", params: {} },
    ],
    filters: [
      {
        id: "firewall",
        manifest,
        params: {},
        onTrap: "drop",
        outputs: ["next", "drop", "refuse"],
        counters: ["a", "b"],
      },
    ],
    paths: [
      { id: "bounce", from: [], through: [], to: { kind: "device", device: "lan" } },
      {
        id: "outbound",
        from: ["lan"],
        through: [{ filter: "firewall", outputs: { refuse: "bounce" } }],
        to: { kind: "device", device: "wan" },
      },
      { id: "inbound", from: ["wan"], through: [], to: { kind: "device", device: "lan" } },
    ],
  };
}

const queuesOf = (plan: Plan, worker: number) =>
  plan.workers[worker].ports.map(
    (port) =>
      `${plan.devices[port.device].id}:${port.queue}${port.path >= 0 ? " rx" : ""}${port.transmits ? " tx" : ""}`,
  );

describe("queues to workers", () => {
  test("worker i owns queue i of every device", () => {
    const plan = makePlan(gateway(2), [tun(2), tun(2)], [state]);
    expect(queuesOf(plan, 0)).toEqual(["lan:0 rx tx", "wan:0 rx tx"]);
    expect(queuesOf(plan, 1)).toEqual(["lan:1 rx tx", "wan:1 rx tx"]);
  });

  test("with fewer workers than queues, each queue still has one reader", () => {
    const plan = makePlan(gateway(2), [tun(3), tun(3)], [state]);
    expect(queuesOf(plan, 0)).toEqual(["lan:0 rx tx", "lan:2 rx", "wan:0 rx tx", "wan:2 rx"]);
    expect(queuesOf(plan, 1)).toEqual(["lan:1 rx tx", "wan:1 rx tx"]);
  });

  test("with fewer queues than workers, a worker writes to a queue that another reads", () => {
    const plan = makePlan(gateway(2), [tun(2), tun(1)], [state]);
    expect(queuesOf(plan, 0)).toEqual(["lan:0 rx tx", "wan:0 rx tx"]);
    expect(queuesOf(plan, 1)).toEqual(["lan:1 rx tx", "wan:0 tx"]);
  });
});

describe("paths to steps", () => {
  test("a path stands after every path that leads to it", () => {
    const plan = makePlan(gateway(1), [tun(1), tun(1)], [state]);
    const order = plan.paths.map((path) => path.id);
    expect(order.indexOf("bounce")).toBeGreaterThan(order.indexOf("outbound"));
    expect(order.sort()).toEqual(["bounce", "inbound", "outbound"]);
  });

  test("an output leads to its path, next and drop to none", () => {
    const plan = makePlan(gateway(1), [tun(1), tun(1)], [state]);
    const outbound = plan.paths.find((path) => path.id === "outbound")!;
    const bounce = plan.paths.findIndex((path) => path.id === "bounce");
    expect(outbound.steps).toEqual([{ filter: 0, outputs: [-1, -1, bounce] }]);
  });

  test("a cycle is refused", () => {
    const path = (id: string, to: string): PathConfig => ({
      id,
      from: [],
      through: [],
      to: { kind: "path", path: to },
    });
    expect(() => orderPaths([path("a", "b"), path("b", "a")])).toThrow(/cycle/);
  });

  test("the sources of a device are found through other paths", () => {
    expect(sourcesOf(gateway(1), "lan")).toEqual(["lan", "wan"]);
    expect(sourcesOf(gateway(1), "wan")).toEqual(["lan"]);
  });
});

describe("memory ranges", () => {
  const plan = makePlan(gateway(3), [tun(3), tun(3)], [state]);
  const offloading = makePlan(gateway(3), [withOffloads(tun(3)), tun(3)], [state]);

  test.each([
    ["without offloads", plan],
    ["with offloads", offloading],
  ])("no two overlap, none lies in the first page or past the end: %s", (_, plan) => {
    const ranges: [number, number, string][] = [];
    const add = (address: number, bytes: number, what: string) =>
      ranges.push([address, address + bytes, what]);
    add(plan.control, 64, "control");
    for (const device of plan.devices) add(device.lock, 4, "lock");
    for (const filter of plan.filters) {
      add(filter.params.address, filter.params.bytes, "params");
      add(filter.sharedState.address, filter.sharedState.bytes, "shared state");
    }
    plan.workers.forEach((worker, w) => {
      const batchBytes = 16 + 4 * worker.slots.count;
      add(worker.control, 64, `control ${w}`);
      add(worker.slots.address, worker.slots.count * worker.slots.bytes, `slots ${w}`);
      add(worker.descriptors, worker.slots.count * DESCRIPTOR.SIZE, `descriptors ${w}`);
      add(worker.free, batchBytes, `free ${w}`);
      if (worker.flows !== 0) add(worker.flows, 4 * COALESCE_FLOWS, `flows ${w}`);
      for (const port of worker.ports) {
        add(port.rxBatch, batchBytes, `rx ${w}`);
        add(port.txBatch, batchBytes, `tx ${w}`);
        if (port.exitBatch !== port.txBatch) add(port.exitBatch, batchBytes, `exit ${w}`);
        add(port.counters.rxPackets, 48 + 8 * 8 + 8 * 16 + 8 * 4, `port counters ${w}`);
      }
      for (const instance of worker.instances) {
        add(instance.context, 128, `context ${w}`);
        add(instance.workerState.address, instance.workerState.bytes, `state ${w}`);
        add(instance.counters, 16, `counters ${w}`);
        add(instance.outputCounters, 24, `output counters ${w}`);
      }
      for (const path of worker.paths) add(path.batch, batchBytes, `path ${w}`);
    });
    ranges.sort((a, b) => a[0] - b[0]);
    expect(ranges[0][0]).toBeGreaterThanOrEqual(65536);
    for (let i = 1; i < ranges.length; i++) {
      expect(ranges[i][0], `${ranges[i][2]} after ${ranges[i - 1][2]}`).toBeGreaterThanOrEqual(
        ranges[i - 1][1],
      );
    }
    expect(ranges[ranges.length - 1][1]).toBeLessThanOrEqual(plan.pages * 65536);
  });

  test("what two workers write never shares a cache line", () => {
    for (const worker of plan.workers) {
      expect(worker.control % 64).toBe(0);
      for (const port of worker.ports) expect(port.counters.rxPackets % 64).toBe(0);
      for (const instance of worker.instances) expect(instance.context % 64).toBe(0);
    }
  });

  test("where a device has offloads, a slot holds a packet of 64 KiB and what leaves is finished first", () => {
    for (const worker of offloading.workers) {
      expect(worker.slots.bytes).toBeGreaterThanOrEqual(HEADROOM + 65535);
      expect(worker.flows).toBeGreaterThan(0);
      for (const port of worker.ports) expect(port.exitBatch).not.toBe(port.txBatch);
    }
    for (const worker of plan.workers) {
      expect(worker.slots.bytes).toBeLessThan(2048);
      for (const port of worker.ports) expect(port.exitBatch).toBe(port.txBatch);
    }
  });

  test("256 queues with slots of 64 KiB fit the memory that there can be, and no worker is left without", () => {
    const many = makePlan(gateway(256), [withOffloads(tun(256)), withOffloads(tun(256))], [state]);
    for (const worker of many.workers) expect(worker.slots.count).toBeGreaterThanOrEqual(BATCH_PACKETS);
    expect(many.bytes).toBeLessThan(2 ** 31);
  });

  test("slots are an odd number of cache lines, so that headers spread over the cache's sets", () => {
    expect((plan.workers[0].slots.bytes / 64) % 2).toBe(1);
  });

  test("more than 32-bit addresses reach is refused, also by check", () => {
    const huge = { ...state, sharedStateBytes: 2 ** 32 };
    expect(() => makePlan(gateway(1), [tun(1), tun(1)], [huge])).toThrow(
      /needs 4\.0 GiB of memory and 4 GiB/,
    );
  });

  test("it is plain data: it survives a structured clone", () => {
    expect(structuredClone(plan)).toEqual(plan);
  });
});
