// pipelines/v6-only.yaml with the kernel on both sides: an IPv6-only host and an IPv4-only one, each with its own programs.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { MAIN, pktflow, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const EXAMPLE = "pipelines/v6-only.yaml";

/** Gives back what it gets. */
const ECHO = `import http.server as h, socketserver as s
class Echo(h.BaseHTTPRequestHandler):
    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"])); self.send_response(200)
        self.send_header("Content-Length", str(len(data))); self.end_headers(); self.wfile.write(data)
s.TCPServer(("198.51.100.1", 80), Echo).serve_forever()`;

describeKernel("v6-only", () => {
  test.skipIf(!hasTool("curl", "ping")).each(["poll", "uring"])(
    "ping, UDP with and without checksum, cut, and to nobody, megabytes by curl there and back, engine %s (skipped without curl and ping)",
    async (io) => {
      const report = folder.file(`${io}.json`);
      const peers = "/usr/bin/python3 test/support/udp_peers.py";
      const script = `
      ping -c 2 -i 0.1 -W 5 64:ff9b::198.51.100.1
      ping -c 2 -i 0.1 -W 5 -s 1452 64:ff9b::198.51.100.1
      ping -c 1 -W 5 -t 1 64:ff9b::198.51.100.1
      nsenter --net=$PKTFLOW_NETNS_WAN ${peers} server 198.51.100.1 &
      ${peers} client 64:ff9b::198.51.100.1
      kill $!
      head -c 4000000 /dev/urandom > $OUT.sent
      nsenter --net=$PKTFLOW_NETNS_WAN /usr/bin/python3 -c '${ECHO}' 2>/dev/null &
      curl -gs --retry-connrefused --retry 20 --retry-delay 1 -T $OUT.sent -o $OUT.got 'http://[64:ff9b::198.51.100.1]/'
      kill $!; cmp $OUT.sent $OUT.got && echo by curl: the same; rm $OUT.sent $OUT.got`;
      const options = ["--quiet", "--io", io, "--report", report];
      const { stdout } = await pktflow(["lab", EXAMPLE, ...options, "--", "bash", "-c", script], {
        env: { OUT: folder.file(io) },
      });
      expect(stdout.match(/2 received, 0% packet loss/g)).toHaveLength(2);
      expect(stdout).toContain("From 2001:db8:1::1 icmp_seq=1 Time exceeded: Hop limit");
      expect(stdout).toContain("\n9: 9 bytes there, 9 back, the same\n");
      expect(stdout).toContain("\n9 nocheck: 20 bytes there, 9 back, the same\n");
      expect(stdout).toContain("\n1300 cut: 20 bytes there, 1300 back, the same\n");
      expect(stdout).toContain("\n1400: 1400 bytes there, 1400 back, the same\n");
      expect(stdout).toContain("\n4000: 4000 bytes there, 4000 back, the same\n");
      expect(stdout).toContain("\n4000 cut: 20 bytes there, 4000 back, the same\n");
      expect(stdout).toContain("\nport 9: Connection refused\n");
      expect(stdout).toContain("\nby curl: the same\n");
      const { filters } = readReport(report);
      const { counters, outputs, fresh } = filters["nat64"];
      expect(outputs["back"]).toBeGreaterThanOrEqual(1);
      expect(counters["errors"]).toBeGreaterThanOrEqual(1);
      expect(counters["fragments"]).toBeGreaterThanOrEqual(4);
      // Pieces of what came without DF.
      expect(fresh).toBeGreaterThanOrEqual(1);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );

  test.skipIf(!hasTool("curl", "python3"))(
    "the file's own command: curl gets a page from an IPv4-only server (skipped without curl and python3)",
    () => {
      const text = readFileSync(join(ROOT, EXAMPLE), "utf8");
      const report = folder.file("curl.json");
      const command = /# {3}(pktflow lab \S+ -- bash [\s\S]*?kill \$!')\n/
        .exec(text)![1]
        .replaceAll(/\n# {5}/g, "\n")
        .replace("pktflow lab", `"${process.execPath}" "${MAIN}" lab --quiet --report "${report}"`);
      const output = execFileSync("bash", ["-c", command], { cwd: ROOT, encoding: "utf8", stdio: "pipe" });
      expect(output.trim()).toBe("200");
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});
