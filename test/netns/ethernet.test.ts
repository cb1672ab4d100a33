// pipelines/tap-and-tun.yaml with the real kernel as neighbor on the TAP's side.
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel } from "../support/namespace.ts";
import { pktflow } from "../support/pktflow.ts";
import { Scene } from "../support/scene.ts";

const EXAMPLE = "pipelines/tap-and-tun.yaml";

describeKernel("ethernet", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.close());

  test("the lab's hosts reach each other, by proxy ARP and neighbor discovery", async () => {
    const result = await pktflow(["lab", EXAMPLE]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain("self-check passed: 12 of 12 probes got through\n");
  });

  //   lan 10.0.0.5 fd00::5 ---- TAP [ethernet 10.0.0.1 fd00::1] TUN ---- wan 10.1.0.2 fd01::2
  test("hosts with a route by the gateway: pings and TCP both ways, and a neighbor that is not there", async () => {
    await scene.run(
      EXAMPLE,
      { lan: "lan", wan: "wan" },
      "filters.link.proxy=[]",
      "filters.link.retransmit=50ms",
      'devices.wan.routes=[0.0.0.0/0, "::/0"]',
    );
    const [lan, wan] = [scene.host("lan"), scene.host("wan")];
    lan.ip("route add default via 10.0.0.1");
    lan.ip("-6 route add default via fd00::1");
    // Over IPv4 the kernel asks first, over IPv6 the filter does.
    expect(scene.ping("lan", "10.1.0.2")).toBe(5);
    expect(scene.ping("wan", "10.0.0.5")).toBe(5);
    expect(scene.ping("wan", "fd00::5")).toBe(5);
    expect(scene.ping("lan", "fd01::2")).toBe(5);
    await scene.download("lan", "wan", "10.0.0.5", 20_000_000);
    await scene.download("wan", "lan", "fd01::2", 20_000_000);
    for (const address of ["10.0.0.1", "fd00::1"])
      expect(lan.ip(`neigh show ${address} dev lan`)).toContain("lladdr 02:00:00:00:00:01");
    const lost = (words: string) => wan.run("sh", "-c", `ping -n -c 1 -W 3 ${words} || true`);
    expect(lost("10.0.0.77")).toContain("From 10.1.0.1 icmp_seq=1 Destination Host Unreachable");
    expect(lost("fd00::77")).toContain(
      "From fd01::1 icmp_seq=1 Destination unreachable: Address unreachable",
    );
    const { filters, devices } = await scene.finish();
    const { counters, outputs } = filters["link"];
    expect(outputs["unresolved"]).toBe(2);
    expect(counters["unresolved"]).toBe(2);
    // Two neighbors that are there, and three questions for each that is not.
    expect(counters["asked"]).toBeGreaterThanOrEqual(8);
    expect(counters["answered"]).toBeGreaterThanOrEqual(1);
    for (const counter of ["malformed", "conflict", "table-full", "queue-full", "other-host"])
      expect(counters[counter], counter).toBe(0);
    // Super-packets keep whole what TCP sends.
    const { rx } = devices["lan"].queues[0];
    expect(rx.packets).toBeLessThan(rx.datagrams + devices["lan"].queues[1].rx.datagrams);
  });
});
