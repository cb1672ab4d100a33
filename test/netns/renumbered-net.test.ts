// pipelines/renumbered-net.yaml with the kernel on both sides: nptv6 in the addresses of RFC 6296's example.
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const EXAMPLE = "pipelines/renumbered-net.yaml";
const OUTSIDE = "2001:db8:1:d550::1234";

/** Says who asks, and gives back what it gets. */
const SERVER = `import socket
s = socket.create_server(("2001:db8:f::1", 80), family=socket.AF_INET6); c, who = s.accept()
print("asked by", who[0], flush=True)
while data := c.recv(65536): c.sendall(data)`;
const CLIENT = `import socket, time, os, threading
end = time.monotonic() + 15
while time.monotonic() < end:
    try: c = socket.create_connection(("2001:db8:f::1", 80), 10); break
    except OSError: time.sleep(0.1)
data = os.urandom(1000000)
threading.Thread(target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR))).start()
got = b""
while part := c.recv(65536): got += part
print("got the same" if got == data else "got other bytes")
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.connect(("2001:db8:f::1", 9)); u.settimeout(10)
try: u.send(b"anyone?"); u.recv(1)
except OSError as error: print("port 9:", error.strerror)`;

describeKernel("renumbered-net", () => {
  test.each(["poll", "uring"])(
    "a host inside is one of the other prefix outside, for pings both ways, TCP and ICMP errors, engine %s",
    async (io) => {
      const report = folder.file(`${io}.json`);
      const script = `
        ping -c 2 -i 0.1 -W 5 -s 1452 2001:db8:f::1
        nsenter --net=$PKTFLOW_NETNS_WAN ping -c 2 -i 0.1 -W 5 ${OUTSIDE}
        nsenter --net=$PKTFLOW_NETNS_WAN ping -c 1 -W 1 fd01:203:405:1::1234
        nsenter --net=$PKTFLOW_NETNS_WAN /usr/bin/python3 -c '${SERVER}' &
        /usr/bin/python3 -c '${CLIENT}'
        wait`;
      const args = ["lab", EXAMPLE, "--quiet", "--io", io, "--report", report, "--", "bash", "-c", script];
      const { stdout } = await pktflow(args);
      expect(stdout.match(/2 received, 0% packet loss/g)).toHaveLength(2);
      // The inside address is nobody's out there.
      expect(stdout).toContain("1 packets transmitted, 0 received");
      expect(stdout).toContain(`asked by ${OUTSIDE}\n`);
      expect(stdout).toContain("got the same\n");
      expect(stdout).toContain("port 9: Connection refused\n");
      const { filters } = readReport(report);
      const { counters } = filters["prefix"];
      expect(counters["errors"]).toBeGreaterThanOrEqual(1);
      expect(counters["untranslatable"]).toBe(0);
      expect(filters["perimeter"].outputs["drop"]).toBeGreaterThanOrEqual(1);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});
