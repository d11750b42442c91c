//! NumPy's array file, for f64: what `numpy.load` reads.
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use npyz::WriterBuilder;

/// An array of the given shape, row-major.
pub fn write(data: &[f64], shape: &[usize]) -> Vec<u8> {
    let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let mut bytes = Vec::with_capacity(data.len() * 8 + 128);
    let write = |bytes| -> std::io::Result<()> {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(bytes).begin_nd()?;
        writer.extend(data.iter().copied())?;
        writer.finish()
    };
    write(&mut bytes).expect("writing to memory, as many elements as the shape says");
    bytes
}

/// An array and its shape; `None` when the bytes are no row-major array of f64, as [`write`] makes them.
pub fn read(bytes: &[u8]) -> Option<(Vec<f64>, Vec<usize>)> {
    // A dictionary with a tuple. npyz takes time exponential in how deep brackets nest.
    let header = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, low, high, rest @ ..] => {
            rest.get(..usize::from(u16::from_le_bytes([*low, *high])))?
        }
        _ => return None,
    };
    if header.iter().filter(|b| b"{[(".contains(b)).count() != 2 {
        return None;
    }
    let file = npyz::NpyFile::new(bytes).ok()?;
    if file.order() != npyz::Order::C {
        return None;
    }
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    let data = file.into_vec().ok()?;
    (shape.iter().product::<usize>() == data.len()).then_some((data, shape))
}
