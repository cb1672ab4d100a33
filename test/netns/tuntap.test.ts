// `pktflow tuntap` and `ip tuntap` on the same namespace: what one makes, the other lists and removes.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tuntap } from "../../src/cli/tuntap.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { asUser, withEmptyDevNet, withOwnSys } from "../support/privileges.ts";

interface Outcome {
  status: number;
  out: string;
  err: string;
}

/** `pktflow tuntap WORDS` in this thread's namespace. */
function run(words: string): Outcome {
  const outcome: Outcome = { status: -1, out: "", err: "" };
  outcome.status = tuntap(words === "" ? [] : words.split(" "), {
    out: (text) => {
      outcome.out += text;
    },
    err: (text) => {
      outcome.err += text;
    },
  });
  return outcome;
}

const DONE: Outcome = { status: 0, out: "", err: "" };

/** All that the two agree about, as the words of both. */
const DEVICES = [
  "t0 mode tun",
  "t0 mode tap",
  "dev t0 mode tun",
  "mode tap name t0",
  "t0 mode tun pi",
  "t0 mode tap vnet_hdr",
  "t0 mode tun multi_queue",
  "t0 mode tap one_queue",
  "t0 mode tun user 65534",
  "t0 mode tun user nobody group 0",
  "t0 mode tap user root group daemon pi vnet_hdr multi_queue",
  "dev multi_queue mode tun",
  "dev t0 mod tun us 7 gr 8 p vnet mul",
  "mode tun",
  "mode tap",
];

describeKernel("tuntap", () => {
  let ns: TestNamespace;
  beforeEach(() => {
    ns = new TestNamespace();
  });
  afterEach(() => ns.remove());

  const ours = (words: string) => ns.inside(() => withOwnSys(() => run(words)));
  const theirs = (words: string) => ns.ip(words === "" ? "tuntap" : `tuntap ${words}`);
  const kernel = () => {
    const links = ns.json("link show").filter((link) => link.ifname !== "lo");
    return links.map((link) => ({ name: link.ifname, txqlen: link.txqlen, ...link.linkinfo.info_data }));
  };

  describe("add makes what ip makes, and each lists and removes the other's", () => {
    test.each(DEVICES)("%s", (words) => {
      theirs(`add ${words}`);
      const made = kernel();
      const listed = theirs("list");
      expect(made).toHaveLength(1);
      expect(listed).not.toBe("");
      expect(ours("list")).toEqual({ ...DONE, out: listed });
      const removal = `del dev ${made[0].name} mode ${made[0].type}`;
      expect(ours(removal)).toEqual(DONE);
      expect(kernel()).toEqual([]);

      // The one name that nobody has given is said.
      const out = /^mode t..$/.test(words) ? `${made[0].name}\n` : "";
      expect(ours(`add ${words}`)).toEqual({ ...DONE, out });
      expect(kernel()).toEqual(made);
      expect(theirs("list")).toBe(listed);
      theirs(made[0].multi_queue ? `${removal} multi_queue` : removal);
      expect(kernel()).toEqual([]);
    });
  });

  describe("show and list", () => {
    beforeEach(() => {
      for (const words of DEVICES.slice(4, 9))
        theirs(`add ${words.replace("t0", `t${Math.random().toString(36).slice(2, 8)}`)}`);
      theirs("add z9 mode tap");
      ns.ip("link add v0 type veth peer name v1");
    });

    test.each(["", "show", "list", "lst", "s", "l"])('"%s" prints byte for byte what ip prints', (words) => {
      const listed = theirs(words);
      expect(listed.split("\n")).toHaveLength(7);
      expect(ours(words)).toEqual({ ...DONE, out: listed });
    });

    test("a name or a mode narrows it down", () => {
      expect(ours("show z9").out).toBe("z9: tap persist\n");
      expect(ours("show dev z9 mode tap").out).toBe("z9: tap persist\n");
      expect(ours("list mode tun").out.match(/: tun /g)).toHaveLength(
        ours("list mode tun").out.split("\n").length - 1,
      );
      expect(ours("show v0")).toEqual({
        status: 1,
        out: "",
        err: "pktflow: tuntap show v0: there is no such device\n",
      });
    });

    test("flags that netlink does not have are of this namespace's device, not of another's of that name", () => {
      ns.ip("tuntap add one9 mode tun one_queue");
      // Seen from outside, /sys shows the devices of the test's own namespace.
      expect(ns.inside(() => run("show one9")).out).toBe("one9: tun persist\n");
    });
  });

  test("add leaves nothing behind when it fails", () => {
    for (const words of ["t0 mode tun user no-such-user", "t0 mode tun group no-such-group"]) {
      const { status, err } = ours(`add ${words}`);
      expect(status).toBe(3);
      expect(err).toMatch(/^pktflow: get(pwnam|grnam) no-such-(user|group): ENOENT: /);
    }
    expect(kernel()).toEqual([]);
  });

  test.each([
    [
      "link add t0 type veth",
      "add t0 mode tun",
      "EBUSY: Device or resource busy (there is an interface of that name already)",
    ],
    [
      "tuntap add t0 mode tun",
      "add t0 mode tun",
      "EBUSY: Device or resource busy (there is an interface of that name already)",
    ],
    [
      "tuntap add t0 mode tun",
      "del t0 mode tap",
      "EINVAL: Invalid argument (it exists as a tun device, and a tap device is wanted)",
    ],
    [
      "link add t0 type veth",
      "del t0 mode tun",
      "EINVAL: Invalid argument (there is a veth interface of that name already)",
    ],
    ["link set lo up", "del t0 mode tun", "ENODEV: No such device (nothing to remove)"],
  ])("after ip %s: %s changes nothing", (made, words, why) => {
    ns.ip(made);
    const before = ns.ip("-o link");
    expect(ours(words)).toEqual({ status: 1, out: "", err: `pktflow: TUNSETIFF t0: ${why}\n` });
    expect(ns.ip("-o link")).toBe(before);
  });

  test("not permitted, or no device node: 3, and what helps", () => {
    const denied = ns.inside(() => asUser(65534, () => run("add t0 mode tun")));
    expect(denied.status).toBe(3);
    expect(denied.err).toMatch(
      /^pktflow: open \/dev\/net\/tun: EACCES: Permission denied\n {2}sudo chmod 0666 /,
    );
    const missing = ns.inside(() => withEmptyDevNet(() => run("add t0 mode tun")));
    expect(missing.status).toBe(3);
    expect(missing.err).toMatch(
      /^pktflow: open \/dev\/net\/tun: ENOENT: No such file or directory\n {2}sudo modprobe/,
    );
    expect(kernel()).toEqual([]);
  });
});

describe("tuntap's words", () => {
  test.each([
    ["frobnicate", 'there is no command "frobnicate"'],
    ["-x", 'there is no command "-x"'],
    ["add", "the mode is missing"],
    ["add t0", "the mode is missing"],
    ["add t0 mode", '"mode" wants something after it'],
    ["add t0 mode tunnel", 'there is no mode "tunnel"'],
    ["add t0 t1 mode tun", 'what is "t1"? The device is "t0"'],
    ["add t0 mode tun blue", 'what is "blue"? The device is "t0"'],
    ["add t0 mode tun mode tap", '"mode" stands there twice'],
    ["add t0 mode tun user", '"user" wants something after it'],
    ["add lan0567890123456 mode tun", "a name has at most 15 bytes, this one has 16"],
    ["add a/b mode tun", '"a/b" cannot be a name'],
    ["del mode tun", "which device? Its name is missing"],
    ["del t0", "the mode is missing"],
  ])("%s is wrong usage", (words, why) => {
    const { status, out, err } = run(words);
    expect({ status, out }).toEqual({ status: 2, out: "" });
    expect(err).toMatch(/^pktflow: tuntap: .*\(pktflow tuntap help\)\n$/);
    expect(err).toContain(why);
  });

  test.each(["help", "h", "add help", "--help", "-h", "add --help"])("%s prints usage", (words) => {
    expect(run(words)).toMatchObject({
      status: 0,
      err: "",
      out: expect.stringMatching(/^Usage: pktflow tuntap \{ add/),
    });
  });
});
