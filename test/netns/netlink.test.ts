// rtnetlink through src/sys, compared with what `ip -j` of iproute2 says of the same namespace.
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addAddress } from "../../src/sys/addresses.ts";
import { EEXIST, EINVAL, ENODEV, SystemError } from "../../src/sys/errno.ts";
import * as links from "../../src/sys/links.ts";
import { type Netlink, withNetlink } from "../../src/sys/netlink.ts";
import { addRoute } from "../../src/sys/routes.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";

describeKernel("rtnetlink", () => {
  let ns: TestNamespace;
  beforeAll(() => {
    ns = new TestNamespace();
    ns.ip("link set lo up");
    ns.ip("link add v0 type veth peer name v1");
    ns.ip("link add br0 type bridge");
    ns.ip("tuntap add mode tap name tap7 user 65534 group 12 multi_queue");
    ns.ip("tuntap add mode tun name tun7 pi vnet_hdr");
  });
  afterAll(() => ns?.remove());

  const netlink = <T>(visit: (netlink: Netlink) => T): T => ns.inside(() => withNetlink(visit));
  const link = (name: string) => netlink((n) => links.getLink(n, name))!;
  const failure = (visit: (netlink: Netlink) => void): SystemError => {
    try {
      netlink(visit);
    } catch (error) {
      if (error instanceof SystemError) return error;
      throw error;
    }
    throw new Error("it did not fail");
  };

  test.each(["lo", "v0", "v1", "br0", "tap7", "tun7"])(
    "getLink and listLinks say of %s what ip does",
    (name) => {
      const [said] = ns.json(`link show dev ${name}`);
      const found = link(name);
      expect(found).toMatchObject({
        index: said.ifindex,
        name: said.ifname,
        mtu: said.mtu,
        txqueuelen: said.txqlen,
        mac: said.address ?? "",
        kind: said.linkinfo?.info_kind ?? "",
        up: said.flags.includes("UP"),
        master: 0,
      });
      expect(netlink((n) => links.listLinks(n)).find((one) => one.name === name)).toEqual(found);
    },
  );

  test("listLinks has all, and those of one kind, in ip's order", () => {
    const names = (kind?: string) => netlink((n) => links.listLinks(n, kind)).map((one) => one.name);
    expect(names()).toEqual(ns.json("link show").map((one) => one.ifname));
    expect(names("tun")).toEqual(["tap7", "tun7"]);
    expect(names("no-such-kind")).toEqual([]);
  });

  test("what the tun driver says", () => {
    expect(link("tap7").tun).toEqual({
      type: "tap",
      owner: 65534,
      group: 12,
      pi: false,
      vnetHdr: false,
      multiQueue: true,
      persist: true,
      queues: 0,
      disabledQueues: 0,
    });
    expect(link("tun7").tun).toMatchObject({
      type: "tun",
      owner: undefined,
      group: undefined,
      pi: true,
      vnetHdr: true,
      multiQueue: false,
    });
    expect(link("v0").tun).toBeUndefined();
  });

  test("an interface that is not there", () => {
    expect(netlink((n) => links.getLink(n, "nope"))).toBeUndefined();
  });

  test("more interfaces than one message holds", () => {
    const crowd = new TestNamespace();
    try {
      const batch = Array.from({ length: 75 }, (_, i) => `link add a${i} type veth peer name b${i}`).join(
        "\n",
      );
      crowd.run("sh", "-c", `echo "${batch}" | ip -b -`);
      const names = crowd.inside(() => withNetlink((n) => links.listLinks(n))).map((one) => one.name);
      expect(names).toEqual(crowd.json("link show").map((one) => one.ifname));
      expect(names).toHaveLength(151);
    } finally {
      crowd.remove();
    }
  });

  test("up, mtu, txqueuelen, mac, master", () => {
    netlink((n) => {
      const tap = links.getLink(n, "tap7")!;
      links.setLinkMac(n, tap, "02:00:5e:10:00:01");
      links.setLinkMtu(n, tap, 1400);
      links.setLinkTxqueuelen(n, tap, 77);
      links.setLinkMaster(n, tap, links.getLink(n, "br0"));
      links.setLinkUp(n, tap, true);
    });
    const [said] = ns.json("link show dev tap7");
    expect(said).toMatchObject({ address: "02:00:5e:10:00:01", mtu: 1400, txqlen: 77, master: "br0" });
    expect(said.flags).toContain("UP");
    expect(link("tap7")).toMatchObject({ master: link("br0").index, up: true });
    netlink((n) => {
      links.setLinkUp(n, link("tap7"), false);
      links.setLinkMaster(n, link("tap7"), undefined);
    });
    expect(ns.json("link show dev tap7")[0].flags).not.toContain("UP");
    expect(link("tap7").master).toBe(0);
  });

  test("addresses and routes of both families; IPv6 ones are usable at once", () => {
    netlink((n) => {
      const v0 = links.getLink(n, "v0")!;
      links.setLinkUp(n, v0, true);
      links.setLinkUp(n, link("v1"), true);
      addAddress(n, v0, "10.77.0.1/24");
      addAddress(n, v0, "fd00:77::1/64");
      addRoute(n, { destination: "192.0.2.0/24", dev: v0 });
      addRoute(n, { destination: "0.0.0.0/0", via: "10.77.0.254" });
      addRoute(n, { destination: "2001:db8::/32", via: "fd00:77::fe", dev: v0 });
      addRoute(n, { destination: "::/0", dev: v0 });
    });
    const addresses = ns.json("addr show dev v0")[0].addr_info;
    expect(addresses).toContainEqual(
      expect.objectContaining({ local: "10.77.0.1", prefixlen: 24, scope: "global" }),
    );
    const v6 = addresses.find((one: { local: string }) => one.local === "fd00:77::1");
    expect(v6).toMatchObject({ prefixlen: 64 });
    expect(v6).not.toHaveProperty("tentative");
    expect(ns.json("-4 route show")).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ dst: "192.0.2.0/24", dev: "v0", scope: "link" }),
        expect.objectContaining({ dst: "default", gateway: "10.77.0.254", dev: "v0" }),
        expect.objectContaining({ dst: "10.77.0.0/24", dev: "v0", protocol: "kernel" }),
      ]),
    );
    expect(ns.json("-6 route show")).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ dst: "2001:db8::/32", gateway: "fd00:77::fe", dev: "v0" }),
        expect.objectContaining({ dst: "default", dev: "v0" }),
      ]),
    );
  });

  test("an error names request, target, errno and what the kernel says of it", () => {
    const lo = link("lo");
    const mtu = failure((n) => links.setLinkMtu(n, link("tap7"), 65522));
    expect(mtu.message).toBe(
      "RTM_NEWLINK tap7 mtu 65522: EINVAL: Invalid argument (mtu greater than device maximum)",
    );
    expect(mtu.errno).toBe(EINVAL);
    expect(failure((n) => links.setLinkUp(n, { index: 9999, name: "gone" }, true)).errno).toBe(ENODEV);
    expect(failure((n) => addAddress(n, lo, "127.0.0.1/8")).errno).toBe(EEXIST);
    const route = failure((n) =>
      addRoute(n, { destination: "10.77.0.0/24", dev: link("v0"), via: "192.168.9.9" }),
    );
    expect(route.message).toContain("Nexthop has invalid gateway");
  });

  test("a route that is there already", () => {
    netlink((n) => addRoute(n, { destination: "198.51.100.0/24", dev: link("v0") }));
    const error = failure((n) => addRoute(n, { destination: "198.51.100.0/24", dev: link("v0") }));
    expect(error).toMatchObject({ errno: EEXIST, call: "RTM_NEWROUTE", target: "198.51.100.0/24 dev v0" });
  });

  test("deleteLink", () => {
    netlink((n) => links.deleteLink(n, link("tun7")));
    expect(() => ns.ip("link show dev tun7")).toThrow(/does not exist/);
  });

  test("no descriptor stays open, whether it worked or not", () => {
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 20; i++) {
      link("lo");
      failure((n) => links.setLinkMtu(n, link("tap7"), 65522));
    }
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});
