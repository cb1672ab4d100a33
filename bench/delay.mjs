/**
 * How long a datagram takes from one host of a lab to the other, from before sendto(2) to the kernel's time of arrival
 * (SO_TIMESTAMPNS): through `impair` with several delays, and through the same path without. One every 4 ms, so that workers sleep
 * between them. As root, after `npm run build`: node bench/delay.mjs [packets] [uring|poll...]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [count = "400", ...engines] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "pktflow-delay-"));
const file = join(folder, "delay.yaml");
writeFileSync(
  file,
  `pktflow: 1
devices:
  a: { kind: tun, address: 10.2.1.2/24 }
  b: { kind: tun, address: 10.2.2.2/24 }
filters: { net: { kind: impair, delay: 1ms } }
paths: { there: { from: a, through: [net], to: b }, back: { from: b, to: a } }
`,
);
/** Both ends in one process, each socket made in the namespace of its host. */
const PROBE = `
import ctypes, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.setns(os.open(os.environ["PKTFLOW_NETNS_B"], os.O_RDONLY), 0x40000000)
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(("10.2.2.2", 9)); r.setsockopt(socket.SOL_SOCKET, 35, 1); r.settimeout(3)
libc.setns(os.open(os.environ["PKTFLOW_NETNS_A"], os.O_RDONLY), 0x40000000)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("10.2.2.2", 9))
took = []
for i in range(${count} + 20):
    sent = time.time_ns(); s.send(b"x" * 64)
    data, ancillary, flags, peer = r.recvmsg(100, 100)
    sec, ns = struct.unpack("qq", ancillary[0][2][:16])
    if i >= 20: took.append((sec * 10**9 + ns - sent) / 1000)
    time.sleep(0.004)
took.sort()
print(*("%.0f" % took[int(len(took) * q)] for q in (0.1, 0.5, 0.9, 0.99)))
`;
const script = join(folder, "probe.py");
writeFileSync(script, PROBE);
console.log("us from sendto to arrival, p10 p50 p90 p99");
for (const io of engines.length > 0 ? engines : ["uring", "poll"]) {
  for (const delay of ["none", "1ms", "10ms"]) {
    const set =
      delay === "none"
        ? ["--set", "paths.there.through=[]", "--set", "filters={}"]
        : ["--set", `filters.net.delay=${delay}`];
    const args = [
      "build/cli/main.js",
      "lab",
      file,
      "--quiet",
      "--io",
      io,
      ...set,
      "--",
      "/usr/bin/python3",
      script,
    ];
    const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8" });
    console.log(io.padEnd(6), delay.padEnd(5), status === 0 ? stdout.trim() : stderr);
  }
}
rmSync(folder, { recursive: true });
