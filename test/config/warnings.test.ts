// What `pktflow check` warns of: rules that no packet comes to, and nats that give away the ports of one address.
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type Diagnostic, renderDiagnostic } from "../../src/config/diagnostics.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { shadowedRules } from "../../src/config/warnings/acl.ts";
import { pktflow, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

function write(filters: string): string {
  const file = folder.file("warned.yaml");
  const through = [...filters.matchAll(/^ {2}(\w+):/gm)].map(([, id]) => id).join(", ");
  writeFileSync(
    file,
    `pktflow: 1\ndevices: { lan: { kind: tun }, wan: { kind: tun } }\nfilters:\n${filters}paths: { out: { from: lan, through: [${through}], to: wan } }\n`,
  );
  return file;
}

function warningsOf(filters: string): Diagnostic[] {
  const warnings: Diagnostic[] = [];
  loadPipeline(write(filters), { onWarning: (warning) => warnings.push(warning) });
  return warnings;
}

const SETS = '    sets: { office: [10.1.0.0/16, "2001:db8::/32"] }\n';
function acl(...rules: string[]): string {
  const sets = rules.some((rule) => rule.includes("office")) ? SETS : "";
  return `  f:\n    kind: acl\n${sets}    rules:\n${rules.map((rule) => `      - { ${rule} }\n`).join("")}`;
}

describe("a rule whose packets an earlier one has taken already", () => {
  test("is told with the place of both", () => {
    const [warning, ...more] = warningsOf(
      acl(
        "name: web, action: accept, proto: tcp, to-port: 80-90",
        "action: drop, proto: [tcp], from: 10.0.0.1, to-port: 85",
      ),
    );
    expect(more).toEqual([]);
    expect(renderDiagnostic(warning)).toMatch(
      /warned\.yaml:8:9 warning shadowed-rule: filter "f": rule 1 can never match: rule "web" \(.*warned\.yaml:7\) matches all that it would\n/,
    );
  });

  test.each([
    ["a set", "action: accept, from: office", "action: drop, from: 10.1.2.0/24"],
    [
      "both families of it",
      "action: accept, from: office",
      'action: drop, from: ["2001:db8:1::/48", 10.1.0.0/17]',
    ],
    [
      "flags, of which fewer must be set",
      "action: drop, tcp-flags-set: syn",
      "action: accept, tcp-flags-set: [syn, fin]",
    ],
    ["everything", "action: accept", "action: drop, ethertype: 0x0806"],
    ["what is not", "action: accept, not-proto: gre", "action: drop, not-proto: gre, dscp: ef"],
    ["marks", "action: drop, mark: [1, 2]", "action: mark 7, mark: 2"],
  ])("by %s", (_, earlier, later) => {
    expect(warningsOf(acl(earlier, later)).map(({ code }) => code)).toEqual(["shadowed-rule"]);
  });

  test.each([
    ["another family", "action: accept, from: 0.0.0.0/0", 'action: drop, from: "::/0"'],
    ["a wider prefix", "action: accept, from: 10.0.0.0/9", "action: drop, from: 10.0.0.0/8"],
    ["more ports", "action: accept, proto: tcp, to-port: 80-90", "action: drop, proto: tcp, to-port: 80-91"],
    ["no ports", "action: accept, to-port: 0-65535", "action: drop, proto: gre"],
    [
      "fewer flags asked for",
      "action: drop, tcp-flags-set: [syn, fin]",
      "action: accept, tcp-flags-set: syn",
    ],
    ["another mask", "action: drop, mark: 1", "action: drop, mark: 1, mark-mask: 1"],
    ["a rule before that only marks", "action: mark 1", "action: drop"],
    ["a rule behind", "action: drop, proto: tcp, to-port: 80", "action: drop, proto: tcp"],
  ])("is not one with %s", (_, earlier, later) => {
    expect(warningsOf(acl(earlier, later))).toEqual([]);
  });

  test("of four thousand is found, of more it is not looked for", () => {
    const rules = Array.from({ length: 4000 }, (_, i) => ({
      action: "next",
      from: [`10.${i >> 8}.${i & 255}.0/24`],
      proto: [6],
    }));
    const last = { action: "drop", from: ["10.1.1.7/32"], proto: [6] };
    const found = (list: object[]) =>
      shadowedRules({ id: "f", kind: "acl", params: { rules: list } as never }).map(({ path }) => path[1]);
    expect(found([...rules.slice(1), last])).toEqual([3999]);
    expect(found([...rules, last])).toEqual([]);
  });

  test("has no packet of its own among addresses, ports and protocols, as a plain look at each says", () => {
    const some = <T>(of: T[]) =>
      fc.option(fc.uniqueArray(fc.constantFrom(...of), { minLength: 1, maxLength: 2 }));
    const rule = fc.record({
      from: some(["10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.1/32"]),
      proto: some([6, 17]),
      "to-port": some([1, 2, 3].map((first) => ({ first, last: first + 1 }))),
    });
    type Said = Record<string, never[] | null>;
    const packets = [0, 1, 2, 3].flatMap((host) =>
      [6, 17].flatMap((proto) => [1, 2, 3, 4, 5].map((port) => ({ host, proto, port }))),
    );
    const hosts: Record<string, number[]> = {
      ...{ "10.0.0.0/30": [0, 1, 2, 3], "10.0.0.0/31": [0, 1] },
      ...{ "10.0.0.2/31": [2, 3], "10.0.0.1/32": [1] },
    };
    const matches = (said: Said, { host, proto, port }: (typeof packets)[number]) =>
      (said["from"] === null || said["from"].some((prefix) => hosts[prefix].includes(host))) &&
      (said["proto"] === null || said["proto"].includes(proto as never)) &&
      (said["to-port"] === null ||
        said["to-port"].some(
          ({ first, last }: { first: number; last: number }) => first <= port && last >= port,
        ));
    fc.assert(
      fc.property(fc.array(rule, { minLength: 2, maxLength: 6 }), (said) => {
        const rules = said.map((one) => ({
          action: "next",
          ...Object.fromEntries(Object.entries(one).filter(([, value]) => value !== null)),
        }));
        for (const { path } of shadowedRules({ id: "f", kind: "acl", params: { rules } as never })) {
          const i = path[1] as number;
          const reached = packets.filter((packet) => matches(said[i] as Said, packet));
          for (const packet of reached) {
            expect(said.slice(0, i).some((earlier) => matches(earlier as Said, packet))).toBe(true);
          }
        }
      }),
    );
  });
});

test("two nats with one outside address", () => {
  const nat = (id: string, inside: string, outside: string) =>
    `  ${id}: { kind: nat, inside: ${inside}, outside: ${outside} }\n`;
  const filters = nat("a", "10.1.0.0/16", "[192.0.2.1, 192.0.2.2]") + nat("b", "10.2.0.0/16", "192.0.2.2");
  expect(warningsOf(filters).map(({ code, line, column }) => [code, line, column])).toEqual([
    ["shared-address", 5, 49],
  ]);
  expect(warningsOf(nat("a", "10.1.0.0/16", "192.0.2.1") + nat("b", "10.2.0.0/16", "192.0.2.2"))).toEqual([]);
});

test("`pktflow check` prints warnings beside the plan, and succeeds", async () => {
  const { status, stdout, stderr } = await pktflow([
    "check",
    write(acl("action: accept", "action: drop, proto: tcp")),
  ]);
  expect(stderr).toMatch(/^.*warned\.yaml:8:9 warning shadowed-rule: .*\n.*\n.*\^/);
  expect(stdout).toContain("is valid");
  expect(status).toBe(0);
});
