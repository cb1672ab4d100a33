// ipip between hosts of the real kernel: the other end is the kernel's own ipip device where it has one, and scapy, which looks
// at every length and checksum, where not.
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel, LACKS } from "../support/namespace.ts";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { hasLink, Scene } from "../support/scene.ts";

const hasIpip =
  LACKS === undefined &&
  hasLink("name t type ipip local 203.0.113.1 remote 198.51.100.1") &&
  hasLink("name t type sit local 203.0.113.1 remote 198.51.100.1");

const OUTER = { 4: ["198.51.100.1", "203.0.113.1"], 6: ["2001:db8:1::1", "2001:db8:2::1"] } as const;

//   office 10.10.0.2 fd10::2 ---- [ipip] ---- wan 203.0.113.1 [far 10.20.0.1 fd20::1]
describeKernel("ipip", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.close());

  async function run(family: 4 | 6): Promise<void> {
    const [near, far] = OUTER[family];
    const ends = ["into", "out-of"].flatMap((id) => [
      `filters.${id}.local=${near}`,
      `filters.${id}.remote=${far}`,
    ]);
    const mtu = family === 4 ? 1480 : 1460;
    await scene.run(
      "pipelines/ipip-tunnel.yaml",
      { office: "office", wan: "wan" },
      ...ends,
      `filters.too-long.mtu=${mtu}`,
      'filters.too-long.from=[10.10.0.1, "fd10::1"]',
      'filters.expired.from=[10.10.0.1, "fd10::1"]',
      'devices.office.address=[10.10.0.2/24, "fd10::2/64"]',
      'devices.office.routes=[0.0.0.0/0, "::/0"]',
      'devices.wan.address=[203.0.113.1/24, "2001:db8:2::1/64"]',
      'devices.wan.routes=[198.51.100.0/24, "2001:db8:1::/64"]',
    );
  }

  /** @param names of the far host's devices, IPv4 and IPv6 */
  async function talk(names: [string, string], mtu: number): Promise<void> {
    for (const name of new Set(names)) scene.host("wan").ip(`link set ${name} mtu ${mtu}`);
    scene.host("wan").ip(`route add 10.10.0.0/24 dev ${names[0]}`);
    scene.host("wan").ip(`-6 route add fd10::/64 dev ${names[1]}`);
    expect(scene.ping("office", "10.20.0.1")).toBe(5);
    expect(scene.ping("wan", "-I 10.20.0.1 -s 1400 10.10.0.2")).toBe(5);
    expect(scene.ping("office", "fd20::1")).toBe(5);
    // In fragments: the host's own, of 1500 bytes, are cut once more.
    expect(scene.ping("office", "-M dont -s 2500 10.20.0.1")).toBe(5);
    // What must not be fragmented does not fit, which its sender is told.
    for (const words of ["-s 1472 10.20.0.1", "-s 1452 fd20::1"])
      expect(scene.host("office").run("sh", "-c", `ping -n -c 1 -W 3 -M do ${words} || true`)).toMatch(
        new RegExp(`(mtu = |mtu=)${mtu}`),
      );
    await scene.download("office", "wan", "10.10.0.2", 100_000);
    await scene.download("wan", "office", "fd20::1", 100_000);
    const { filters } = await scene.finish();
    expect(filters["into"].counters["fragmented"]).toBeGreaterThanOrEqual(5);
    expect(filters["too-long"].counters["errors"]).toBe(2);
    for (const counter of ["malformed", "congestion", "outer-fragments"])
      expect(filters["out-of"].counters[counter], counter).toBe(0);
  }

  test.skipIf(!hasIpip)(
    "and the kernel's ipip and sit devices (needs CONFIG_NET_IPIP, CONFIG_IPV6_SIT)",
    async () => {
      await run(4);
      const ends = "local 203.0.113.1 remote 198.51.100.1 ttl 64";
      scene.host("wan").ip(`link add far4 type ipip ${ends}`);
      scene.host("wan").ip(`link add far6 type sit ${ends}`);
      scene.addresses("wan", "far4", ["10.20.0.1/24"]);
      scene.addresses("wan", "far6", ["fd20::1/64"]);
      await talk(["far4", "far6"], 1480);
    },
  );

  for (const family of [4, 6] as const)
    test.skipIf(LACKS_SCAPY !== undefined)(
      `over IPv${family}, and a tunnel of scapy (needs scapy)`,
      async () => {
        await run(family);
        const [near, far] = OUTER[family];
        const end = await scene.scapyDevice("wan", "far", ["10.20.0.1/24", "fd20::1/64"], "ipip", far, near);
        await talk(["far", "far"], family === 4 ? 1480 : 1460);
        expect(end.output).not.toContain("wrong");
      },
    );
});
