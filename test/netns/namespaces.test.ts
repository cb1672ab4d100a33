// A visit to another network namespace ends at home, whatever happens during it.
import { readdirSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { close } from "../../src/sys/calls.ts";
import { listLinks } from "../../src/sys/links.ts";
import { addressOf } from "../../src/sys/memory.ts";
import {
  createNamespace,
  openNamespace,
  PR_GET_PDEATHSIG,
  PR_SET_PDEATHSIG,
  prctl,
  withNamespace,
} from "../../src/sys/namespaces.ts";
import { withNetlink } from "../../src/sys/netlink.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";

describeKernel("network namespaces", () => {
  const here = () => readlinkSync("/proc/thread-self/ns/net");
  let ns: TestNamespace;
  let home: string;
  beforeAll(() => {
    ns = new TestNamespace();
    home = here();
  });
  afterAll(() => ns?.remove());

  test("by name, path, number and process id", () => {
    const wanted = ns.run("readlink", "/proc/self/ns/net").trim();
    for (const which of [ns.name, `/run/netns/${ns.name}`]) {
      const fd = openNamespace(which);
      expect(withNamespace(fd, here)).toBe(wanted);
      expect(here()).toBe(home);
      close(fd);
    }
    for (const which of [process.pid, String(process.pid)]) {
      const fd = openNamespace(which);
      expect(withNamespace(fd, here)).toBe(home);
      close(fd);
    }
  });

  test("a visit that throws ends at home", () => {
    const visit = () => {
      throw new Error("inside");
    };
    expect(() => ns.inside(visit)).toThrow("inside");
    expect(here()).toBe(home);
  });

  test("one that does not exist", () => {
    expect(() => openNamespace("pf-none")).toThrow(
      "open /run/netns/pf-none: ENOENT: No such file or directory",
    );
    expect(() => openNamespace("pf-none")).toThrow(
      expect.objectContaining({
        unavailable: true,
        hint: expect.stringContaining("sudo ip netns add pf-none"),
      }),
    );
    expect(() => openNamespace(4194305)).toThrow("open /proc/4194305/ns/net: ENOENT");
  });

  test("what is no network namespace", () => {
    const fd = openNamespace("/dev/null");
    expect(() => withNamespace(fd, here)).toThrow(/^setns descriptor \d+: EINVAL/);
    expect(here()).toBe(home);
    close(fd);
  });

  test("an anonymous one has nothing but lo, and is not home", () => {
    const fd = createNamespace();
    expect(here()).toBe(home);
    const links = withNamespace(fd, () => withNetlink((n) => listLinks(n)));
    expect(links.map((link) => link.name)).toEqual(["lo"]);
    expect(withNamespace(fd, here)).not.toBe(home);
    close(fd);
  });

  test("no descriptor stays open", () => {
    const before = readdirSync("/proc/self/fd").length;
    ns.inside(here);
    expect(() => openNamespace("pf-none")).toThrow();
    const fd = openNamespace("/dev/null");
    expect(() => withNamespace(fd, here)).toThrow();
    close(fd);
    close(createNamespace());
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  test("prctl", () => {
    const signal = new Int32Array(1);
    expect(prctl(PR_SET_PDEATHSIG, 15)).toBe(0);
    expect(prctl(PR_GET_PDEATHSIG, addressOf(signal))).toBe(0);
    expect(signal[0]).toBe(15);
    expect(prctl(PR_SET_PDEATHSIG, 0)).toBe(0);
  });
});
