// pipelines/sampled-flows.yaml with real UDP exchanges: of the chosen flows everything is in the capture, both directions; of others
// nothing.
import { execFileSync } from "node:child_process";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { isFlowChosen } from "../reference/sample.ts";
import { describeKernel } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const FLOWS = 40;
const FIRST_PORT = 20_000;

const EXCHANGE = `
nsenter --net=$PKTFLOW_NETNS_RIGHT /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.3.2.2", 7)); print("ready", flush=True)
for i in range(${2 * FLOWS}):
    data, peer = s.recvfrom(100); s.sendto(data, peer)' &
/usr/bin/python3 -c '
import socket, time
for port in range(${FIRST_PORT}, ${FIRST_PORT + FLOWS}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.3.1.2", port)); s.connect(("10.3.2.2", 7))
    for i in range(2):
        s.settimeout(0.2)
        while True:
            try:
                s.send(b"x%d" % i); s.recv(100); break
            except (TimeoutError, ConnectionRefusedError): time.sleep(0.05)
    s.close()'
wait`;

describeKernel("sampled-flows", () => {
  test.skipIf(!hasTool("tcpdump"))(
    "whole flows are in the capture, the others pass (needs tcpdump)",
    async () => {
      const [file, OUT] = [folder.file("report.json"), folder.file("seen.pcap")];
      const args = [
        "lab",
        "pipelines/sampled-flows.yaml",
        "--quiet",
        "--report",
        file,
        "--",
        "sh",
        "-c",
        EXCHANGE,
      ];
      const { status, stderr } = await pktflow(args, { env: { OUT } });
      expect(status, stderr).toBe(0);
      expect(conservation(readReport(file)).missing).toBe(0);
      const text = execFileSync("tcpdump", ["-nr", OUT, "udp", "port", "7"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      const seen = new Map<number, { to: number; back: number }>();
      for (const [, from, to] of text.matchAll(/IP 10\.3\.[12]\.2\.(\d+) > 10\.3\.[12]\.2\.(\d+)/g)) {
        const port = Math.max(Number(from), Number(to));
        const counts = seen.get(port) ?? { to: 0, back: 0 };
        counts[Number(to) === 7 ? "to" : "back"]++;
        seen.set(port, counts);
      }
      const ends = { from: [10, 3, 1, 2], to: [10, 3, 2, 2], toPort: 7, protocol: 17 };
      const chosen = Array.from({ length: FLOWS }, (_, i) => FIRST_PORT + i).filter((fromPort) =>
        isFlowChosen({ ...ends, fromPort }, 4, 2026n),
      );
      expect([...seen.keys()].sort((a, b) => a - b)).toEqual(chosen);
      expect(chosen.length).toBeGreaterThan(3);
      // A datagram may have been sent again by the client, when its answer was slow.
      for (const { to, back } of seen.values()) expect(Math.min(to, back)).toBeGreaterThanOrEqual(2);
    },
  );
});
