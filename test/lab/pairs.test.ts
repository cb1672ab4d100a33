// Which host of a lab probes which: every other one of its families, as far as paths lead.
import { describe, expect, test } from "vitest";
import type { FilterConfig, PathConfig, Pipeline } from "../../src/config/types.ts";
import { planPairs } from "../../src/lab/selfcheck.ts";
import type { Host } from "../../src/lab/topology.ts";

/** @param addresses by device id @param paths "a -> b" each @param prefix of a nat64 on all of them */
function pairs(addresses: Record<string, string[]>, paths: string[], prefix?: string): string[] {
  const hosts = Object.entries(addresses).map(
    ([device, list]): Host => ({
      device,
      layer: 3,
      namespace: -1,
      addresses: list.map((address) => ({ family: address.includes(":") ? 6 : 4, address, length: 24 })),
    }),
  );
  const pipeline: Pipeline = {
    file: "",
    name: "",
    workers: 1,
    filters: prefix === undefined ? [] : [nat64(prefix)],
    devices: [...Object.keys(addresses), "sink"].map((id) => ({ id, kind: "tun", params: {} })),
    paths: paths.map((text, i): PathConfig => {
      const [from, to] = text.split(" -> ");
      const through = prefix === undefined ? [] : [{ filter: "translator", outputs: {} }];
      return { id: `p${i}`, from: [from], through, to: { kind: "device", device: to } };
    }),
  };
  return planPairs({ hosts, pipeline }).map(
    ({ from, to, source, target, there, back }) =>
      `${from.device} ${source} ${there ? (back ? "<->" : "->") : "x"} ${to?.device ?? "nobody"} ${target}`,
  );
}

function nat64(prefix: string): FilterConfig {
  return { id: "translator", manifest: { kind: "nat64" }, params: { prefix } } as unknown as FilterConfig;
}

describe("pairs of hosts", () => {
  test("both ways, in the order of the devices", () => {
    expect(pairs({ a: ["10.1.0.1"], b: ["10.2.0.1"] }, ["a -> b", "b -> a"])).toEqual([
      "a 10.1.0.1 <-> b 10.2.0.1",
      "b 10.2.0.1 <-> a 10.1.0.1",
    ]);
  });

  test("a family at a time, and only where both have an address of it", () => {
    expect(pairs({ a: ["10.1.0.1", "fd00::1"], b: ["fd00:1::1"] }, ["a -> b", "b -> a"])).toEqual([
      "a fd00::1 <-> b fd00:1::1",
      "b fd00:1::1 <-> a fd00::1",
    ]);
  });

  test("one way, where no path leads back", () => {
    expect(pairs({ a: ["10.1.0.1"], b: ["10.2.0.1"] }, ["a -> b"])).toEqual(["a 10.1.0.1 -> b 10.2.0.1"]);
  });

  test("a host without a path to another one is named as such", () => {
    expect(pairs({ a: ["10.1.0.1"], b: ["10.2.0.1"], c: ["10.3.0.1"] }, ["a -> b", "b -> a"])).toEqual([
      "a 10.1.0.1 <-> b 10.2.0.1",
      "a 10.1.0.1 x c 10.3.0.1",
      "b 10.2.0.1 <-> a 10.1.0.1",
      "b 10.2.0.1 x c 10.3.0.1",
    ]);
  });

  test("an address that both have is not probed, for the sender itself would answer", () => {
    expect(pairs({ a: ["10.1.0.1"], b: ["10.1.0.1", "10.1.0.9"] }, ["a -> b", "b -> a"])).toEqual([
      "a 10.1.0.1 <-> b 10.1.0.9",
    ]);
  });

  test("a single host probes its neighbour's address, which nobody has", () => {
    expect(pairs({ a: ["10.1.0.2", "fd00::2"] }, ["a -> sink"])).toEqual([
      "a 10.1.0.2 -> nobody 10.1.0.1",
      "a fd00::2 -> nobody fd00::1",
    ]);
  });

  test.each([
    ["64:ff9b::/96", "64:ff9b::c000:221"],
    ["2001:db8:100::/40", "2001:db8:1c0:2:21::"],
  ])(
    "through a nat64 an IPv6 host probes an IPv4 one in its prefix, %s, and none the other way",
    (prefix, target) => {
      expect(pairs({ a: ["fd00::1"], b: ["192.0.2.33"] }, ["a -> b", "b -> a"], prefix)).toEqual([
        `a fd00::1 <-> b ${target}`,
      ]);
    },
  );

  test("none, if no path begins at a host with an address", () => {
    expect(pairs({ a: [], b: ["10.2.0.1"] }, ["a -> b"])).toEqual([]);
  });
});
