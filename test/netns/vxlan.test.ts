// pipelines/vxlan-segment.yaml between hosts of the real kernel: the other end is the kernel's own VXLAN device.
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel, LACKS } from "../support/namespace.ts";
import { hasLink, Scene } from "../support/scene.ts";

const hasVxlan = LACKS === undefined && hasLink("name t type vxlan id 42 remote 198.51.100.1 dstport 4789");

//   office 10.9.0.2 fd09::2 ---- [vxlan] ---- wan 203.0.113.1 [far 10.9.0.1 fd09::1]
describeKernel("vxlan", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.close());

  test.skipIf(!hasVxlan).each([
    [4, "198.51.100.1", "203.0.113.1", 1450],
    [6, "2001:db8:1::1", "2001:db8:2::1", 1430],
  ] as const)("over IPv%s, and the kernel's vxlan device (needs CONFIG_VXLAN)", async (_, near, far, mtu) => {
    const ends = ["into", "out-of"].flatMap((id) => [
      `filters.${id}.local=${near}`,
      `filters.${id}.remote=${far}`,
    ]);
    await scene.run(
      "pipelines/vxlan-segment.yaml",
      { office: "office", wan: "wan" },
      ...ends,
      `filters.into.mtu=${mtu}`,
      `devices.office.mtu=${mtu}`,
      'devices.office.address=[10.9.0.2/24, "fd09::2/64"]',
      'devices.wan.address=[203.0.113.1/24, "2001:db8:2::1/64"]',
      'devices.wan.routes=[198.51.100.0/24, "2001:db8:1::/64"]',
    );
    scene.host("wan").ip(`link add far type vxlan id 42 local ${far} remote ${near} dstport 4789`);
    scene.host("wan").ip(`link set far mtu ${mtu}`);
    scene.addresses("wan", "far", ["10.9.0.1/24", "fd09::1/64"]);
    expect(scene.ping("office", "10.9.0.1")).toBe(5);
    expect(scene.ping("wan", `-I far -s ${mtu - 48} -M do fd09::2`)).toBe(5);
    await scene.download("wan", "office", "10.9.0.1", 5_000_000);
    await scene.download("office", "wan", "fd09::2", 5_000_000);
    const { filters } = await scene.finish();
    expect(filters["into"].counters["too-big"]).toBe(0);
    for (const counter of ["malformed", "bad-checksum", "congestion"])
      expect(filters["out-of"].counters[counter], counter).toBe(0);
    expect(filters["out-of"].counters["decapsulated"]).toBeGreaterThan(3000);
  });
});
