//! Names and tags: functions of project, account and region, so that what was made is found again without a record.

use crate::aws::{Aws, Tags};
use crate::config::Config;
use crate::error::{Error, Kind, Result};

/// The tag that says whose a thing is; its value is the project.
pub const PROJECT: &str = "fruitctl:project";
/// EC2's filter for what has that tag.
pub const BY_PROJECT: &str = "tag:fruitctl:project";
/// The tag of a cluster that says when `fruitctl sweep` may end it, as RFC 3339.
pub const DEADLINE: &str = "fruitctl:deadline";
/// The tag of a cluster that was made for one run alone: the run's id.
pub const RUN: &str = "fruitctl:run";
/// The tag of a cluster that says who started it.
pub const OWNER: &str = "fruitctl:owner";

/// The tag of a bucket that fruitctl made. One without it was there before, and keeps what it is.
pub const MADE: &str = "fruitctl:made";

/// The names of all that a project has, and its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub project: String,
    pub region: String,
    pub account: String,
    /// Tags of all that is made, as configured; ours not among them.
    pub more_tags: Tags,
}

impl Names {
    /// Those of a project here. From here on, calls on its bucket name this account as the owner.
    pub fn new(config: &Config, aws: &Aws) -> Result<Names> {
        let project = Names::project(config)?;
        let more_tags = config.aws.tags.clone();
        let names = Names { project, region: aws.region.clone(), account: aws.account.clone(), more_tags };
        aws.expect_to_own(config.bucket.name.as_deref().unwrap_or(&names.bucket()));
        Ok(names)
    }

    /// The configured project.
    pub fn project(config: &Config) -> Result<String> {
        config.project.clone().ok_or_else(|| {
            Error::usage("no project: all that is made in AWS carries its name")
                .help("set project at the top of fruitctl.toml, or write one: fruitctl init --target emr")
        })
    }

    /// The bucket's name where none is configured; names of buckets are the world's.
    pub fn bucket(&self) -> String {
        format!("fruitctl-{}-{}-{}", self.project, self.account, self.region)
    }

    /// EMR's role. IAM knows no regions, so the region is in the name.
    pub fn service_role(&self) -> String {
        format!("fruitctl-{}-{}-service", self.project, self.region)
    }

    /// The nodes' role and instance profile: EMR wants one name for both.
    pub fn node_role(&self) -> String {
        format!("fruitctl-{}-{}-node", self.project, self.region)
    }

    /// The policy that its roles may not exceed, which an administrator makes.
    pub fn boundary(&self) -> String {
        format!("fruitctl-{}-{}-boundary", self.project, self.region)
    }

    /// What names of this project's security groups, key pairs, security configurations and clusters begin with.
    pub fn prefix(&self) -> String {
        format!("fruitctl-{}-", self.project)
    }

    /// What all that is made is tagged with: the mark of what is ours, and what is configured.
    pub fn tags(&self) -> Tags {
        let mut tags = self.more_tags.clone();
        tags.insert(PROJECT.to_owned(), self.project.clone());
        tags
    }

    /// Whether something with these tags is ours.
    pub fn owns(&self, tags: &Tags) -> bool {
        tags.get(PROJECT) == Some(&self.project)
    }

    /// The refusal to touch something that has our name and not our tag.
    pub fn foreign(&self, what: &str, name: &str, tags: &Tags) -> Error {
        let whose = match tags.get(PROJECT) {
            Some(other) => format!("belongs to the project '{other}'"),
            None => format!("is not ours: it has no tag {PROJECT}"),
        };
        Error::new(Kind::Refused, format!("{what} {name} exists and {whose}; it was not touched")).help(
            format!(
                "choose another project or name in fruitctl.toml; or, if it is ours, tag it {PROJECT}={}",
                self.project
            ),
        )
    }
}
