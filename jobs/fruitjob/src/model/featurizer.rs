//! A file's bytes to its features.

use fruitjob_interface::model::ExifOrientation;

use super::{Model, Session};
use crate::error::Result;
use crate::image::decode::{self, Refused};
use crate::image::orientation;
use crate::image::preprocess::Preprocessor;

/// A file's bytes to its features, one file after another on one thread.
pub struct Featurizer<'a> {
    options: decode::Options,
    session: Box<dyn Session + 'a>,
    preprocessor: Preprocessor,
    exif_orientation: ExifOrientation,
    tensor: Vec<f32>,
    features: usize,
}

impl<'a> Featurizer<'a> {
    /// By this model, for images of at most `max_pixels`.
    pub fn new(model: &'a Model, max_pixels: u64) -> Result<Self> {
        // One that lies on its side is turned after decoding.
        let [width, height] = model.preprocessing.resized();
        let target = Some([width.max(height); 2]);
        Ok(Featurizer {
            options: decode::Options { max_pixels, target },
            session: model.backbone.session()?,
            preprocessor: Preprocessor::new(model.preprocessing.clone(), model.backbone.layout()),
            exif_orientation: model.preprocessing.exif_orientation,
            tensor: vec![0.0; model.preprocessing.len()],
            features: model.backbone.features(),
        })
    }

    /// The features, or why there are none; an error when it is not the image's fault.
    pub fn run(&mut self, bytes: &[u8]) -> Result<Result<Vec<f32>, Refused>> {
        let mut image = match decode::decode(bytes, &self.options) {
            Ok(image) => image,
            Err(refused) => return Ok(Err(refused)),
        };
        if self.exif_orientation == ExifOrientation::Apply {
            image = orientation::upright(image, bytes);
        }
        if let Err(reason) = self.preprocessor.run(&image, &mut self.tensor) {
            return Ok(Err(reason.into()));
        }
        let mut vector = vec![0.0; self.features];
        self.session.run(&self.tensor, &mut vector)?;
        let finite = vector.iter().all(|x| x.is_finite());
        Ok(if finite { Ok(vector) } else { Err("the model gives values that are not finite".into()) })
    }
}
