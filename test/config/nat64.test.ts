// Prefixes of nat64 and nptv6 and ends of tunnels that cannot be: refused in the file, at their place.
import { writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

function load(filter: string) {
  const file = folder.file("prefix.yaml");
  const lines = [
    "pktflow: 1",
    "devices: { lan: { kind: tun }, wan: { kind: tun } }",
    `filters: { f: { ${filter} } }`,
    "paths: { out: { from: lan, through: f, to: wan } }",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  return loadPipeline(file);
}

test.each([
  ["kind: nat64, outside: 192.0.2.1, prefix: 10.0.0.0/8", /:3:58 error bad-value: .*wants an IPv6 prefix/],
  ["kind: nat64, outside: 192.0.2.1, prefix: '2001:db8::/31'", /:3:58 error (bad-value|out-of-range): /],
  [
    "kind: nat64, outside: 192.0.2.1, prefix: '2001:db8::/33'",
    /:3:58 error contradiction: .*a length of 32, 40, 48, 56, 64 or 96, has 33/,
  ],
  [
    "kind: nat64, outside: 192.0.2.1, prefix: '2001:db8:0:0:100::/96'",
    /:3:58 error contradiction: .*bits 64 to 71 to be zero/,
  ],
  [
    "kind: nptv6, internal: 'fd00::/65', external: '2001:db8::/48'",
    /:3:40 error out-of-range: .*64 bits at most/,
  ],
  ["kind: nptv6, internal: 'fd00::/48', external: 192.0.2.0/24", /:3:63 error bad-value: .*an IPv6 prefix/],
  [
    "kind: ipip, action: encap, local: 192.0.2.1, remote: '2001:db8::1'",
    /:3:70 error contradiction: filter "f": remote wants to be an IPv4 address as local 192.0.2.1 is, has 2001:db8::1/,
  ],
  [
    "kind: gre, action: decap, local: '2001:db8::1', remote: 192.0.2.1",
    /error contradiction: .*an IPv6 addr/,
  ],
  [
    "kind: vxlan, vni: 1, action: decap, local: '2001:db8::1', remote: 192.0.2.1",
    /error contradiction: .*IPv6/,
  ],
])("%s", (filter, message) => {
  expect(() => load(filter)).toThrow(message);
});

test.each(["2001:db8::/32", "64:ff9b::/96", "2001:db8:1:2::/64"])("nat64 takes %s", (prefix) => {
  expect(() => load(`kind: nat64, outside: 192.0.2.1, prefix: '${prefix}'`)).not.toThrow();
});
