// pipelines/dns-sinkhole.yaml with dig, IPv4 and IPv6, and a resolver behind it that must see nothing of what is listed.
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

/** Answers every A query with 198.51.100.9, and says what it was asked. */
const RESOLVER = `
import socket, select, sys
s4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s4.bind(("10.5.2.53", 53))
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s6.bind(("fd00:5:2::53", 53))
print("ready", flush=True)
while True:
    for s in select.select([s4, s6], [], [])[0]:
        q, peer = s.recvfrom(1000)
        end, name = 12, []
        while q[end]:
            name.append(q[end + 1:end + 1 + q[end]].decode()); end += 1 + q[end]
        print("asked", ".".join(name), flush=True)
        s.sendto(q[:2] + bytes.fromhex("818000010001" + "00000000") + q[12:end + 5] + bytes.fromhex("c00c00010001000000050004c6336409"), peer)
`;
const DIG = "dig +tries=3 +time=3 +nocookie";

describeKernel("dns-sinkhole", () => {
  test.skipIf(!hasTool("dig")).each(["poll", "uring"])(
    "dig sees that listed names do not exist, and the resolver's answers for others, engine %s (needs dig)",
    async (io) => {
      const file = folder.file(`${io}.json`);
      const script = `
nsenter --net=$PKTFLOW_NETNS_WAN /usr/bin/python3 -u -c '${RESOLVER}' > ${folder.file("asked")} &
server=$!
until grep -q ready ${folder.file("asked")}; do sleep 0.05; done
for q in "@10.5.2.53 www.ADS.example A" "@fd00:5:2::53 ads.example AAAA" "@10.5.2.53 x.metrics.example TXT" "@10.5.2.53 +noedns cdn.ads.test A" \\
         "@10.5.2.53 good.ads.example A" "@fd00:5:2::53 other.example A"; do
  echo "== $q"; ${DIG} $q
done
echo "== tcp"; ${DIG} +tcp +tries=1 @10.5.2.53 ads.example A
kill $server; cat ${folder.file("asked")}`;
      const args = ["lab", "pipelines/dns-sinkhole.yaml", "--quiet", "--io", io, "--report", file];
      const { stdout, stderr } = await pktflow([...args, "--", "sh", "-c", script]);
      const [, ...answers] = stdout.split("== ");
      expect(answers, stdout + stderr).toHaveLength(7);
      for (const text of answers.slice(0, 4)) {
        expect(text).toContain("status: NXDOMAIN");
        expect(text).toMatch(/flags: qr aa rd ra; QUERY: 1, ANSWER: 0, AUTHORITY: 1/);
        expect(text).toMatch(/\s60\s+IN\s+SOA\s/);
        expect(text).not.toMatch(/malformed|mismatch|WARNING|Warning/);
      }
      expect(answers[0]).toContain(";www.ADS.example.");
      expect(answers[1]).toMatch(/EDNS: version: 0, flags:; udp: 1232/);
      expect(answers[3]).not.toContain("EDNS");
      for (const text of answers.slice(4, 6)) expect(text).toMatch(/status: NOERROR[\s\S]*198\.51\.100\.9/);
      const asked = [...stdout.matchAll(/^asked (.*)$/gm)].map(([, name]) => name);
      expect([...new Set(asked)].sort()).toEqual(["good.ads.example", "other.example"]);
      const report = readReport(file);
      expect(conservation(report).missing).toBe(0);
      const { counters, outputs } = report.filters["sinkhole"];
      expect(counters["no-name"]).toBe(outputs["reply"]);
      expect(counters["no-name"]).toBeGreaterThanOrEqual(4);
      expect(counters).toMatchObject({ unreadable: 0, addresses: 0 });
      expect(counters["tcp"]).toBeGreaterThanOrEqual(1);
    },
  );

  test.skipIf(!hasTool("dig"))(
    "with addresses dig gets them, on one worker as on the other (needs dig)",
    async () => {
      const script = `for i in 1 2 3 4 5 6 7 8; do ${DIG} +short @10.5.2.53 h$i.ads.example A; ${DIG} +short @fd00:5:2::53 h$i.ads.example AAAA; done`;
      const answer = 'filters.sinkhole.answer=[10.5.1.80, "fd00:5:1::80"]';
      const args = [
        "lab",
        "pipelines/dns-sinkhole.yaml",
        "--quiet",
        "--set",
        answer,
        "--",
        "sh",
        "-c",
        script,
      ];
      const { stdout, stderr, status } = await pktflow(args);
      expect(status, stderr).toBe(0);
      expect(stdout.trim().split("\n")).toEqual(
        Array.from({ length: 16 }, (_, i) => ["10.5.1.80", "fd00:5:1::80"][i % 2]),
      );
    },
  );
});
