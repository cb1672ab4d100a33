// A queue that is slow to drain drops and counts, and never blocks its worker's other devices. A tap's write would block
// when what was written before is still under way: here behind a bridge whose other port sends a packet a second.
//
//   host a ---- a [ pktflow, one worker ] b ---- host b
//                        slow |
//              slow [ bridge ] port with tbf, 8 kbit/s ---- nobody
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { close, ioctl, O_RDWR, open } from "../../src/sys/calls.ts";
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, TUN_DEVICE, tunSetIff } from "../../src/sys/if_tun.ts";
import { addressOf } from "../../src/sys/memory.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { Pktflow, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const TUNSETSNDBUF = 0x400454d4;
/** Bytes that may be under way: a few packets. */
const SNDBUF = 20_000;
const ROUNDS = 500;
const SEND = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(${ROUNDS}):
    s.sendto(bytes(1000), ("10.1.0.2", 1111))
    s.sendto(bytes(100), ("10.1.0.2", 2222))
`;

const PIPELINE = `
pktflow: 1
devices:
  a: { kind: tap, address: 10.1.0.1/24, txqueuelen: 5000 }
  b: { kind: tap, address: 10.1.0.2/24, mac: "02:00:00:00:00:02" }
  slow: { kind: tap }
filters:
  sort: { kind: acl, rules: [{ action: refuse, proto: udp, to-port: 1111 }, { action: accept, proto: udp }] }
paths:
  there: { from: a, through: [{ sort: { refuse: aside } }], to: b }
  aside: { to: slow }
`;

describeKernel("a queue that is slow to drain", () => {
  let a: TestNamespace;
  let b: TestNamespace;
  let bridge: TestNamespace;
  let folder: TemporaryFolder;
  let running: Pktflow | undefined;
  let queue = -1;

  beforeEach(() => {
    folder = new TemporaryFolder();
    [a, b, bridge] = [new TestNamespace(), new TestNamespace(), new TestNamespace()];
    for (const host of [a, b, bridge]) host.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
    bridge.ip("link add br0 type bridge forward_delay 0");
    bridge.ip("link add port type veth peer name nobody");
    bridge.ip("tuntap add slow mode tap multi_queue");
    // Where bridges call iptables, that takes packets from the queue they were written to, and it is never full.
    const filter = "net.bridge.bridge-nf-call-iptables";
    if (bridge.run("sysctl", "-N", "--pattern", `^${filter}$`, "-a") !== "")
      bridge.run("sysctl", "-qw", `${filter}=0`);
    for (const port of ["slow", "port"]) bridge.ip(`link set ${port} master br0`);
    for (const link of ["slow", "port", "nobody", "br0"]) bridge.ip(`link set ${link} up`);
    bridge.run("tc", ..."qdisc add dev port root tbf rate 8kbit burst 2000 limit 10000000".split(" "));
    writeFileSync(folder.file("pipeline.yaml"), PIPELINE);
  });

  afterEach(async () => {
    await running?.stop("SIGKILL");
    running = undefined;
    if (queue >= 0) close(queue);
    queue = -1;
    for (const host of [a, b, bridge]) host.remove();
    folder.remove();
  });

  test.each(["poll", "uring"])("drops and counts, and holds up nobody: %s engine", async (io) => {
    const netns = { a, b, slow: bridge };
    const set = Object.entries(netns).flatMap(([id, host]) => ["--set", `devices.${id}.netns=${host.name}`]);
    const report = folder.file("report.json");
    running = new Pktflow([
      "run",
      folder.file("pipeline.yaml"),
      "--io",
      io,
      "--quiet",
      "--report",
      report,
      ...set,
    ]);
    await until("the devices are up", () => {
      if (running!.child.exitCode !== null) throw new Error(running!.stderr);
      return [a, b].every((host) => host.ip("route show") !== "");
    });
    queue = bridge.inside(() => {
      const fd = open(TUN_DEVICE, O_RDWR);
      expect(tunSetIff(fd, "slow", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE)).toBe(0);
      return fd;
    });
    // For all queues of the device, also for the pipeline's.
    const bytes = new Int32Array([SNDBUF]);
    expect(ioctl(queue, TUNSETSNDBUF, addressOf(bytes))).toBe(0);
    a.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev a");
    a.run("/usr/bin/python3", "-c", SEND);
    const received = () => Number(b.json("-s link show b")[0].stats64.rx.packets);
    await until("host b has all that was for it", () => received() >= ROUNDS, 5000);
    const { status, stderr } = await running.stop("SIGTERM");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { devices, ...rest } = readReport(report);
    const [slow] = devices["slow"].queues;
    expect(slow.drops["would-block"]).toBeGreaterThan(ROUNDS / 2);
    expect(slow.tx.packets).toBeGreaterThan(0);
    expect(slow.tx.packets + slow.drops["would-block"]).toBe(ROUNDS);
    expect(devices["b"].queues[0].tx.packets).toBe(ROUNDS);
    expect(Object.values(devices["b"].queues[0].drops).every((count) => count === 0)).toBe(true);
    expect(conservation({ devices, ...rest }).missing).toBe(0);
  });
});
