//! Bytes of a file to RGB pixels, or a reason why not. Nothing here trusts its input: the format is told by
//! the content and not by the name, sizes are checked before pixels are allocated, and a decoder that
//! panics costs one image.

use std::io::Cursor;

use fruitjob_interface::job::DEFAULT_MAX_PIXELS;

use super::memory::{self, Held};
use super::{formats, jpeg};
use crate::util::caught;

/// What is wanted of an image.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most pixels that it may have.
    pub max_pixels: u64,
    /// Width and height of what it will be resized to, margins included. Decoding may give an image that is smaller than
    /// the file's, and at least twice as large as this. `None` for all pixels.
    pub target: Option<[u32; 2]>,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_pixels: DEFAULT_MAX_PIXELS, target: None }
    }
}

impl Options {
    /// By what width and height may be divided: 1, 2, 4 or 8.
    ///
    /// With twice the target left to the resizing, the result hardly depends on it; so Pillow's `draft` and `thumbnail`
    /// (`reducing_gap` of 2) do.
    pub(super) fn scale(&self, width: usize, height: usize) -> usize {
        let Some([to_w, to_h]) = self.target.map(|target| target.map(|side| 2 * side as usize)) else {
            return 1;
        };
        [8, 4, 2].into_iter().find(|by| width / by >= to_w && height / by >= to_h).unwrap_or(1)
    }
}

/// An image: 8-bit RGB, rows from the top, no padding. `pixels.len() == width * height * 3`.
#[derive(Debug)]
pub struct Rgb {
    /// In pixels; at least 1.
    pub width: u32,
    /// In pixels; at least 1.
    pub height: u32,
    /// `R G B R G B …`
    pub pixels: Vec<u8>,
    /// The share of the memory for pictures that decoding took. It is enough for a turned copy too.
    pub(super) held: Option<Held>,
}

/// Why an image cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Fit for the `reason` column of the rejects.
    pub reason: String,
    /// It has more pixels than are allowed: with another limit it may be decoded.
    pub too_large: bool,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Refused { reason, too_large: false }
    }
}

impl From<&str> for Refused {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// Decodes a JPEG, PNG, WebP, GIF, BMP or TIFF.
///
/// Greyscale, palette, 16-bit and CMYK images become 8-bit RGB; transparent pixels are laid on white; of an
/// animation the default image or the first frame is taken. EXIF's orientation is not applied here.
///
/// # Errors
/// [`Refused`].
pub fn decode(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let decode = || match bytes {
        [] => Err("empty file".into()),
        [0xFF, 0xD8, ..] => jpeg::decode(bytes, options),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes, options),
        [b'G', b'I', b'F', b'8', ..] => formats::gif(bytes, options),
        [b'B', b'M', ..] => formats::bmp(bytes, options),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => formats::tiff(bytes, options),
        _ if is_webp(bytes) => formats::webp(bytes, options),
        _ => Err(format!("not an image that can be read{}", sniff(bytes)).into()),
    };
    caught(decode).unwrap_or_else(|_| Err("the decoder failed on this file".into()))
}

pub(super) fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<(), Refused> {
    match width * height {
        0 => Err(format!("an image of {width}x{height} pixels").into()),
        pixels if pixels > max_pixels => Err(Refused {
            reason: format!("{width}x{height} pixels, more than the {max_pixels} of --max-pixels"),
            too_large: true,
        }),
        _ => Ok(()),
    }
}

/// Bytes that a decoder may ask for: eight a pixel, and at least what goes with any picture, such as a colour profile.
pub(super) fn limit(options: &Options) -> u64 {
    options.max_pixels.saturating_mul(8).max(64 << 20)
}

fn decode_png(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let bad = |e: png::DecodingError| format!("bad PNG: {}", one_line(e));
    let mut decoder = png::Decoder::new_with_limits(
        Cursor::new(bytes),
        png::Limits { bytes: usize::try_from(limit(options)).unwrap_or(usize::MAX) },
    );
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(bad)?;
    check_size(header.width.into(), header.height.into(), options.max_pixels)?;
    // What the file holds, at most four channels of eight bits, and RGB of it.
    let held = memory::hold(7 * u64::from(header.width) * u64::from(header.height));
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
    rgb(frame.width, frame.height, pixels, held)
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

pub(super) fn rgb(width: u32, height: u32, pixels: Vec<u8>, held: Held) -> Result<Rgb, Refused> {
    let expected = width as usize * height as usize * 3;
    if pixels.len() != expected {
        return Err(format!("decoded to {} bytes where {expected} were expected", pixels.len()).into());
    }
    Ok(Rgb { width, height, pixels, held: Some(held) })
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

    fn decode(bytes: &[u8]) -> Result<Rgb, String> {
        super::decode(bytes, &Options::default()).map_err(|refused| refused.reason)
    }

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
    fn a_photograph_is_scaled_down_to_no_less_than_twice_its_target() {
        let jpeg = jpeg_of(jpeg_encoder::ColorType::Rgb, 401, 300, &[90; 401 * 300 * 3]);
        let size = |target: Option<[u32; 2]>| {
            let image = super::decode(&jpeg, &Options { target, ..Options::default() }).unwrap();
            assert!(image.pixels.iter().all(|p| p.abs_diff(90) <= 2));
            (image.width, image.height)
        };
        assert_eq!(size(None), (401, 300));
        assert_eq!(size(Some([100, 100])), (401, 300));
        assert_eq!(size(Some([100, 75])), (201, 150));
        assert_eq!(size(Some([37, 37])), (101, 75));
        assert_eq!(size(Some([10, 10])), (51, 38));
    }

    #[test]
    fn one_of_more_pixels_than_allowed_may_be_tried_with_another_limit() {
        let jpeg = jpeg_of(jpeg_encoder::ColorType::Rgb, 8, 8, &[0; 192]);
        let png = png_of(ColorType::Grayscale, BitDepth::Eight, 8, 8, &[0; 64], None);
        for file in [jpeg, png] {
            let with = |max_pixels| super::decode(&file, &Options { max_pixels, target: None });
            assert!(with(64).is_ok());
            let refused = with(63).unwrap_err();
            assert!(refused.too_large && refused.reason.contains("--max-pixels"), "{refused:?}");
        }
        assert!(!super::decode(b"text", &Options::default()).unwrap_err().too_large);
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
