// System calls give a non-negative result or -errno, take addresses as numbers, and leave no descriptor to children.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as sys from "../../src/sys/calls.ts";
import { EAGAIN, EBADF, EFAULT, ENOENT } from "../../src/sys/errno.ts";
import { addressOf } from "../../src/sys/memory.ts";

const FD_CLOEXEC = 1;
let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pktflow-sys-"));
  file = join(folder, "digits");
  writeFileSync(file, "0123456789");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("addressOf", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });

  test.each([
    ["a shared Wasm memory", memory.buffer],
    ["an ArrayBuffer", new ArrayBuffer(4096)],
    ["a small typed array", new Uint8Array(10)],
    ["a Buffer of the pool", Buffer.from("xxxxxxxxxx")],
    ["a view with an offset", new Uint8Array(memory.buffer, 100, 50)],
    ["a DataView with an offset", new DataView(memory.buffer, 200, 50)],
    ["a Float64Array with an offset", new Float64Array(memory.buffer, 304, 5)],
  ])("is where the kernel writes to %s", (_, target) => {
    const bytes = ArrayBuffer.isView(target)
      ? new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
      : new Uint8Array(target);
    bytes.fill(0);
    const fd = sys.open(file, sys.O_RDONLY);
    expect(sys.read(fd, addressOf(target), 10)).toBe(10);
    sys.close(fd);
    expect(Buffer.from(bytes.subarray(0, 10)).toString()).toBe("0123456789");
  });

  test("refuses an empty buffer", () => {
    expect(() => addressOf(new ArrayBuffer(0))).toThrow(RangeError);
  });
});

describe("files", () => {
  const bytes = new Uint8Array(new ArrayBuffer(64));
  const text = (length: number) => Buffer.from(bytes.subarray(0, length)).toString();

  test("open, write, pread, readv, writev, close", () => {
    const path = join(folder, "made");
    const fd = sys.open(path, sys.O_RDWR | sys.O_CREAT, 0o640);
    expect(fd).toBeGreaterThan(2);
    bytes.set(Buffer.from("hello world"));
    expect(sys.write(fd, addressOf(bytes), 11)).toBe(11);
    const iovec = new BigUint64Array([BigInt(addressOf(bytes)) + 6n, 5n, BigInt(addressOf(bytes)), 5n]);
    expect(sys.writev(fd, addressOf(iovec), 2)).toBe(10);
    expect(readFileSync(path, "utf8")).toBe("hello worldworldhello");
    bytes.fill(0);
    expect(sys.pread(fd, addressOf(bytes), 5, 16)).toBe(5);
    expect(text(5)).toBe("hello");
    expect(sys.readv(fd, addressOf(iovec), 2)).toBe(0);
    expect(sys.close(fd)).toBe(0);
    expect(sys.close(fd)).toBe(-EBADF);
  });

  test("what fails gives -errno", () => {
    expect(sys.open(join(folder, "missing"), sys.O_RDONLY)).toBe(-ENOENT);
    expect(sys.open(folder, sys.O_WRONLY)).toBe(-constants.errno.EISDIR);
    expect(sys.read(-1, addressOf(bytes), 1)).toBe(-EBADF);
    const fd = sys.open(file, sys.O_RDONLY);
    expect(sys.write(fd, addressOf(bytes), 1)).toBe(-EBADF);
    expect(sys.read(fd, 0, 1)).toBe(-EFAULT);
    expect(sys.ioctl(fd, 0x400454ca, addressOf(bytes))).toBe(-constants.errno.ENOTTY);
    sys.close(fd);
  });

  test("every descriptor is closed on exec", () => {
    const fd = sys.open(file, sys.O_RDONLY);
    const copy = sys.dup(fd);
    const event = sys.eventfd(0);
    for (const one of [fd, copy, event]) {
      expect(sys.fcntl(one, sys.F_GETFD)).toBe(FD_CLOEXEC);
      sys.close(one);
    }
  });
});

describe("eventfd and ppoll", () => {
  const pollfd = new Int32Array(new SharedArrayBuffer(8));

  test("a signal is drained once, and poll sees it until then", () => {
    const fd = sys.eventfd(0);
    pollfd[0] = fd;
    pollfd[1] = sys.POLLIN;
    expect(sys.eventfdDrain(fd)).toBe(-EAGAIN);
    expect(sys.ppoll(addressOf(pollfd), 1, 0)).toBe(0);
    expect(sys.eventfdSignal(fd)).toBe(8);
    expect(sys.eventfdSignal(fd)).toBe(8);
    expect(sys.ppoll(addressOf(pollfd), 1, -1)).toBe(1);
    expect(pollfd[1] >>> 16).toBe(sys.POLLIN);
    expect(sys.eventfdDrain(fd)).toBe(8);
    expect(sys.eventfdDrain(fd)).toBe(-EAGAIN);
    sys.close(fd);
  });

  test.each([200e3, 5e6, 1.2e9 + 0.5])("a timeout of %d ns is neither cut short nor doubled", (timeout) => {
    let shortest = Infinity;
    // Whoever else the machine has to do with makes it longer: one of several is undisturbed.
    for (let i = 0; i < 10 && shortest > 1.9 * timeout + 1e6; i++) {
      const start = sys.clockMonotonic();
      expect(sys.ppoll(0, 0, timeout)).toBe(0);
      shortest = Math.min(shortest, sys.clockMonotonic() - start);
    }
    expect(shortest).toBeGreaterThanOrEqual(Math.floor(timeout));
    expect(shortest).toBeLessThan(1.9 * timeout + 1e6);
  });

  test("clockMonotonic is the clock of process.hrtime", () => {
    const before = Number(process.hrtime.bigint());
    const now = sys.clockMonotonic();
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now).toBeLessThanOrEqual(Number(process.hrtime.bigint()));
  });
});
