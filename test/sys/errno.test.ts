// errno's names are those of this machine, and an error says what was tried, on what, and why it failed.
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { check, EBUSY, ENOENT, EPERM, errnoName, errnoText, SystemError } from "../../src/sys/errno.ts";

describe("errnoName", () => {
  // Two names for one number: the table has the older one.
  const ALIASES = ["EWOULDBLOCK", "ENOTSUP", "EDEADLOCK"];

  test.each(Object.entries(constants.errno).filter(([name]) => !ALIASES.includes(name)))(
    "%s is %d",
    (name, number) => {
      expect(errnoName(number)).toBe(name);
      expect(errnoName(-number)).toBe(name);
    },
  );

  test("a number without a name", () => {
    expect(errnoName(4095)).toBe("errno 4095");
    expect(errnoText(4095)).toBe("Unknown error");
  });
});

describe("SystemError", () => {
  test("names the call, its target and errno", () => {
    const error = new SystemError("TUNSETIFF", "lan0", -EBUSY);
    expect(error.message).toBe("TUNSETIFF lan0: EBUSY: Device or resource busy");
    expect(error).toMatchObject({ call: "TUNSETIFF", target: "lan0", code: "EBUSY", errno: EBUSY });
    expect(error.unavailable).toBe(false);
  });

  test("detail stands in brackets, a missing target leaves no gap", () => {
    expect(new SystemError("unshare", "", EPERM, { detail: "why" }).message).toBe(
      "unshare: EPERM: Operation not permitted (why)",
    );
  });

  test("what is not permitted or not there is told from what failed", () => {
    expect(new SystemError("setns", "lab", EPERM).unavailable).toBe(true);
    expect(new SystemError("open", "/dev/net/tun", ENOENT).unavailable).toBe(true);
    expect(new SystemError("open", "capture.pcap", ENOENT).unavailable).toBe(false);
    expect(new SystemError("TUNSETIFF", "lan0", EBUSY, { unavailable: true }).unavailable).toBe(true);
  });

  test("check lets a result through and throws -errno", () => {
    expect(check(7, "open", "x")).toBe(7);
    expect(() => check(-ENOENT, "open", "x")).toThrow("open x: ENOENT: No such file or directory");
  });
});
