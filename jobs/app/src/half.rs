//! Floats of 16 bits (IEEE 754 binary16).

/// What these bits are worth.
pub(crate) fn of_bits(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// The nearest that there is; of two, the even one.
pub(crate) fn to_bits(x: f32) -> u16 {
    let sign = if x.is_sign_negative() { 1 << 15 } else { 0 };
    let size = x.abs();
    if size.is_nan() {
        return 0x7e00;
    }
    // All positive ones are in the order of their bits; 65520 is halfway from the largest to the next power of two.
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    let (mut low, mut high) = (0u16, 0x7bff);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if of_bits(middle) <= size { low = middle } else { high = middle - 1 }
    }
    let above = if low == 0x7bff { 65536.0 } else { of_bits(low + 1) };
    let (down, up) = (f64::from(size) - f64::from(of_bits(low)), f64::from(above) - f64::from(size));
    let nearest = if up < down || (up == down && low % 2 == 1) { low + 1 } else { low };
    sign | nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_go_there_and_back() {
        for bits in 0..=u16::MAX {
            let x = of_bits(bits);
            if x.is_nan() {
                assert!(of_bits(to_bits(x)).is_nan());
            } else {
                assert_eq!(to_bits(x), bits, "{x}");
            }
        }
    }

    #[test]
    fn others_go_to_the_nearest() {
        assert_eq!(of_bits(to_bits(1.0 + 1.0 / 2048.0)), 1.0);
        assert_eq!(of_bits(to_bits(1.0 + 3.0 / 2048.0)), 1.0 + 2.0 / 1024.0);
        assert_eq!(of_bits(to_bits(0.1)), 0.099_975_586);
        assert_eq!(of_bits(to_bits(1e-9)), 0.0);
        assert_eq!(of_bits(to_bits(-7e4)), f32::NEG_INFINITY);
    }
}
