//! `fruitctl samples`: pictures to try the job with.

use crate::app::local;
use crate::cli::SamplesArgs;
use crate::error::Result;
use crate::ui;

/// Draws them, with a progress bar.
pub fn run(args: &SamplesArgs) -> Result<()> {
    let total = u64::from(args.classes) * u64::from(args.per_class);
    let bar = ui::progress::bar(total, "draw", "pictures");
    let (classes, per_class) = (args.classes as usize, args.per_class as usize);
    let result = local::draw(&args.dir, classes, per_class, args.seed, args.force, &|| bar.inc(1));
    bar.finish_and_clear();
    result?;
    let dir = args.dir.display();
    ui::say(&format!(
        "drew {} pictures of {} fruits in {dir}; now: fruitctl run --input {dir} --output out",
        ui::number(total),
        args.classes
    ));
    Ok(())
}
