//! Pixels to the tensor that a backbone takes: crop, resize, normalise.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::decode::Rgb;

/// Order of the colour planes that the model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red first: Keras, PyTorch.
    Rgb,
    /// Blue first: OpenCV, Caffe.
    Bgr,
}

/// Order of the input tensor's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Planes: PyTorch's order.
    Nchw,
    /// Interleaved: TensorFlow's order.
    Nhwc,
}

/// How an image becomes a tensor. Part of the key of cached features: another preprocessing, other features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Height and width of the tensor, in pixels.
    pub size: [u32; 2],
    /// Subtracted from each channel, in the tensor's channel order, on the scale 0..=255.
    pub mean: [f32; 3],
    /// Then divided by, same order and scale.
    pub std: [f32; 3],
    /// Channel order.
    pub color: Color,
    /// Axis order.
    pub layout: Layout,
}

impl Preprocessing {
    /// Elements of one image's tensor: `3 * height * width`.
    pub fn len(&self) -> usize {
        3 * self.size[0] as usize * self.size[1] as usize
    }

    /// Whether the tensor has no element; it never does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Normalises pixels of exactly `size` into `tensor`: `(x - mean) / std`, one image, no batch axis.
    pub fn normalise(&self, pixels: &[u8], tensor: &mut [f32]) {
        assert_eq!(pixels.len(), self.len());
        assert_eq!(tensor.len(), self.len());
        let plane = self.len() / 3;
        for channel in 0..3 {
            let source = match self.color {
                Color::Rgb => channel,
                Color::Bgr => 2 - channel,
            };
            // 256 values: a table is exact, and the same on every machine.
            let table: [f32; 256] =
                std::array::from_fn(|x| (x as f32 - self.mean[channel]) / self.std[channel]);
            let values = pixels.as_chunks::<3>().0.iter().map(|p| table[usize::from(p[source])]);
            match self.layout {
                Layout::Nchw => {
                    let plane = &mut tensor[channel * plane..(channel + 1) * plane];
                    plane.iter_mut().zip(values).for_each(|(t, v)| *t = v);
                }
                Layout::Nhwc => {
                    let channel = tensor[channel..].iter_mut().step_by(3);
                    channel.zip(values).for_each(|(t, v)| *t = v);
                }
            }
        }
    }
}

/// Does the preprocessing of one image after another, keeping its buffers.
pub struct Preprocessor {
    spec: Preprocessing,
    resizer: Resizer,
    resized: Image<'static>,
}

impl Preprocessor {
    /// For one thread.
    pub fn new(spec: Preprocessing) -> Self {
        let resized = Image::new(spec.size[1], spec.size[0], PixelType::U8x3);
        Preprocessor { spec, resizer: Resizer::new(), resized }
    }

    /// Fills `tensor`, of [`Preprocessing::len`] elements.
    ///
    /// The largest centred part of the image with the tensor's aspect is resized with a triangle filter,
    /// widened when shrinking (antialiased), as Pillow's `BILINEAR` does.
    pub fn run(&mut self, image: &Rgb, tensor: &mut [f32]) -> Result<(), String> {
        let resized = resize(&mut self.resizer, image, &mut self.resized)?;
        self.spec.normalise(resized, tensor);
        Ok(())
    }
}

/// Resizes the largest centred part of `image` into `target`; returns the resized pixels.
pub(crate) fn resize<'a>(
    resizer: &mut Resizer,
    image: &'a Rgb,
    target: &'a mut Image<'static>,
) -> Result<&'a [u8], String> {
    if (image.width, image.height) == (target.width(), target.height()) {
        return Ok(&image.pixels);
    }
    let source = ImageRef::new(image.width, image.height, &image.pixels, PixelType::U8x3)
        .map_err(|e| format!("cannot resize: {e}"))?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .fit_into_destination(None);
    resizer.resize(&source, target, &options).map_err(|e| format!("cannot resize: {e}"))?;
    Ok(target.buffer())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(color: Color, layout: Layout) -> Preprocessing {
        Preprocessing { size: [2, 2], mean: [1.0, 2.0, 3.0], std: [1.0, 2.0, 4.0], color, layout }
    }

    fn tensor(spec: Preprocessing, image: &Rgb) -> Vec<f32> {
        let mut tensor = vec![f32::NAN; spec.len()];
        Preprocessor::new(spec).run(image, &mut tensor).unwrap();
        tensor
    }

    #[test]
    fn layouts_and_colours() {
        let image = Rgb { width: 2, height: 2, pixels: (10..22).collect() };
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
        let image = Rgb { width: 6, height: 2, pixels: [row.clone(), row].concat() };
        let spec = Preprocessing {
            size: [2, 2],
            mean: [0.0; 3],
            std: [1.0; 3],
            color: Color::Rgb,
            layout: Layout::Nchw,
        };
        assert_eq!(tensor(spec, &image), [200.0; 12]);
    }
}
