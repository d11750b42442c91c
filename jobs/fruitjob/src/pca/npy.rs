//! NumPy's array file, for f64, row-major: what `numpy.load` reads.
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

/// Magic and version 1.0; behind it the header's length, u16, and the header.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The header, up to the shape and behind it.
const BEFORE: &str = "{'descr': '<f8', 'fortran_order': False, 'shape': (";
const BEHIND: &str = "), }";

/// An array of the given shape, row-major.
pub fn write(data: &[f64], shape: &[usize]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "as many elements as the shape says");
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let header = format!("{BEFORE}{shape}{BEHIND}");
    // Spaces and a newline, so that the data begin at a multiple of 64.
    let begin = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64);
    let length = begin - MAGIC.len() - 2;
    let mut bytes = Vec::with_capacity(begin + data.len() * 8);
    bytes.extend(MAGIC);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.resize(begin - 1, b' ');
    bytes.push(b'\n');
    bytes.extend(data.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// An array and its shape; `None` when the bytes are not what [`write`] makes.
pub fn read(bytes: &[u8]) -> Option<(Vec<f64>, Vec<usize>)> {
    let (length, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (header, data) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let shape = std::str::from_utf8(header).ok()?.trim_end().strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
    let shape: Vec<usize> = shape.split_terminator(", ").map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let (elements, []) = data.as_chunks() else { return None };
    let expected = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n))?;
    (expected == elements.len()).then(|| (elements.iter().map(|b| f64::from_le_bytes(*b)).collect(), shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (data, shape) in
            [(&[][..], &[0, 3][..]), (&[1.5], &[1]), (&[1.0, -2.0, 3.0, 4.0, 5.0, f64::MIN], &[2, 3])]
        {
            let bytes = write(data, shape);
            assert_eq!(bytes.len(), bytes.len() / 64 * 64 + data.len() * 8 % 64);
            assert_eq!(read(&bytes), Some((data.to_vec(), shape.to_vec())));
            assert_eq!(read(&bytes[..bytes.len().saturating_sub(1)]), None);
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let whole = write(&[1.0, 2.0], &[2]);
        for (from, to) in
            [("<f8", ">f8"), ("False", "True "), ("(2, )", "(3, )"), ("(2, )", "((, )"), ("NUMPY", "NUMPX")]
        {
            let text = whole.iter().map(|b| *b as char).collect::<String>().replace(from, to);
            let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
            assert_eq!(read(&bytes), None, "{from} -> {to}");
        }
        let vast = format!("{BEFORE}{}, 2, {BEHIND}", usize::MAX);
        let bytes = [MAGIC, &(vast.len() as u16).to_le_bytes(), vast.as_bytes()].concat();
        assert_eq!(read(&bytes), None);
    }
}
