//! Pictures in other formats than JPEG and PNG: WebP, GIF, BMP and TIFF, each by a crate of its own. As in
//! [`decode`](super::decode), sizes are checked before pixels are allocated, and a file that was cut off is refused.

use std::io::Cursor;
use std::num::NonZeroU64;

use tiff::ColorType;
use tiff::decoder::{BufferLayoutPreference, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, Tag};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::decode::{
    Options, Refused, Rgb, check_size, from_grey, from_grey_alpha, from_rgba, one_line, rgb,
};
use super::{decode, memory, orientation};

/// Bytes that a decoder may ask for besides the picture, and for it.
fn max_bytes(options: &Options) -> u64 {
    decode::limit(options)
}

/// Waits for the memory of a picture: what the decoder gives, at most four channels of 16 bits, and RGB of it.
fn hold(width: u64, height: u64) -> memory::Held {
    memory::hold(11 * width * height)
}

/// A WebP, lossy or lossless; of an animation, the first frame.
pub(super) fn webp(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let bad = |e: image_webp::DecodingError| format!("bad WebP: {}", one_line(e));
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(bad)?;
    decoder.set_memory_limit(usize::try_from(max_bytes(options)).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), options.max_pixels)?;
    let held = hold(width.into(), height.into());
    let mut raw = vec![0; decoder.output_buffer_size().ok_or("bad WebP: too large")?];
    decoder.read_image(&mut raw).map_err(bad)?;
    rgb(width, height, if decoder.has_alpha() { from_rgba(&raw) } else { raw }, held)
}

/// A GIF's first frame, on white.
pub(super) fn gif(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let bad = |e: gif::DecodingError| format!("bad GIF: {}", one_line(e));
    let mut how = gif::DecodeOptions::new();
    how.set_color_output(gif::ColorOutput::RGBA);
    let limit = NonZeroU64::new(max_bytes(options)).unwrap_or(NonZeroU64::MIN);
    how.set_memory_limit(gif::MemoryLimit::Bytes(limit));
    let mut decoder = how.read_info(bytes).map_err(bad)?;
    let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    check_size(width as u64, height as u64, options.max_pixels)?;
    let frame = decoder.next_frame_info().map_err(bad)?.ok_or("bad GIF: without a picture")?;
    check_size(frame.width.into(), frame.height.into(), options.max_pixels)?;
    let held =
        hold(width as u64, height as u64 + u64::from(frame.width) * u64::from(frame.height) / width as u64);
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let row = usize::from(frame.width);
    let mut raw = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut raw).map_err(bad)?;
    let frame = from_rgba(&raw);
    let mut pixels = vec![255; width * height * 3];
    // A frame may be smaller than the picture, and must not reach out of it.
    let fits = row.min(width.saturating_sub(left)) * 3;
    let rows = pixels.chunks_exact_mut(width * 3).skip(top);
    for (target, source) in rows.zip(frame.chunks_exact(row * 3)) {
        target[left.min(width) * 3..][..fits].copy_from_slice(&source[..fits]);
    }
    rgb(width as u32, height as u32, pixels, held)
}

/// A BMP. Without a mask for it, a fourth byte is no transparency.
pub(super) fn bmp(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    let bad = |e: &dyn std::fmt::Debug| format!("bad BMP: {}", one_line(format_args!("{e:?}")));
    let how = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    // The decoder looks for masks behind a header that has none, beyond the end of a picture of a pixel.
    let padded = if bytes.len() < 128 { [bytes, &[0; 16]].concat() } else { Vec::new() };
    let readable = if padded.is_empty() { bytes } else { &padded };
    let mut decoder = zune_bmp::BmpDecoder::new_with_options(ZCursor::new(readable), how);
    decoder.decode_headers().map_err(|e| bad(&e))?;
    let (width, height) = decoder.dimensions().ok_or("bad BMP: no header")?;
    check_size(width as u64, height as u64, options.max_pixels)?;
    let held = hold(width as u64, height as u64);
    bmp_is_whole(bytes, width as u64, height as u64)?;
    let raw = decoder.decode().map_err(|e| bad(&e))?;
    let pixels = match decoder.colorspace() {
        Some(ColorSpace::RGB) => raw,
        Some(ColorSpace::RGBA) => from_rgba(&raw),
        Some(ColorSpace::Luma) => from_grey(&raw),
        _ => return Err("bad BMP: a kind of colours that is not known".into()),
    };
    rgb(width as u32, height as u32, pixels, held)
}

/// The decoder takes bytes that are missing for zeros.
fn bmp_is_whole(bytes: &[u8], width: u64, height: u64) -> Result<(), String> {
    let word =
        |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|word| u64::from(u32::from_le_bytes(*word)));
    let short =
        |at: usize| bytes.get(at..)?.first_chunk::<2>().map(|word| u64::from(u16::from_le_bytes(*word)));
    let needed = || {
        let start = word(10)?;
        // The header of OS/2 1.x has shorter fields, and nothing is compressed there.
        let (depth, compression) = if word(14)? == 12 { (short(24)?, 0) } else { (short(28)?, word(30)?) };
        let row = (width * depth).div_ceil(32) * 4;
        let rows = match compression {
            // Run lengths: as many bytes as the header says.
            1 | 2 => word(34)?,
            _ => row * height,
        };
        Some(start + rows)
    };
    match needed() {
        Some(needed) if needed <= bytes.len() as u64 => Ok(()),
        _ => Err("bad BMP: cut off before its last row".into()),
    }
}

/// The first picture of a TIFF with samples of 1 to 16 bits.
pub(super) fn tiff(bytes: &[u8], options: &Options) -> Result<Rgb, Refused> {
    const PHOTOMETRIC: u16 = 262;
    const PALETTE: u32 = 3;
    const GREY: u8 = 1;
    match orientation::number(bytes, PHOTOMETRIC) {
        // The decoder reads no palettes; as a grey picture, it gives the indices.
        Some((PALETTE, at)) => {
            let mut grey = bytes.to_vec();
            grey[at] = GREY;
            tiff_samples(&grey, true, options)
        }
        _ => tiff_samples(bytes, false, options),
    }
}

fn tiff_samples(bytes: &[u8], palette: bool, options: &Options) -> Result<Rgb, Refused> {
    let bad = |e: tiff::TiffError| format!("bad TIFF: {}", one_line(e));
    let mut limits = Limits::default();
    let most = usize::try_from(max_bytes(options)).unwrap_or(usize::MAX);
    (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (most, most);
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).map_err(bad)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(bad)?;
    check_size(width.into(), height.into(), options.max_pixels)?;
    let held = hold(width.into(), height.into());
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(bad)?.unwrap_or(1);
    if let Some(name) = refused(CompressionMethod::from_u16_exhaustive(compression)) {
        return Err(
            format!("a TIFF that is compressed by {name}; save it with LZW or Deflate, or as PNG").into()
        );
    }
    let color = decoder.colortype().map_err(bad)?;
    if matches!(color, ColorType::Multiband { .. }) || color.bit_depth() > 16 {
        return Err(format!("a TIFF of a kind of colours that is not read: {}", kind(color)).into());
    }
    let map = if palette { Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(bad)?) } else { None };
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(bad)?;
    let samples = match samples {
        DecodingResult::U8(samples) => samples,
        // The upper byte, as for a PNG.
        DecodingResult::U16(samples) => samples.into_iter().map(|sample| (sample >> 8) as u8).collect(),
        _ => {
            return Err(
                "a TIFF of numbers and not of colours: its samples have more than 16 bits or a sign".into()
            );
        }
    };
    let size = [width as usize, height as usize];
    let samples = interleaved(samples, &layout, size[0] * size[1])?;
    let pixels = match map {
        Some(map) => tiff_palette(color, samples, &map, size)?,
        None => tiff_colors(color, samples, size)?,
    };
    rgb(width, height, pixels, held)
}

/// The name of a compression that is not read: JPEG's decoders here know no TIFF, and the others are rare.
fn refused(compression: CompressionMethod) -> Option<String> {
    match compression {
        CompressionMethod::None
        | CompressionMethod::LZW
        | CompressionMethod::Deflate
        | CompressionMethod::OldDeflate
        | CompressionMethod::PackBits => None,
        CompressionMethod::JPEG | CompressionMethod::ModernJPEG => Some("JPEG".into()),
        CompressionMethod::Fax3 | CompressionMethod::Fax4 | CompressionMethod::Huffman => Some("fax".into()),
        CompressionMethod::ZSTD => Some("Zstandard".into()),
        CompressionMethod::WebP => Some("WebP".into()),
        other => Some(format!("method {}", other.to_u16())),
    }
}

/// Samples pixel by pixel, where they lie plane by plane.
fn interleaved(samples: Vec<u8>, layout: &BufferLayoutPreference, pixels: usize) -> Result<Vec<u8>, String> {
    if layout.planes <= 1 {
        return Ok(samples);
    }
    if samples.len() != layout.planes * pixels {
        return Err("bad TIFF: planes of different sizes".into());
    }
    let mut out = vec![0; samples.len()];
    for (plane, samples) in samples.chunks_exact(pixels).enumerate() {
        let targets = out.iter_mut().skip(plane).step_by(layout.planes);
        targets.zip(samples).for_each(|(target, sample)| *target = *sample);
    }
    Ok(out)
}

/// Indices to colours: `map` has all reds, then all greens, then all blues.
fn tiff_palette(
    color: ColorType,
    samples: Vec<u8>,
    map: &[u16],
    size: [usize; 2],
) -> Result<Vec<u8>, String> {
    let ColorType::Gray(bits @ (1 | 2 | 4 | 8)) = color else {
        return Err(format!("a TIFF of a kind of colours that is not read: a palette and {}", kind(color)));
    };
    let colors = 1usize << bits;
    if map.len() != 3 * colors {
        return Err("bad TIFF: a palette of another size".into());
    }
    let channel = |of: usize, index: u8| (map[of * colors + usize::from(index)] >> 8) as u8;
    let indices = if bits == 8 { samples } else { unpacked(&samples, bits, size)? };
    Ok(indices.iter().flat_map(|&i| [channel(0, i), channel(1, i), channel(2, i)]).collect())
}

fn tiff_colors(color: ColorType, samples: Vec<u8>, size: [usize; 2]) -> Result<Vec<u8>, String> {
    Ok(match color {
        ColorType::RGB(8 | 16) => samples,
        ColorType::RGBA(8 | 16) => from_rgba(&samples),
        ColorType::Gray(8 | 16) => from_grey(&samples),
        ColorType::GrayA(8 | 16) => from_grey_alpha(&samples),
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            let white = (1 << bits) - 1;
            from_grey(&unpacked(&samples, bits, size)?.iter().map(|&x| x * (255 / white)).collect::<Vec<_>>())
        }
        ColorType::CMYK(8 | 16) => {
            let ink = |c: u8, k: u8| (u32::from(255 - c) * u32::from(255 - k) / 255) as u8;
            samples.as_chunks().0.iter().flat_map(|&[c, m, y, k]| [ink(c, k), ink(m, k), ink(y, k)]).collect()
        }
        other => return Err(format!("a TIFF of a kind of colours that is not read: {}", kind(other))),
    })
}

fn kind(color: ColorType) -> String {
    let name = match color {
        ColorType::YCbCr(_) => "YCbCr",
        ColorType::Lab(_) => "Lab",
        ColorType::CMYKA(_) => "CMYK with transparency",
        ColorType::Multiband { num_samples, .. } => return format!("{num_samples} bands"),
        _ => return format!("samples of {} bits", color.bit_depth()),
    };
    name.into()
}

/// Samples of less than a byte, a byte each; rows begin at a byte.
fn unpacked(samples: &[u8], bits: u8, [width, height]: [usize; 2]) -> Result<Vec<u8>, String> {
    let row = (width * usize::from(bits)).div_ceil(8);
    if samples.len() != row * height {
        return Err("bad TIFF: rows of another length".into());
    }
    let each = usize::from(8 / bits);
    let sample = |row: &[u8], x: usize| {
        row[x / each] >> (8 - bits as usize * (x % each + 1)) & (((1u16 << bits) - 1) as u8)
    };
    Ok(samples.chunks_exact(row).flat_map(|row| (0..width).map(move |x| sample(row, x))).collect())
}

#[cfg(test)]
mod tests {
    use tiff::encoder::{Compression, TiffEncoder, colortype};

    use super::*;
    use crate::image::decode;

    fn decode(bytes: &[u8]) -> Result<Rgb, String> {
        decode::decode(bytes, &Options::default()).map_err(|refused| refused.reason)
    }

    fn pixels(n: usize) -> Vec<u8> {
        (0..n * 3).map(|i| (i * 7919 % 251) as u8).collect()
    }

    fn bmp_of(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
        let row = (width as usize * 3).div_ceil(4) * 4;
        let mut out = b"BM".to_vec();
        out.extend((54 + row as u32 * height).to_le_bytes());
        out.extend([0u32, 54, 40, width, height].iter().flat_map(|x| x.to_le_bytes()));
        out.extend([1u16, 24].iter().flat_map(|x| x.to_le_bytes()));
        out.extend([0u32; 6].iter().flat_map(|x| x.to_le_bytes()));
        for line in rgb.chunks(width as usize * 3).rev() {
            out.extend(line.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [b, g, r]));
            out.extend(vec![0; row - line.len()]);
        }
        out
    }

    fn webp_of(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        image_webp::WebPEncoder::new(&mut out)
            .encode(rgb, width, height, image_webp::ColorType::Rgb8)
            .unwrap();
        out
    }

    fn tiff_of(width: u32, height: u32, rgb: &[u8], compression: Compression) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut out).unwrap().with_compression(compression);
        encoder.write_image::<colortype::RGB8>(width, height, rgb).unwrap();
        out.into_inner()
    }

    /// A GIF of one palette, one picture in it, and a lower right corner that it does not cover.
    fn gif_of(screen: [u16; 2], size: [u16; 2], indices: &[u8]) -> Vec<u8> {
        let palette = [10, 20, 30, 200, 100, 50];
        let mut out = Vec::new();
        let mut encoder = gif::Encoder::new(&mut out, screen[0], screen[1], &palette).unwrap();
        let frame =
            gif::Frame { width: size[0], height: size[1], buffer: indices.into(), ..Default::default() };
        encoder.write_frame(&frame).unwrap();
        drop(encoder);
        out
    }

    #[test]
    fn pictures_without_loss_come_back_as_they_were() {
        let rgb = pixels(16 * 8);
        let files = [
            bmp_of(16, 8, &rgb),
            webp_of(16, 8, &rgb),
            tiff_of(16, 8, &rgb, Compression::Lzw),
            tiff_of(16, 8, &rgb, Compression::Uncompressed),
            tiff_of(16, 8, &rgb, Compression::Packbits),
        ];
        for file in files {
            let image = decode(&file).unwrap();
            assert_eq!((image.width, image.height), (16, 8));
            assert_eq!(image.pixels, rgb);
        }
    }

    #[test]
    fn a_gif_s_frame_lies_on_white() {
        let image = decode(&gif_of([3, 2], [2, 1], &[0, 1])).unwrap();
        assert_eq!((image.width, image.height), (3, 2));
        assert_eq!(image.pixels[..6], [10, 20, 30, 200, 100, 50]);
        assert!(image.pixels[6..].iter().all(|c| *c == 255));
        // A frame that reaches out of the picture is cut.
        assert_eq!(decode(&gif_of([1, 1], [2, 2], &[1, 0, 0, 0])).unwrap().pixels, [200, 100, 50]);
    }

    #[test]
    fn truncation_is_told_at_every_length() {
        let rgb = pixels(40 * 40);
        let indices: Vec<u8> = rgb.iter().take(1600).map(|x| x % 2).collect();
        let files = [
            bmp_of(40, 40, &rgb),
            webp_of(40, 40, &rgb),
            gif_of([40, 40], [40, 40], &indices),
            // What is behind the pixels is the directory: without it there is nothing.
            tiff_of(40, 40, &rgb, Compression::Lzw),
        ];
        for (i, file) in files.iter().enumerate() {
            assert!(decode(file).is_ok(), "{i}");
            // The last byte of a GIF ends the file, and the one before ends the picture.
            for length in (0..file.len() - 2).step_by(17) {
                assert!(decode(&file[..length]).is_err(), "{i}: {length} of {} bytes passed", file.len());
            }
        }
    }

    #[test]
    fn damage_is_told_or_harmless_and_never_a_panic() {
        let rgb = pixels(8 * 8);
        let files = [
            bmp_of(8, 8, &rgb),
            webp_of(8, 8, &rgb),
            gif_of([8, 8], [8, 8], &[1; 64]),
            tiff_of(8, 8, &rgb, Compression::Lzw),
        ];
        for file in files {
            for i in 0..file.len() {
                for flip in [0x01, 0x80, 0xFF] {
                    let mut bad = file.clone();
                    bad[i] ^= flip;
                    if let Err(reason) = decode(&bad) {
                        assert_ne!(reason, "the decoder failed on this file", "byte {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn bombs_are_refused_by_their_headers() {
        let mut bmp = bmp_of(1, 1, &[0; 3]);
        bmp[18..26].copy_from_slice(&[0x20, 0x4E, 0, 0, 0x20, 0x4E, 0, 0]);
        let gif = gif_of([20_000, 20_000], [1, 1], &[0]);
        let mut tiff = tiff_of(1, 1, &[0; 3], Compression::Uncompressed);
        // Width and height.
        for tag in [256, 257] {
            let (_, at) = orientation::number(&tiff, tag).unwrap();
            tiff[at..at + 4].copy_from_slice(&20_000u32.to_le_bytes());
        }
        for file in [bmp, gif, tiff] {
            let reason = decode(&file).unwrap_err();
            assert!(reason.contains("20000x20000"), "{reason}");
        }
    }
}
