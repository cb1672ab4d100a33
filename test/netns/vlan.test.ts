// vlan with hosts of the real kernel at both ends of a tagged wire. Where the kernel has no VLAN devices, scapy makes the other
// end of the example's trunk; TCP with super-packets goes over a trunk that is the kernel's own bridge.
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel, LACKS } from "../support/namespace.ts";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { hasLink, Scene } from "../support/scene.ts";

const hasVlan = LACKS === undefined && hasLink("link lo name v type vlan id 5");

//   left ---- left [push 7] trunk-a ---- bridge of the kernel ---- trunk-b [pop] right ---- right
const BRIDGED = `
pktflow: 1
devices:
  left: { kind: tap, address: [10.9.7.1/24, "fd09:7::1/64"] }
  right: { kind: tap, address: [10.9.7.2/24, "fd09:7::2/64"] }
  trunk-a: { kind: tap }
  trunk-b: { kind: tap }
filters:
  tag: { kind: vlan, action: push, id: 7, priority: 3 }
  service: { kind: vlan, action: push, id: 70, protocol: dot1ad }
  untag-twice: { kind: vlan, action: pop, vlans: { id: 70, via: accept } }
  seven: { kind: vlan, action: pop, vlans: { id: 7, via: accept } }
paths:
  a: { from: left, through: [tag], to: trunk-a }
  b: { from: trunk-b, through: [seven], to: right }
  c: { from: right, through: [tag, service], to: trunk-b }
  d: { from: trunk-a, through: [untag-twice, seven], to: left }
`;

describeKernel("vlan", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.close());

  async function example(...values: string[]): Promise<void> {
    const devices = { office: "office", guests: "guests", trunk: "trunk" };
    await scene.run("pipelines/vlan-trunk.yaml", devices, ...values);
  }

  async function talk(): Promise<void> {
    expect(scene.ping("office", "10.9.10.1")).toBe(5);
    expect(scene.ping("guests", "-s 1400 10.9.20.1")).toBe(5);
    expect(scene.ping("trunk", "-s 1472 10.9.10.2")).toBe(5);
    await scene.download("office", "trunk", "10.9.10.2", 200_000);
    const { filters } = await scene.finish();
    expect(filters["untag"].outputs["office"]).toBeGreaterThanOrEqual(10);
    expect(filters["untag"].outputs["guests"]).toBeGreaterThanOrEqual(5);
    expect(filters["untag"].counters["other"]).toBe(0);
  }

  test.skipIf(!hasVlan)(
    "vlan-trunk.yaml and the kernel's VLAN devices (needs CONFIG_VLAN_8021Q)",
    async () => {
      await example();
      for (const [name, id] of [
        ["office", 10],
        ["guests", 20],
      ] as const) {
        scene.host("trunk").ip(`link add link trunk name ${name} type vlan id ${id}`);
        scene.addresses("trunk", name, [`10.9.${id}.1/24`]);
      }
      await talk();
    },
  );

  test.skipIf(LACKS_SCAPY !== undefined)(
    "vlan-trunk.yaml and VLAN devices of scapy (needs scapy)",
    async () => {
      // What looks at frames themselves sees super-packets, which no wire has.
      await example("devices.trunk.offload=off");
      await scene.scapyDevice("trunk", "office", ["10.9.10.1/24"], "vlan", "trunk", "10");
      await scene.scapyDevice("trunk", "guests", ["10.9.20.1/24"], "vlan", "trunk", "20", "5");
      await talk();
    },
  );

  test("TCP in super-packets and pings over tagged frames that the kernel's bridge carries", async () => {
    const file = scene.folder.file("bridged.yaml");
    writeFileSync(file, BRIDGED);
    scene.host("switch").ip("link add br0 type bridge mcast_snooping 0");
    scene.host("switch").ip("link set br0 up");
    const devices = { left: "left", right: "right", "trunk-a": "switch", "trunk-b": "switch" };
    await scene.run(file, devices, "devices.trunk-a.bridge=br0", "devices.trunk-b.bridge=br0");
    expect(scene.ping("left", "-s 1472 -M do 10.9.7.2")).toBe(5);
    expect(scene.ping("right", "-s 1452 -M do fd09:7::1")).toBe(5);
    for (const [server, client, address] of [
      ["right", "left", "10.9.7.2"],
      ["left", "right", "fd09:7::1"],
    ])
      await scene.download(server, client, address, 20_000_000);
    const { devices: ports, filters } = await scene.finish();
    expect(filters["tag"].counters["pushed"]).toBe(filters["tag"].packets);
    expect(filters["seven"].counters["popped"]).toBeGreaterThan(0);
    const { rx } = ports["left"].queues[0];
    expect(rx.packets).toBeLessThan(rx.datagrams);
  });
});
