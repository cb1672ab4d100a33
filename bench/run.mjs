/**
 * The standing set: npm run bench [-- --for 3s --pairs 5 --only NAME]
 * Prints tables, and leaves JSON and a chart of each part in build/bench. Needs root or user namespaces; what C
 * programs and the kernel are compared with needs cc, ip and nft, and is left out, visibly, where they are not there.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = join(root, "build/bench-results");
const { values: options } = parseArgs({
  options: {
    for: { type: "string", default: "3s" },
    pairs: { type: "string", default: "5" },
    only: { type: "string" },
  },
});

/** A thousand rules, of which the last one matches; the peers' C chain makes the same ones. */
function manyRules(count) {
  const rules = Array.from({ length: count - 1 }, (_, i) => {
    const address = 0xac100000 + i * 16;
    const octets = [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
    return `      - { action: accept, from: ${octets}/28, proto: ${i & 1 ? "tcp" : "udp"}, to-port: ${10_000 + i} }`;
  });
  return `pktflow: 1
name: thousand-rules
devices:
  lan: { kind: tun, address: 10.77.0.1/24 }
  wan: { kind: tun, address: 198.51.100.1/24 }
filters:
  sane: { kind: checksum, verify: [ipv4, tcp, udp, icmp] }
  firewall:
    kind: acl
    rules:
${rules.join("\n")}
      - { action: accept, proto: udp, to-port: 53 }
  masquerade: { kind: nat, inside: 10.77.0.0/24, outside: 198.51.100.2 }
paths:
  outbound: { from: lan, through: [sane, firewall, masquerade], to: wan }
  inbound: { from: wan, through: [sane, masquerade], to: lan }
`;
}

mkdirSync(out, { recursive: true });
const thousand = join(out, "thousand-rules.yaml");
writeFileSync(thousand, manyRules(1000));
const load = ["--for", options.for];
const peers = [...load, "--peers", "--pairs", options.pairs, "--queues", "1"];
const SET = {
  forward: ["pipelines/forward.yaml", ...load, "--queues", "1,2"],
  "nat-gateway": ["pipelines/nat-gateway.yaml", ...load, "--queues", "1,2"],
  "forward-peers": ["pipelines/forward.yaml", ...peers],
  "thousand-rules-peers": [thousand, ...peers, "--flows", "10000", "--sizes", "64"],
  "nat-gateway-peers": ["pipelines/nat-gateway.yaml", ...peers],
  "nat-gateway-memory": ["pipelines/nat-gateway.yaml", ...load, "--memory", "--peers"],
  "thousand-rules-memory": [thousand, ...load, "--memory", "--peers", "--sizes", "64"],
};

const main = join(root, "build/cli/main.js");
if (!existsSync(main)) throw new Error(`${main} is not there: npm run build`);
if (options.only !== undefined && options.only !== "filters" && SET[options.only] === undefined) {
  throw new Error(`--only ${options.only}: it is one of filters, ${Object.keys(SET).join(", ")}`);
}
const chosen = (name) => options.only === undefined || options.only === name;
let failed = 0;
/** Runs a program of Node's with this terminal, shows how it is called. */
function run(name, args) {
  console.log(`\n# ${name}`);
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) failed++;
}
if (chosen("filters")) run("filters", [join(root, "bench/filters.mjs")]);
for (const [name, args] of Object.entries(SET).filter(([name]) => chosen(name))) {
  const chart = join(out, `${name}.svg`);
  run(name, [main, "bench", ...args, "--chart", chart, "--save", join(out, `${name}.json`)]);
}
console.log(`\nJSON and charts: ${out}`);
process.exitCode = failed === 0 ? 0 : 1;
