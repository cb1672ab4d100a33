// What is wrong with a generator's flows or a capture's files is said at its place, all at once.
import { expect, test } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";

const FILE = `pktflow: 1
devices:
  traffic:
    kind: generator
    flows:
      - { from: 10.0.0.1, to: "fd00::1" }
      - { from: 10.0.0.1, to: 10.0.0.2, size: [64, 20] }
      - { from: 10.0.0.1, to: 10.0.0.2 }
      - { from: 10.0.0.1, to: 10.0.0.2, from-port: 1-2, to-port: 3, count: 3 }
  capture: { kind: pcap }
paths:
  all: { from: traffic, to: capture }
`;

function problems(text: string): string[] {
  try {
    parsePipeline(text, "generator.yaml", { env: {} });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.diagnostics.map(
      ({ line, column, code, message }) => `${line}:${column} ${code}: ${message}`,
    );
  }
}

test("contradictions of parameters that are each right", () => {
  expect(problems(FILE)).toEqual([
    '6:9 contradiction: device "traffic": from 10.0.0.1/32 is IPv4 and to fd00::1/128 is IPv6',
    '7:9 contradiction: device "traffic": size 20 is too small for udp over IPv4, which takes 28 bytes',
    '9:9 contradiction: device "traffic": count is 3, and its addresses and ports make 2 different flows: widen from, to or from-port',
    '12:29 not-a-sink: path "all" leads to "capture", which takes no packets (it has no "write")',
  ]);
});

test("one flow that stands for a list of one", () => {
  const text = FILE.replace(/flows:\n(?: {6}- .*\n)+/, 'flows: { from: 10.0.0.1, to: "fd00::1" }\n');
  expect(problems(text)[0]).toMatch(/^5:12 contradiction: device "traffic": from 10\.0\.0\.1/);
});
