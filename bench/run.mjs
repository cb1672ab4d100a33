/**
 * The standing set: npm run bench [-- --only NAME[,NAME] --for 1s --pairs 5]
 * Prints tables, and leaves JSON and charts of its parts in build/bench-results. Needs root, some parts are content with
 * user namespaces; what C programs and the kernel are compared with needs cc, ip and nft, and is left out, visibly, where
 * they are not there.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writePage } from "./page.mjs";
import { manyRules } from "./rules.mjs";
import { targetText } from "./targets.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = join(root, "build/bench-results");
const { values: options } = parseArgs({
  options: {
    for: { type: "string", default: "1s" },
    pairs: { type: "string", default: "5" },
    only: { type: "string" },
  },
});

mkdirSync(out, { recursive: true });
const thousand = join(out, "thousand-rules.yaml");
writeFileSync(thousand, manyRules(1000));
const main = join(root, "build/bundle/main.js");
if (!existsSync(main)) throw new Error(`${main} is not there: npm run build`);

const load = ["--for", options.for];
const turns = [...load, "--pairs", options.pairs, "--queues", "1"];
const bench = (name, args) => [main, "bench", ...args, "--chart", join(out, `${name}.svg`)];
const script = (name, ...args) => [join(root, "bench", `${name}.mjs`), ...args];
const [FORWARD, GATEWAY] = ["pipelines/forward.yaml", "pipelines/nat-gateway.yaml"];
const off = (...devices) => devices.flatMap((device) => ["--set", `devices.${device}.offload=off`]);
const SET = {
  filters: script("filters"),
  forward: [FORWARD, ...turns, "--sizes", "64", "--against", "forward,forward-uring", ...off("a", "b")],
  "thousand-rules": [
    ...[thousand, ...turns, "--sizes", "64", "--flows", "10000", "--against", "forward,forward-chain"],
    ...off("lan", "wan"),
  ],
  tcp: [GATEWAY, ...turns, "--load", "tcp", "--against", "forward-vnet,kernel"],
  uso: [FORWARD, ...turns, "--sizes", "64", "--burst", "1024", "--against", "forward-vnet"],
  coalesce: [
    FORWARD,
    ...turns,
    "--sizes",
    "64",
    "--flows",
    "4",
    ...off("a"),
    "--versus",
    "devices.b.offload=off",
  ],
  ping: [FORWARD, ...turns, "--load", "ping", "--against", "forward"],
  queues: [GATEWAY, ...load, "--queues", "1,2"],
  "nat-gateway-memory": [GATEWAY, ...load, "--memory", "--peers"],
  "thousand-rules-memory": [thousand, ...load, "--memory", "--peers", "--sizes", "64"],
  process: script("process", "--pairs", options.pairs),
  garbage: script("garbage"),
};
/** Only where they are asked for by name. */
const MORE = {
  acl: script("acl"),
  nat: script("nat"),
  "all-peers": [FORWARD, ...turns, "--peers"],
  "all-peers-tcp": [FORWARD, ...turns, "--load", "tcp", "--peers"],
  "all-peers-ping": [FORWARD, ...turns, "--load", "ping", "--peers"],
  "gateway-peers": [GATEWAY, ...turns, "--peers"],
};
/** These write no results of their own. */
const PLAIN = ["filters", "acl", "nat"];

const all = { ...SET, ...MORE };
const names = options.only?.split(",") ?? Object.keys(SET);
const unknown = names.find((name) => all[name] === undefined);
if (unknown !== undefined)
  throw new Error(
    `--only ${unknown}: they are ${Object.keys(SET).join(", ")}; and ${Object.keys(MORE).join(", ")}`,
  );

let failed = 0;
const results = {};
for (const name of names) {
  const json = join(out, `${name}.json`);
  const args = all[name][0].endsWith(".mjs") ? all[name] : bench(name, all[name]);
  for (const old of [json, join(out, `${name}.svg`)]) rmSync(old, { force: true });
  console.log(`\n# ${name}`);
  const save = PLAIN.includes(name) ? [] : ["--save", json];
  const { status } = spawnSync(process.execPath, [...args, ...save], { cwd: root, stdio: "inherit" });
  if (status !== 0) failed++;
  else if (existsSync(json)) results[name] = JSON.parse(readFileSync(json, "utf8"));
}
const targets = targetText(results);
console.log(targets);
console.log(`\nJSON, charts, and a page of them: ${writePage(out, names, targets)}`);
process.exitCode = failed === 0 ? 0 : 1;
