/** RFC 1071 and the pseudo-headers, word by word. */
export function onesComplementSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i] * 256 + (i + 1 < bytes.length ? bytes[i + 1] : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

export function checksum(bytes: ArrayLike<number>): number {
  return 0xffff - onesComplementSum(bytes);
}
