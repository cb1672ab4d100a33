import { describe, expect, it } from "vitest";
import { choice, closest } from "../../src/params/suggest.ts";

describe("closest", () => {
  it.each([
    ["adress", ["address", "mtu"], "address"],
    ["tpc", ["udp", "tcp"], "tcp"],
    ["masq", ["firewall", "masquerade"], "masquerade"],
    ["Queues", ["queues"], "queues"],
    ["lan0", ["lan", "wan"], "lan"],
    ["wan-lik", ["wan-link", "lan-link"], "wan-link"],
    ["https", ["ssh", "http"], "http"],
  ])("%s of %j is %s", (name, candidates, expected) => {
    expect(closest(name, candidates)).toBe(expected);
  });

  it.each([
    ["foo", ["tcp", "udp"]],
    ["x", ["workers"]],
    ["firewall", ["masquerade"]],
    ["", ["a name"]],
    ["a", []],
  ])("%s of %j is none", (name, candidates) => {
    expect(closest(name, candidates)).toBeUndefined();
  });
});

describe("choice", () => {
  it.each([
    [[], ""],
    [["on-trap"], "; could be on-trap"],
    [["cir", "cbs", "per"], "; could be cir, cbs or per"],
    [[..."abcdefghijklmn"], "; could be a, b, c, d, e, f, g, h, i, j, k, l or 2 more"],
  ])("of %j", (candidates, text) => {
    expect(choice(candidates)).toBe(text);
  });
});
