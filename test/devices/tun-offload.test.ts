// Kernels that know fewer offloads than this one, as TUNSETOFFLOAD tells.
import { beforeEach, expect, test, vi } from "vitest";
import { ALL_OFFLOADS, OFFLOAD } from "../../src/batches/layout.ts";
import { enableOffloads } from "../../src/devices/tun/offload.ts";
import { SystemError } from "../../src/sys/errno.ts";
import type * as ifTun from "../../src/sys/if_tun.ts";

const EINVAL = 22;
let known = 0;
let set = 0;

vi.mock("../../src/sys/if_tun.ts", async (original) => ({
  ...(await original<typeof ifTun>()),
  tunGetVnetHdrSize: () => 10,
  tunSetVnetHdrSize: () => 0,
  // As set_offload() in drivers/net/tun.c: all beside CSUM only, USO4 and USO6 together only.
  tunSetOffload: (_: number, bits: number) => {
    const uso = OFFLOAD.USO4 | OFFLOAD.USO6;
    const alone = (bits & uso) !== 0 && (bits & uso) !== uso;
    if ((bits & ~known) !== 0 || alone || (bits !== 0 && (bits & OFFLOAD.CSUM) === 0)) return -EINVAL;
    set = bits;
    return 0;
  },
}));

beforeEach(() => {
  set = 0;
});

const TSO = OFFLOAD.TSO4 | OFFLOAD.TSO6;
test.each([
  ["all", ALL_OFFLOADS],
  ["before Linux 6.2: no USO", OFFLOAD.CSUM | TSO | OFFLOAD.TSO_ECN],
  ["no ECN", OFFLOAD.CSUM | TSO | OFFLOAD.USO4 | OFFLOAD.USO6],
  ["checksums only", OFFLOAD.CSUM],
  ["none", 0],
])("auto takes what there is: %s", (_, there) => {
  known = there;
  expect(enableOffloads(7, "lan0", "auto").offloads).toBe(there);
  expect(set).toBe(there);
});

test("on is an error that names what is missing", () => {
  known = OFFLOAD.CSUM | OFFLOAD.TSO4;
  let error: unknown;
  try {
    enableOffloads(7, "lan0", "on");
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SystemError);
  expect((error as Error).message).toBe(
    "TUNSETOFFLOAD lan0: EINVAL: Invalid argument (this kernel does not have TSO6, TSO_ECN, USO4 and USO6 for it)",
  );
  expect((error as SystemError).unavailable).toBe(true);
});

test("on does without USO", () => {
  known = OFFLOAD.CSUM | TSO;
  expect(enableOffloads(7, "lan0", "on").offloads).toBe(known);
});
