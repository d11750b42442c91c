//! `fruitctl policy`: the least that whoever runs fruitctl has to be allowed.

use super::cloud;
use crate::aws::{self, Aws};
use crate::cli::{Cli, CloudArgs, PolicyArgs};
use crate::error::Result;
use crate::stack::{Names, policy};
use crate::ui;

/// Prints the policy. With `--account`, no credentials are needed.
pub fn run(cli: &Cli, args: &PolicyArgs) -> Result<()> {
    let config = cloud::config(cli, &CloudArgs { region: args.region.clone(), json: true })?;
    let project = Names::project(&config)?;
    cloud::block_on(async {
        let (region, account) = match &args.account {
            Some(account) => (aws::region(&config.aws).await?.0, account.clone()),
            None => {
                let aws = Aws::connect(&config.aws).await?;
                (aws.region, aws.account)
            }
        };
        ui::json(&policy::operator(&Names { project, region, account }, &config));
        Ok(())
    })
}
