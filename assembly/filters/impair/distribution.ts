// Quantiles of the distributions that netem has tables for, f32 each: a uniform draw picks one. They are those of iproute2's
// normal.c and pareto.c, in units of the jitter.

export const QUANTILES: u32 = 4096;
/** Where the rational approximation of the tails takes over. */
const TAIL: f64 = 0.02425;

export function fillNormal(table: usize): void {
  for (let i: u32 = 0; i < QUANTILES; i++) {
    store<f32>(table + ((<usize>i) << 2), <f32>normal((<f64>i + 0.5) / <f64>QUANTILES));
  }
}

export function fillPareto(table: usize): void {
  for (let i: u32 = 0; i < QUANTILES; i++) {
    // From small to large: the largest belongs to the largest draw.
    const left = 1 - (<f64>i + 0.5) / <f64>QUANTILES;
    store<f32>(table + ((<usize>i) << 2), <f32>(((exponential(-logarithm(left) / 3) - 1.5) * 4) / 3));
  }
}

/** The quantile of 32 random bits. */
export function quantile(table: usize, bits: u32): f64 {
  return <f64>load<f32>(table + ((<usize>(bits >> 20)) << 2));
}

/** The inverse of the normal distribution function (Acklam 2003), to nine digits. */
function normal(p: f64): f64 {
  if (p < TAIL) return tail(p);
  if (p > 1 - TAIL) return -tail(1 - p);
  const q = p - 0.5;
  const r = q * q;
  const above =
    ((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r + 138.357751867269) * r -
      30.66479806614716) *
      r +
    2.506628277459239;
  const below =
    ((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r + 66.80131188771972) * r -
      13.28068155288572) *
      r +
    1;
  return (above * q) / below;
}

function tail(p: f64): f64 {
  const q = sqrt<f64>(-2 * logarithm(p));
  const above =
    ((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q - 2.549732539343734) *
      q +
      4.374664141464968) *
      q +
    2.938163982698783;
  const below =
    (((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q + 3.754408661907416) * q +
    1;
  return above / below;
}

// The standard library's logarithm has tables, and tables are data segments.

/** Natural logarithm of a number above 0: of its power of two, and the series of the area tangent. */
function logarithm(x: f64): f64 {
  const bits = reinterpret<u64>(x);
  const exponent = <i32>((bits >> 52) & 0x7ff) - 1023;
  const mantissa = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  const s = (mantissa - 1) / (mantissa + 1);
  const square = s * s;
  let term = s;
  let sum: f64 = 0;
  for (let n = 1; n < 40; n += 2) {
    sum += term / <f64>n;
    term *= square;
  }
  return 2 * sum + <f64>exponent * Math.LN2;
}

/** e to the x, for x of a few units: the series, of a fraction of x, squared. */
function exponential(x: f64): f64 {
  const part = x / 256;
  let term: f64 = 1;
  let sum: f64 = 1;
  for (let n = 1; n < 12; n++) {
    term *= part / <f64>n;
    sum += term;
  }
  for (let n = 0; n < 8; n++) sum *= sum;
  return sum;
}
