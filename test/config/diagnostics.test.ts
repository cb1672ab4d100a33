// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables in pipeline files look like placeholders.
import { describe, expect, it } from "vitest";
import { ConfigError, Diagnostics, renderDiagnostics } from "../../src/config/diagnostics.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { Source } from "../../src/config/source.ts";
import { complaints, options, parse, refused } from "./load.ts";

describe("the contract's example of a diagnostic", () => {
  const text = `pktflow: 1
name: nat-gateway
workers: 2

devices:
  lan: { kind: tun, queues: 2, address: 10.77.0.1/24 }
  wan: { kind: tun, queues: 2, address: 198.51.100.1/24 }

filters:
  sane: { kind: checksum, verify: [ipv4, tcp, udp, icmp] }
  firewall:
    kind: acl
    rules:
      - { action: accept, proto: tcp, to-port: [443, 8000-8999] }
      - { action: accept, proto: icmp }
  masquerade: { kind: nat, inside: 10.77.0.0/24, outside: 198.51.100.2 }

paths:
  inbound: { from: wan, through: [sane, firewall, masquerade], to: lan }
  outbound: { from: lan, through: [sane, masq], to: wan }
`;
  it("is what is printed, and nothing else", () => {
    const { message } = refused(() => parsePipeline(text, "pipelines/nat-gateway.yaml", options()));
    // The contract prints column 39 but draws its caret under the same place as here, which is column 42.
    expect(message).toBe(
      [
        'pipelines/nat-gateway.yaml:20:42 error unknown-filter: path "outbound" goes through "masq", which is not defined',
        "  20 |   outbound: { from: lan, through: [sane, masq], to: wan }",
        '     |                                          ^^^^ did you mean "masquerade"?',
      ].join("\n"),
    );
  });

  it("has the same in data", () => {
    const { diagnostics } = refused(() => parsePipeline(text, "p.yaml", options()));
    expect(diagnostics).toEqual([
      {
        file: "p.yaml",
        line: 20,
        column: 42,
        length: 4,
        code: "unknown-filter",
        message: 'path "outbound" goes through "masq", which is not defined',
        suggestion: "masquerade",
        excerpt: "  outbound: { from: lan, through: [sane, masq], to: wan }",
      },
    ]);
  });
});

/** Sections of a sound file; a test replaces those that it is about. */
const SOUND = {
  top: "pktflow: 1",
  devices: "devices:\n  lan: { kind: tun }\n  wan: { kind: tun }",
  filters: "",
  paths: "paths:\n  p: { from: lan, to: wan }",
};
const file = (sections: Partial<typeof SOUND>) =>
  Object.values({ ...SOUND, ...sections })
    .filter((section) => section !== "")
    .join("\n");

/** Each: what is tried, the sections, and all that is printed about it. */
const BAD: [string, Partial<typeof SOUND>, string][] = [
  [
    "a queue count of 0",
    { devices: "devices:\n  lan: { kind: tun, queues: 0 }\n  wan: { kind: tun }" },
    `
p.yaml:3:29 error out-of-range: device "lan": queues wants 1 to 256, has 0
   3 |   lan: { kind: tun, queues: 0 }
     |                             ^`,
  ],
  [
    "a queue count of 257",
    { devices: "devices:\n  lan: { kind: tun, queues: 257 }\n  wan: { kind: tun }" },
    `
p.yaml:3:29 error out-of-range: device "lan": queues wants 1 to 256, has 257
   3 |   lan: { kind: tun, queues: 257 }
     |                             ^^^`,
  ],
  [
    "a name of 16 characters",
    { devices: "devices:\n  lan: { kind: tun, name: abcdefghijklmnop }\n  wan: { kind: tun }" },
    `
p.yaml:3:27 error bad-name: device "lan": "abcdefghijklmnop" is no name of an interface: it has 16 bytes, 15 is the most
   3 |   lan: { kind: tun, name: abcdefghijklmnop }
     |                           ^^^^^^^^^^^^^^^^`,
  ],
  [
    "a name of 16 characters beside a queue count of 0",
    { devices: "devices:\n  lan: { kind: tun, name: abcdefghijklmnop, queues: 0 }\n  wan: { kind: tun }" },
    `
p.yaml:3:27 error bad-name: device "lan": "abcdefghijklmnop" is no name of an interface: it has 16 bytes, 15 is the most
   3 |   lan: { kind: tun, name: abcdefghijklmnop, queues: 0 }
     |                           ^^^^^^^^^^^^^^^^
p.yaml:3:53 error out-of-range: device "lan": queues wants 1 to 256, has 0
   3 |   lan: { kind: tun, name: abcdefghijklmnop, queues: 0 }
     |                                                     ^`,
  ],
  [
    "an id of 16 characters, which would be the name",
    {
      devices: "devices:\n  abcdefghijklmnop: { kind: tun }\n  wan: { kind: tun }",
      paths: "paths: { p: { from: abcdefghijklmnop, to: wan } }",
    },
    `
p.yaml:3:3 error bad-name: device "abcdefghijklmnop": "abcdefghijklmnop" is no name of an interface: it has 16 bytes, 15 is the most (the id is the name unless name: says another)
   3 |   abcdefghijklmnop: { kind: tun }
     |   ^^^^^^^^^^^^^^^^`,
  ],
  [
    "names with a slash, a space, a percent sign",
    {
      devices:
        'devices:\n  lan: { kind: tun, name: a/b }\n  wan: { kind: tun, name: "a b" }\n  x: { kind: tun, name: "tun%d" }',
      paths: "paths: { p: { from: lan, to: wan }, q: { from: x, to: drop } }",
    },
    `
p.yaml:3:27 error bad-name: device "lan": "a/b" is no name of an interface: "/", ":", "%", spaces, "." and ".." cannot be
   3 |   lan: { kind: tun, name: a/b }
     |                           ^^^
p.yaml:4:27 error bad-name: device "wan": "a b" is no name of an interface: "/", ":", "%", spaces, "." and ".." cannot be
   4 |   wan: { kind: tun, name: "a b" }
     |                           ^^^^^
p.yaml:5:25 error bad-name: device "x": "tun%d" is no name of an interface: "/", ":", "%", spaces, "." and ".." cannot be
   5 |   x: { kind: tun, name: "tun%d" }
     |                         ^^^^^^^`,
  ],
  [
    "two devices of one name in one namespace",
    { devices: "devices:\n  lan: { kind: tun, name: wan }\n  wan: { kind: tun }" },
    `
p.yaml:4:3 error bad-name: device "wan": "wan" is the name of device "lan" already (the id is the name unless name: says another)
   4 |   wan: { kind: tun }
     |   ^^^`,
  ],
  [
    "a bad address and a bad prefix length",
    {
      devices:
        "devices:\n  lan: { kind: tun, address: [10.77.0.256/24, 10.77.0.1/33] }\n  wan: { kind: tun, address: 10.1 }",
    },
    `
p.yaml:3:31 error bad-value: device "lan": address[0] wants an address with its prefix length (10.77.0.1/24, fd00::1/64), has "10.77.0.256/24"
   3 |   lan: { kind: tun, address: [10.77.0.256/24, 10.77.0.1/33] }
     |                               ^^^^^^^^^^^^^^
p.yaml:3:47 error out-of-range: device "lan": address[1] wants a prefix length of 0 to 32, has "10.77.0.1/33"
   3 |   lan: { kind: tun, address: [10.77.0.256/24, 10.77.0.1/33] }
     |                                               ^^^^^^^^^^^^
p.yaml:4:30 error wrong-type: device "wan": address wants an address with its prefix length (10.77.0.1/24, fd00::1/64), has 10.1
   4 |   wan: { kind: tun, address: 10.1 }
     |                              ^^^^`,
  ],
  [
    "unknown keys on every level",
    {
      top: "pktflow: 1\nworker: 2",
      devices: "devices:\n  lan: { kind: tun, que: 2 }\n  wan: { kind: tun, colour: red }",
      filters: "filters:\n  f: { kind: acl, rules: [{ acton: drop }] }",
      paths: "paths:\n  p: { from: lan, trough: f, to: wan }",
    },
    `
p.yaml:2:1 error unknown-key: unknown key "worker" in the pipeline
   2 | worker: 2
     | ^^^^^^ did you mean "workers"?
p.yaml:4:21 error unknown-key: device "lan": unknown key "que"
   4 |   lan: { kind: tun, que: 2 }
     |                     ^^^ did you mean "queues"?
p.yaml:5:21 error unknown-key: device "wan": unknown key "colour"; could be queues, address, mtu, netns or offload
   5 |   wan: { kind: tun, colour: red }
     |                     ^^^^^^
p.yaml:7:3 error unused-filter: filter "f" is used by no path
   7 |   f: { kind: acl, rules: [{ acton: drop }] }
     |   ^
p.yaml:7:27 error missing: filter "f": action is missing in rules[0]
   7 |   f: { kind: acl, rules: [{ acton: drop }] }
     |                           ^^^^^^^^^^^^^^^
p.yaml:7:29 error unknown-key: filter "f": unknown key "acton" in rules[0]
   7 |   f: { kind: acl, rules: [{ acton: drop }] }
     |                             ^^^^^ did you mean "action"?
p.yaml:9:19 error unknown-key: unknown key "trough" in path "p"
   9 |   p: { from: lan, trough: f, to: wan }
     |                   ^^^^^^ did you mean "through"?`,
  ],
  [
    "unknown kinds",
    {
      devices: "devices:\n  lan: { kind: tunn }\n  wan: { knd: tun }",
      filters: "filters:\n  f: { kind: natt }\n  g: { kind: ./nowhere }\n  h: {}",
      paths: "paths:\n  p: { from: lan, through: [f, g, h], to: wan }",
    },
    `
p.yaml:3:16 error unknown-kind: device "lan": there is no device kind "tunn" (tun, tap, pcap, generator, discard)
   3 |   lan: { kind: tunn }
     |                ^^^^ did you mean "tun"?
p.yaml:4:10 error unknown-key: device "wan": unknown key "knd"
   4 |   wan: { knd: tun }
     |          ^^^ did you mean "kind"?
p.yaml:6:14 error unknown-kind: filter "f": there is no filter kind "natt"
   6 |   f: { kind: natt }
     |              ^^^^ did you mean "nat"?
p.yaml:7:14 error unknown-kind: filter "g": open nowhere/filter.yaml: ENOENT: there is no such file
   7 |   g: { kind: ./nowhere }
     |              ^^^^^^^^^
p.yaml:8:3 error missing: filter "h": kind is missing
   8 |   h: {}
     |   ^`,
  ],
  [
    "names that are not defined, each with the one that was meant",
    {
      filters: "filters:\n  hop: { kind: ttl }",
      paths:
        "paths:\n  p: { from: lna, through: [{ hop: { expired: bounec } }, hpo], to: wna }\n  bounce: { to: lan }",
    },
    `
p.yaml:8:14 error unknown-device: path "p" comes from "lna", which is not defined
   8 |   p: { from: lna, through: [{ hop: { expired: bounec } }, hpo], to: wna }
     |              ^^^ did you mean "lan"?
p.yaml:8:47 error unknown-path: output "expired" of "hop" leads to "bounec", which is not defined
   8 |   p: { from: lna, through: [{ hop: { expired: bounec } }, hpo], to: wna }
     |                                               ^^^^^^ did you mean "bounce"?
p.yaml:8:59 error unknown-filter: path "p" goes through "hpo", which is not defined
   8 |   p: { from: lna, through: [{ hop: { expired: bounec } }, hpo], to: wna }
     |                                                           ^^^ did you mean "hop"?
p.yaml:8:69 error unknown-target: path "p" leads to "wna", which is not defined
   8 |   p: { from: lna, through: [{ hop: { expired: bounec } }, hpo], to: wna }
     |                                                                     ^^^ did you mean "wan"?`,
  ],
  [
    "names that are not used",
    {
      devices: `${SOUND.devices}\n  idle: { kind: tun }`,
      filters: "filters:\n  f: { kind: checksum }",
      paths: `${SOUND.paths}\n  q: { to: lan }`,
    },
    `
p.yaml:5:3 error unused-device: device "idle" is used by no path
   5 |   idle: { kind: tun }
     |   ^^^^
p.yaml:7:3 error unused-filter: filter "f" is used by no path
   7 |   f: { kind: checksum }
     |   ^
p.yaml:10:3 error unused-path: path "q" has no "from", and no other path leads to it
  10 |   q: { to: lan }
     |   ^`,
  ],
  [
    "a cycle of paths",
    {
      filters: "filters:\n  hop: { kind: ttl }",
      paths:
        "paths:\n  p: { from: lan, to: q }\n  q: { through: { hop: { expired: r } }, to: wan }\n  r: { to: p }",
    },
    `
p.yaml:10:12 error path-cycle: packets could go round for ever: p -> q -> r -> p
  10 |   r: { to: p }
     |            ^`,
  ],
  [
    "a path that leads to itself",
    { paths: "paths:\n  p: { from: [lan, wan], to: p }" },
    `
p.yaml:6:30 error path-cycle: packets could go round for ever: p -> p
   6 |   p: { from: [lan, wan], to: p }
     |                              ^`,
  ],
  [
    "frames into a device for packets, directly and through other paths",
    {
      devices: "devices:\n  lan: { kind: tap }\n  wan: { kind: tun }",
      paths:
        "paths:\n  p: { from: lan, to: q }\n  q: { to: wan }\n  r: { from: wan, to: q2 }\n  q2: { to: lan }",
    },
    `
p.yaml:7:12 error mixed-layers: "wan" takes IP packets (layer 3), but gets Ethernet frames (layer 2) from "lan"
   7 |   q: { to: wan }
     |            ^^^
p.yaml:9:13 error mixed-layers: "lan" takes Ethernet frames (layer 2), but gets IP packets (layer 3) from "wan"
   9 |   q2: { to: lan }
     |             ^^^`,
  ],
  [
    "two layers on one path",
    {
      devices: "devices:\n  lan: { kind: tap }\n  wan: { kind: tun }",
      paths: "paths:\n  p: { from: [lan, wan], to: drop }",
    },
    `
p.yaml:6:20 error mixed-layers: path "p" would mix Ethernet frames (layer 2) from "lan" with IP packets (layer 3) from "wan"
   6 |   p: { from: [lan, wan], to: drop }
     |                    ^^^`,
  ],
  [
    "an output that leads nowhere: the manifest's, and one that a parameter names",
    {
      filters: "filters:\n  hop: { kind: ttl }\n  fw: { kind: acl, rules: [{ action: refuse }] }",
      paths:
        "paths:\n  p: { from: lan, through: [hop, fw], to: wan }\n  q: { from: wan, through: fw, to: lan }",
    },
    `
p.yaml:9:29 error unwired-output: path "p" does not say where output "expired" of "hop" leads: { hop: { expired: PATH } }
   9 |   p: { from: lan, through: [hop, fw], to: wan }
     |                             ^^^
p.yaml:9:34 error unwired-output: path "p" does not say where output "refuse" of "fw", named in line 7, leads: { fw: { refuse: PATH } }
   9 |   p: { from: lan, through: [hop, fw], to: wan }
     |                                  ^^
p.yaml:10:28 error unwired-output: path "q" does not say where output "refuse" of "fw", named in line 7, leads: { fw: { refuse: PATH } }
  10 |   q: { from: wan, through: fw, to: lan }
     |                            ^^`,
  ],
  [
    "two rules of a name, at the second one",
    {
      filters:
        "filters:\n  fw: { kind: acl, rules: [{ name: web, action: drop }, { name: web, action: drop }] }",
      paths: "paths:\n  p: { from: lan, through: fw, to: wan }",
    },
    `
p.yaml:6:65 error duplicate-name: filter "fw" has two rules called "web"
   6 |   fw: { kind: acl, rules: [{ name: web, action: drop }, { name: web, action: drop }] }
     |                                                                 ^^^`,
  ],
  [
    "a word in a parameter that is an output only by a slip",
    {
      filters: "filters:\n  fw: { kind: acl, rules: [{ action: acept }] }",
      paths: "paths:\n  p: { from: lan, through: fw, to: wan }",
    },
    `
p.yaml:6:38 error unwired-output: output "acept" of "fw" is wired by no path
   6 |   fw: { kind: acl, rules: [{ action: acept }] }
     |                                      ^^^^^ did you mean "accept"?`,
  ],
  [
    "wiring what a filter has not, and what is wired for ever",
    {
      filters: "filters:\n  hop: { kind: ttl }",
      paths:
        "paths:\n  p: { from: lan, through: { hop: { expierd: q, next: q, drop: q } }, to: wan }\n  q: { to: lan }",
    },
    `
p.yaml:8:37 error unknown-output: "hop" has no output "expierd"
   8 |   p: { from: lan, through: { hop: { expierd: q, next: q, drop: q } }, to: wan }
     |                                     ^^^^^^^ did you mean "expired"?
p.yaml:8:49 error reserved: output "next" of "hop" cannot be wired: what leaves by it goes on along the path
   8 |   p: { from: lan, through: { hop: { expierd: q, next: q, drop: q } }, to: wan }
     |                                                 ^^^^
p.yaml:8:58 error reserved: output "drop" of "hop" cannot be wired: what leaves by it is counted and gone
   8 |   p: { from: lan, through: { hop: { expierd: q, next: q, drop: q } }, to: wan }
     |                                                          ^^^^`,
  ],
  [
    "an output to a device, or to drop",
    {
      filters: "filters:\n  hop: { kind: ttl }",
      paths:
        "paths:\n  p: { from: lan, through: [{ hop: { expired: wan } }, { hop: { expired: drop } }], to: wan }",
    },
    `
p.yaml:8:47 error unknown-path: output "expired" of "hop" leads to "wan", which is a device: give it a path with "to: wan"
   8 |   p: { from: lan, through: [{ hop: { expired: wan } }, { hop: { expired: drop } }], to: wan }
     |                                               ^^^
p.yaml:8:74 error unknown-path: output "expired" of "hop" leads to "drop", which is no path: give it a path with "to: drop"
   8 |   p: { from: lan, through: [{ hop: { expired: wan } }, { hop: { expired: drop } }], to: wan }
     |                                                                          ^^^^`,
  ],
  [
    "a device that feeds two paths",
    { paths: "paths:\n  p: { from: lan, to: wan }\n  q: { from: [wan, lan], to: drop }" },
    `
p.yaml:7:20 error duplicate-source: path "q" comes from "lan", but its packets enter "p" already
   7 |   q: { from: [wan, lan], to: drop }
     |                    ^^^`,
  ],
  [
    "a source that gives nothing, a sink that takes nothing",
    {
      devices:
        "devices:\n  lan: { kind: discard }\n  wan: { kind: generator }\n  in: { kind: pcap, write: x }\n  out: { kind: pcap, read: y }",
      paths: "paths:\n  p: { from: lan, to: wan }\n  q: { from: in, to: out }",
    },
    `
p.yaml:8:14 error not-a-source: path "p" comes from "lan", which gives no packets (its kind is discard)
   8 |   p: { from: lan, to: wan }
     |              ^^^
p.yaml:8:23 error not-a-sink: path "p" leads to "wan", which takes no packets (its kind is generator)
   8 |   p: { from: lan, to: wan }
     |                       ^^^
p.yaml:9:14 error not-a-source: path "q" comes from "in", which gives no packets (it has no "read")
   9 |   q: { from: in, to: out }
     |              ^^
p.yaml:9:22 error not-a-sink: path "q" leads to "out", which takes no packets (it has no "write")
   9 |   q: { from: in, to: out }
     |                      ^^^`,
  ],
  [
    "no path, no device, no version",
    { top: "name: x", devices: "", paths: "paths: {}" },
    `
p.yaml:1:1 error missing: the format version is missing: begin with "pktflow: 1"
   1 | name: x
     | ^
p.yaml:1:1 error missing: devices is missing: where packets enter and leave
   1 | name: x
     | ^
p.yaml:2:8 error no-paths: there is no path: packets would go nowhere
   2 | paths: {}
     |        ^^`,
  ],
  [
    "another format version, about which nothing else is said",
    { top: "pktflow: 2\nfoo: bar" },
    `
p.yaml:1:10 error unknown-version: format version 2 is not known: this pktflow reads version 1
   1 | pktflow: 2
     |          ^`,
  ],
  [
    "workers and a name out of range",
    { top: "pktflow: 1\nname: a/b\nworkers: 257" },
    `
p.yaml:2:7 error bad-name: name wants up to 64 letters, digits, ".", "_" and "-", after a letter or digit; has "a/b"
   2 | name: a/b
     |       ^^^
p.yaml:3:10 error out-of-range: workers wants 1 to 256, has 257
   3 | workers: 257
     |          ^^^`,
  ],
  [
    "ids that are none, or mean something else",
    {
      devices: "devices:\n  LAN: { kind: tun }\n  wan: { kind: tun }",
      paths: "paths:\n  wan: { from: LAN, to: drop }\n  drop: { from: wan, to: drop }",
    },
    `
p.yaml:3:3 error bad-id: device ids are lower-case letters, digits and "-", after a letter; not "LAN"
   3 |   LAN: { kind: tun }
     |   ^^^ did you mean "lan"?
p.yaml:6:3 error duplicate-name: "wan" is a device already, "to" could mean both
   6 |   wan: { from: LAN, to: drop }
     |   ^^^
p.yaml:7:3 error reserved: a path cannot be called "drop": "to: drop" has a meaning
   7 |   drop: { from: wan, to: drop }
     |   ^^^^`,
  ],
  [
    "sections and entries of the wrong type",
    {
      devices: "devices: [lan]",
      filters: "filters:\n  f: nat\n  g: { kind: 5 }",
      paths: "paths:\n  p: { from: { lan: 1 }, through: [[f], { g: refuse }], to: [wan] }\n  q: lan",
    },
    `
p.yaml:2:10 error wrong-type: devices wants a map, has a list
   2 | devices: [lan]
     |          ^^^^^
p.yaml:4:3 error unused-filter: filter "f" is used by no path
   4 |   f: nat
     |   ^
p.yaml:4:6 error wrong-type: filter "f" wants a map, has "nat"
   4 |   f: nat
     |      ^^^
p.yaml:5:14 error wrong-type: filter "g": kind wants the name of a kind, has 5
   5 |   g: { kind: 5 }
     |              ^
p.yaml:7:14 error wrong-type: path "p": from wants a device or a list of devices, has a map
   7 |   p: { from: { lan: 1 }, through: [[f], { g: refuse }], to: [wan] }
     |              ^^^^^^^^^^
p.yaml:7:36 error wrong-type: path "p": through wants filters, or { FILTER: { OUTPUT: PATH } }, has a list
   7 |   p: { from: { lan: 1 }, through: [[f], { g: refuse }], to: [wan] }
     |                                    ^^^
p.yaml:7:46 error wrong-type: path "p": the outputs of "g" wants a map, has "refuse"
   7 |   p: { from: { lan: 1 }, through: [[f], { g: refuse }], to: [wan] }
     |                                              ^^^^^^
p.yaml:7:61 error wrong-type: path "p": to wants a device, a path, or drop, has a list
   7 |   p: { from: { lan: 1 }, through: [[f], { g: refuse }], to: [wan] }
     |                                                             ^^^^^
p.yaml:8:6 error wrong-type: path "q" wants a map, has "lan"
   8 |   q: lan
     |      ^^^`,
  ],
  [
    "an isolation that there is not: it is refused, for whoever asks for it relies on it",
    {
      filters: "filters:\n  f: { kind: checksum, isolation: process }",
      paths: "paths: { p: { from: lan, through: f, to: wan } }",
    },
    `
p.yaml:6:35 error bad-value: filter "f": isolation wants none or memory, has "process"
   6 |   f: { kind: checksum, isolation: process }
     |                                   ^^^^^^^`,
  ],
  [
    "values of filters: host bits, units, words, the host's keys",
    {
      filters:
        "filters:\n  f: { kind: nat, inside: 10.77.0.1/24, outside: 198.51.100.2, udp-timeout: 2d, on-trap: ignore }",
      paths: "paths:\n  p: { from: lan, through: f, to: wan }",
    },
    `
p.yaml:6:27 error bad-value: filter "f": inside wants a prefix whose last 8 bits are zero, has "10.77.0.1/24"
   6 |   f: { kind: nat, inside: 10.77.0.1/24, outside: 198.51.100.2, udp-timeout: 2d, on-trap: ignore }
     |                           ^^^^^^^^^^^^ did you mean "10.77.0.0/24"?
p.yaml:6:77 error out-of-range: filter "f": udp-timeout wants 1s to 1d, has "2d"
   6 |   f: { kind: nat, inside: 10.77.0.1/24, outside: 198.51.100.2, udp-timeout: 2d, on-trap: ignore }
     |                                                                             ^^
p.yaml:6:90 error bad-value: filter "f": on-trap wants drop, pass or stop, has "ignore"
   6 |   f: { kind: nat, inside: 10.77.0.1/24, outside: 198.51.100.2, udp-timeout: 2d, on-trap: ignore }
     |                                                                                          ^^^^^^`,
  ],
  [
    "a key twice; the rest of the file is checked all the same",
    { top: "pktflow: 1\nworkers: 2\nworkers: 3\nnmae: x" },
    `
p.yaml:3:1 error duplicate-key: "workers" is there twice
   3 | workers: 3
     | ^^^^^^^
p.yaml:4:1 error unknown-key: unknown key "nmae" in the pipeline
   4 | nmae: x
     | ^^^^ did you mean "name"?`,
  ],
  [
    "variables that are not set",
    {
      devices: "devices:\n  lan: { kind: tun, netns: a${NOPE}b, mtu: ${1} }\n  wan: { kind: tun, mtu: ${N} }",
    },
    `
p.yaml:3:29 error undefined-variable: \${NOPE} is not set in the environment and has no default (\${NOPE:-...})
   3 |   lan: { kind: tun, netns: a\${NOPE}b, mtu: \${1} }
     |                             ^^^^^^^
p.yaml:3:44 error bad-variable: a variable is written \${NAME} or \${NAME:-default}
   3 |   lan: { kind: tun, netns: a\${NOPE}b, mtu: \${1} }
     |                                            ^^^^
p.yaml:4:26 error undefined-variable: \${N} is not set in the environment and has no default (\${N:-...})
   4 |   wan: { kind: tun, mtu: \${N} }
     |                          ^^^^`,
  ],
];

describe("bad input", () => {
  it.each(BAD)("%s", (_, sections, expected) => {
    expect(complaints(file(sections))).toBe(expected.trimStart());
  });

  it("the sound file that these are made of is sound", () => {
    expect(parse(file({})).paths).toHaveLength(1);
  });
});

describe("--set", () => {
  it("is shown as the source when it is wrong", () => {
    const set = [
      "workers=2",
      "devices.lam.queues=3",
      "devices.lan.queues=zero",
      "paths.p.through.0=x",
      "nonsense",
      "name.x=1",
      "devices.lan.qeues=1",
    ];
    expect(complaints(file({}) + "\nname: x", { set })).toBe(
      `
--set:2:9 error bad-set: there is no "lam" to set something in
   2 | devices.lam.queues=3
     |         ^^^ did you mean "lan"?
--set:3:20 error wrong-type: device "lan": queues wants a number, has "zero"
   3 | devices.lan.queues=zero
     |                    ^^^^
--set:4:9 error bad-set: there is no "through" to set something in
   4 | paths.p.through.0=x
     |         ^^^^^^^
--set:5:1 error bad-set: --set wants PATH=VALUE, as in devices.lan.queues=4
   5 | nonsense
     | ^^^^^^^^
--set:6:6 error bad-set: "x" cannot be set in a value that is no map and no list
   6 | name.x=1
     |      ^
--set:7:13 error unknown-key: device "lan": unknown key "qeues"; could be address, mtu, netns or offload
   7 | devices.lan.qeues=1
     |             ^^^^^`.trimStart(),
    );
  });
});

describe("the renderer", () => {
  const render = (text: string, needle: string, suggestion?: string) => {
    const source = new Source("f", text);
    const start = text.indexOf(needle);
    const diagnostics = new Diagnostics();
    diagnostics.error({ source, start, end: start + needle.length }, "code", "message", suggestion);
    return renderDiagnostics(diagnostics.sorted());
  };

  it("puts the caret under its character behind tabs, wide characters, accents and emoji", () => {
    expect(render("\ta: \t[x]", "x")).toBe("f:1:7 error code: message\n   1 | \ta: \t[x]\n     | \t   \t ^");
    expect(render("名前: x", "x")).toBe("f:1:5 error code: message\n   1 | 名前: x\n     |       ^");
    expect(render("e\u0301: x", "x")).toBe("f:1:5 error code: message\n   1 | e\u0301: x\n     |    ^");
    expect(render("a: 名前", "名前")).toBe("f:1:4 error code: message\n   1 | a: 名前\n     |    ^^^^");
    expect(render("🦊: x", "x")).toBe("f:1:4 error code: message\n   1 | 🦊: x\n     |     ^");
  });

  it("marks a range of several lines on its first", () => {
    expect(render("a: b   \nc: d", "b   \nc")).toBe("f:1:4 error code: message\n   1 | a: b   \n     |    ^");
  });

  it("lets no control character through to a terminal", () => {
    expect(render("a: \u001b[31m\u202e b", "b")).toContain("| a: \uFFFD[31m\uFFFD b\n");
  });

  it("shows a long line around its mark", () => {
    const [, line, caret] = render(`${"a".repeat(1000)}X${"b".repeat(1000)}`, "X", "Y").split("\n");
    expect(line).toBe(`   1 | …${"a".repeat(60)}X${"b".repeat(99)}…`);
    expect(caret).toBe(`     | ${" ".repeat(61)}^ did you mean "Y"?`);
  });

  it("widens the gutter for a long file", () => {
    expect(render(`${"\n".repeat(12344)}x`, "x")).toBe("f:12345:1 error code: message\n12345 | x\n      | ^");
  });

  it("says a thing once and sorts by place, files in the order of their first fault", () => {
    const source = new Source("b", "one\ntwo");
    const other = new Source("a", "x");
    const diagnostics = new Diagnostics();
    diagnostics.error({ source, start: 4, end: 7 }, "c", "second");
    diagnostics.error({ source, start: 0, end: 3 }, "c", "first");
    diagnostics.error({ source, start: 4, end: 7 }, "c", "second");
    diagnostics.error({ source: other, start: 0, end: 1 }, "c", "third");
    expect(diagnostics.sorted().map((d) => d.message)).toEqual(["first", "second", "third"]);
    expect(new ConfigError(diagnostics.sorted()).message.match(/error c:/g)).toHaveLength(3);
  });
});

describe("syntax errors", () => {
  it.each([
    ["a: [b", "p.yaml:1:6 error bad-indent"],
    ["a: b: c", "p.yaml:1:4 error block-as-implicit-key"],
    ["a: 1\n\tb: 2", "p.yaml:2:1 error tab-as-indent"],
    ['a: "b', 'p.yaml:1:6 error missing-char: Missing closing "quote'],
    ["a: { b: c } }\nd: e\nf: {", "p.yaml:1:13 error unexpected-token"],
    ["a: 1\n---\nb: 2", "p.yaml:2:1 error multiple-docs"],
    ["a: !!foo 1", "p.yaml:1:4 error tag-resolve-failed"],
    ["", "p.yaml:1:1 error missing: the file is empty"],
    ["# nothing", "p.yaml:1:1 error missing: the file is empty"],
    ["- a", "p.yaml:1:1 error wrong-type: a pipeline file wants a map, has a list"],
    ["{ [a]: b }", "p.yaml:1:3 error wrong-type: a key must be a plain word"],
  ])("%j", (text, expected) => {
    expect(complaints(text)).toContain(expected);
  });
});
