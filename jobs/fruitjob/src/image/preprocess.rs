//! Pixels to the tensor that a backbone takes: crop, resize, normalise. They are upright by then. [`resize`] makes
//! thumbnails too.

use fast_image_resize::images::{Image, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use fruitjob_interface::model::{Color, Fit, Layout, Preprocessing, Resample};

use super::decode::Rgb;

/// Normalises pixels of exactly `size` into `tensor`: `(x - mean) / std`, one image, no batch axis.
pub fn normalise(spec: &Preprocessing, pixels: &[u8], layout: Layout, tensor: &mut [f32]) {
    assert_eq!(pixels.len(), spec.len());
    assert_eq!(tensor.len(), spec.len());
    // 256 values a channel: a table is exact, and the same on every machine.
    let table: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|x| (x as f32 - spec.mean[channel]) / spec.std[channel])
    });
    let source = match spec.color {
        Color::Rgb => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
    };
    let pixels = pixels.as_chunks::<3>().0;
    match layout {
        Layout::Nchw => {
            for (channel, plane) in tensor.chunks_exact_mut(pixels.len()).enumerate() {
                let (table, source) = (&table[channel], source[channel]);
                plane.iter_mut().zip(pixels).for_each(|(t, p)| *t = table[usize::from(p[source])]);
            }
        }
        Layout::Nhwc => {
            for (t, p) in tensor.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                *t = std::array::from_fn(|channel| table[channel][usize::from(p[source[channel]])]);
            }
        }
    }
}

/// Does the preprocessing of one image after another, keeping its buffers.
pub struct Preprocessor {
    spec: Preprocessing,
    layout: Layout,
    resizer: Resizer,
    resized: Image<'static>,
}

impl Preprocessor {
    /// For one thread, and tensors in the order of axes that an engine wants.
    pub fn new(spec: Preprocessing, layout: Layout) -> Self {
        let resized = Image::new(spec.size[1], spec.size[0], PixelType::U8x3);
        Preprocessor { spec, layout, resizer: Resizer::new(), resized }
    }

    /// Fills `tensor`, of [`Preprocessing::len`] elements.
    ///
    /// The largest centred part of the image with the tensor's aspect, or all of it ([`Fit`]), less the margin that
    /// `resize` leaves, is resized with a filter that is widened when shrinking (antialiased), as Pillow's are.
    pub fn run(&mut self, image: &Rgb, tensor: &mut [f32]) -> Result<(), String> {
        let share = f64::from(self.spec.size[0].min(self.spec.size[1])) / f64::from(self.spec.resize);
        let how = How { share, fit: self.spec.fit, resample: self.spec.resample };
        resize(&mut self.resizer, image, how, &mut self.resized)?;
        normalise(&self.spec, self.resized.buffer(), self.layout, tensor);
        Ok(())
    }
}

/// How a part of an image is chosen and resized.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Of the largest part that could be taken; the rest is margin.
    pub share: f64,
    pub fit: Fit,
    pub resample: Resample,
}

/// Resizes a centred part of `image` into `target`.
pub(crate) fn resize(
    resizer: &mut Resizer,
    image: &Rgb,
    how: How,
    target: &mut Image<'static>,
) -> Result<(), String> {
    let [w, h] = [image.width, image.height].map(f64::from);
    let [to_w, to_h] = [target.width(), target.height()].map(f64::from);
    // Pixels of the image for one of the target, across and down.
    let scale = match how.fit {
        Fit::Crop => [how.share * (w / to_w).min(h / to_h); 2],
        Fit::Squash => [how.share * w / to_w, how.share * h / to_h],
    };
    let [part_w, part_h] = [to_w * scale[0], to_h * scale[1]];
    let [left, top] = [(w - part_w) / 2.0, (h - part_h) / 2.0];
    if scale.iter().all(|scale| (scale - 1.0).abs() < 1e-9) && left.fract() == 0.0 && top.fract() == 0.0 {
        // Nothing to resize: a crop is a copy.
        let (row, from) = (3 * target.width() as usize, 3 * image.width as usize);
        let rows = image.pixels.chunks_exact(from).skip(top as usize);
        for (target, source) in target.buffer_mut().chunks_exact_mut(row).zip(rows) {
            target.copy_from_slice(&source[3 * left as usize..][..row]);
        }
        return Ok(());
    }
    let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.pixels)
        .map_err(|e| format!("cannot resize: {e}"))?;
    let mut target = target.typed_image_mut().ok_or("cannot resize: not an image of three bytes a pixel")?;
    let filter = match how.resample {
        Resample::Bilinear => FilterType::Bilinear,
        Resample::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
        left.max(0.0),
        top.max(0.0),
        part_w.min(w),
        part_h.min(h),
    );
    // `Resizer::resize` would bring code for all 13 kinds of pixels, which LLVM does not compile twice to the same bytes.
    resizer.resize_typed(&source, &mut target, &options).map_err(|e| format!("cannot resize: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(color: Color, layout: Layout) -> Preprocessing {
        Preprocessing {
            size: [2, 2],
            resize: 2,
            mean: [1.0, 2.0, 3.0],
            std: [1.0, 2.0, 4.0],
            color,
            layout,
            resample: Default::default(),
            fit: Default::default(),
            exif_orientation: Default::default(),
        }
    }

    fn tensor(spec: Preprocessing, image: &Rgb) -> Vec<f32> {
        let mut tensor = vec![f32::NAN; spec.len()];
        let layout = spec.layout;
        Preprocessor::new(spec, layout).run(image, &mut tensor).unwrap();
        tensor
    }

    #[test]
    fn layouts_and_colours() {
        let image = Rgb { width: 2, height: 2, pixels: (10..22).collect(), held: None };
        assert_eq!(
            tensor(spec(Color::Rgb, Layout::Nchw), &image),
            [9.0, 12.0, 15.0, 18.0, 4.5, 6.0, 7.5, 9.0, 2.25, 3.0, 3.75, 4.5]
        );
        assert_eq!(tensor(spec(Color::Bgr, Layout::Nhwc), &image)[..6], [11.0, 4.5, 1.75, 14.0, 6.0, 2.5]);
    }

    #[test]
    fn keeps_the_aspect_by_cropping_the_centre() {
        // Three 2x2 blocks side by side: only the middle one is seen.
        let row = [[0u8; 6], [200; 6], [0; 6]].concat();
        let image = Rgb { width: 6, height: 2, pixels: [row.clone(), row].concat(), held: None };
        let spec = Preprocessing { mean: [0.0; 3], std: [1.0; 3], ..spec(Color::Rgb, Layout::Nchw) };
        assert_eq!(tensor(spec, &image), [200.0; 12]);
    }

    /// The same picture through Pillow 13.0.0: `Image.resize((4, 4), FILTER)` of all of it, and of the box (2, 0, 11, 9).
    #[test]
    fn pillow_resizes_to_the_same_pixels() {
        let (w, h) = (13u32, 9u32);
        let pixel = |i: u32| {
            let (x, y) = (i % w, i / w);
            [x * 19 + y * 7, x * x * 3 + y * 31, x * y * 11 + 40].map(|c| c as u8)
        };
        let image = Rgb { width: w, height: h, pixels: (0..w * h).flat_map(pixel).collect(), held: None };
        let cases: [(Fit, Resample, [u8; 48]); 3] = [
            (Fit::Squash, Resample::Bicubic, SQUASH_BICUBIC),
            (Fit::Squash, Resample::Bilinear, SQUASH_BILINEAR),
            (Fit::Crop, Resample::Bicubic, CROP_BICUBIC),
        ];
        for (fit, resample, want) in cases {
            let mut target = Image::new(4, 4, PixelType::U8x3);
            resize(&mut Resizer::new(), &image, How { share: 1.0, fit, resample }, &mut target).unwrap();
            let off = target.buffer().iter().zip(want).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(1), "{fit:?} {resample:?}: {:?}", target.buffer());
        }
    }

    const SQUASH_BICUBIC: [u8; 48] = [
        28, 26, 48, 87, 83, 76, 151, 161, 106, 212, 130, 93, 43, 93, 81, 102, 156, 150, 167, 140, 130, 211,
        132, 107, 59, 176, 114, 118, 158, 114, 188, 92, 134, 173, 118, 131, 74, 194, 112, 133, 72, 136, 204,
        133, 150, 119, 109, 147,
    ];
    const SQUASH_BILINEAR: [u8; 48] = [
        33, 36, 53, 89, 89, 80, 151, 155, 105, 207, 132, 95, 47, 98, 85, 103, 147, 141, 165, 138, 126, 207,
        134, 109, 63, 169, 111, 119, 151, 115, 181, 102, 135, 174, 115, 130, 77, 186, 113, 133, 85, 134, 195,
        129, 147, 124, 109, 147,
    ];
    const CROP_BICUBIC: [u8; 48] = [
        54, 41, 59, 98, 93, 82, 140, 183, 106, 184, 112, 100, 69, 108, 123, 113, 171, 157, 155, 159, 123,
        201, 108, 127, 85, 193, 157, 129, 148, 85, 171, 62, 147, 222, 151, 126, 100, 140, 123, 144, 49, 147,
        190, 129, 152, 213, 137, 140,
    ];

    #[test]
    fn squash_leaves_a_margin_on_all_sides() {
        // 8 x 4 squashed to 4 x 4, of which the middle 2 x 2 is seen: columns 2 to 5 and rows 1 and 2.
        let seen = |x: u32, y: u32| (2..6).contains(&x) && (1..3).contains(&y);
        let pixels = (0..32).flat_map(|i| [if seen(i % 8, i / 8) { 200u8 } else { 0 }; 3]).collect();
        let image = Rgb { width: 8, height: 4, pixels, held: None };
        let spec = Preprocessing {
            resize: 4,
            fit: Fit::Squash,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..spec(Color::Rgb, Layout::Nchw)
        };
        assert!(tensor(spec, &image).iter().all(|x| *x > 120.0));
    }

    #[test]
    fn a_margin_is_cut_off_without_resizing_where_it_can_be() {
        let image = Rgb { width: 4, height: 4, pixels: (0..48).collect(), held: None };
        let spec =
            Preprocessing { resize: 4, mean: [0.0; 3], std: [1.0; 3], ..spec(Color::Rgb, Layout::Nhwc) };
        let middle = [15u8, 16, 17, 18, 19, 20, 27, 28, 29, 30, 31, 32].map(f32::from);
        assert_eq!(tensor(spec.clone(), &image), middle);
        // Twice as large, each pixel four times: the same picture, resized.
        let twice = |i: usize| image.pixels[(i / 24 / 2 * 4 + i % 24 / 3 / 2) * 3 + i % 3];
        let large = Rgb { width: 8, height: 8, pixels: (0..192).map(twice).collect(), held: None };
        for (got, want) in tensor(spec, &large).iter().zip(middle) {
            assert!((got - want).abs() <= 4.0, "{got} {want}");
        }
    }
}
