//! Bytes of a JPEG to RGB pixels.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::{Rgb, check_size, one_line, rgb};

pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, String> {
    // Strict, for a truncated file must not pass as a half grey fruit.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| format!("bad JPEG: {}", one_line(e)))?;
    let info = decoder.info().ok_or("bad JPEG: no header")?;
    check_size(info.width.into(), info.height.into())?;
    let pixels = decoder.decode().map_err(|e| format!("bad JPEG: {}", one_line(e)))?;
    if !has_end(bytes) {
        return Err("bad JPEG: cut off before its end marker".into());
    }
    if decoder.output_colorspace() != Some(ColorSpace::RGB) {
        return Err(format!("bad JPEG: colours {:?} cannot be made RGB", decoder.input_colorspace()));
    }
    rgb(info.width.into(), info.height.into(), pixels)
}

/// Whether an end-of-image marker follows the last start of a scan. The decoder makes up what is missing of the
/// last rows, also when it is strict. Neither marker can occur in a scan's own data; a thumbnail's lie before.
fn has_end(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xFF, 0xD9]) > last([0xFF, 0xDA])
}
