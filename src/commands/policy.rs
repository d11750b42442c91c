//! `fruitctl policy`: the least that whoever runs fruitctl has to be allowed.

use crate::app;
use crate::aws::{self, Tags};
use crate::cli::{Cli, PolicyArgs};
use crate::error::Result;
use crate::stack::{Names, operator_policy};
use crate::ui;

/// Prints the policy. With `--account`, no credentials are needed.
pub fn run(cli: &Cli, args: &PolicyArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let project = Names::project(&config)?;
    app::block_on(async |_| {
        let (region, account) = match &args.account {
            Some(account) => (aws::region(&config.aws).await?.0, account.clone()),
            None => {
                let aws = app::account(&config, app::Access::Reads).await?;
                (aws.region, aws.account)
            }
        };
        ui::json(&operator_policy::operator(
            &Names { project, region, account, more_tags: Tags::new() },
            &config,
        ));
        Ok(())
    })
}
