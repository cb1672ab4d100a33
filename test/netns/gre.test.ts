// pipelines/gre-tunnel.yaml between hosts of the real kernel: the other end is the kernel's own gre device where it has one, and
// scapy, which looks at every length, checksum and sequence number, where not.
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel, LACKS } from "../support/namespace.ts";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { hasLink, Scene } from "../support/scene.ts";

const hasGre = LACKS === undefined && hasLink("name t type gre local 203.0.113.1 remote 198.51.100.1 key 42");

//   office 10.10.0.2 fd10::2 ---- [gre] ---- wan 203.0.113.1 [far 10.20.0.1 fd20::1]
describeKernel("gre", () => {
  let scene: Scene;
  beforeEach(async () => {
    scene = new Scene();
    await scene.run(
      "pipelines/gre-tunnel.yaml",
      { office: "office", wan: "wan" },
      'filters.too-long.from=[10.10.0.1, "fd10::1"]',
      'devices.office.address=[10.10.0.2/24, "fd10::2/64"]',
      'devices.office.routes=[0.0.0.0/0, "::/0"]',
      "devices.wan.routes=[198.51.100.0/24]",
    );
  });
  afterEach(() => scene.close());

  async function talk(): Promise<void> {
    scene.host("wan").ip("link set far mtu 1464");
    scene.host("wan").ip("route add 10.10.0.0/24 dev far");
    scene.host("wan").ip("-6 route add fd10::/64 dev far");
    expect(scene.ping("office", "10.20.0.1")).toBe(5);
    expect(scene.ping("office", "-M dont -s 2500 10.20.0.1")).toBe(5);
    expect(scene.ping("wan", "-I fd20::1 -s 1400 fd10::2")).toBe(5);
    await scene.download("office", "wan", "10.10.0.2", 100_000);
    await scene.download("wan", "office", "fd20::1", 100_000);
    const { filters } = await scene.finish();
    expect(filters["into"].counters["fragmented"]).toBeGreaterThanOrEqual(5);
    for (const counter of ["malformed", "bad-checksum", "out-of-order", "congestion", "other"])
      expect(filters["out-of"].counters[counter], counter).toBe(0);
    expect(filters["out-of"].counters["decapsulated"]).toBeGreaterThan(30);
  }

  test.skipIf(!hasGre)("and the kernel's gre device (needs CONFIG_NET_IPGRE)", async () => {
    const ends = "local 203.0.113.1 remote 198.51.100.1 ttl 64 key 42 seq csum";
    scene.host("wan").ip(`link add far type gre ${ends}`);
    scene.addresses("wan", "far", ["10.20.0.1/24", "fd20::1/64"]);
    await talk();
  });

  test.skipIf(LACKS_SCAPY !== undefined)("and a tunnel of scapy (needs scapy)", async () => {
    const words = ["gre", "203.0.113.1", "198.51.100.1", "42"];
    const end = await scene.scapyDevice("wan", "far", ["10.20.0.1/24", "fd20::1/64"], ...words);
    await talk();
    expect(end.output).not.toContain("wrong");
  });
});
