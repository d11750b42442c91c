//! The backbones that come with the program: their files, and what is known of each.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fruitjob_interface::model::{Inside, InsideFacts, Precision, PreprocessingOptions};

use super::{Model, Wanted};
use crate::error::Result;
use crate::util::hex_sha256;

/// The default.
pub static BUILTIN: &[u8] = include_bytes!("../../models/builtin.onnx");
/// The default of versions before it.
pub static BUILTIN_1: &[u8] = include_bytes!("../../models/builtin-1.onnx");
/// What [`carry`] was given.
static CARRIED: OnceLock<&[u8]> = OnceLock::new();

/// Gives this process the file of [`Inside::MobilenetV2`], which is too large to be in every executable: fruitctl has it, once.
pub fn carry(mobilenet_v2: &'static [u8]) {
    CARRIED.get_or_init(|| mobilenet_v2);
}

/// The model's ONNX file; `None` where this executable does not carry it.
pub fn bytes(inside: Inside) -> Option<&'static [u8]> {
    match inside {
        Inside::Builtin => Some(BUILTIN),
        Inside::Builtin1 => Some(BUILTIN_1),
        #[cfg(test)]
        Inside::MobilenetV2 => Some(include_bytes!("../../models/mobilenet_v2.onnx")),
        #[cfg(not(test))]
        Inside::MobilenetV2 => CARRIED.get().copied(),
    }
}

/// The one whose file has that SHA-256, in hexadecimal, whatever a run called it.
pub fn of_sha256(sha256: &str) -> Option<Inside> {
    Inside::ALL.into_iter().find(|inside| bytes(*inside).is_some_and(|bytes| hex_sha256(bytes) == sha256))
}

/// What to do where it is not carried.
pub(super) fn absent(inside: Inside) -> String {
    let name = inside.name();
    format!(
        "fruitctl carries it, and ships it to clusters, but this executable does not; run it by fruitctl run --model {name}, \
         or name the file: --model FILE"
    )
}

/// Whether the model was measured at the size that is asked for.
///
/// # Errors
/// Why not, and what can be asked for.
pub(super) fn check_size(inside: Inside, options: &PreprocessingOptions) -> std::result::Result<(), String> {
    match options.input_size {
        Some(size) if inside == Inside::Builtin && (size % 16 != 0 || !(96..=224).contains(&size)) => {
            Err(format!("--input-size {size}: it takes any multiple of 16 from 96 to 224"))
        }
        _ => Ok(()),
    }
}

/// What is known of a model, by the model card, and how fast it is here.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) where this executable does not carry it.
pub fn facts(inside: Inside, runtime: &tokio::runtime::Handle) -> Result<InsideFacts> {
    let wanted = Wanted {
        name: inside.name(),
        output_node: None,
        sha256: None,
        preprocessing: &PreprocessingOptions::default(),
        precision: Precision::F32,
    };
    let model = Model::load(&wanted, runtime)?;
    let (trained_on, licence, turntable_percent, photographs_percent) = match inside {
        Inside::Builtin => (
            "ImageNet; fruit on a turntable and in shops; Caltech-101",
            "Apache-2.0 (trained on pictures under MIT and CC BY 4.0)",
            98.4,
            70.3,
        ),
        Inside::Builtin1 => (
            "fruit on a turntable, on a white ground",
            "Apache-2.0 (trained on pictures under MIT)",
            98.2,
            30.9,
        ),
        Inside::MobilenetV2 => ("ImageNet", "Apache-2.0", 93.9, 65.1),
    };
    Ok(InsideFacts {
        name: inside.name(),
        bytes: bytes(inside).map_or(0, <[u8]>::len),
        images_per_second: images_per_second(&model)?,
        sha256: model.sha256,
        input_size: model.preprocessing.size[0],
        resize: model.preprocessing.resize,
        features: model.backbone.features(),
        trained_on,
        licence,
        turntable_percent,
        photographs_percent,
    })
}

/// Images a second that one core of this machine runs through the network; reading and decoding are not in it.
fn images_per_second(model: &Model) -> Result<f64> {
    /// Long enough for a few hundred images of the smallest, and a dozen of the largest.
    const TIME: Duration = Duration::from_millis(200);
    let mut session = model.backbone.session()?;
    let tensor: Vec<f32> =
        (0..model.preprocessing.len()).map(|i| (i * 7919 % 255) as f32 / 127.5 - 1.0).collect();
    let mut features = vec![0.0; model.backbone.features()];
    // The first one warms the caches.
    session.run(&tensor, &mut features)?;
    let (start, mut images) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        session.run(&tensor, &mut features)?;
        images += 1;
    }
    Ok(f64::from(images) / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_card_has_the_figures() {
        let card = include_str!("../../training/MODEL_CARD.md");
        let runtime = crate::util::runtime().unwrap();
        for inside in Inside::ALL {
            let facts = facts(inside, runtime.handle()).unwrap();
            assert!(facts.images_per_second > 0.0 && facts.bytes > 500_000);
            let row =
                card.lines().find(|line| line.starts_with(&format!("| `{}`", facts.name))).expect(facts.name);
            for figure in [facts.turntable_percent, facts.photographs_percent] {
                assert!(row.contains(&format!("{figure:.1}")), "{row}: no {figure:.1}");
            }
            assert!(row.contains(&facts.sha256[..16]), "{row}: no {}", facts.sha256);
        }
    }
}
