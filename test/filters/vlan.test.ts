// vlan against a slow reference that splices arrays, and against scapy, which reads the tags.
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let module: FilterModule;
beforeAll(async () => {
  module = await filterModule("vlan");
});

const TPID = { dot1q: 0x8100, dot1ad: 0x88a8 } as const;
interface Tag {
  tpid: number;
  control: number;
}
interface Words {
  id: number;
  priority: number | "keep";
  dei: "keep" | "clear" | "set";
  protocol: "dot1q" | "dot1ad" | "keep";
}

const tag = fc.record<Tag>({ tpid: fc.constantFrom(0x8100, 0x88a8), control: fc.nat(0xffff) });
const words = fc.record<Words>({
  id: fc.integer({ min: 0, max: 4094 }),
  priority: fc.oneof(fc.constant("keep" as const), fc.nat(7)),
  dei: fc.constantFrom("keep", "clear", "set"),
  protocol: fc.constantFrom("dot1q", "dot1ad", "keep"),
});
const body = fc.constantFrom<object>(
  { ipv4: { from: "10.0.0.1", to: "10.0.0.2" }, udp: {}, payload: "x" },
  { ipv6: { from: "fd00::1", to: "fd00::2" }, tcp: {} },
  { ipv4: { from: "10.0.0.1", to: "224.0.0.1" }, udp: {}, pad: 6 },
);

function frame(tags: Tag[], carried: object): number[] {
  const plain = [...buildPacket({ ethernet: { to: "01:00:00:00:00:05" }, ...carried }).bytes];
  return [...plain.slice(0, 12), ...tags.flatMap(bytesOf), ...plain.slice(12)];
}
function bytesOf({ tpid, control }: Tag): number[] {
  return [tpid >> 8, tpid & 255, control >> 8, control & 255];
}

function written(to: Words, old: Tag | undefined, id: number): Tag {
  const [priority, dei] = [(old?.control ?? 0) >> 13, ((old?.control ?? 0) >> 12) & 1];
  const newPriority = to.priority === "keep" ? priority : to.priority;
  const newDei = to.dei === "keep" ? dei : to.dei === "set" ? 1 : 0;
  return {
    tpid: to.protocol === "keep" ? 0x8100 : TPID[to.protocol],
    control: newPriority * 8192 + newDei * 4096 + id,
  };
}

/** Tags afterwards, and the output. */
function expected(action: string, to: Words, tags: Tag[]): { tags: Tag[]; output: string } {
  if (action === "push") return { tags: [written(to, tags[0], to.id), ...tags], output: "next" };
  if (tags.length === 0) return { tags, output: "none" };
  const [outer, ...inner] = tags;
  const id = outer.control & 0xfff;
  if (action === "modify") {
    const tpid = to.protocol === "keep" ? outer.tpid : TPID[to.protocol];
    return { tags: [{ ...written(to, outer, to.id || id), tpid }, ...inner], output: "next" };
  }
  if (id === 0) return { tags: inner, output: "none" };
  if (id === to.id) return { tags: inner, output: "mine" };
  return { tags, output: "strange" };
}

test("tags go on and off as said, all else stays, and the descriptor is what dissect makes of the bytes", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("push", "pop", "modify"),
      words,
      fc.array(tag, { maxLength: 3 }),
      body,
      fc.boolean(),
      (action, to, tags, carried, hit) => {
        const mine = to.id || 1;
        const listed = { ...to, id: action === "pop" ? mine : to.id };
        if (hit && tags.length > 0) tags[0] = { ...tags[0], control: (tags[0].control & 0xf000) | mine };
        const vlans = action === "pop" ? { vlans: { id: mine, via: "mine" } } : {};
        const params = { action, ...listed, ...vlans, other: "strange", untagged: "none" };
        const bench = new FilterBench(module, params, { layer: 2 });
        const wanted = expected(action, listed, tags);
        const left = bench.send(Uint8Array.from(frame(tags, carried)));
        expect(left.output).toBe(wanted.output);
        expect(Buffer.from(left.bytes).toString("hex")).toBe(
          Buffer.from(frame(wanted.tags, carried)).toString("hex"),
        );
        const { left: fields, fresh } = bench.descriptorFields();
        // Behind a third tag, dissect sees no IP packet: what is known of one before stays known.
        if (wanted.tags.length <= 2) expect(fields).toEqual(fresh);
      },
    ),
    { numRuns: 2000 },
  );
});

test.skipIf(LACKS_SCAPY !== undefined)("scapy reads what was pushed (needs scapy)", () => {
  const bench = new FilterBench(module, { action: "push", id: 300, priority: 6, dei: "set" }, { layer: 2 });
  const { bytes } = bench.send(
    Uint8Array.from(frame([], { ipv4: { from: "10.0.0.1", to: "10.0.0.2" }, udp: {} })),
  );
  const script = `import sys
from scapy.all import Ether, Dot1Q, UDP
p = Ether(bytes.fromhex(sys.argv[1]))
print(p[Dot1Q].vlan, p[Dot1Q].prio, p[Dot1Q].id, UDP in p)`;
  const hex = Buffer.from(bytes).toString("hex");
  const { stdout } = spawnSync("/usr/bin/python3", ["-c", script, hex], { encoding: "utf8" });
  expect(stdout.trim()).toBe("300 6 1 True");
});

test("a path of IP packets is refused", () => {
  const text = `
pktflow: 1
devices: { a: { kind: tun }, b: { kind: tun } }
filters: { tag: { kind: vlan, action: push, id: 5 } }
paths: { on: { from: a, through: [tag], to: b } }`;
  expect(() => parsePipeline(text, "test.yaml")).toThrow(
    '"tag" takes Ethernet frames (layer 2), but gets IP packets (layer 3) from "a"',
  );
});
