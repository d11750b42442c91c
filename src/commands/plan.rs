//! `fruitctl plan`: what `up` would do.

use super::cloud;
use crate::aws::Aws;
use crate::aws::emr::Workforce;
use crate::cli::{Cli, PlanArgs};
use crate::config::Config;
use crate::cost::Prices;
use crate::error::{Error, Kind, Result};
use crate::stack::{Observed, Plan, Spec};
use crate::ui;

/// Prints the plan.
pub fn run(cli: &Cli, args: &PlanArgs) -> Result<()> {
    let config = cloud::stack_config(cli, &args.stack)?;
    let plan = cloud::block_on(async {
        let (aws, _) = cloud::connect(&config).await?;
        let spec = Spec::resolve(&config, &aws).await?;
        let (plan, prices, _) = make(&config, &spec, &aws).await?;
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

/// Looks, and compares.
pub async fn make(config: &Config, spec: &Spec, aws: &Aws) -> Result<(Plan, Prices, Observed)> {
    let (observed, prices) = tokio::try_join!(Observed::look(spec, aws), async {
        Ok(prices(config, spec.cluster.workforce.iter(), aws).await)
    })?;
    let plan = Plan::new(spec, &observed, &prices);
    Ok((plan, prices, observed))
}

/// The table, with present Spot prices where Spot is used. Without permission to ask, prices on demand will do.
pub async fn prices<'a>(
    config: &Config,
    workforce: impl Iterator<Item = &'a Workforce>,
    aws: &Aws,
) -> Prices {
    let mut prices = Prices::new(&config.prices);
    let types: Vec<String> = workforce.filter(|w| w.spot).flat_map(|w| w.types.clone()).collect();
    if !types.is_empty() {
        prices.spot = aws.spot_prices(&types).await.unwrap_or_default();
    }
    prices
}
