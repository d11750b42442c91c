//! `fruitctl models`: the backbones that come with the program.

use crate::app::local;
use crate::cli::ModelsArgs;
use crate::error::Result;
use crate::ui;
use crate::ui::DIM;

/// Lists them, a few lines each; a moment of each one's network says how fast it is here.
pub fn run(args: &ModelsArgs) -> Result<()> {
    let models = local::models()?;
    if args.json {
        ui::json(&models);
        return Ok(());
    }
    for (number, model) in models.iter().enumerate() {
        let default = if number == 0 { ", the default" } else { "" };
        let size = if model.bytes < 1_000_000 {
            format!("{} kB", model.bytes / 1000)
        } else {
            format!("{:.1} MB", model.bytes as f64 / 1e6)
        };
        let (pixels, rate) = (model.input_size, ui::number(model.images_per_second as u64));
        ui::say(&format!("{}  {DIM}{size}{default}{DIM:#}", model.name));
        for (what, value) in [
            (
                "input",
                format!("{pixels}x{pixels} pixels, of an image whose shorter side is {}", model.resize),
            ),
            ("features", model.features.to_string()),
            ("trained on", model.trained_on.to_owned()),
            ("licence", model.licence.to_owned()),
            (
                "right",
                format!(
                    "{:.1} % of Fruits-360, {:.1} % of the Grocery Store Dataset (see the model card)",
                    model.turntable_percent, model.photographs_percent
                ),
            ),
            ("speed here", format!("{rate} images/s on one core, without decoding")),
        ] {
            ui::say(&format!("  {DIM}{what:<12}{DIM:#}{value}"));
        }
    }
    ui::say("fruitctl run --model NAME takes one of them; --json has their SHA-256");
    Ok(())
}
