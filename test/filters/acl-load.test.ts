// A hundred thousand mixed rules from a pipeline's text to the trees that packets go down.
import { beforeAll, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { instantiate, SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";
import { EncodedParams } from "../../src/params/encode.ts";
import { type FilterModule, filterModule } from "./bench.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

const RULES = 100_000;
test("is loaded, in the memory that is documented", () => {
  const text = pipeline(RULES);
  const [filter] = parsePipeline(text, "big.yaml").filters;
  expect(filter.params["rules"]).toHaveLength(RULES);
  const params = new EncodedParams(filter.manifest.params, filter.params, filter.outputs, SCRATCH_PARAMS);
  const { prepared } = stateSizes(acl.module, acl.manifest, params.bytes);
  const state = 65536;
  const paramsAt = state + prepared;
  const memory = new WebAssembly.Memory({
    initial: Math.ceil((paramsAt + params.bytes.length) / 65536),
    maximum: Math.ceil((paramsAt + params.bytes.length) / 65536),
    shared: true,
  });
  new Uint8Array(memory.buffer).set(params.at(paramsAt), paramsAt);
  const context = new Uint32Array(memory.buffer, 1024, CONTEXT.SIZE / 4);
  context[CONTEXT.PARAMS / 4] = paramsAt;
  context[CONTEXT.PREPARED_STATE / 4] = state;
  instantiate(acl.module, memory).prepare?.(1024);
  // Documented as the memory that a rule takes, at most.
  expect(prepared / RULES).toBeLessThan(2000);
});

/** Both IP versions, all lengths of prefixes, ports, ranges and protocols. */
function pipeline(rules: number): string {
  let state = 1;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const prefix4 = () => {
    const length = 8 + next(25);
    const bits = (next(2 ** 32) & (length === 0 ? 0 : ~0 << (32 - length))) >>> 0;
    return `${[24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".")}/${length}`;
  };
  const prefix6 = () => `"2001:db8:${next(65536).toString(16)}:${next(65536).toString(16)}::/64"`;
  const lines = Array.from({ length: rules }, () => {
    const prefix = next(3) === 0 ? prefix6 : prefix4;
    const port = 1 + next(60_000);
    const ports = [`, to-port: ${port}`, `, to-port: [${port}-${port + 99}, 443]`, ""][next(3)];
    const proto = ports === "" ? ["tcp", "udp", "gre"][next(3)] : ["tcp", "udp"][next(2)];
    return `      - { action: ${["accept", "drop"][next(2)]}, proto: ${proto}, from: ${prefix()}, to: ${prefix()}${ports} }\n`;
  });
  return [
    "pktflow: 1\ndevices:\n  a: { kind: pcap, read: a.pcap }\n  b: { kind: discard }\n",
    `filters:\n  firewall:\n    kind: acl\n    rules:\n${lines.join("")}`,
    "paths:\n  p: { from: a, through: [firewall], to: b }\n",
  ].join("");
}
