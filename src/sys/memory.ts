/** Where JavaScript's buffers lie in the address space of the process. */
import koffi from "koffi";

/**
 * Host address of a buffer's or view's first byte, for parameters of src/sys that take one. Holds as long as the buffer
 * is referenced: buffers are never moved, nor is a WebAssembly.Memory that is shared or does not grow.
 * @throws RangeError for an empty buffer, which has no address
 */
export function addressOf(view: ArrayBufferView | ArrayBufferLike): number {
  const buffer = ArrayBuffer.isView(view) ? view.buffer : view;
  if (buffer.byteLength === 0) throw new RangeError("an empty buffer has no address");
  const base = Number(koffi.address(new Uint8Array(buffer)));
  return ArrayBuffer.isView(view) ? base + view.byteOffset : base;
}
