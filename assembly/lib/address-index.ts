// Which of a few IPv4 addresses is this? A translator asks that of every packet. Open addressing with Fibonacci hashing; one
// worker's own.
//
//    0                                      2048
//   +--------------------------------------+
//   | 256 places: address, index + 1       |     0: free; addresses as they lie in packets
//   +--------------------------------------+

const PLACES: usize = 256;

@unmanaged
export class AddressIndex {
  static readonly BYTES: usize = PLACES << 3;

  /** @param list addresses, each once, 4 bytes each, 64 at most: then no more than a quarter of the places are taken */
  static format(at: usize, list: usize, count: u32): AddressIndex {
    memory.fill(at, 0, AddressIndex.BYTES);
    for (let i: u32 = 0; i < count; i++) {
      const address = load<u32>(list + ((<usize>i) << 2));
      let place = placeOf(address);
      while (load<u64>(at + (place << 3)) != 0) place = (place + 1) & (PLACES - 1);
      store<u64>(at + (place << 3), ((<u64>(i + 1)) << 32) | <u64>address);
    }
    return changetype<AddressIndex>(at);
  }

  /** Index of an address in the list, or -1: it is not there. */
  find(address: u32): i32 {
    const at = changetype<usize>(this);
    let place = placeOf(address);
    let word = load<u64>(at + (place << 3));
    while (word != 0) {
      if (<u32>word == address) return <i32>(word >> 32) - 1;
      place = (place + 1) & (PLACES - 1);
      word = load<u64>(at + (place << 3));
    }
    return -1;
  }
}

function placeOf(address: u32): usize {
  return <usize>((address * 0x9e3779b1) >> 24);
}
