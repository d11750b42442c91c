//! Infrastructure as code: what `fruitctl.toml` says ([`Spec`]) against what exists ([`Observed`]) is a [`Plan`];
//! [`apply`] carries it out, [`destroy`] takes everything away.
//!
//! AWS is the state: names are functions of project, account and region, and all that can be tagged is tagged with
//! the project in the call that creates it. So whatever was killed where, the next `up` finds what there is and
//! makes what is missing, and the next `down` finds all of it. One file a resource, its undo beside its do; a `diff`
//! is pure, `observe`, `apply` and `destroy` talk to [`crate::aws`].

mod apply;
pub mod bucket;
pub mod cluster;
mod destroy;
pub mod key_pair;
pub mod lock;
pub mod network;
mod plan;
pub mod policy;
pub mod roles;
pub mod scripts;
pub mod security;

pub use apply::{Part, apply};
pub use destroy::{Inventory, destroy, inventory};
pub use plan::{Action, Change, Plan, Resource};

use crate::aws::Aws;
use crate::aws::Tags;
use crate::config::{Config, SshCidr};
use crate::error::{Error, Result};

/// The tag that says whose a thing is; its value is the project.
pub const PROJECT: &str = "fruitctl:project";
/// EC2's filter for what has that tag.
const BY_PROJECT: &str = "tag:fruitctl:project";
/// The tag of a cluster that says when `fruitctl sweep` may end it, as RFC 3339.
pub const DEADLINE: &str = "fruitctl:deadline";
/// The tag of a cluster that was made for one run alone: the run's id.
pub const RUN: &str = "fruitctl:run";
/// The tag of a cluster that says who started it.
pub const OWNER: &str = "fruitctl:owner";

/// The names of all that a project has, and its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The project.
    pub project: String,
    /// The region.
    pub region: String,
    /// The account.
    pub account: String,
}

impl Names {
    /// Those of a project here.
    pub fn new(config: &Config, aws: &Aws) -> Result<Names> {
        let project = Names::project(config)?;
        Ok(Names { project, region: aws.region.clone(), account: aws.account.clone() })
    }

    /// The configured project.
    pub fn project(config: &Config) -> Result<String> {
        config.project.clone().ok_or_else(|| {
            Error::usage("no project: all that is made in AWS carries its name")
                .next("set project at the top of fruitctl.toml, or write one: fruitctl init --target emr")
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

    /// What names of this project's security groups, key pairs, security configurations and clusters begin with.
    pub fn prefix(&self) -> String {
        format!("fruitctl-{}-", self.project)
    }

    /// The mark of what is ours.
    pub fn tags(&self) -> Tags {
        Tags::from([(PROJECT.to_owned(), self.project.clone())])
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
        Error::new(
            crate::error::Kind::Refused,
            format!("{what} {name} exists and {whose}; it was not touched"),
        )
        .next(format!(
            "choose another project or name in fruitctl.toml; or, if it is ours, tag it {PROJECT}={}",
            self.project
        ))
    }
}

/// What should exist.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Names and mark.
    pub names: Names,
    /// The bucket.
    pub bucket: bucket::Spec,
    /// EMR's role.
    pub service_role: roles::Spec,
    /// The nodes' role and profile.
    pub node_role: roles::Spec,
    /// Who may log in, if anybody.
    pub key_pair: Option<key_pair::Spec>,
    /// Security groups.
    pub network: network::Spec,
    /// IMDSv2.
    pub security: security::Spec,
    /// Bootstrap actions.
    pub scripts: Vec<scripts::Script>,
    /// The cluster.
    pub cluster: cluster::Spec,
}

impl Spec {
    /// From the configuration, and from what has to be looked up: the account, subnets, the caller's address, the
    /// key on this machine, the scripts.
    pub async fn resolve(config: &Config, aws: &Aws) -> Result<Spec> {
        let names = Names::new(config, aws)?;
        let bucket = bucket::Spec::new(&names, &config.bucket);
        let scripts = scripts::read(&config.cluster.bootstrap, &bucket.name, &aws.region)?;
        // A key for a closed door would be left by every CI job, for each is another machine.
        let closed = config.network.ssh_cidr == SshCidr::Closed;
        let key_pair = if closed { None } else { Some(key_pair::Spec::resolve(&names, &config.key)?) };
        let network = network::Spec::resolve(&names, &config.network, aws).await?;
        let service_role = roles::Spec::service(&names, config);
        let node_role = roles::Spec::node(&names, config, &bucket);
        let security = security::Spec::new(&names);
        let cluster = cluster::Spec::new(&config.cluster)?;
        Ok(Spec { names, bucket, service_role, node_role, key_pair, network, security, scripts, cluster })
    }
}

/// What exists of it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The bucket's settings.
    pub bucket: Option<crate::aws::s3::BucketSettings>,
    /// EMR's role.
    pub service_role: roles::Observed,
    /// The nodes' role and profile.
    pub node_role: roles::Observed,
    /// Key pairs of this project.
    pub key_pairs: Vec<crate::aws::ec2::KeyPair>,
    /// Security groups of this project.
    pub groups: Vec<crate::aws::ec2::Group>,
    /// Whether the security configuration is there.
    pub security: bool,
    /// Keys of the bootstrap actions that are in the bucket.
    pub scripts: Vec<String>,
    /// The project's clusters that live.
    pub clusters: Vec<crate::aws::emr::Existing>,
}

impl Observed {
    /// Looks at everything, side by side.
    pub async fn look(spec: &Spec, aws: &Aws) -> Result<Observed> {
        let names = &spec.names;
        let bucket_and_scripts = async {
            let bucket = bucket::observe(names, &spec.bucket.name, aws).await?;
            let scripts = match &bucket {
                Some(_) => scripts::observe(&spec.scripts, &spec.bucket.name, aws).await?,
                None => Vec::new(),
            };
            Ok((bucket, scripts))
        };
        let ((bucket, scripts), service_role, node_role, key_pairs, groups, security, clusters) = tokio::try_join!(
            bucket_and_scripts,
            roles::observe(names, &spec.service_role, aws),
            roles::observe(names, &spec.node_role, aws),
            key_pair::observe(names, spec.key_pair.as_ref(), aws),
            network::observe(names, &spec.network, aws),
            security::observe(&spec.security, aws),
            cluster::observe(names, aws),
        )?;
        Ok(Observed { bucket, service_role, node_role, key_pairs, groups, security, scripts, clusters })
    }
}
