//! `fruitctl plan`: what `up` would do.

use crate::app;
use crate::cli::{Cli, PlanArgs};
use crate::error::{Error, Kind, Result};
use crate::stack::{Plan, Spec};
use crate::ui;

/// Prints the plan.
pub fn run(cli: &Cli, args: &PlanArgs) -> Result<()> {
    let config = app::settings(cli, &args.stack)?;
    let plan = app::block_on(async |_| {
        let (aws, _) = app::connect(&config, app::Access::Reads).await?;
        let spec = Spec::to_launch(&config, &aws).await?;
        let (plan, prices, _) = Plan::make(&config, &spec, &aws).await?;
        if args.stack.cloud.json {
            ui::json(&plan);
        } else {
            ui::plan::print(&plan, &prices, &aws);
        }
        Ok(plan)
    })?;
    if args.detailed_exitcode && plan.has_changes() {
        return Err(Error::new(Kind::Changes, "the plan has changes"));
    }
    Ok(())
}
