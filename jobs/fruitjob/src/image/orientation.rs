//! The orientation that a camera noted: finding it in a file, and turning pixels upright.
//!
//! EXIF's tag 274, in a JPEG's APP1 segment, a PNG's `eXIf` chunk, a WebP's `EXIF` chunk or a TIFF's first directory
//! (CIPA DC-008, 4.6.5; <https://www.w3.org/TR/png-3/#eXIf>;
//! <https://developers.google.com/speed/webp/docs/riff_container#metadata>).

use super::decode::Rgb;

/// How the picture has to be turned: EXIF's values, 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Orientation(u8);

/// The picture as it was seen: turned and mirrored as its file says, if it does.
pub(crate) fn upright(image: Rgb, bytes: &[u8]) -> Rgb {
    match find(bytes) {
        Some(Orientation(1)) | None => image,
        Some(orientation) => turned(image, orientation),
    }
}

/// What the file says. It is not trusted: no more is looked at than is there, and each byte once.
fn find(bytes: &[u8]) -> Option<Orientation> {
    match bytes {
        [0xFF, 0xD8, ..] => in_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => in_tiff(chunk(bytes, 8, b"eXIf", &Chunks::PNG)?),
        [b'R', b'I', b'F', b'F', ..] => {
            let exif = chunk(bytes, 12, b"EXIF", &Chunks::RIFF)?;
            in_tiff(exif.strip_prefix(EXIF).unwrap_or(exif))
        }
        _ => in_tiff(bytes),
    }
}

/// What EXIF begins with in a JPEG, and, with some writers, in a WebP.
const EXIF: &[u8] = b"Exif\0\0";

fn in_jpeg(bytes: &[u8]) -> Option<Orientation> {
    let mut rest = bytes.get(2..)?;
    loop {
        // What lies between segments is passed over, as decoders do; a marker may be filled up in front.
        let marker = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF))?;
        let kind = rest[marker + 1];
        rest = &rest[marker + 2..];
        match kind {
            // A scan, or the end: EXIF comes before.
            0xDA | 0xD9 => return None,
            // Without a length.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        let segment = rest.get(2..length)?;
        if kind == 0xE1
            && let Some(exif) = segment.strip_prefix(EXIF)
        {
            return in_tiff(exif);
        }
        rest = &rest[length..];
    }
}

/// How a file is cut into chunks.
struct Chunks {
    /// Where the four letters are, and where the length.
    name: usize,
    length: usize,
    number: fn([u8; 4]) -> u32,
    /// Bytes after the content.
    tail: usize,
    /// Contents of odd length are followed by a byte.
    padded: bool,
}

impl Chunks {
    const PNG: Chunks = Chunks { name: 4, length: 0, number: u32::from_be_bytes, tail: 4, padded: false };
    const RIFF: Chunks = Chunks { name: 0, length: 4, number: u32::from_le_bytes, tail: 0, padded: true };
}

/// The content of the first chunk of this name, from an offset on.
fn chunk<'a>(bytes: &'a [u8], from: usize, name: &[u8; 4], chunks: &Chunks) -> Option<&'a [u8]> {
    let mut rest = bytes.get(from..)?;
    loop {
        let word = |at: usize| rest.get(at..)?.first_chunk::<4>().copied();
        let length = (chunks.number)(word(chunks.length)?) as usize;
        let content = rest.get(8..)?;
        if word(chunks.name)? == *name {
            return content.get(..length);
        }
        let padding = usize::from(chunks.padded && length % 2 == 1);
        rest = content.get(length.checked_add(chunks.tail + padding)?..)?;
    }
}

/// Tag 274 of the first directory.
fn in_tiff(tiff: &[u8]) -> Option<Orientation> {
    let (value, _) = number(tiff, 274)?;
    (1..=8).contains(&value).then_some(Orientation(value as u8))
}

/// The number that a tag of the first directory has, and where its lowest byte is.
pub(super) fn number(tiff: &[u8], tag: u16) -> Option<(u32, usize)> {
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let big = match tiff.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let bytes = |at: usize| tiff.get(at..);
    let short = |at: usize| {
        let word = *bytes(at)?.first_chunk::<2>()?;
        Some(if big { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) })
    };
    let long = |at: usize| {
        let word = *bytes(at)?.first_chunk::<4>()?;
        Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    };
    let directory = long(4)? as usize;
    let entries = usize::from(short(directory)?);
    let entry = (0..entries)
        .map(|i| directory + 2 + 12 * i)
        .take_while(|entry| entry + 12 <= tiff.len())
        .find(|&entry| short(entry) == Some(tag))?;
    let at = entry + 8;
    match short(entry + 2)? {
        SHORT => Some((u32::from(short(at)?), at + usize::from(big))),
        LONG => Some((long(at)?, at + if big { 3 } else { 0 })),
        _ => None,
    }
}

/// EXIF says which side of the scene the first row and the first column are: 6 is "right, top", so the first row is
/// the right side.
fn turned(image: Rgb, Orientation(value): Orientation) -> Rgb {
    let (w, h) = (image.width as usize, image.height as usize);
    let swapped = value >= 5;
    let (width, height) = if swapped { (h, w) } else { (w, h) };
    // Where a pixel of the upright picture is in the other one: an offset, and steps along a row and a column.
    let (right, down) = (w as isize - 1, (h as isize - 1) * w as isize);
    let row = w as isize;
    let (origin, along, across) = match value {
        2 => (right, -1, row),
        3 => (right + down, -1, -row),
        4 => (down, 1, -row),
        5 => (0, row, 1),
        6 => (down, -row, 1),
        7 => (right + down, -row, -1),
        8 => (right, row, -1),
        _ => (0, 1, row),
    };
    let source = image.pixels.as_chunks::<3>().0;
    let mut pixels = vec![0; image.pixels.len()];
    let target = pixels.as_chunks_mut::<3>().0;
    // In tiles: where columns become rows, whole rows would be fetched for a pixel each.
    const TILE: usize = 32;
    for y0 in (0..height).step_by(TILE) {
        for x0 in (0..width).step_by(TILE) {
            for y in y0..(y0 + TILE).min(height) {
                let start = origin + y as isize * across;
                for x in x0..(x0 + TILE).min(width) {
                    target[y * width + x] = source[(start + x as isize * along) as usize];
                }
            }
        }
    }
    Rgb { width: width as u32, height: height as u32, pixels, held: image.held }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one tag before the orientation.
    fn tiff(big: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |x: u16| if big { x.to_be_bytes() } else { x.to_le_bytes() };
        let long = |x: u32| if big { x.to_be_bytes() } else { x.to_le_bytes() };
        let value = if kind == 3 { [short(value as u16), [0; 2]].concat() } else { long(value).to_vec() };
        let mut bytes = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend([&long(8)[..], &short(2)].concat());
        bytes.extend([&short(271)[..], &short(2), &long(1), &long(0)].concat());
        bytes.extend([&short(274)[..], &short(kind), &long(1), &value, &long(0)].concat());
        bytes
    }

    fn jpeg(exif: &[u8]) -> Vec<u8> {
        let segment = |kind: u8, content: &[u8]| {
            [&[0xFF, kind], &(content.len() as u16 + 2).to_be_bytes()[..], content].concat()
        };
        let app1 = segment(0xE1, &[EXIF, exif].concat());
        // Rubbish, a fill byte and another APP1 lie before.
        let other = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0");
        [&[0xFF, 0xD8][..], &segment(0xE0, b"JFIF"), &[7, 7, 0xFF], &other, &app1, &[0xFF, 0xDA]].concat()
    }

    fn png(exif: &[u8]) -> Vec<u8> {
        let chunk = |name: &[u8], content: &[u8]| {
            [&(content.len() as u32).to_be_bytes()[..], name, content, &[0; 4]].concat()
        };
        [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &[0; 13]), &chunk(b"IDAT", &[]), &chunk(b"eXIf", exif)]
            .concat()
    }

    fn webp(exif: &[u8]) -> Vec<u8> {
        let chunk = |name: &[u8], content: &[u8]| {
            [name, &(content.len() as u32).to_le_bytes(), content, &[0][..content.len() % 2]].concat()
        };
        [&b"RIFF\0\0\0\0WEBP"[..], &chunk(b"VP8 ", &[1; 3]), &chunk(b"EXIF", exif)].concat()
    }

    #[test]
    fn the_tag_is_found_in_every_kind_of_file() {
        for value in 1..=8 {
            for (big, kind) in [(true, 3), (false, 3), (true, 4), (false, 4)] {
                let tiff = tiff(big, kind, value);
                let with_name = [EXIF, &tiff].concat();
                for file in [jpeg(&tiff), png(&tiff), webp(&tiff), webp(&with_name), tiff] {
                    assert_eq!(find(&file), Some(Orientation(value as u8)));
                    // Cut off anywhere, it is found or not, and nothing else happens.
                    for length in 0..file.len() {
                        let _ = find(&file[..length]);
                    }
                }
            }
        }
        for (kind, value) in [(3, 0), (3, 9), (4, 70_000), (2, 6)] {
            assert_eq!(find(&jpeg(&tiff(true, kind, value))), None, "{kind} {value}");
        }
        assert_eq!(find(b""), None);
    }

    #[test]
    fn damaged_files_are_looked_at_without_harm() {
        let tiff = tiff(true, 3, 6);
        for file in [jpeg(&tiff), png(&tiff), webp(&tiff), tiff] {
            for i in 0..file.len() {
                for value in [0, 1, 0x7F, 0xFF] {
                    let mut bad = file.clone();
                    bad[i] = value;
                    let _ = find(&bad);
                }
            }
        }
    }

    #[test]
    fn each_of_the_eight_comes_upright() {
        // 3 x 2, upright:  0 1 2
        //                  3 4 5
        let upright = [0u8, 1, 2, 3, 4, 5];
        // What a camera stores, and the value that it notes with it, by the standard's table: which side of the scene the
        // first row and the first column are.
        let stored: [(u8, u32, [u8; 6]); 8] = [
            (1, 3, [0, 1, 2, 3, 4, 5]), // top, left
            (2, 3, [2, 1, 0, 5, 4, 3]), // top, right
            (3, 3, [5, 4, 3, 2, 1, 0]), // bottom, right
            (4, 3, [3, 4, 5, 0, 1, 2]), // bottom, left
            (5, 2, [0, 3, 1, 4, 2, 5]), // left, top
            (6, 2, [2, 5, 1, 4, 0, 3]), // right, top
            (7, 2, [5, 2, 4, 1, 3, 0]), // right, bottom
            (8, 2, [3, 0, 4, 1, 5, 2]), // left, bottom
        ];
        for (value, width, rows) in stored {
            let image = Rgb {
                width,
                height: 6 / width,
                pixels: rows.iter().flat_map(|&p| [p; 3]).collect(),
                held: None,
            };
            let seen = turned(image, Orientation(value));
            assert_eq!((seen.width, seen.height), (3, 2), "{value}");
            assert_eq!(seen.pixels, upright.iter().flat_map(|&p| [p; 3]).collect::<Vec<_>>(), "{value}");
        }
    }

    #[test]
    fn large_pictures_are_turned_tile_by_tile() {
        let (width, height) = (70u32, 45u32);
        let pixels: Vec<u8> = (0..width * height).flat_map(|i| [i as u8, (i >> 8) as u8, 0]).collect();
        let back = |value: u8, inverse: u8| {
            let image = Rgb { width, height, pixels: pixels.clone(), held: None };
            turned(turned(image, Orientation(value)), Orientation(inverse))
        };
        for (value, inverse) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 7), (8, 6)] {
            let back = back(value, inverse);
            assert_eq!((back.width, back.height), (width, height));
            assert!(back.pixels == pixels, "{value}");
        }
    }
}
