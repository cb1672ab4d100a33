/** Reading a file where nothing may wait: a FIFO has no end until somebody writes to it, and many a device has none. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

/** Without O_NONBLOCK it is open(2) itself that waits. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** It can be read once, if it ends at all. */
export class NotRegular extends Error {
  override name = "NotRegular";
}

/** @throws NotRegular; NodeJS.ErrnoException of open(2) and read(2) */
export function readRegularFile(path: string): Buffer {
  let fd: number;
  try {
    fd = openSync(path, FLAGS);
  } catch (error) {
    // A socket; a device that is not there.
    if ((error as NodeJS.ErrnoException).code === "ENXIO") throw new NotRegular("it is a socket or device");
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw Object.assign(new Error("it is a directory"), { code: "EISDIR" });
    if (!stat.isFile()) throw new NotRegular(`it is a ${stat.isFIFO() ? "FIFO" : "device"}`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
