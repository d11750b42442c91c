//! `fruitctl doctor`: everything that would make `up` fail, in one list, each with its remedy.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::app;
use crate::aws::ec2::Subnet;
use crate::aws::emr::Workforce;
use crate::aws::vpc::WayOut;
use crate::aws::{ApiError, Aws};
use crate::cli::{Cli, StackArgs};
use crate::config::{Config, SshCidr};
use crate::cost::Prices;
use crate::error::{Error, Kind, Result};
use crate::instances::vcpus;
use crate::run::ship::find_executable;
use crate::stack::{Names, bootstrap, borrowed, bucket, cluster, key_pair, network, roles, zones};
use crate::ui;
use crate::ui::{BAD, DIM, GOOD, WARN};

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
enum Verdict {
    Good { what: String },
    Unknown { what: String },
    Bad { what: String, remedy: String },
}

fn good(what: impl Into<String>) -> Verdict {
    Verdict::Good { what: what.into() }
}

/// What an error means to somebody who only asked.
impl From<Error> for Verdict {
    fn from(error: Error) -> Verdict {
        Verdict::Bad { what: error.message, remedy: error.help.unwrap_or_default() }
    }
}

/// A question that may not be asked is no finding.
fn asked(error: ApiError) -> Verdict {
    match error.kind() {
        Kind::Denied => {
            Verdict::Unknown { what: format!("may not be asked: {} is not allowed", error.action) }
        }
        _ => Error::from(error).into(),
    }
}

/// Looks at everything, and prints it.
pub fn run(cli: &Cli, args: &StackArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let findings = app::block_on(async |_| Ok(examine(&config).await))?;
    if args.cloud.json {
        ui::json(&findings);
    } else {
        for finding in &findings {
            let (mark, colour, text) = match &finding.verdict {
                Verdict::Good { what } => ("ok", GOOD, what.clone()),
                Verdict::Unknown { what } => ("??", WARN, what.clone()),
                Verdict::Bad { what, remedy } => {
                    ("no", BAD, format!("{what}\n{:27}{DIM}remedy:{DIM:#} {remedy}", ""))
                }
            };
            ui::say(&format!("{colour}{mark}{colour:#}  {:<22} {text}", finding.check));
        }
    }
    let bad = findings.iter().filter(|f| matches!(f.verdict, Verdict::Bad { .. })).count();
    if bad > 0 {
        return Err(Error::new(Kind::Usage, format!("{bad} of {} checks failed", findings.len()))
            .help("fix them, then: fruitctl doctor"));
    }
    Ok(())
}

/// Looks at everything; where there are no credentials or no project, no further.
async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |check, verdict| findings.push(Finding { check, verdict });
    let aws = match Aws::connect(&config.aws).await {
        Ok(aws) => aws,
        Err(error) => {
            note("region and credentials", error.into());
            return findings;
        }
    };
    let rule = if config.aws.allowed_regions.is_empty() {
        "any region is allowed; set allowed_regions under [aws] where data may not leave a place".to_owned()
    } else {
        format!("among the allowed {}", config.aws.allowed_regions.join(", "))
    };
    note("credentials", good(format!("{} in account {}, by {}", aws.caller, aws.account, aws.source)));
    if let Some(other) = &aws.other {
        let remedy = "choose: --profile NAME, or --profile environment".into();
        note("one identity", Verdict::Bad { what: other.told(&aws), remedy });
    }
    for (name, url) in &aws.endpoints {
        note(
            "endpoint",
            Verdict::Unknown { what: format!("{name} is set: calls go to {url} in place of AWS") },
        );
    }
    note("region", good(format!("{} (from {}), {rule}", aws.region, aws.region_source)));
    let names = match Names::new(config, &aws) {
        Ok(names) => names,
        Err(error) => {
            note("project", error.into());
            return findings;
        }
    };
    let bucket = bucket::Spec::new(&names, &config.bucket);
    note(
        "bucket",
        match bucket::observe(&names, &bucket.name, &aws).await {
            Ok(Some(_)) => good(format!("{} is there", bucket.name)),
            Ok(None) => good(format!("{} can be made", bucket.name)),
            Err(error) => error.into(),
        },
    );
    if let Some(key) = &config.bucket.kms_key {
        note("KMS key", grants(key, &names, config));
    }
    examine_roles(&names, config, &bucket, &aws, &mut note).await;
    note(
        "SSH key",
        match key_pair::Spec::resolve(&names, &config.key) {
            _ if config.network.ssh_cidr == SshCidr::Closed => good("none is needed: port 22 is closed"),
            Ok(key) => good(key.file.display().to_string()),
            Err(error) => error.into(),
        },
    );
    examine_network(config, &aws, &mut note).await;
    examine_cluster(config, &aws, &mut note).await;
    note(
        "bootstrap actions",
        match bootstrap::read(&config.cluster.bootstrap, &bucket.name, &aws.region) {
            Ok(scripts) => good(scripts.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")),
            Err(error) => error.into(),
        },
    );
    if let Ok(cluster) = cluster::Spec::new(&config.cluster) {
        note("executable", executable(&cluster));
    }
    findings
}

/// Whether there is a fruitjob for the nodes. `up` does without, and `run` can be told of one.
fn executable(cluster: &cluster::Spec) -> Verdict {
    match find_executable(None, cluster) {
        Ok(_) => good(format!("there is a fruitjob that runs on {}", cluster.release)),
        Err(error) => Verdict::Unknown {
            what: format!(
                "there is no fruitjob for these nodes, which 'fruitctl run' ships: {}",
                error.help.unwrap_or(error.message)
            ),
        },
    }
}

/// Roles: ours, and those that AWS's services have.
async fn examine_roles(names: &Names, config: &Config, bucket: &bucket::Spec, aws: &Aws, note: Note<'_>) {
    for (check, spec) in [
        ("service role", roles::Spec::service(names, config)),
        ("node role", roles::Spec::node(names, config, bucket)),
    ] {
        let verdict = match roles::observe(names, &spec, aws).await {
            Ok(seen) if seen.role.is_some() => good(format!("{} is there", spec.name)),
            Ok(_) => good(format!("{} can be made", spec.name)),
            Err(error) => error.into(),
        };
        note(check, verdict);
    }
    if config.roles.service.is_none() || config.roles.node.is_none() {
        note("permissions boundary", boundary(names, config, aws).await);
    }
    for (service, verdict) in service_linked(config, aws).await {
        note(service, verdict);
    }
}

/// What a key's policy has to allow. That nobody can be asked who may not administer the key.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html>.
fn grants(key: &str, names: &Names, config: &Config) -> Verdict {
    let node = config.roles.node.clone().unwrap_or_else(|| names.node_role());
    Verdict::Unknown {
        what: format!(
            "{key} encrypts the bucket; whether its policy, or a grant, lets {node} and whoever runs fruitctl use kms:Decrypt and kms:GenerateDataKey is not looked at: aws kms get-key-policy --region {} --policy-name default --output text --key-id {key}",
            names.region
        ),
    }
}

/// The policy that the roles may not exceed.
async fn boundary(names: &Names, config: &Config, aws: &Aws) -> Verdict {
    let arn = roles::boundary(names, config);
    let name = arn.rsplit('/').next().unwrap_or(&arn);
    match aws.has_policy(&arn).await {
        Ok(Some(true)) => good(format!("no role that is made may exceed {name}")),
        Ok(Some(false)) if config.roles.boundary.is_some() => Verdict::Bad {
            what: format!("there is no policy {arn}, which [roles] names as boundary"),
            remedy: "make it, or leave boundary out of [roles]".into(),
        },
        Ok(Some(false)) => Verdict::Unknown {
            what: format!(
                "there is no policy {name}: roles are made without a limit, which the policies of 'fruitctl policy' do \
                 not allow; once, by an administrator: fruitctl policy --for boundary > boundary.json; aws iam \
                 create-policy --policy-name {name} --policy-document file://boundary.json"
            ),
        },
        Ok(None) => Verdict::Unknown { what: "may not be asked: iam:GetPolicy is not allowed".into() },
        Err(error) => asked(error),
    }
}

/// The roles that AWS's services work with in an account, where they are not there yet. They are made with the first
/// cluster, EMR's by whoever asks for it, Spot's by the service role; or the cluster ends.
/// Source: <https://docs.aws.amazon.com/emr/latest/ManagementGuide/using-service-linked-roles.html>.
async fn service_linked(config: &Config, aws: &Aws) -> Vec<(&'static str, Verdict)> {
    let uses_spot = cluster::Spec::new(&config.cluster).is_ok_and(|c| c.workforce.iter().any(|w| w.spot));
    let mut found = Vec::new();
    for (check, wanted, role, service, maker) in [
        ("EMR's own role", true, "AWSServiceRoleForEMRCleanup", "elasticmapreduce", "you"),
        ("Spot's own role", uses_spot, "AWSServiceRoleForEC2Spot", "spot", "the service role"),
    ] {
        if !wanted {
            continue;
        }
        let verdict = match aws.has_role(role).await {
            Ok(true) => good(format!("{role} is there")),
            Ok(false) => Verdict::Unknown {
                what: format!(
                    "there is no {role} yet: the first cluster makes it, if {maker} may; or, before that: \
                     aws iam create-service-linked-role --aws-service-name {service}.amazonaws.com"
                ),
            },
            Err(error) => asked(error),
        };
        found.push((check, verdict));
    }
    found
}

/// Who hears what a check came to.
type Note<'a> = &'a mut dyn FnMut(&'static str, Verdict);

/// Subnets, and who may come in.
async fn examine_network(config: &Config, aws: &Aws, note: Note<'_>) {
    let Ok(names) = Names::new(config, aws) else { return };
    // Looked up one by one, to find both faults at once.
    let without = |ssh_cidr| crate::config::NetworkConfig { ssh_cidr, ..config.network.clone() };
    note(
        "subnets",
        match network::Spec::resolve(&names, &without(SshCidr::Closed), None, aws).await {
            Ok(network) => subnets(&network, config.network.ssh_cidr != SshCidr::Closed, aws).await,
            Err(error) => error.into(),
        },
    );
    let ssh = match &config.network.ssh_cidr {
        SshCidr::Auto => {
            network::own_address(aws).await.map(|address| format!("port 22 from {address} only"))
        }
        SshCidr::Closed => Ok("port 22 is closed: no live logs".into()),
        SshCidr::Ranges(ranges) => Ok(format!("port 22 from {} only", ranges.join(", "))),
    };
    note("SSH", ssh.map_or_else(Verdict::from, good));
    note(
        "block public access",
        match aws.blocks_public_access().await {
            Ok(Some(true)) => good("on: EMR refuses clusters that are open to the world"),
            // No cluster fails for that: ours are closed by their own groups.
            Ok(Some(false)) => Verdict::Unknown {
                what: format!(
                    "off in {}: EMR would take clusters that are open to the world, which those of fruitctl are not; to \
                     turn it on: aws emr put-block-public-access-configuration --block-public-access-configuration \
                     BlockPublicSecurityGroupRules=true",
                    aws.region
                ),
            },
            Ok(None) => Verdict::Unknown { what: "EMR does not say".into() },
            Err(error) => asked(error),
        },
    );
}

/// Whether there is room in the subnets, and whether nodes there reach what they need. `ssh`: so should we.
async fn subnets(network: &network::Spec, ssh: bool, aws: &Aws) -> Verdict {
    let list: Vec<_> = network.subnets.iter().map(|s| format!("{} ({})", s.id, s.zone)).collect();
    let text = format!("{} of {}", list.join(", "), network.vpc());
    if let Some(subnet) = network.subnets.iter().find(|subnet| subnet.free < 4) {
        return Verdict::Bad {
            what: format!("{} has {} free addresses", subnet.id, subnet.free),
            remedy: "name a larger subnet under [network]".into(),
        };
    }
    if let Some(note) = network.note() {
        return Verdict::Unknown { what: format!("{text}; {note}") };
    }
    if network.is_private {
        return private_subnets(network, text, ssh, aws).await;
    }
    match network.subnets.iter().find(|subnet| !subnet.gives_addresses) {
        Some(subnet) => Verdict::Unknown {
            what: format!(
                "{text}; {} is public and gives no public addresses, without which its nodes may reach nothing: \
                 aws ec2 modify-subnet-attribute --subnet-id {} --map-public-ip-on-launch",
                subnet.id, subnet.id
            ),
        },
        None => good(text),
    }
}

/// The ways out of private subnets. `ssh`: we want a way in.
async fn private_subnets(network: &network::Spec, mut text: String, ssh: bool, aws: &Aws) -> Verdict {
    text += "; private";
    let mut doubts = Vec::new();
    for subnet in &network.subnets {
        match subnet.routes.as_ref().map(|routes| (&routes.table, &routes.way_out)) {
            Some((_, WayOut::Other(by))) => text += &format!(", {} has a route out by {by}", subnet.id),
            Some((table, WayOut::Nothing)) => match without_route(subnet, table, aws).await {
                Ok(doubt) => doubts.push(doubt),
                Err(verdict) => return verdict,
            },
            _ => {}
        }
    }
    if ssh {
        doubts.push("SSH needs a way in, such as a VPN; or set ssh_cidr = \"none\"".into());
    }
    if doubts.is_empty() {
        return good(text);
    }
    Verdict::Unknown { what: format!("{text}; {}", doubts.join("; ")) }
}

/// What is in doubt of a subnet without a default route, or what is wrong with it. The least that EMR's nodes need is S3.
/// Source: <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-clusters-in-a-vpc.html>.
async fn without_route(subnet: &Subnet, table: &str, aws: &Aws) -> std::result::Result<String, Verdict> {
    let endpoints = match aws.endpoints(&subnet.vpc).await {
        Ok(endpoints) => endpoints,
        Err(error) => match asked(error) {
            Verdict::Unknown { what } => {
                return Ok(format!("{} has no route out; whether it has endpoints {what}", subnet.id));
            }
            verdict => return Err(verdict),
        },
    };
    match endpoints.iter().find(|endpoint| endpoint.leads_to_s3(table)) {
        // Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-auto-termination-policy.html
        Some(endpoint) => Ok(format!(
            "{} has no route out but to S3, by {}: EMR ends an idle cluster only if its nodes reach API Gateway",
            subnet.id, endpoint.id
        )),
        None => Err(Verdict::Bad {
            what: format!(
                "{} has neither a route out nor an endpoint for S3, which nodes need to start",
                subnet.id
            ),
            remedy: format!(
                "add a route for 0.0.0.0/0 to a NAT gateway to {table}, or: aws ec2 create-vpc-endpoint \
                 --vpc-id {} --service-name com.amazonaws.{}.s3 --route-table-ids {table}",
                subnet.vpc, aws.region
            ),
        }),
    }
}

/// The release, its instance types, quotas and prices.
async fn examine_cluster(config: &Config, aws: &Aws, note: Note<'_>) {
    let spec = match cluster::check(config, &aws.region).and_then(|()| cluster::Spec::new(&config.cluster)) {
        Ok(spec) => spec,
        Err(error) => return note("cluster", error.into()),
    };
    let release = aws.has_release(&spec.release).await;
    let known = matches!(release, Ok(true));
    note(
        "release",
        match release {
            Ok(true) => good(spec.release.clone()),
            Ok(false) => Verdict::Bad {
                what: format!("{} is no release that {} has", spec.release, aws.region),
                remedy: "set release under [cluster] to one of: aws emr list-release-labels".into(),
            },
            Err(error) => asked(error),
        },
    );
    if known {
        let wanted: Vec<&String> = spec.workforce.iter().flat_map(|w| &w.types).collect();
        note(
            "instance types",
            match aws.supported_types(&spec.release).await {
                Ok(supported) => match wanted.iter().find(|kind| !supported.contains(kind)) {
                    None => good("supported by the release in this region"),
                    Some(kind) => Verdict::Bad {
                        what: format!(
                            "{} does not support {kind} in {}{}",
                            spec.release,
                            aws.region,
                            near(kind, &supported)
                        ),
                        remedy: format!(
                            "choose from: aws emr list-supported-instance-types --release-label {}",
                            spec.release
                        ),
                    },
                },
                Err(error) => asked(error),
            },
        );
    }
    examine_zones(config, &spec, aws, note).await;
    note(
        "quotas",
        Verdict::Unknown {
            what: format!(
                "not read; this cluster needs {} vCPUs on demand and {} of Spot: \
                 https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
                all_vcpus(&spec.workforce, false),
                all_vcpus(&spec.workforce, true)
            ),
        },
    );
    let prices = Prices::new(&config.prices);
    // In private subnets it is less, by the addresses.
    let estimate = prices.cluster(&aws.region, &spec.nodes(true));
    note(
        "prices",
        if estimate.unknown.is_empty() {
            good(format!("{}; prices of {}, {} days old", estimate.text(), estimate.as_of, prices.age_days()))
        } else {
            Verdict::Unknown {
                what: format!("no price of {}: set it under [prices]", estimate.unknown.join(", ")),
            }
        },
    );
}

/// Which of the subnets' zones have all instance types.
async fn examine_zones(config: &Config, spec: &cluster::Spec, aws: &Aws, note: Note<'_>) {
    let Ok(names) = Names::new(config, aws) else { return };
    let closed = crate::config::NetworkConfig { ssh_cidr: SshCidr::Closed, ..config.network.clone() };
    // Why there are no subnets is told already.
    let Ok(mut network) = network::Spec::resolve(&names, &closed, None, aws).await else { return };
    note(
        "zones",
        match zones::fit(&mut network, spec, aws).await {
            Ok(None) => {
                let zones: BTreeSet<_> = network.subnets.iter().map(|s| s.zone.as_str()).collect();
                good(format!("all instance types in {}", zones.into_iter().collect::<Vec<_>>().join(", ")))
            }
            Ok(Some(error)) => asked(error),
            Err(error) => error.into(),
        },
    );
    let more = [&*network.additional_primary, &*network.additional_workers].concat();
    if more.is_empty() && spec.image.is_none() {
        return;
    }
    note(
        "image and groups",
        match borrowed::check(&network, spec, aws).await {
            Ok(notes) if notes.is_empty() => {
                good(more.iter().chain(&spec.image).map(String::as_str).collect::<Vec<_>>().join(", "))
            }
            Ok(notes) => Verdict::Unknown { what: notes.join("; ") },
            Err(error) => error.into(),
        },
    );
}

/// Virtual CPUs of all instances on demand, or of Spot; of several types, of the largest.
fn all_vcpus(workforce: &[Workforce], spot: bool) -> i32 {
    workforce
        .iter()
        .filter(|w| w.spot == spot)
        .map(|w| w.count * w.types.iter().map(|kind| vcpus(kind)).max().unwrap_or(0) as i32)
        .sum()
}

/// The most similar name.
fn near(kind: &str, supported: &[String]) -> String {
    let distance = |name: &&String| strsim::damerau_levenshtein(kind, name);
    supported.iter().min_by_key(distance).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}
