//! `fruitctl samples`: pictures to try the job with.

use fruitjob::Context;
use std::sync::Arc;

use crate::cli::SamplesArgs;
use crate::error::Result;
use crate::ui;

/// Draws them, with a progress bar.
pub fn run(args: &SamplesArgs) -> Result<()> {
    let runtime = fruitjob::runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(ui::Silent));
    context.stop_on_signals()?;
    let total = u64::from(args.classes) * u64::from(args.per_class);
    let bar = ui::progress::bar(total, "draw", "pictures");
    let drawn = || {
        bar.inc(1);
        context.check()
    };
    let (classes, per_class) = (args.classes as usize, args.per_class as usize);
    let result = fruitjob::samples::draw(&args.dir, classes, per_class, args.seed, args.force, &drawn);
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
