//! RGB pixels to the bytes of a file.

use crate::error::{Error, Result};

/// Pixels as a baseline JPEG: `width * height * 3` bytes of RGB, rows from the top; `quality` is 1 to 100.
pub(crate) fn encode_jpeg(pixels: &[u8], width: u16, height: u16, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, quality)
        .encode(pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| Error::Bug(format!("a {width}x{height} picture cannot be encoded: {e}")))?;
    Ok(bytes)
}
