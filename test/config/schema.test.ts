// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables in pipeline files look like placeholders.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse as parseYaml } from "yaml";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { fullPipelineSchema } from "../../src/config/schema.ts";
import { devices } from "./fixtures/devices.ts";
import { FIXTURES, parse } from "./load.ts";

const ajv = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
const validate = ajv.compile(fullPipelineSchema(devices, `${FIXTURES}filters`));

/** Does an editor that knows the schema accept this text? */
const editor = (text: string) => validate(parseYaml(text, { merge: true }));
const checker = (text: string) => {
  try {
    parse(text);
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
};

const file = (lan: string, filter = "kind: acl", path = "from: lan, through: f, to: wan", top = "") => `
pktflow: 1
${top}
devices: { lan: { ${lan} }, wan: { kind: tun } }
filters: { f: { ${filter} } }
paths: { p: { ${path} } }`;

describe("the schema and the checker agree", () => {
  it.each([
    ["the contract's example", readFileSync(`${FIXTURES}pipelines/nat-gateway.yaml`, "utf8")],
    ["a tun", file("kind: tun, queues: 4, address: [10.0.0.1/8, 'fd00::1/64'], mtu: 9000, netns: x")],
    ["a tap", file("kind: tap, mac: '02:00:00:00:00:01'").replace("wan: { kind: tun", "wan: { kind: tap")],
    [
      "an output wired to another path",
      file("kind: tun", "kind: ttl", "from: lan, through: { f: { expired: q } }, to: wan }, q: { to: lan"),
    ],
    [
      "rules",
      file(
        "kind: tun",
        "kind: acl, rules: [{ action: accept, proto: [tcp, 89], to-port: [80, 8000-8999], from: [10.0.0.0/8, '2001:db8::/32'] }, { action: drop }]",
      ),
    ],
    ["one rule instead of a list", file("kind: tun", "kind: acl, rules: { action: accept }")],
    ["the host's keys", file("kind: tun", "kind: checksum, on-trap: pass, isolation: none")],
    [
      "units",
      file(
        "kind: tun",
        "kind: nat, inside: 10.0.0.0/8, outside: 192.0.2.1, udp-timeout: 1h30m, ports: 1024-2047",
      ),
    ],
    ["a rate", file("kind: tun", "kind: icmp-error, code: port-unreachable, rate: 1.5kpps")],
  ])("accept %s", (_, text) => {
    expect(checker(text)).toBe(true);
    expect(editor(text), JSON.stringify(validate.errors)).toBe(true);
  });

  it.each([
    ["another version", file("kind: tun").replace("pktflow: 1", "pktflow: 2")],
    ["an unknown section", file("kind: tun", "kind: acl", "from: lan, through: f, to: wan", "worker: 2")],
    [
      "workers out of range",
      file("kind: tun", "kind: acl", "from: lan, through: f, to: wan", "workers: 257"),
    ],
    ["an unknown device kind", file("kind: tunn")],
    ["no kind", file("queues: 2")],
    ["an unknown device parameter", file("kind: tun, colour: red")],
    ["queues out of range", file("kind: tun, queues: 0")],
    ["a quoted number", file("kind: tun, queues: '2'")],
    ["a word that is not in an enum", file("kind: tun, offload: maybe")],
    ["a bad address", file("kind: tun, address: 10.0.0.256/8")],
    ["an unknown filter kind", file("kind: tun", "kind: aclx")],
    ["a missing parameter", file("kind: tun", "kind: nat, inside: 10.0.0.0/8")],
    [
      "an unknown field in a rule",
      file("kind: tun", "kind: acl, rules: [{ action: accept, protocol: tcp }]"),
    ],
    ["a rule without its action", file("kind: tun", "kind: acl, rules: [{ proto: tcp }]")],
    [
      "a duration without a unit",
      file("kind: tun", "kind: nat, inside: 10.0.0.0/8, outside: 192.0.2.1, udp-timeout: 5"),
    ],
    ["a protocol out of range", file("kind: tun", "kind: acl, rules: [{ action: accept, proto: 256 }]")],
    ["a bad host key", file("kind: tun", "kind: acl, on-trap: ignore")],
    ["a path without to", file("kind: tun", "kind: acl", "from: [lan, wan], through: f")],
    ["an unknown key in a path", file("kind: tun", "kind: acl", "from: lan, trough: f, to: wan")],
    ["wiring drop", file("kind: tun", "kind: acl", "from: lan, through: { f: { drop: p } }, to: wan")],
    [
      "a step of two filters",
      file("kind: tun", "kind: acl", "from: lan, through: [{ f: {}, g: {} }], to: wan"),
    ],
    ["an id that is none", file("kind: tun").replace("lan:", "Lan:")],
    ["no paths", file("kind: tun").replace(/paths:.*/, "paths: {}")],
    ["a list for a section", file("kind: tun").replace(/filters:.*/, "filters: [f]")],
  ])("refuse %s", (_, text) => {
    expect(editor(text)).toBe(false);
    expect(checker(text)).toBe(false);
  });

  it("lets a variable stand for any scalar", () => {
    const text = file(
      'kind: tun, queues: "${Q:-2}", address: "${A}"',
      'kind: nat, inside: "${I}", outside: "${O}"',
    );
    expect(editor(text), JSON.stringify(validate.errors)).toBe(true);
  });

  it("leaves a filter of the user's to the checker", () => {
    expect(editor(file("kind: tun", "kind: ./filters/mine, whatever: 5"))).toBe(true);
  });
});

describe("the schema of all that there is", () => {
  const full = new Ajv2020({ strict: true, strictRequired: false });
  const valid = full.compile(fullPipelineSchema());
  const folder = fileURLToPath(new URL("../../pipelines/", import.meta.url));

  it.each(readdirSync(folder).filter((name) => name.endsWith(".yaml")))("accepts pipelines/%s", (name) => {
    expect(
      valid(parseYaml(readFileSync(folder + name, "utf8"), { merge: true })),
      JSON.stringify(valid.errors),
    ).toBe(true);
  });

  it("shows docs where an editor looks for them", () => {
    const schema = fullPipelineSchema(devices, `${FIXTURES}filters`) as never as {
      $defs: {
        filter: {
          allOf: { then: { properties: Record<string, { description: string; default?: unknown }> } }[];
        };
      };
    };
    const nat = schema.$defs.filter.allOf.find((kind) => "udp-timeout" in kind.then.properties)!;
    expect(nat.then.properties["udp-timeout"]).toMatchObject({
      description: "A UDP mapping's life without packets. (1s to 1d)",
      default: "2m",
    });
  });
});
