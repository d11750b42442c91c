//! Bytes of a JPEG to RGB pixels, at full size or scaled down while decoding.

use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::decode::{Options, Refused, Rgb, check_size, one_line, rgb};
use super::memory;

/// Scans that a picture may have. Encoders write some ten; each costs a pass over the whole picture.
const MAX_SCANS: usize = 500;

/// Decodes the first picture of a file, whatever follows its end marker: photos in motion and MPO have more there.
///
/// # Errors
/// The reason. What libjpeg-turbo decodes with a warning is decoded; where data are missing, which it would paint
/// grey, it is an error.
pub(super) fn decode(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let bad = |error: JpegError| format!("bad JPEG: {}", explain(bytes, error));
    let bytes = first_picture(bytes).ok_or("bad JPEG: cut off before its end marker")?;
    let limits = DecodeLimits {
        max_width: usize::from(u16::MAX),
        max_height: usize::from(u16::MAX),
        max_pixels: options.max_pixels,
        max_scans: MAX_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(bad)?;
    let frame = decoder.header();
    let (width, height) = (frame.width(), frame.height());
    if height == 0 {
        // libjpeg-turbo refuses it, too.
        return Err(
            "bad JPEG: its height follows its pixels (DNL), which is not supported; save it again".into()
        );
    }
    check_size(width as u64, height as u64, options.max_pixels)?;
    let [first, others @ ..] = &frame.components[..] else { return Err("bad JPEG: no components".into()) };
    if others.iter().any(|c| {
        c.horizontal_sampling > first.horizontal_sampling || c.vertical_sampling > first.vertical_sampling
    }) {
        return Err("a JPEG whose colour is sampled finer than its brightness is not supported; \
                    save the picture again with 4:4:4 or 4:2:0 sampling"
            .into());
    }
    let scale = options.scale(width, height);
    // Samples wait as coefficients of two bytes where a picture comes in more than one scan.
    let samples: usize = {
        let area = |c: &libjpeg_turbo_rs::ComponentInfo| {
            usize::from(c.horizontal_sampling) * usize::from(c.vertical_sampling)
        };
        let most = frame.components.iter().map(area).max().unwrap_or(1).max(1);
        width * height * frame.components.iter().map(area).sum::<usize>() / most
    };
    let waiting = if frame.is_progressive || decoder.has_multiple_scans() { 2 * samples } else { 0 };
    let four = matches!(decoder.jpeg_color_space(), ColorSpace::Cmyk | ColorSpace::Ycck);
    let painted = width.div_ceil(scale) * height.div_ceil(scale) * if four { 7 } else { 3 };
    // What is decoded may be turned afterwards, which takes a second copy.
    let turned = 6 * width.div_ceil(scale) * height.div_ceil(scale);
    let held = memory::hold((waiting + samples / (scale * scale) + painted).max(turned) as u64);

    decoder.set_output_format(if four { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    decoder.set_scale(ScalingFactor::try_new(1, scale as u32).map_err(bad)?);
    let image = decoder.decode_image().map_err(bad)?;
    let pixels = if four { from_cmyk(&image.data) } else { image.data };
    rgb(image.width as u32, image.height as u32, pixels, held)
}

/// Inks to light, on white paper. Programs write them inverted (255 is no ink), as Adobe's did first.
fn from_cmyk(inks: &[u8]) -> Vec<u8> {
    let light = |ink: u8, black: u8| ((u32::from(ink) * u32::from(black) + 127) / 255) as u8;
    inks.as_chunks().0.iter().flat_map(|&[c, m, y, k]| [c, m, y].map(|ink| light(ink, k))).collect()
}

/// Steps over a file's markers, up to the end marker of its first picture: each with what its segment holds.
///
/// Segments are stepped over by their lengths, for a thumbnail within has markers of its own. What lies between them
/// and is no marker is stepped over too, as libjpeg does: it is a scan's data, or junk.
struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

// Starts of sequential frames, of a scan, and the end of an image.
const SOF0: u8 = 0xC0;
const SOF1: u8 = 0xC1;
const SOF9: u8 = 0xC9;
const SOS: u8 = 0xDA;
const EOI: u8 = 0xD9;

impl<'a> Iterator for Markers<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.at += self.bytes.get(self.at..)?.iter().position(|&b| b == 0xFF)?;
            match *self.bytes.get(self.at + 1)? {
                0xFF => self.at += 1,
                // A stuffed byte of a scan, a restart, or a marker without a length.
                0x00 | 0x01 | 0xD0..=0xD8 => self.at += 2,
                EOI => {
                    self.at += 2;
                    return Some((EOI, &[]));
                }
                marker => {
                    let start = self.at + 4;
                    let length = self.bytes.get(start - 2..start)?;
                    self.at = start.max(start - 2 + usize::from(u16::from_be_bytes([length[0], length[1]])));
                    return Some((marker, self.bytes.get(start..self.at)?));
                }
            }
        }
    }
}

/// The file up to the end marker of its first picture. `None` when there is no such marker.
fn first_picture(bytes: &[u8]) -> Option<&[u8]> {
    let mut markers = Markers { bytes, at: 2 };
    markers.find(|(marker, _)| *marker == EOI)?;
    Some(&bytes[..markers.at])
}

/// What is wrong, in words that tell what to do.
fn explain(bytes: &[u8], error: JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => "data are missing".into(),
        JpegError::CorruptData(_) if has_partial_scans(bytes) => {
            "a scan of some of its components, which is supported in progressive pictures alone; \
             save the picture again"
                .into()
        }
        error => one_line(error),
    }
}

/// Whether a sequential picture has scans of more than one component, and less than all.
fn has_partial_scans(bytes: &[u8]) -> bool {
    let mut components = 0;
    Markers { bytes, at: 2 }.take_while(|(marker, _)| *marker != EOI).any(|(marker, segment)| {
        let byte = |at: usize| segment.get(at).copied().unwrap_or(0);
        match marker {
            SOF0 | SOF1 | SOF9 => components = byte(5),
            SOS => return byte(0) > 1 && byte(0) < components,
            _ => {}
        }
        false
    })
}
