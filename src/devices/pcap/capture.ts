/** Finds out which format a file has and reads it as that. */
import { readU32 } from "./bytes.ts";
import { describeMagic, PCAP, PCAPNG } from "./formats.ts";
import { PcapRecords } from "./pcap.ts";
import { PcapngRecords } from "./pcapng.ts";
import { CaptureError, type Records } from "./records.ts";
import { STATUS, type Status, type Window } from "./window.ts";

export class Capture {
  /** Undefined until the first four bytes have been seen. */
  records: Records | undefined;
  error: Error | undefined;
  private readonly window: Window;

  constructor(window: Window) {
    this.window = window;
  }

  /** Reads on until the layer of the packets is known. */
  head(): Status {
    const format = this.format();
    if (format !== STATUS.READY) return format;
    const status = this.records!.head();
    if (status === STATUS.FAILED) this.error = this.records!.error;
    return status;
  }

  private format(): Status {
    if (this.records !== undefined) return STATUS.READY;
    const { window } = this;
    const status = window.want(4);
    if (status === STATUS.END) {
      const message =
        window.available === 0
          ? "is empty: a capture has at least a file header"
          : `truncated file header at byte 0: the file ends after ${window.available} of its ${PCAP.HEADER} bytes`;
      return this.fail(new CaptureError(`${window.name}: ${message}`));
    }
    if (status === STATUS.FAILED) return this.fail(window.error!);
    if (status !== STATUS.READY) return status;
    const magic = readU32(window.u8, window.at, true);
    if (magic === PCAPNG.SECTION) {
      this.records = new PcapngRecords(window);
    } else if (PcapRecords.isMagic(magic) || PcapRecords.isMagic(readU32(window.u8, window.at, false))) {
      this.records = new PcapRecords(window);
    } else {
      return this.fail(new CaptureError(`${window.name}: ${describeMagic(magic)}`));
    }
    return STATUS.READY;
  }

  private fail(error: Error): Status {
    this.error = error;
    return STATUS.FAILED;
  }
}
