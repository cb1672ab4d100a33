// tun and tap devices against the real kernel: what is made, what is left alone, what is refused, and packets through it.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OFFLOAD } from "../../src/batches/layout.ts";
import { manifest as tapManifest } from "../../src/devices/tap/manifest.ts";
import { manifest as tunManifest } from "../../src/devices/tun/manifest.ts";
import { type OpenDevice, openDevice } from "../../src/devices/tun/open.ts";
import { parseParams } from "../../src/params/parse.ts";
import type { ParamValues } from "../../src/params/types.ts";
import {
  close,
  F_GETFD,
  F_GETFL,
  fcntl,
  O_NONBLOCK,
  O_RDWR,
  open as openFile,
  POLLERR,
  POLLIN,
  ppoll,
  read,
  write,
} from "../../src/sys/calls.ts";
import { EAGAIN, EINVAL, EIO, errnoName, SystemError } from "../../src/sys/errno.ts";
import { IFF_NO_PI, IFF_TUN, IFF_VNET_HDR, tunGetVnetHdrSize, tunSetIff } from "../../src/sys/if_tun.ts";
import { addressOf } from "../../src/sys/memory.ts";
import { createNamespace, withNamespace } from "../../src/sys/namespaces.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { asUser, withEmptyDevNet } from "../support/privileges.ts";

/** A device's configuration as the config stage makes it of the pipeline file's values. */
function device(kind: "tun" | "tap", values: Record<string, unknown>) {
  const specs = (kind === "tun" ? tunManifest : tapManifest).params;
  const parsed = parseParams(specs, values);
  if ("problems" in parsed) throw new Error(parsed.problems.map((problem) => problem.message).join("; "));
  return { id: "lan0", kind, params: parsed.value as ParamValues };
}

describeKernel("tun and tap devices", () => {
  let ns: TestNamespace;
  let descriptors: number;
  const opened: OpenDevice[] = [];
  const open = (kind: "tun" | "tap", values: Record<string, unknown> = {}): OpenDevice => {
    const one = openDevice(device(kind, { netns: ns.name, offload: "off", ...values }));
    opened.push(one);
    return one;
  };
  const closeAll = () => {
    for (const one of opened.splice(0)) one.close();
  };
  const names = () =>
    ns
      .json("link show")
      .map((link) => link.ifname)
      .filter((name) => name !== "lo");
  const link = (name = "lan0") => ns.json(`link show dev ${name}`)[0];

  beforeEach(() => {
    ns = new TestNamespace();
    descriptors = kernelDescriptors().length;
  });
  afterEach(() => {
    closeAll();
    ns.remove();
    expect(kernelDescriptors(), "descriptors left open").toHaveLength(descriptors);
  });

  describe("made by us", () => {
    test("a tun device has all that its configuration says", () => {
      const made = open("tun", {
        queues: 3,
        address: ["10.77.0.1/24", "fd00:77::1/64"],
        routes: ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32"],
        mtu: 1400,
        owner: "nobody",
        group: "12",
        txqueuelen: 250,
      });
      const said = link();
      expect(made).toMatchObject({
        name: "lan0",
        mode: "tun",
        ifindex: said.ifindex,
        made: true,
        mtu: 1400,
        mac: "",
        netns: ns.name,
        warnings: [],
      });
      expect(said).toMatchObject({ mtu: 1400, txqlen: 250, link_type: "none" });
      expect(said.flags).toEqual(expect.arrayContaining(["UP", "LOWER_UP"]));
      expect(said.linkinfo.info_data).toEqual({
        type: "tun",
        pi: false,
        vnet_hdr: false,
        multi_queue: true,
        numqueues: 3,
        numdisabled: 0,
        persist: false,
        user: "nobody",
        group: "man",
      });
      const addresses = ns.json("addr show dev lan0")[0].addr_info;
      expect(
        addresses.map((one: { local: string; prefixlen: number }) => `${one.local}/${one.prefixlen}`),
      ).toEqual(expect.arrayContaining(["10.77.0.1/24", "fd00:77::1/64"]));
      expect(ns.json("-4 route show dev lan0").map((route) => route.dst)).toEqual(
        expect.arrayContaining(["default", "10.77.0.0/24", "192.0.2.0/24"]),
      );
      expect(ns.json("-6 route show dev lan0").map((route) => route.dst)).toContain("2001:db8::/32");
    });

    test("a tap device has its MAC address and is in its bridge", () => {
      ns.ip("link add br0 type bridge");
      const made = open("tap", { mac: "02:00:5E:10:00:01", bridge: "br0" });
      expect(made).toMatchObject({ mode: "tap", mac: "02:00:5e:10:00:01", mtu: 1500 });
      expect(link()).toMatchObject({
        address: "02:00:5e:10:00:01",
        master: "br0",
        txqlen: 1000,
        linkinfo: { info_data: { type: "tap", multi_queue: false } },
      });
    });

    test("its descriptors are nonblocking, closed on exec, and one a queue", () => {
      const { fds } = open("tun", { queues: 4 });
      expect(new Set(fds).size).toBe(4);
      for (const fd of fds) {
        expect(fcntl(fd, F_GETFL) & O_NONBLOCK).toBe(O_NONBLOCK);
        expect(fcntl(fd, F_GETFD)).toBe(1);
      }
    });

    test("it has up to 256 queues", () => {
      expect(open("tun", { queues: 256 }).fds).toHaveLength(256);
      expect(link().linkinfo.info_data.numqueues).toBe(256);
    });

    test("it is gone when closed, and closing twice does no harm", () => {
      const made = open("tun", { queues: 2, address: "10.77.0.1/24" });
      made.close();
      expect(names()).toEqual([]);
      const next = open("tun", { name: "lan1" });
      made.close();
      expect(fcntl(next.fds[0], F_GETFD)).toBe(1);
    });

    test("it stays when it is persistent", () => {
      open("tun", { persist: true, address: "10.77.0.1/24" }).close();
      expect(link().linkinfo.info_data.persist).toBe(true);
      ns.ip("tuntap del dev lan0 mode tun");
      expect(names()).toEqual([]);
    });

    test("without netns, it is in the current namespace", () => {
      const own = createNamespace();
      const made = withNamespace(own, () => openDevice(device("tun", { name: "here0" })));
      opened.push(made);
      const listed = withNamespace(own, () => execFileSync("ip", ["-o", "link"], { encoding: "utf8" }));
      expect(listed).toContain(" here0: ");
      expect(made.netns).toBeUndefined();
      close(own);
    });
  });

  describe("made by someone else", () => {
    const state = (name = "lan0") => {
      const { mtu, txqlen, address, linkinfo, master, ifindex } = link(name);
      const { numqueues: _, ...info } = linkinfo.info_data;
      return {
        mtu,
        txqlen,
        address,
        master,
        ifindex,
        info,
        addresses: ns.json(`-4 addr show dev ${name}`)[0]?.addr_info,
      };
    };

    test.each([
      ["tun", 1, ""],
      ["tap", 1, ""],
      ["tun", 1, " multi_queue"],
      ["tap", 2, " multi_queue"],
    ] as const)(
      "%s: %d queues of a persistent device%s are attached to, and nothing else is done",
      (mode, queues, flag) => {
        ns.ip(`tuntap add lan0 mode ${mode} user 65534${flag}`);
        ns.ip("link set lan0 mtu 1300 up");
        ns.ip("addr add 192.0.2.1/24 dev lan0");
        const before = state();
        const attached = open(mode, {
          queues,
          address: "10.77.0.1/24",
          mtu: 1400,
          txqueuelen: 7,
          persist: true,
        });
        expect(attached).toMatchObject({ made: false, mtu: 1300, ifindex: before.ifindex });
        expect(attached.fds).toHaveLength(queues);
        expect(attached.warnings).toEqual([
          "lan0 was there already and keeps its own settings; not applied: address, mtu, txqueuelen",
        ]);
        expect(state()).toEqual(before);
        attached.close();
        expect(state()).toEqual(before);
      },
    );

    test("a device that is as configured draws no warning", () => {
      const values = {
        persist: true,
        address: ["10.77.0.1/24", "fd00::1/64"],
        owner: "nobody",
        txqueuelen: 250,
      };
      open("tun", values).close();
      const again = open("tun", values);
      expect(again).toMatchObject({ made: false, warnings: [] });
      again.close();
      expect(names()).toEqual(["lan0"]);
    });

    test("one that is down draws a warning and stays down", () => {
      ns.ip("tuntap add lan0 mode tun");
      expect(open("tun").warnings).toEqual([
        "lan0 is down and nothing comes in until it is up: sudo ip link set lan0 up",
      ]);
      expect(link().flags).not.toContain("UP");
    });

    test("its owner attaches without any capability", () => {
      ns.ip("tuntap add lan0 mode tun user 65534");
      const attached = ns.inside(() =>
        withEmptyDevNet(() => {
          makeNode();
          return asUser(65534, () => openDevice(device("tun", {})));
        }),
      );
      opened.push(attached);
      expect(attached.made).toBe(false);
    });
  });

  describe("refused", () => {
    const failure = (visit: () => unknown): SystemError => {
      try {
        visit();
      } catch (error) {
        if (error instanceof SystemError) return error;
        throw error;
      }
      throw new Error("it did not fail");
    };
    /** Nothing may have changed in the namespace, whatever failed. */
    const refused = (values: Record<string, unknown>, kind: "tun" | "tap" = "tun"): SystemError => {
      const before = ns.ip("-o link");
      const error = failure(() => open(kind, values));
      expect(ns.ip("-o link")).toBe(before);
      return error;
    };

    test.each([
      [
        "link add lan0 type veth",
        {},
        "TUNSETIFF lan0: EINVAL: Invalid argument (there is a veth interface of that name already)",
      ],
      [
        "tuntap add lan0 mode tap",
        {},
        "TUNSETIFF lan0: EINVAL: Invalid argument (it exists as a tap device, and a tun device is wanted)",
      ],
      [
        "tuntap add lan0 mode tun",
        { queues: 2 },
        "TUNSETIFF lan0: EINVAL: Invalid argument (it exists with a single queue, and 2 are wanted)",
      ],
    ])("%s, then %j", (made, values, message) => {
      ns.ip(made);
      expect(refused(values)).toMatchObject({ message, unavailable: true, hint: expect.any(String) });
    });

    test.each([[1], [2]])("a device with %d queues that is open already", (queues) => {
      open("tun", { queues });
      const error = refused({ queues });
      expect(error.message).toBe(
        "TUNSETIFF lan0: EBUSY: Device or resource busy (another program has it open)",
      );
      expect(error.unavailable).toBe(true);
    });

    test.each([
      [{ name: "lan0567890123456" }, "a name has at most 15 bytes, this one has 16"],
      [{ name: "lan%d" }, 'a name is not empty, "." or ".." and has no "/", ":", "%" or space in it'],
      [
        { owner: "no-such-user" },
        'getpwnam no-such-user: ENOENT: No such file or directory (there is no user "no-such-user" on this machine)',
      ],
      [{ group: "no-such-group" }, "getgrnam no-such-group: ENOENT"],
      [{ netns: "pf-none" }, "open /run/netns/pf-none: ENOENT"],
      [
        { address: ["10.77.0.1/24", "fd00::1/64"], mtu: 1000 },
        "RTM_NEWADDR lan0 fd00::1/64: EINVAL: Invalid argument (IPv6 needs an mtu of at least 1280, and it is 1000)",
      ],
      [{ address: "10.77.0.1/24", routes: "10.77.0.0/24" }, "RTM_NEWROUTE 10.77.0.0/24 dev lan0: EEXIST"],
      [
        { address: "10.77.0.1/24", routes: ["0.0.0.0/0", "0.0.0.0/0"], persist: true },
        "there is a route to 0.0.0.0/0 already",
      ],
      [{ txqueuelen: 4000000000 }, "RTM_NEWLINK lan0 txqueuelen 4000000000: "],
    ])("%j leaves nothing behind", (values, message) => {
      expect(refused(values).message).toContain(message);
    });

    test.each([
      [{ mac: "01:00:5e:00:00:01" }, "RTM_NEWLINK lan0 address 01:00:5e:00:00:01: EADDRNOTAVAIL"],
      [{ bridge: "br9" }, "RTM_GETLINK br9: ENODEV: No such device (there is no such bridge)"],
      [{ bridge: "lo" }, "RTM_GETLINK lo: ENODEV: No such device (it is no bridge)"],
    ])("tap with %j leaves nothing behind", (values, message) => {
      expect(refused(values, "tap").message).toContain(message);
    });

    test("257 queues", () => {
      const { params } = device("tun", { netns: ns.name });
      const error = failure(() =>
        openDevice({ id: "lan0", kind: "tun", params: { ...params, queues: 257 } }),
      );
      expect(error.message).toBe(
        "TUNSETIFF lan0: E2BIG: Argument list too long (a device has at most 256 queues)",
      );
      expect(names()).toEqual([]);
      expect(() => device("tun", { queues: 257 })).toThrow("queues wants 1 to 256, has 257");
      expect(() => device("tun", { queues: 0 })).toThrow("queues wants 1 to 256, has 0");
    });

    test("no device node", () => {
      const error = failure(() => withEmptyDevNet(() => open("tun")));
      expect(error.message).toBe("open /dev/net/tun: ENOENT: No such file or directory");
      expect(error).toMatchObject({ unavailable: true, hint: expect.stringContaining("sudo modprobe tun") });
      expect(names()).toEqual([]);
    });

    test("a device node that only root may open", () => {
      const error = failure(() =>
        withEmptyDevNet(() => {
          makeNode(0o600);
          return asUser(65534, () => openDevice(device("tun", {})));
        }),
      );
      expect(error.message).toBe("open /dev/net/tun: EACCES: Permission denied");
      expect(error).toMatchObject({
        unavailable: true,
        hint: expect.stringContaining("sudo chmod 0666 /dev/net/tun"),
      });
    });

    test("no capability to make a device", () => {
      const error = failure(() =>
        withEmptyDevNet(() => {
          makeNode();
          return ns.inside(() => asUser(65534, () => openDevice(device("tun", {}))));
        }),
      );
      expect(error.message).toBe("TUNSETIFF lan0: EPERM: Operation not permitted");
      expect(error).toMatchObject({
        unavailable: true,
        hint: expect.stringContaining(`sudo setcap cap_net_admin+ep ${process.execPath}`),
      });
      expect(names()).toEqual([]);
    });

    test("somebody else's device", () => {
      ns.ip("tuntap add lan0 mode tun user 4242");
      const error = failure(() =>
        withEmptyDevNet(() => {
          makeNode();
          return ns.inside(() => asUser(65534, () => openDevice(device("tun", {}))));
        }),
      );
      expect(error.message).toBe(
        "TUNSETIFF lan0: EPERM: Operation not permitted (it belongs to the user 4242)",
      );
      expect(error.unavailable).toBe(true);
    });

    test("no capability to enter the network namespace", () => {
      const error = failure(() => asUser(65534, () => open("tun")));
      expect(error).toMatchObject({ call: "setns", code: "EPERM", unavailable: true });
    });
  });

  describe("offloads", () => {
    /** Of `ethtool -k`: what the kernel may leave to the reader of the device. */
    const features = () => {
      const text = ns.run("ethtool", "-k", "lan0");
      const on = (name: string) => new RegExp(`\\b${name}: on`).test(text);
      return {
        checksum: on("tx-checksum-ip-generic"),
        tso4: on("tx-tcp-segmentation"),
        tso6: on("tx-tcp6-segmentation"),
        ecn: on("tx-tcp-ecn-segmentation"),
        uso: on("tx-udp-segmentation"),
      };
    };
    const NONE = { checksum: false, tso4: false, tso6: false, ecn: false, uso: false };

    test.each(["auto", "on"])(
      "%s turns on all that the kernel has, with a header before each packet",
      (offload) => {
        const made = open("tun", { offload });
        expect(made.vnetHeader).toBe(12);
        expect(link().linkinfo.info_data.vnet_hdr).toBe(true);
        expect(features()).toEqual({
          checksum: (made.offloads & OFFLOAD.CSUM) !== 0,
          tso4: (made.offloads & OFFLOAD.TSO4) !== 0,
          tso6: (made.offloads & OFFLOAD.TSO6) !== 0,
          ecn: (made.offloads & OFFLOAD.TSO_ECN) !== 0,
          uso: (made.offloads & OFFLOAD.USO4) !== 0 && (made.offloads & OFFLOAD.USO6) !== 0,
        });
        expect(made.offloads & (OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6)).toBe(
          OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6,
        );
      },
    );

    test("off turns on none", () => {
      const made = open("tap");
      expect(made).toMatchObject({ offloads: 0, vnetHeader: 0 });
      expect(link().linkinfo.info_data.vnet_hdr).toBe(false);
      expect(features()).toEqual(NONE);
    });

    test("auto takes a device that somebody made without the header as it is; on gives it one", () => {
      ns.ip("tuntap add lan0 mode tun");
      expect(open("tun", { offload: "auto" })).toMatchObject({ offloads: 0, vnetHeader: 0, made: false });
      closeAll();
      expect(open("tun", { offload: "on" })).toMatchObject({ vnetHeader: 12, made: false });
    });

    test("a device that stays is left without offloads and with the header that it had", () => {
      ns.ip("tuntap add lan0 mode tun vnet_hdr");
      expect(open("tun", { offload: "auto" }).vnetHeader).toBe(12);
      expect(features().tso4).toBe(true);
      closeAll();
      expect(features()).toEqual(NONE);
      const fd = openFile("/dev/net/tun", O_RDWR);
      ns.inside(() => tunSetIff(fd, "lan0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR));
      expect(tunGetVnetHdrSize(fd)).toBe(10);
      close(fd);
    });
  });

  describe("packets", () => {
    const buffer = new Uint8Array(new ArrayBuffer(65536));
    const address = addressOf(buffer);
    const pollfds = new Int32Array(new SharedArrayBuffer(64));

    /** Waits for a packet on any queue, at most a second. Gives the queue, with the packet in `buffer`. */
    const receive = (fds: readonly number[]): { queue: number; packet: Uint8Array } | undefined => {
      fds.forEach((fd, i) => {
        pollfds[2 * i] = fd;
        pollfds[2 * i + 1] = POLLIN;
      });
      if (ppoll(addressOf(pollfds), fds.length, 1e9) <= 0) return undefined;
      const queue = fds.findIndex((_, i) => pollfds[2 * i + 1] >>> 16 !== 0);
      const length = read(fds[queue], address, buffer.length);
      return length > 0 ? { queue, packet: buffer.subarray(0, length) } : undefined;
    };

    test("a ping comes out of a queue byte for byte, and is answered through it", async () => {
      const { fds } = open("tun", { queues: 2, address: "10.77.0.1/24" });
      const ping = spawn("ip", [
        "netns",
        "exec",
        ns.name,
        "ping",
        "-c1",
        "-W5",
        "-s56",
        "-p",
        "a5",
        "10.77.0.2",
      ]);
      const ended = once(ping, "exit");
      let echo: Uint8Array | undefined;
      for (let i = 0; i < 20 && !echo; i++) {
        const got = receive(fds);
        // Router solicitations and the like come, too.
        if (got && got.packet[0] >>> 4 === 4) {
          echo = got.packet.slice();
          answer(got.packet);
          expect(write(fds[got.queue], address, got.packet.length)).toBe(84);
        }
      }
      expect(echo).toBeDefined();
      const bytes = Buffer.from(echo!);
      expect(bytes).toHaveLength(84);
      expect(bytes.readUInt8(9)).toBe(1);
      expect([...bytes.subarray(12, 20)]).toEqual([10, 77, 0, 1, 10, 77, 0, 2]);
      expect(bytes.readUInt16BE(20)).toBe(0x0800);
      expect(bytes.subarray(52).every((byte) => byte === 0xa5)).toBe(true);
      expect(checksum(bytes.subarray(0, 20))).toBe(0);
      expect(checksum(bytes.subarray(20))).toBe(0);
      expect((await ended)[0]).toBe(0);
    });

    test("flows are spread over the queues, and each stays on one", () => {
      const { fds } = open("tun", { queues: 2, address: "10.77.0.1/24" });
      const send = `
import socket
for port in range(40000, 40032):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.77.0.1", port))
    for i in range(3): s.sendto(b"x" * 20, ("10.77.0.2", 9))
`;
      ns.run("python3", "-c", send);
      const queuesByPort = new Map<number, Set<number>>();
      let packets = 0;
      for (let got = receive(fds); packets < 96 && got; got = receive(fds)) {
        if (got.packet[0] >>> 4 !== 4) continue;
        packets++;
        const port = Buffer.from(got.packet).readUInt16BE(20);
        queuesByPort.set(port, (queuesByPort.get(port) ?? new Set()).add(got.queue));
      }
      expect(packets).toBe(96);
      expect(queuesByPort.size).toBe(32);
      expect([...queuesByPort.values()].every((queues) => queues.size === 1)).toBe(true);
      expect(new Set([...queuesByPort.values()].flatMap((queues) => [...queues]))).toEqual(new Set([0, 1]));
    });

    describe("what README.md says of reads and writes", () => {
      const REVENTS = (index: number) => pollfds[2 * index + 1] >>> 16;
      const poll = (fd: number) => {
        pollfds[0] = fd;
        pollfds[1] = POLLIN;
        return ppoll(addressOf(pollfds), 1, 0);
      };
      const ipv4 = (length: number) => {
        buffer.fill(0, 0, length);
        buffer[0] = 0x45;
        return length;
      };
      /** Reads what came when the interface went up. */
      const empty = (fd: number) => {
        let last = 0;
        while (last >= 0) last = read(fd, address, buffer.length);
        return last;
      };

      test("a dry queue", () => {
        const { fds } = open("tun");
        expect(empty(fds[0])).toBe(-EAGAIN);
      });

      test("an interface that is down", () => {
        const { fds } = open("tun");
        ns.ip("link set lan0 down");
        // What was queued before can still be read.
        expect(empty(fds[0])).toBe(-EAGAIN);
        expect(write(fds[0], address, ipv4(64))).toBe(-EIO);
        expect([poll(fds[0]), REVENTS(0)]).toEqual([0, 0]);
        ns.ip("link set lan0 up");
        expect(empty(fds[0])).toBe(-EAGAIN);
        expect(write(fds[0], address, ipv4(64))).toBe(64);
      });

      test("an interface that somebody removed", () => {
        const { fds } = open("tun");
        ns.ip("link del lan0");
        expect(errnoName(read(fds[0], address, buffer.length))).toBe("EBADFD");
        expect(errnoName(write(fds[0], address, ipv4(64)))).toBe("EBADFD");
        expect(poll(fds[0])).toBe(1);
        expect(REVENTS(0) & POLLERR).toBe(POLLERR);
      });

      test("what is no packet, and one beyond the MTU", () => {
        const { fds } = open("tun", { mtu: 1280 });
        expect(write(fds[0], address, 0)).toBe(-EINVAL);
        buffer[0] = 0x55;
        expect(write(fds[0], address, 64)).toBe(-EINVAL);
        expect(write(fds[0], address, ipv4(9000))).toBe(9000);
        const tap = open("tap", { name: "lan1" });
        expect(write(tap.fds[0], address, 13)).toBe(-EINVAL);
        expect(write(tap.fds[0], address, 14)).toBe(14);
      });

      test("a buffer that is too short cuts the packet", () => {
        const { fds } = open("tun", { address: "10.77.0.1/24" });
        empty(fds[0]);
        ns.run("sh", "-c", "ping -c1 -W1 -s500 10.77.0.2 >/dev/null; true");
        let length = 0;
        for (let i = 0; i < 10 && length !== 100; i++) length = read(fds[0], address, 100);
        expect(length).toBe(100);
        expect(buffer[9]).toBe(1);
        expect(empty(fds[0])).toBe(-EAGAIN);
      });
    });

    test("a tap device gives Ethernet frames", () => {
      const { fds, mac } = open("tap", { address: "10.77.0.1/24" });
      ns.run("sh", "-c", "ping -c1 -W1 10.77.0.2 >/dev/null; true");
      let arp: Buffer | undefined;
      for (let got = receive(fds); got && !arp; got = receive(fds)) {
        const frame = Buffer.from(got.packet);
        if (frame.readUInt16BE(12) === 0x0806) arp = Buffer.from(frame);
      }
      expect(arp?.subarray(0, 6).toString("hex")).toBe("ffffffffffff");
      expect(arp?.subarray(6, 12).toString("hex")).toBe(mac.replaceAll(":", ""));
      expect([...arp!.subarray(38, 42)]).toEqual([10, 77, 0, 2]);
    });
  });
});

/** What opening a device opens: queues, namespaces, netlink sockets. The runtime has Unix sockets and pipes of its own. */
function kernelDescriptors(): string[] {
  const unix = readFileSync("/proc/net/unix", "utf8");
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      const ours = inode === undefined ? /tun|net:|mnt:/.test(target) : !unix.includes(` ${inode}\n`);
      return ours ? [target] : [];
    } catch {
      return []; // readdir's own descriptor
    }
  });
}

/** /dev/net/tun, in a /dev/net of one's own. */
function makeNode(mode = 0o666): void {
  execFileSync("mknod", ["/dev/net/tun", "c", "10", "200"]);
  chmodSync("/dev/net/tun", mode);
}

/** Makes an echo request its own reply, in place: RFC 792. */
function answer(packet: Uint8Array): void {
  const source = packet.slice(12, 16);
  packet.copyWithin(12, 16, 20);
  packet.set(source, 16);
  packet[20] = 0;
  packet[22] = 0;
  packet[23] = 0;
  const sum = checksum(packet.subarray(20));
  packet[22] = sum >>> 8;
  packet[23] = sum & 0xff;
}

/** RFC 1071, of an even number of bytes. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
