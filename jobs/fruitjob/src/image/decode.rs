//! Bytes of a file to RGB pixels, or a reason why not. Nothing here trusts its input: the format is told by
//! the content and not by the name, sizes are checked before pixels are allocated, and a decoder that
//! panics costs one image.

use std::io::Cursor;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::formats;
use crate::util::caught;

/// The most pixels an image may have: 50 megapixels, 150 MB of RGB.
pub const MAX_PIXELS: u64 = 50_000_000;

/// An image: 8-bit RGB, rows from the top, no padding. `pixels.len() == width * height * 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// In pixels; at least 1.
    pub width: u32,
    /// In pixels; at least 1.
    pub height: u32,
    /// `R G B R G B …`
    pub pixels: Vec<u8>,
}

/// Decodes a JPEG, PNG, WebP, GIF, BMP or TIFF.
///
/// Greyscale, palette, 16-bit and CMYK images become 8-bit RGB; transparent pixels are laid on white; of an
/// animation the default image or the first frame is taken. EXIF's orientation is not applied here.
///
/// # Errors
/// The reason, fit for the `reason` column of the rejects.
pub fn decode(bytes: &[u8]) -> Result<Rgb, String> {
    let decode = || match bytes {
        [] => Err("empty file".into()),
        [0xFF, 0xD8, ..] => decode_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        [b'G', b'I', b'F', b'8', ..] => formats::gif(bytes),
        [b'B', b'M', ..] => formats::bmp(bytes),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => formats::tiff(bytes),
        _ if is_webp(bytes) => formats::webp(bytes),
        _ => Err(format!("not an image that can be read{}", sniff(bytes))),
    };
    caught(decode).unwrap_or_else(|_| Err("the decoder failed on this file".into()))
}

pub(super) fn check_size(width: u64, height: u64) -> Result<(), String> {
    match width * height {
        0 => Err(format!("an image of {width}x{height} pixels")),
        1..=MAX_PIXELS => Ok(()),
        _ => Err(format!("{width}x{height} pixels; the limit is {} megapixels", MAX_PIXELS / 1_000_000)),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Rgb, String> {
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

fn decode_png(bytes: &[u8]) -> Result<Rgb, String> {
    let bad = |e: png::DecodingError| format!("bad PNG: {}", one_line(e));
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: (MAX_PIXELS * 8) as usize });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(bad)?;
    check_size(header.width.into(), header.height.into())?;
    let mut reader = decoder.read_info().map_err(bad)?;
    let size = reader.output_buffer_size().ok_or("bad PNG: too large")?;
    let mut raw = vec![0; size];
    let frame = reader.next_frame(&mut raw).map_err(bad)?;
    // Reads to the end, so that a file cut off after the last row's data, or with a bad checksum, is told.
    reader.finish().map_err(bad)?;
    raw.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        png::ColorType::Rgb => raw,
        png::ColorType::Grayscale => from_grey(&raw),
        png::ColorType::GrayscaleAlpha => from_grey_alpha(&raw),
        png::ColorType::Rgba => from_rgba(&raw),
        png::ColorType::Indexed => return Err("bad PNG: a palette that is missing".into()),
    };
    rgb(frame.width, frame.height, pixels)
}

pub(super) fn from_grey(pixels: &[u8]) -> Vec<u8> {
    pixels.iter().flat_map(|&g| [g; 3]).collect()
}

pub(super) fn from_grey_alpha(pixels: &[u8]) -> Vec<u8> {
    pixels.as_chunks().0.iter().flat_map(|&[g, a]| [on_white(g, a); 3]).collect()
}

pub(super) fn from_rgba(pixels: &[u8]) -> Vec<u8> {
    pixels.as_chunks().0.iter().flat_map(|&[r, g, b, a]| [r, g, b].map(|c| on_white(c, a))).collect()
}

fn on_white(c: u8, alpha: u8) -> u8 {
    let (c, alpha) = (u32::from(c), u32::from(alpha));
    ((c * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

pub(super) fn rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Rgb, String> {
    let expected = width as usize * height as usize * 3;
    if pixels.len() != expected {
        return Err(format!("decoded to {} bytes where {expected} were expected", pixels.len()));
    }
    Ok(Rgb { width, height, pixels })
}

pub(super) fn one_line(message: impl std::fmt::Display) -> String {
    let text = message.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches('.').chars().take(160).collect()
}

fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
}

/// Whether the first bytes of a file, 16 are enough, are those of an image that can be read.
pub(crate) fn is_image(first: &[u8]) -> bool {
    let starts: [&[u8]; 5] = [b"\xFF\xD8\xFF", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*"];
    // Two letters are not enough for a BMP: behind them, what is reserved is 0, and a header has one of few lengths.
    let bmp = first.starts_with(b"BM")
        && first.get(6..10) == Some(&[0; 4])
        && matches!(first.get(14..16), Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0]));
    starts.iter().any(|start| first.starts_with(start)) || is_webp(first) || bmp
}

/// What the file is instead, where its first bytes tell.
fn sniff(bytes: &[u8]) -> &'static str {
    let brand = if bytes.get(4..8) == Some(b"ftyp") { bytes.get(8..12) } else { None };
    match bytes {
        _ if brand.is_some_and(|b| matches!(b, b"avif" | b"avis")) => {
            ": an AVIF image; convert it to JPEG or PNG"
        }
        _ if brand.is_some_and(|b| {
            matches!(b, b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1")
        }) =>
        {
            ": a HEIC image; convert it to JPEG or PNG"
        }
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => {
            ": a JPEG XL image; convert it to JPEG or PNG"
        }
        [0, 0, 0, 12, b'j', b'P', ..] => ": a JPEG 2000 image; convert it to JPEG or PNG",
        [b'P', b'K', 3, 4, ..] => ": a zip archive",
        [0x1F, 0x8B, ..] => ": a gzip file",
        [b'%', b'P', b'D', b'F', ..] => ": a PDF",
        _ if brand.is_some() => ": a film, or a picture of a kind that is not known",
        _ if bytes.iter().take(256).all(|b| matches!(b, 9 | 10 | 13 | 32..=126 | 128..)) => ": a text file",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use png::{BitDepth, ColorType};

    fn png_of(
        color: ColorType,
        depth: BitDepth,
        w: u32,
        h: u32,
        data: &[u8],
        palette: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, w, h);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }

    fn jpeg_of(color: jpeg_encoder::ColorType, w: u16, h: u16, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        jpeg_encoder::Encoder::new(&mut out, 95).encode(data, w, h, color).unwrap();
        out
    }

    #[test]
    fn every_png_becomes_rgb() {
        let one = |color, depth, data: &[u8], palette| {
            decode(&png_of(color, depth, 1, 1, data, palette)).unwrap().pixels
        };
        assert_eq!(one(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3], None), [1, 2, 3]);
        assert_eq!(one(ColorType::Rgb, BitDepth::Sixteen, &[9, 0, 8, 255, 7, 1], None), [9, 8, 7]);
        assert_eq!(one(ColorType::Grayscale, BitDepth::Eight, &[77], None), [77; 3]);
        assert_eq!(one(ColorType::Grayscale, BitDepth::One, &[0x80], None), [255; 3]);
        assert_eq!(one(ColorType::Rgba, BitDepth::Eight, &[200, 100, 0, 0], None), [255; 3]);
        assert_eq!(one(ColorType::Rgba, BitDepth::Eight, &[200, 100, 0, 255], None), [200, 100, 0]);
        assert_eq!(one(ColorType::GrayscaleAlpha, BitDepth::Eight, &[0, 128], None), [127; 3]);
        let palette = [10, 20, 30, 40, 50, 60];
        assert_eq!(one(ColorType::Indexed, BitDepth::Eight, &[1], Some(&palette)), [40, 50, 60]);
    }

    #[test]
    fn every_jpeg_becomes_rgb() {
        let grey = decode(&jpeg_of(jpeg_encoder::ColorType::Luma, 8, 8, &[100; 64])).unwrap();
        assert_eq!((grey.width, grey.height, grey.pixels.len()), (8, 8, 192));
        assert!(grey.pixels.iter().all(|p| p.abs_diff(100) <= 2));
        let cmyk =
            decode(&jpeg_of(jpeg_encoder::ColorType::Cmyk, 8, 8, &[0, 255, 255, 0].repeat(64))).unwrap();
        assert_eq!(cmyk.pixels.len(), 192);
        let single = decode(&jpeg_of(jpeg_encoder::ColorType::Rgb, 1, 1, &[250, 0, 0])).unwrap();
        assert!(single.pixels[0] > 200 && single.pixels[1] < 60, "{:?}", single.pixels);
    }

    #[test]
    fn truncation_is_told_at_every_length() {
        let pixels: Vec<u8> = (0..40 * 40 * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let jpeg = jpeg_of(jpeg_encoder::ColorType::Rgb, 40, 40, &pixels);
        let png = png_of(ColorType::Rgb, BitDepth::Eight, 40, 40, &pixels, None);
        for file in [&jpeg, &png] {
            assert!(decode(file).is_ok());
            // The last two bytes of a JPEG are its end marker: all pixels are there before it.
            for len in (0..file.len() - 2).step_by(37) {
                assert!(decode(&file[..len]).is_err(), "{len} of {} bytes passed", file.len());
            }
        }
    }

    #[test]
    fn garbage_is_told_and_never_panics() {
        let jpeg = jpeg_of(jpeg_encoder::ColorType::Rgb, 16, 16, &[50; 768]);
        for i in 0..jpeg.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bad = jpeg.clone();
                bad[i] ^= flip;
                let _ = decode(&bad);
            }
        }
        assert_eq!(
            decode(b"hello, I am a photograph\n").unwrap_err(),
            "not an image that can be read: a text file"
        );
        let heic = decode(b"\0\0\0\x18ftypheic\0\0\0\0").unwrap_err();
        assert!(heic.contains("a HEIC image; convert it"), "{heic}");
        assert_eq!(decode(b"").unwrap_err(), "empty file");
    }

    #[test]
    fn an_image_is_told_by_its_first_bytes() {
        assert!(is_image(b"BM\x36\x03\0\0\0\0\0\0\x36\0\0\0\x28\0") && is_image(b"RIFF\0\0\0\0WEBPVP8 "));
        assert!(!is_image(b"BMW, a motorcycle") && !is_image(b"BM") && !is_image(b"RIFF\0\0\0\0WAVEfmt "));
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        // A PNG that claims 20,000 x 20,000 pixels and holds none of them.
        let mut bomb = png_of(ColorType::Rgb, BitDepth::Eight, 1, 1, &[0; 3], None);
        bomb[16..20].copy_from_slice(&20_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&20_000u32.to_be_bytes());
        let crc = crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        let reason = decode(&bomb).unwrap_err();
        assert!(reason.contains("20000x20000") || reason.contains("limit"), "{reason}");

        let mut bomb = jpeg_of(jpeg_encoder::ColorType::Rgb, 8, 8, &[0; 192]);
        let sof = bomb.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        bomb[sof + 5..sof + 9].copy_from_slice(&[0x4E, 0x20, 0x4E, 0x20]);
        let reason = decode(&bomb).unwrap_err();
        assert!(reason.contains("20000x20000"), "{reason}");
    }

    /// CRC-32 as in PNG, bit by bit.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &b| {
            (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
        })
    }
}
