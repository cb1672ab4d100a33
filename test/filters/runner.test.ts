// The runner of cases: what a filter sees through it, and that it fails when a filter does not do what a case says.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { loadManifest } from "../../src/config/manifest.ts";
import { buildCore } from "../../src/filters/build.ts";
import { readCases } from "../../src/filters/cases.ts";
import { FilterError } from "../../src/filters/error.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { runCase } from "../../src/filters/runner.ts";

/** Tells what it sees in the mark; the UDP destination port chooses what. Everything of the ABI is used once. */
const INDEX = `
import {
  Batch, counter, deviceLayer, deviceMtu, now, outputs, OUTPUT_DROP, OUTPUT_NEXT, Packet, PROTOCOL_UDP, random,
  randomBelow, sharedState, sharedStateBytes, RawUdp, wallClock, worker, workers, workerState, workerStateBytes,
} from "pktflow/assembly";
import { Counters, Outputs, params } from "./params";

let ticks: u32 = 0;
export function initShared(): void { store<u32>(sharedState(), 77); }
export function tick(): void { ticks++; }
export function batch(b: Batch): void {
  for (let i: u32 = 0; i < b.count; i++) {
    const p = b.at(i);
    p.output = OUTPUT_NEXT;
    if (!p.isTransport(PROTOCOL_UDP)) { p.output = OUTPUT_DROP; continue; }
    counter(Counters.seen).add(1);
    const udp = RawUdp.of(p);
    switch (udp.destinationPort) {
      case 1: p.mark = <u32>(now() / 1000000000); break;
      case 2: p.mark = <u32>(wallClock() / 1000000000); break;
      case 3: p.mark = worker() * 10 + workers(); break;
      case 4: p.mark = deviceMtu(p.device) * 10 + deviceLayer(p.device); break;
      case 5: p.mark = atomic.add<u32>(sharedState(), 1); break;
      case 6: store<u32>(workerState(), load<u32>(workerState()) + 1); p.mark = load<u32>(workerState()); break;
      case 7: p.mark = ticks; break;
      case 8: p.mark = sharedStateBytes() * 100 + workerStateBytes(); break;
      case 9: p.mark = outputs(); break;
      case 10: p.mark = random() != random() && randomBelow(10) < 10 ? 1 : 0; break;
      case 11: udp.sourcePort = <u16>(1000 + randomBelow(1000)); udp.checksum = 0; break;
      case 12: p.output = Outputs.aside; break;
      case 13: p.output = 200; break;
      case 14: unreachable(); break;
      case 15: p.mark = params.limit; break;
      case 16: p.output = 255; break;
    }
  }
}
`;
const MANIFEST = `summary: Tells what it sees.
params: { limit: { type: u32, default: 5, doc: Any number. } }
outputs: { aside: Out of the way. }
counters: { seen: UDP packets. }
state: { worker: 32, shared: 16 }
`;
const PLAIN = "ipv4: { from: 10.0.0.1, to: 10.0.0.2 }";
const to = (port: number) => `in: { ${PLAIN}, udp: { to-port: ${port} } }`;

let home: string;
let folder: string;
let core: WebAssembly.Module;
let module: WebAssembly.Module;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "pf-cases-"));
  vi.stubEnv("XDG_CACHE_HOME", join(home, "cache"));
  folder = join(home, "seer");
  mkdirSync(folder);
  writeFileSync(join(folder, "index.ts"), INDEX);
  writeFileSync(join(folder, "filter.yaml"), MANIFEST);
  core = new WebAssembly.Module(readFileSync((await buildCore()).wasm));
  module = (await loadFilter(loadManifest(folder))).module;
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

/** What the runner says of one case whose packets are these. */
function run(packets: string[], rest = ""): string[] {
  const text = `- purpose: a case\n${rest}  packets:\n${packets.map((p) => `    - { ${p} }\n`).join("")}`;
  writeFileSync(join(folder, "cases.yaml"), text);
  const counts = rest.includes("counters") ? [] : ["counter seen"];
  return runCase(readCases(folder)[0], core, module).filter((f) => !counts.some((c) => f.startsWith(c)));
}

describe("a filter sees", () => {
  const passes: [string, string[], string?][] = [
    [
      "the time, which does not start at zero",
      [`${to(1)}, mark-out: 3600`, `${to(1)}, at: 90s, mark-out: 3690`],
    ],
    ["the wall clock", [`${to(2)}, at: 1h, mark-out: 1700003600`]],
    ["its worker", [`${to(3)}, worker: 2, mark-out: 23`, `${to(3)}, mark-out: 3`], "  workers: 3\n"],
    [
      "the device that a packet came from",
      [`${to(4)}, mark-out: 15003`, `${to(4)}, device: 1, mark-out: 90003`],
      "  devices: [{}, { mtu: 9000 }]\n",
    ],
    [
      "the state that all workers share, as initShared left it",
      [`${to(5)}, mark-out: 77`, `${to(5)}, worker: 1, mark-out: 78`],
      "  workers: 2\n",
    ],
    [
      "state of its worker's own",
      [`${to(6)}, mark-out: 1`, `${to(6)}, mark-out: 2`, `${to(6)}, worker: 1, mark-out: 1`],
      "  workers: 2\n",
    ],
    [
      "ticks as time goes on",
      [`${to(7)}, mark-out: 0`, `${to(7)}, at: 1s, mark-out: 1`, `${to(7)}, mark-out: 1`],
    ],
    ["the sizes of its state", [`${to(8)}, mark-out: 1632`]],
    ["how many outputs it has", [`${to(9)}, mark-out: 3`]],
    ["chance", [`${to(10)}, mark-out: 1`]],
    ["its parameters", [`${to(15)}, mark-out: 9`], "  params: { limit: 9 }\n"],
    ["marks that were set before it", [`${to(0)}, mark: 6, mark-out: 6`]],
  ];
  test.each(passes)("%s", (_, packets, rest) => {
    expect(run(packets, rest)).toEqual([]);
  });
});

describe("a case fails", () => {
  test("when a packet leaves by another output", () => {
    expect(run([to(12)])).toEqual([expect.stringMatching(/packet 1: left by aside, not by next/)]);
    expect(run([`${to(12)}, out: aside`])).toEqual([]);
    expect(run([`${to(0)}, out: drop`])[0]).toContain("left by next, not by drop");
  });
  test("when a packet leaves by an output that there is not, or when none was set", () => {
    expect(run([to(13)])[0]).toContain("output 200, which the filter does not have");
    expect(run([to(16)])[0]).toContain("output 255, which the filter does not have");
  });
  test("when bytes differ, with the place and both", () => {
    expect(run([`${to(11)}`])[0]).toMatch(
      /packet 1: differs from byte 20:\n {2}came out as 45.*\n {2}not as {6}45/,
    );
    expect(run([`${to(0)}, changed: { ipv4: { ttl: 1 } }`])[0]).toContain("differs from byte 8");
    expect(run([`${to(0)}, bytes: "4500"`])[0]).toContain("differs");
  });
  test("when a counter differs, also one that the case does not name", () => {
    expect(run([to(0)], "  counters: {}\n")).toEqual(["counter seen is 1, not 0"]);
    expect(run([`${to(0)}, repeat: 3`], "  counters: { seen: 3 }\n")).toEqual([]);
  });
  test("when the mark differs", () => {
    expect(run([`${to(1)}, mark-out: 5`])[0]).toContain("has mark 3600, not 5");
  });
  test("when the filter traps", () => {
    expect(run([to(14)])[0]).toMatch(/packet 1: unreachable/);
  });
  test("when a variable is not what it was", () => {
    const rewritten = (name: string) =>
      `${to(11)}, bytes: { ${PLAIN}, udp: { from-port: ${name}, to-port: 11, checksum: none } }`;
    expect(run([rewritten("$port"), rewritten("$port")])[0]).toMatch(/^packet 2: differs from byte 2[01]:/);
    expect(run([rewritten("$one"), rewritten("$two")])).toEqual([]);
    expect(run([`${rewritten("$any")}, repeat: 5`])).toEqual([]);
    expect(run([`in: { ${PLAIN}, udp: { to-port: $new } }`])[0]).toContain("$new has no value yet");
  });
  test("when time goes back", () => {
    expect(run([`${to(0)}, at: 2s`, `${to(0)}, at: 1s`])[0]).toContain("time does not go back");
  });
});

describe("a cases.yaml that is wrong is refused with its place", () => {
  const wrong: [string, RegExp, string][] = [
    [
      "a parameter that there is not",
      /cases\.yaml:2:13 .*limmit/,
      "- purpose: x\n  params: { limmit: 1 }\n  packets: [{}]",
    ],
    [
      "a counter that there is not",
      /:3:15 .*counters has no "sen"[\s\S]*did you mean "seen"/,
      "- purpose: x\n  packets: [{}]\n  counters: { sen: 1 }",
    ],
    [
      "a key that there is not",
      /:2:3 .*has no "packet"[\s\S]*did you mean "packets"/,
      "- purpose: x\n  packet: []",
    ],
    [
      "a key of a packet, and all others that are wrong, in every case",
      /:2:15 .*has no "outt"[\s\S]*:3:29 .*has no "tll"[\s\S]*:6:23 .*has no "tos4"[\s\S]*:7:27 .*no "tick"/,
      `- purpose: x
  packets: [{ outt: drop, in: { hex: "45" } },
            { in: { ipv4: { tll: 3 } } }]
- purpose: y
  packets:
    - { in: { ipv4: { tos4: 1, from: 10.0.0.1, to: 10.0.0.2 } } }
    - { at: 1s, emits: [{ tick: 1 }] }`,
    ],
    [
      "what must come out, where it is no packet",
      /:3:34 .*ttl wants a whole number/,
      `- purpose: x
  packets: [{ in: &in { ipv4: { from: 10.0.0.1, to: 10.0.0.2 }, udp: {} },
              changed: { ipv4: { ttl: 900 } } }]`,
    ],
    ["no purpose", /wants a purpose/, "- packets: [{}]"],
    ["no packets", /without packets/, "- purpose: x"],
    ["no list", /is a list of cases/, "purpose: x"],
  ];
  test.each(wrong)("%s", (_, message, text) => {
    writeFileSync(join(folder, "cases.yaml"), text);
    expect(() => readCases(folder)).toThrow(ConfigError);
    expect(() => readCases(folder)).toThrow(message);
  });
});

describe("a packet's notation that is wrong says what", () => {
  const V4 = { from: "10.0.0.1", to: "10.0.0.2" };
  const wrong: [RegExp, unknown][] = [
    [/a packet has no "ip4"/, { ip4: V4 }],
    [/ipv4 has no "tll"/, { ipv4: { ...V4, tll: 1 } }],
    [/ipv4\.from wants an IPv4 address/, { ipv4: { ...V4, from: "::1" } }],
    [/ttl wants a whole number of 1 bytes, has 256/, { ipv4: { ...V4, ttl: 256 } }],
    [/from-port wants a whole number of 2 bytes, has "x"/, { ipv4: V4, udp: { "from-port": "x" } }],
    [/there is no sin/, { ipv4: V4, tcp: { flags: ["sin"] } }],
    [/one of tcp, udp/, { ipv4: V4, tcp: {}, udp: {} }],
    [/pairs of hex digits/, { hex: "4" }],
    [/no byte 99/, { ipv4: V4, corrupt: { 99: 1 } }],
    [/there is no extension header hop/, { ipv6: { from: "::1", to: "::2", extensions: [{ hop: {} }] } }],
    [/a packet wants a map/, "hello"],
  ];
  test.each(wrong)("%s", (message, notation) => {
    expect(() => buildPacket(notation)).toThrow(FilterError);
    expect(() => buildPacket(notation)).toThrow(message);
  });
});

describe("restless", () => {
  const KEEPING = (reload: string) => `
import { Output, OUTPUT_HOLD, OUTPUT_NEXT, Packet, emit, hold } from "pktflow/assembly";
import { params } from "./params";
let kept: usize = 0;
let waiting: Packet = changetype<Packet>(0);
export function init(): void { kept = params.marks.at(0).address; }
export function reload(): void { ${reload} }
export function packet(p: Packet): Output {
  p.mark = load<u8>(kept, 15);
  if (changetype<usize>(waiting) != 0) { emit(waiting, OUTPUT_NEXT); waiting = changetype<Packet>(0); }
  if (!hold(p)) return OUTPUT_NEXT;
  waiting = p;
  return OUTPUT_HOLD;
}
`;
  const packet = `in: { ${PLAIN} }, out: held, mark-out: 7`;
  async function keep(reload: string): Promise<string[][]> {
    const place = join(home, `keeper${reload.length}`);
    mkdirSync(place);
    writeFileSync(join(place, "index.ts"), KEEPING(reload));
    const param =
      'marks: { type: list(ip), range: [1, 2], reload: true, doc: "Marks, each the end of an address." }';
    writeFileSync(
      join(place, "filter.yaml"),
      `summary: Keeps an address of its parameters.\nparams:\n  ${param}\nholds: 4\n`,
    );
    const reloaded = `in: { ${PLAIN} }, reload: { marks: "::9" }, out: held, mark-out: 9, emits: [{ packet: 2 }]`;
    const packets = [packet, `${packet}, emits: [{ packet: 1 }]`, reloaded].map(
      (one) => `    - { ${one} }\n`,
    );
    writeFileSync(
      join(place, "cases.yaml"),
      `- purpose: a case\n  params: { marks: "::7" }\n  packets:\n${packets.join("")}`,
    );
    const keeper = (await loadFilter(loadManifest(place))).module;
    const [one] = readCases(place);
    return [runCase(one, core, keeper), runCase(one, core, keeper, true)];
  }

  test("one that takes over an address anew passes", async () => {
    expect(await keep("init();")).toEqual([[], []]);
  });
  test("one that keeps an address into what was before finds nothing there", async () => {
    const [once, restless] = await keep("");
    expect(once).toEqual(["packet 3: has mark 238, not 9"]);
    expect(restless).toEqual([1, 2, 3].map((i) => `packet ${i}: has mark 238, not ${i < 3 ? 7 : 9}`));
  });
  test("one that forgets what it holds is noticed", async () => {
    const [once, restless] = await keep("init(); waiting = changetype<Packet>(0);");
    expect(once).toEqual(["packet 3: emits 0 packets, not 1"]);
    expect(restless).toHaveLength(2);
  });
});
