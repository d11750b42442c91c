//! Pixels to the tensor that the network takes, to the last bit as the job makes it.
//!
//! The job resizes by `fast_image_resize`, which follows Pillow: weights of 16 bits, columns before rows, bytes in between. A
//! test of the job's holds this against it.

/// How pixels become a tensor: the job's `Preprocessing`.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    /// Rows and columns of the tensor.
    pub size: [u32; 2],
    /// The shorter side before the tensor is cut out of it.
    pub resize: u32,
    /// Taken off each colour, in the tensor's order.
    pub mean: [f32; 3],
    /// Each colour is divided by this then.
    pub std: [f32; 3],
    /// Whether the tensor has blue first.
    pub bgr: bool,
    /// Whether by a cubic filter, and not a triangle.
    pub bicubic: bool,
    /// Whether each side is resized for itself, and not the middle cut out.
    pub squash: bool,
    /// Whether the picture is turned as its camera noted: the browser does it.
    pub upright: bool,
}

/// A picture as a browser has it: four bytes a pixel, rows from the top.
#[derive(Debug, Clone, Copy)]
pub struct Rgba<'a> {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// `R G B A R G B A …`
    pub pixels: &'a [u8],
}

/// The weights of the pixels that one pixel is made of.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// One [`Window`] for each pixel of a side, and the bits behind the weights' point.
struct Side {
    windows: Vec<Window>,
    precision: u32,
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic with a = -1/2, in the order of operations of the job's.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

impl Side {
    /// Of a side of `of` pixels, the part `from .. to` becomes `n` pixels.
    fn new(of: usize, (from, to): (f64, f64), n: usize, bicubic: bool) -> Self {
        let (filter, support): (fn(f64) -> f64, f64) = if bicubic { (cubic, 2.0) } else { (triangle, 1.0) };
        let scale = (to - from) / n as f64;
        let widened = scale.max(1.0);
        let (radius, inverse) = (support * widened, 1.0 / widened);
        let windows: Vec<(usize, Vec<f64>)> = (0..n)
            .map(|i| {
                let centre = from + (i as f64 + 0.5) * scale;
                let mut start = (centre - radius).floor().max(0.0) as usize;
                let end = (centre + radius).ceil().min(of as f64) as usize;
                let mut weights: Vec<f64> =
                    (start..end).map(|x| filter((x as f64 - (centre - 0.5)) * inverse)).collect();
                let sum: f64 = weights.iter().sum();
                let zeros = weights.iter().take_while(|w| **w == 0.0).count();
                weights.drain(..zeros);
                start += zeros;
                while weights.last() == Some(&0.0) {
                    weights.pop();
                }
                if sum != 0.0 {
                    weights.iter_mut().for_each(|w| *w /= sum);
                }
                (start, weights)
            })
            .collect();
        let largest = windows.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        // As many bits as the largest weight leaves of 15, and no more than 21.
        let fits = |precision: &u32| (largest * f64::from(1u32 << (precision + 1))).round() < 32768.0;
        let precision = (0..21).find(|precision| !fits(precision)).unwrap_or(21);
        let whole = |w: f64| (w * f64::from(1u32 << precision)).round() as i32;
        let windows = windows
            .into_iter()
            .map(|(start, weights)| Window { start, weights: weights.into_iter().map(whole).collect() })
            .collect();
        Side { windows, precision }
    }

    fn byte(&self, sum: i32) -> u8 {
        (sum >> self.precision).clamp(0, 255) as u8
    }

    /// What is added so that cutting off rounds.
    fn half(&self) -> i32 {
        1 << (self.precision - 1)
    }
}

impl Preprocessing {
    /// Numbers in a tensor.
    pub fn len(&self) -> usize {
        self.size[0] as usize * self.size[1] as usize * 3
    }

    /// There is always something: a size of 0 is refused where it is read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor, `[rows][columns][3]`.
    pub fn tensor(&self, image: Rgba) -> Vec<f32> {
        let table: [[f32; 256]; 3] =
            std::array::from_fn(|c| std::array::from_fn(|x| (x as f32 - self.mean[c]) / self.std[c]));
        let order = if self.bgr { [2, 1, 0] } else { [0, 1, 2] };
        let pixels = self.resized(image);
        let of = |p: &[u8; 3]| -> [f32; 3] { std::array::from_fn(|c| table[c][usize::from(p[order[c]])]) };
        pixels.as_chunks::<3>().0.iter().flat_map(of).collect()
    }

    /// The middle of the picture in the tensor's size, three bytes a pixel.
    pub fn resized(&self, image: Rgba) -> Vec<u8> {
        let [rows, columns] = self.size.map(|side| side as usize);
        let [w, h] = [image.width, image.height].map(|side| side as f64);
        let [to_w, to_h] = [columns as f64, rows as f64];
        let share = f64::from(self.size[0].min(self.size[1])) / f64::from(self.resize);
        let scale = if self.squash {
            [share * w / to_w, share * h / to_h]
        } else {
            [share * (w / to_w).min(h / to_h); 2]
        };
        let [part_w, part_h] = [to_w * scale[0], to_h * scale[1]];
        let [left, top] = [(w - part_w) / 2.0, (h - part_h) / 2.0];
        let [left, top] = if scale.iter().all(|scale| (scale - 1.0).abs() < 1e-9)
            && left.fract() == 0.0
            && top.fract() == 0.0
        {
            return cut(image, [left as usize, top as usize], [columns, rows]);
        } else {
            [left.max(0.0), top.max(0.0)]
        };
        let across = Side::new(image.width, (left, left + part_w.min(w)), columns, self.bicubic);
        let down = Side::new(image.height, (top, top + part_h.min(h)), rows, self.bicubic);
        let first = across.windows.first().map_or(0, |window| window.start);
        let last = across.windows.last().map_or(0, |window| window.start + window.weights.len());
        let mut resized = Vec::with_capacity(self.len());
        let mut sums = vec![0i32; 4 * (last - first)];
        let mut row = vec![0u8; 4 * (last - first)];
        for window in &down.windows {
            sums.fill(down.half());
            for (y, weight) in (window.start..).zip(&window.weights) {
                let pixels = &image.pixels[4 * (y * image.width + first)..4 * (y * image.width + last)];
                for (sum, byte) in sums.iter_mut().zip(pixels) {
                    *sum += i32::from(*byte) * weight;
                }
            }
            for (byte, sum) in row.iter_mut().zip(&sums) {
                *byte = down.byte(*sum);
            }
            for window in &across.windows {
                let mut sum = [across.half(); 3];
                for (pixel, weight) in
                    row.as_chunks::<4>().0[window.start - first..].iter().zip(&window.weights)
                {
                    for c in 0..3 {
                        sum[c] += i32::from(pixel[c]) * weight;
                    }
                }
                resized.extend(sum.map(|sum| across.byte(sum)));
            }
        }
        resized
    }
}

fn cut(image: Rgba, [left, top]: [usize; 2], [columns, rows]: [usize; 2]) -> Vec<u8> {
    let pixels = image.pixels.as_chunks::<4>().0;
    let row = |y: usize| &pixels[y * image.width + left..][..columns];
    (top..top + rows).flat_map(row).flat_map(|p| [p[0], p[1], p[2]]).collect()
}

/// Lays pixels that let something through on white, as the job does.
pub fn on_white(pixels: &mut [u8]) {
    for [r, g, b, alpha] in pixels.as_chunks_mut::<4>().0 {
        if *alpha != 255 {
            for c in [r, g, b] {
                let (on, a) = (u32::from(*c), u32::from(*alpha));
                *c = ((on * a + 255 * (255 - a) + 127) / 255) as u8;
            }
            *alpha = 255;
        }
    }
}
