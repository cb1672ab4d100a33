// Forwarding without filters against the C peer, alternating: node bench/forward.mjs [PAIRS] [SECONDS] [ENGINE]
// Prints the packets a second that reached the far device in each run, the medians, and the ratio of each pair.
// Needs root, iproute2, nftables and cc. Makes its own namespaces and removes them.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [pairs, seconds, engine] = [
  Number(process.argv[2] ?? 5),
  Number(process.argv[3] ?? 3),
  process.argv[4] ?? "poll",
];
// 64 bytes of IP packet: 20 IPv4, 8 UDP, 36 payload.
const PAYLOAD_BYTES = 36;
const root = new URL("..", import.meta.url).pathname;
const work = mkdtempSync(join(tmpdir(), "pktflow-bench-"));
const run = (command, ...args) => execFileSync(command, args, { encoding: "utf8" });
for (const program of ["forward", "flood"]) {
  run("cc", "-O3", "-o", join(work, program), join(root, "bench/peers", `${program}.c`), "-lpthread");
}

const SINK = `table netdev sink { chain in { type filter hook ingress device "b" priority 0; udp dport 9999 drop; }; }`;

/** Starts a forwarder between two fresh namespaces, loads it, and returns packets a second out of it. */
async function measure(start) {
  const suffix = Math.random().toString(36).slice(2, 8);
  const [a, b] = [`pfa-${suffix}`, `pfb-${suffix}`];
  run("ip", "netns", "add", a);
  run("ip", "netns", "add", b);
  const child = start(a, b);
  try {
    await untilUp(a, "a");
    await untilUp(b, "b");
    run("ip", "netns", "exec", b, "nft", SINK);
    const before = received(b);
    const started = performance.now();
    const flood = spawn("ip", [
      "netns",
      "exec",
      a,
      join(work, "flood"),
      "10.2.0.2",
      "9999",
      String(PAYLOAD_BYTES),
      String(seconds),
    ]);
    await new Promise((resolve) => flood.on("exit", resolve));
    return (received(b) - before) / ((performance.now() - started) / 1000);
  } finally {
    child.kill("SIGTERM");
    await new Promise((resolve) =>
      (child.exitCode ?? child.signalCode) === null ? child.on("exit", resolve) : resolve(),
    );
    run("ip", "netns", "del", a);
    run("ip", "netns", "del", b);
  }
}

function received(namespace) {
  return JSON.parse(run("ip", "-n", namespace, "-s", "-j", "link", "show", "b"))[0].stats64.rx.packets;
}

async function untilUp(namespace, device) {
  for (let i = 0; i < 200; i++) {
    try {
      if (run("ip", "-n", namespace, "route", "show", "default").includes(device)) return;
    } catch {}
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${device} did not come up in ${namespace}`);
}

const c = (a, b) => spawn(join(work, "forward"), [a, b, "1"], { stdio: "ignore" });
const pktflow = (a, b) =>
  spawn(
    process.execPath,
    [join(root, "build/cli/main.js"), "run", join(root, "pipelines/forward.yaml"), "--quiet", "--io", engine]
      .concat(["--set", `devices.a.netns=${a}`, "--set", `devices.b.netns=${b}`])
      .concat(["--set", "devices.a.routes=0.0.0.0/0", "--set", "devices.b.routes=0.0.0.0/0"]),
    { stdio: ["ignore", "ignore", "inherit"] },
  );

const median = (values) => [...values].sort((x, y) => x - y)[values.length >> 1];
const results = { c: [], pktflow: [], ratio: [] };
try {
  for (let i = 0; i < pairs; i++) {
    const rates = { c: await measure(c), pktflow: await measure(pktflow) };
    results.c.push(rates.c);
    results.pktflow.push(rates.pktflow);
    results.ratio.push(rates.pktflow / rates.c);
    console.log(
      `C ${(rates.c / 1e6).toFixed(3)}  pktflow ${(rates.pktflow / 1e6).toFixed(3)} Mpps  ratio ${(rates.pktflow / rates.c).toFixed(3)}`,
    );
  }
  console.log(
    `median: C ${(median(results.c) / 1e6).toFixed(3)}  pktflow ${(median(results.pktflow) / 1e6).toFixed(3)} Mpps  ratio ${median(results.ratio).toFixed(3)}`,
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
