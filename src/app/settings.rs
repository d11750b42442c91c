//! Settings: flags over `fruitctl.toml`, in one place.

use crate::cli::{
    Cli, CloneArgs, CloudArgs, ClusterArgs, InitArgs, PageArgs, PolicyArgs, PruneArgs, RecogniseArgs,
    RunArgs, StackArgs,
};
use crate::config::Config;
use crate::error::Result;

/// Flags that overrule the file.
pub trait Overrides {
    /// Writes what was given over the configuration.
    fn overrule(&self, config: &mut Config);
}

/// The file that is named, or the one that is there, with a command's flags over it.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage), with file, line and column.
pub fn settings(cli: &Cli, flags: &impl Overrides) -> Result<Config> {
    let mut config = Config::load(cli.config.as_deref())?;
    flags.overrule(&mut config);
    Ok(config)
}

/// Takes a value that was given.
fn set<T: Clone>(setting: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        setting.clone_from(given);
    }
}

/// The same, for what may be missing in both.
fn fill<T: Clone>(setting: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        setting.clone_from(given);
    }
}

impl Overrides for RecogniseArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.job.output, &self.output);
    }
}

impl Overrides for PageArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.job.output, &self.output);
        fill(&mut config.app.per_label, &self.per_label);
        fill(&mut config.app.check, &self.check);
    }
}

impl Overrides for CloudArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.aws.region, &self.region);
        fill(&mut config.aws.credentials_from, &self.profile);
    }
}

impl Overrides for StackArgs {
    fn overrule(&self, config: &mut Config) {
        self.cloud.overrule(config);
        set(&mut config.network.ssh_cidr, &self.ssh_cidr);
    }
}

impl Overrides for ClusterArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.aws.region, &self.region);
        fill(&mut config.aws.credentials_from, &self.profile);
        set(&mut config.network.ssh_cidr, &self.ssh_cidr);
    }
}

impl Overrides for RunArgs {
    fn overrule(&self, config: &mut Config) {
        self.cluster.overrule(config);
        fill(&mut config.target, &self.target);
        config.job = self.job.clone().or(std::mem::take(&mut config.job));
        config.preprocessing = self.preprocessing.clone().or(std::mem::take(&mut config.preprocessing));
    }
}

impl Overrides for CloneArgs {
    fn overrule(&self, config: &mut Config) {
        self.cluster.overrule(config);
    }
}

impl Overrides for PruneArgs {
    fn overrule(&self, config: &mut Config) {
        self.cloud.overrule(config);
        fill(&mut config.job.output, &self.output);
    }
}

impl Overrides for PolicyArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.aws.region, &self.region);
        fill(&mut config.aws.credentials_from, &self.profile);
    }
}

impl Overrides for InitArgs {
    fn overrule(&self, config: &mut Config) {
        fill(&mut config.aws.region, &self.region);
        fill(&mut config.aws.credentials_from, &self.profile);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::Command;
    use crate::config::{SshCidr, Target};

    /// What a command line makes of a file.
    fn resolved(file: &str, line: &str) -> Config {
        let mut config = Config::parse(file, Path::new("fruitctl.toml")).unwrap();
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(args) => args.overrule(&mut config),
            Command::Plan(args) => args.stack.overrule(&mut config),
            Command::Prune(args) => args.overrule(&mut config),
            _ => unreachable!("no other command is tested"),
        }
        config
    }

    const FILE: &str = "target = \"emr\"\n[aws]\nregion = \"eu-west-3\"\n[job]\ninput = \"in\"\noutput = \"out\"\ncomponents = 7\n";

    #[test]
    fn a_flag_overrules_the_file() {
        let config = resolved(FILE, "fruitctl run --target local --region eu-west-1 --input s3://b/i -k 3");
        assert_eq!((config.target, config.aws.region.as_deref()), (Some(Target::Local), Some("eu-west-1")));
        assert_eq!((config.job.input.as_deref(), config.job.components), (Some("s3://b/i"), NonZero::new(3)));
    }

    #[test]
    fn without_flags_the_file_stands() {
        for line in ["fruitctl run", "fruitctl plan", "fruitctl prune"] {
            assert_eq!(
                resolved(FILE, line),
                Config::parse(FILE, Path::new("fruitctl.toml")).unwrap(),
                "{line}"
            );
        }
    }

    #[test]
    fn port_22_is_shut_by_a_flag() {
        assert_eq!(resolved(FILE, "fruitctl plan --ssh-cidr none").network.ssh_cidr, SshCidr::Closed);
        assert_eq!(resolved(FILE, "fruitctl run --ssh-cidr none").network.ssh_cidr, SshCidr::Closed);
    }

    #[test]
    fn prune_is_told_which_output() {
        let config = resolved(FILE, "fruitctl prune -o other");
        assert_eq!((config.job.output.as_deref(), config.job.input.as_deref()), (Some("other"), Some("in")));
    }
}
