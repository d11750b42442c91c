//! `fruitctl policy`: the least that whoever runs fruitctl has to be allowed, and the most that its roles may be.

use crate::app;
use crate::aws::{self, Tags};
use crate::cli::{Cli, PolicyArgs, Purpose};
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
        let names = Names { project, region, account, more_tags: Tags::new() };
        let document = match args.purpose {
            None => operator_policy::all(&names, &config),
            Some(Purpose::Boundary) => operator_policy::boundary(&names, &config),
            Some(Purpose::Setup) => operator_policy::setup(&names, &config),
            Some(Purpose::Run) => operator_policy::run(&names, &config),
            Some(Purpose::Sweep) => operator_policy::sweep(&names, &config),
        };
        let length = operator_policy::length(&document);
        if args.purpose.is_some() && length > operator_policy::LONGEST {
            ui::note(&format!(
                "it has {length} characters without white space, and a managed policy may have {}: shorten the \
                 prefixes of input, output and model under [job]",
                operator_policy::LONGEST
            ));
        }
        ui::json(&document);
        Ok(())
    })
}
