// Cases whose packets come from a capture, and what must come out stands in another.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import { readWholeCapture } from "../../src/devices/pcap/whole.ts";
import { BUILTIN } from "../../src/filters/build.ts";
import { readCases } from "../../src/filters/cases.ts";
import { coreBytes, loadFilter } from "../../src/filters/library.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { runCase } from "../../src/filters/runner.ts";
import { makeFilter } from "../../src/filters/scaffold.ts";
import { block, fields, hasTool, pcapFile } from "../support/pcap.ts";

let home: string;
let folder: string;
let core: WebAssembly.Module;
let module: WebAssembly.Module;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "pf-captures-"));
  vi.stubEnv("XDG_CACHE_HOME", join(home, "cache"));
  folder = join(home, "limit");
  makeFilter(folder, "stateful");
  core = new WebAssembly.Module(coreBytes() as Uint8Array<ArrayBuffer>);
  module = (await loadFilter(loadManifest(folder))).module;
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

const packet = (id: number, more: object = {}) =>
  buildPacket({ ...more, ipv4: { from: "10.0.0.1", to: "10.0.0.2", id }, udp: {}, payload: "hello" }).bytes;
/** Packets 1, 2, 3 at 0, 50 and 100 ms. */
const records = [1, 2, 3].map((id, i) => ({ seconds: 7, fraction: i * 50_000, bytes: packet(id) }));
const capture = (name: string, bytes: Uint8Array) => writeFileSync(join(folder, name), bytes);

/** What the runner says of a case with these keys. The filter lets 10 packets a second through. */
function run(keys: string): string[] {
  writeFileSync(
    join(folder, "cases.yaml"),
    `- purpose: a capture\n  params: { rate: 10pps, burst: 1 }\n  ${keys.split("; ").join("\n  ")}\n`,
  );
  return runCase(readCases(folder, readWholeCapture)[0], core, module);
}

describe("pcap-in and pcap-out", () => {
  beforeAll(() => {
    capture("in.pcap", pcapFile(records));
    capture("out.pcap", pcapFile([records[0], records[2]]));
    capture("other.pcap", pcapFile([records[0], records[1]]));
  });

  test("packets come at the times of their records; what leaves by next is compared in order", () => {
    expect(run("pcap-in: in.pcap; pcap-out: out.pcap; counters: { limited: 1 }")).toEqual([]);
  });
  test("a packet that differs is shown with its bytes", () => {
    const said = run("pcap-in: in.pcap; pcap-out: other.pcap; counters: { limited: 1 }");
    expect(said[0]).toMatch(
      /^packet 2 of those that left by next, and of other\.pcap: differs from byte 5:\n {2}came out as 45.*\n {2}not as {6}45/,
    );
  });
  test("more or fewer than there should be", () => {
    const said = run("pcap-in: in.pcap; pcap-out: in.pcap; counters: { limited: 1 }");
    expect(said[0]).toMatch(/^packet 2 of/);
    capture("one.pcap", pcapFile([records[0]]));
    expect(run("pcap-in: in.pcap; pcap-out: one.pcap; counters: { limited: 1 }")).toEqual([
      "2 packets left by next, and one.pcap has 1",
    ]);
  });
  test("without pcap-out, counters are compared", () => {
    expect(run("pcap-in: in.pcap; counters: { limited: 1 }")).toEqual([]);
    expect(run("pcap-in: in.pcap")).toEqual(["counter limited is 1, not 0"]);
  });
  test("the layer is the capture's, and pcapng is read too", () => {
    const frame = packet(1, { ethernet: {} });
    const section = block(false, 0x0a0d0d0a, fields(false, [4, 0x1a2b3c4d], [2, 1], [2, 0], [8, -1]));
    const description = block(false, 1, fields(false, [2, 1], [2, 0], [4, 0]));
    const one = block(false, 3, fields(false, [4, frame.length]), frame);
    capture("in.pcapng", Buffer.concat([section, description, one]));
    expect(run("pcap-in: in.pcapng; pcap-out: in.pcapng")).toEqual([]);
    expect(readCases(folder, readWholeCapture)[0].layer).toBe(2);
  });
  test.skipIf(!hasTool("editcap"))(
    "what editcap has cut in two is what went in (skipped without editcap)",
    () => {
      execFileSync("editcap", [
        "-F",
        "pcapng",
        "-r",
        join(folder, "in.pcap"),
        join(folder, "cut.pcapng"),
        "1",
        "3",
      ]);
      expect(run("pcap-in: in.pcap; pcap-out: cut.pcapng; counters: { limited: 1 }")).toEqual([]);
    },
  );
});

describe("what is wrong has its place in cases.yaml", () => {
  test.each([
    ["pcap-in: none.pcap", /cases\.yaml:3:12 error bad-capture: .*none\.pcap: ENOENT/],
    ["pcap-in: 7", /cases\.yaml:3:12 error wrong-type: pcap-in wants the name of a capture/],
    ["pcap-in: filter.yaml", /:3:12 error bad-capture: .*neither pcap nor pcapng/],
    ["pcap-in: .", /:3:12 error bad-capture: .*no regular file/],
    ["pcap-in: short.pcap", /:3:12 error bad-capture: .*short\.pcap: truncated record at byte 24/],
    ["pcap-in: in.pcap; packets: [{ in: { hex: '45' } }]", /error bad-case: .*packets or pcap-in, not both/],
  ])("%s", (keys, said) => {
    capture("in.pcap", pcapFile(records));
    capture("short.pcap", pcapFile(records).subarray(0, 50));
    expect(() => run(keys)).toThrow(said);
  });
  test("a built-in filter's cases name no captures, so that they run anywhere", () => {
    expect(readCases(join(BUILTIN, "ttl")).length).toBeGreaterThan(0);
    expect(() => run("pcap-in: in.pcap") && readCases(folder)).toThrow(/captures cannot be read here/);
  });
});
