// acl with packets that scapy made: a whole TCP connection with options and data, fragments by scapy's own cutting, ICMP
// errors that quote what scapy sent. What passes has not been changed.
import { spawnSync } from "node:child_process";
import { beforeAll, describe, expect, test } from "vitest";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

/** Prints "NAME HEX" for each packet. */
const SCRIPT = `
from scapy.all import *
conf.verb = 0
def show(name, p): print(name, bytes(p).hex())
C, S = "10.77.0.5", "192.0.2.1"
opts = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
out = lambda **k: IP(src=C, dst=S)/TCP(sport=4000, dport=443, window=64240, **k)
back = lambda **k: IP(src=S, dst=C)/TCP(sport=443, dport=4000, window=65160, **k)
show("next", out(flags="S", seq=100, options=opts))
show("next", back(flags="SA", seq=900, ack=101, options=opts))
show("next", out(flags="A", seq=101, ack=901))
show("next", out(flags="PA", seq=101, ack=901)/("x" * 1000))
show("next", back(flags="A", seq=901, ack=1101)/("y" * 1400))
show("next", back(flags="PA", seq=2301, ack=1101)/("y" * 1400))
show("drop", back(flags="A", seq=901, ack=999999))
show("next", out(flags="A", seq=1101, ack=3701))
show("next", out(flags="FA", seq=1101, ack=3701))
show("next", back(flags="FA", seq=3701, ack=1102))
show("next", out(flags="A", seq=1102, ack=3702))
question = IP(src=C, dst=S)/UDP(sport=5000, dport=53)/("q" * 30)
show("next", question)
# Errors quote what was sent: all of it, or 8 bytes behind the header (RFC 792).
show("next", IP(src="198.51.100.7", dst=C)/ICMP(type=3, code=4, nexthopmtu=1400)/question)
show("next", IP(src="198.51.100.7", dst=C)/ICMP(type=11)/bytes(question)[:28])
show("drop", IP(src="198.51.100.7", dst=C)/ICMP(type=3, code=1)/(IP(src=C, dst=S)/UDP(sport=5001, dport=53)))
answer = IP(src=S, dst=C, id=77)/UDP(sport=53, dport=5000)/("a" * 3000)
for f in fragment(answer, fragsize=1000): show("next", f)
other = IP(src=S, dst=C, id=78)/UDP(sport=53, dport=5001)/("a" * 3000)
for f in fragment(other, fragsize=1000): show("drop", f)
big = IPv6(src="2001:db8:1::5", dst="2001:db8:2::1")/IPv6ExtHdrFragment(id=9)/UDP(sport=6000, dport=53)/("b" * 3000)
for f in fragment6(big, 1280): show("next", f)
show("next", IPv6(src="2001:db8:2::9", dst="2001:db8:1::5")/ICMPv6TimeExceeded()/(IPv6(src="2001:db8:1::5", dst="2001:db8:2::1")/UDP(sport=6000, dport=53)))
for f in reversed(fragment(IP(src=C, dst=S, id=79)/UDP(sport=5002, dport=53)/("z" * 1500), fragsize=1000)):
    show("next" if f.frag == 0 else "drop", f)
`;

const name = "scapy's packets get their verdicts";
describe.skipIf(LACKS_SCAPY !== undefined)(LACKS_SCAPY ? `${name} (skipped: ${LACKS_SCAPY})` : name, () => {
  let acl: FilterModule;
  beforeAll(async () => {
    acl = await filterModule("acl");
  });

  test.each([1, 2])("with %i workers in turn", (workers) => {
    const { stdout, stderr } = spawnSync("/usr/bin/python3", ["-c", SCRIPT], { encoding: "utf8" });
    const packets = stdout.trim().split("\n");
    expect(packets.length, stderr).toBeGreaterThan(25);
    const rules = [{ action: "accept", from: ["10.77.0.0/16", "2001:db8:1::/48"], "to-port": [53, 443] }];
    const bench = new FilterBench(acl, { stateful: true, "fragments-held": 0, rules }, { workers });
    packets.forEach((line, i) => {
      const [wanted, hex] = line.split(" ");
      const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
      const sent = bench.send(bytes, i % workers);
      expect(sent.output, `packet ${i}: ${hex}`).toBe(wanted);
      expect(sent.bytes).toEqual(bytes);
    });
    expect(bench.counters).toMatchObject({ related: 3, "connections-made": 4 });
  });
});
