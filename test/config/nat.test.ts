// What contradicts itself in the parameters of the built-in nat: found in the file, at its place.
import { writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

function load(...forwards: string[]) {
  const file = folder.file("nat.yaml");
  const lines = forwards.map((forward) => `      - { ${forward} }\n`).join("");
  writeFileSync(
    file,
    `pktflow: 1
devices: { lan: { kind: tun }, wan: { kind: tun } }
filters:
  n:
    kind: nat
    inside: 10.0.0.0/23
    outside: 192.0.2.1
    forward:
${lines}paths: { out: { from: lan, through: n, to: wan } }
`,
  );
  return loadPipeline(file);
}

test.each([
  [
    "port: 85, to: 10.0.0.3",
    /:10:17 error contradiction: .*forward\[1\]: forward\[0\] has its ports already/,
  ],
  ["port: 7, to: 10.0.2.3", /:10:24 error contradiction: .*10\.0\.2\.3 is not within inside/],
  [
    "port: 8, outside: 192.0.2.2, to: 10.0.0.1",
    /:10:29 error contradiction: .*192\.0\.2\.2 is none of outside/,
  ],
])("behind a forward of ports 80 to 90: %s", (forward, message) => {
  expect(() => load("proto: [tcp, udp], port: 80-90, to: 10.0.1.3", forward)).toThrow(message);
});

test("a port before the range that has it, or of another protocol, is an exception and no slip", () => {
  expect(() => load("port: 85, to: 10.0.0.3", "port: 80-90, to: 10.0.1.3")).not.toThrow();
  expect(() =>
    load("proto: tcp, port: 85, to: 10.0.0.3", "proto: udp, port: 85, to: 10.0.1.3"),
  ).not.toThrow();
});

test.each([
  ["port: 80, to: 10.0.0.3, twice-nat: true", /:10:46 error contradiction: .*twice-nat needs addresses/],
  [
    "port: 80, to: 10.0.0.3 }\n    twice-nat: 192.0.2.1\n    remote: { inside: 192.0.2.1, outside: 192.0.2.7",
    /twice-nat: 192\.0\.2\.1 is one of outside(.|\n)*remote\[0\]: 192\.0\.2\.1 is one of outside/,
  ],
])("twice NAT: %s", (forward, message) => {
  expect(() => load("port: 22, to: 10.0.0.9", forward)).toThrow(message);
});
