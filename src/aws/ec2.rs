//! EC2: subnets, security groups, key pairs, Spot prices.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as t;

use super::vpc::{Routes, WayOut};
use super::{ApiError, Aws, Tags, absent, already, call};

type Result<T> = std::result::Result<T, ApiError>;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its availability zone.
    pub zone: String,
    /// Addresses that are free.
    pub free: i32,
    /// Its instances get public addresses by themselves.
    pub gives_addresses: bool,
    /// Where its route table leads; none, where that is not known.
    pub routes: Option<Routes>,
}

impl Subnet {
    /// Whether it is private: no route leads to an internet gateway. `None`: that is not known.
    pub fn is_private(&self) -> Option<bool> {
        let routes = self.routes.as_ref()?;
        Some(!matches!(routes.way_out, WayOut::InternetGateway(_)))
    }
}

/// A rule by which a group lets TCP through, to or from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which way.
    pub direction: Direction,
    /// The first and the last port.
    pub ports: (i32, i32),
    /// The id of the other group.
    pub group: String,
}

/// Which way packets go, as a group sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// They come from the other.
    In,
    /// They go to the other.
    Out,
}

impl Link {
    /// One of one port.
    pub fn new(direction: Direction, port: i32, group: &str) -> Link {
        Link { direction, ports: (port, port), group: group.into() }
    }
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// Its tags.
    pub tags: Tags,
    /// Rules that let addresses reach TCP port 22, in order.
    pub ssh: Vec<SshRule>,
    /// Other rules that let the whole internet in, as text.
    pub open: Vec<String>,
    /// Rules that let it out to the whole internet, as text.
    pub leaks: Vec<String>,
    /// Rules for TCP that name other groups.
    pub links: Vec<Link>,
    ingress: Vec<t::IpPermission>,
    egress: Vec<t::IpPermission>,
}

/// A rule that lets addresses reach TCP port 22.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshRule {
    /// Which addresses.
    pub cidr: String,
    /// The rule's description.
    pub about: String,
}

impl SshRule {
    /// Whether it lets the whole internet in.
    pub fn is_worldwide(&self) -> bool {
        is_world(Some(&self.cidr))
    }
}

impl Group {
    /// One without any rule.
    pub fn new(id: &str, name: &str, vpc: &str, tags: Tags) -> Group {
        Group { id: id.into(), name: name.into(), vpc: vpc.into(), tags, ..Group::default() }
    }

    /// Whether a rule of this group, or a wider one, is there.
    pub fn has(&self, wanted: &Link) -> bool {
        self.links.iter().any(|link| {
            (link.direction, &link.group) == (wanted.direction, &wanted.group)
                && link.ports.0 <= wanted.ports.0
                && wanted.ports.1 <= link.ports.1
        })
    }
}

/// A key pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPair {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Tags,
}

/// A machine image, as far as EC2 tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// `x86_64` or `arm64`, among others.
    pub architecture: Option<String>,
    /// `available`, when instances can start from it.
    pub state: Option<String>,
    /// `ebs`, where its root is a volume.
    pub root: Option<String>,
    /// GiB of that volume.
    pub root_gb: Option<i32>,
    /// It is no Linux.
    pub is_windows: bool,
    /// That volume is encrypted.
    pub is_encrypted: bool,
}

impl Aws {
    /// These subnets, or, where none are named, those of the default VPC; by zone. Their routes are asked for apart:
    /// [`Aws::route_tables`].
    pub async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>> {
        let on = if ids.is_empty() { "the default VPC's subnets".to_owned() } else { ids.join(", ") };
        let answer = call("ec2:DescribeSubnets", &on, || {
            let describe = self.ec2.describe_subnets();
            if ids.is_empty() {
                describe.filters(filter("default-for-az", "true")).send()
            } else {
                describe.set_subnet_ids(Some(ids.to_vec())).send()
            }
        })
        .await?;
        let mut subnets: Vec<_> = answer
            .subnets
            .unwrap_or_default()
            .into_iter()
            .map(|s| Subnet {
                id: s.subnet_id.unwrap_or_default(),
                vpc: s.vpc_id.unwrap_or_default(),
                zone: s.availability_zone.unwrap_or_default(),
                free: s.available_ip_address_count.unwrap_or(0),
                gives_addresses: s.map_public_ip_on_launch.unwrap_or(false),
                routes: None,
            })
            .collect();
        subnets.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
        Ok(subnets)
    }

    /// Security groups by a filter: `tag:KEY` or `group-name`.
    pub async fn groups(&self, name: &str, value: &str) -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        let mut next = None;
        loop {
            let page = call("ec2:DescribeSecurityGroups", value, || {
                self.ec2
                    .describe_security_groups()
                    .filters(filter(name, value))
                    .set_next_token(next.clone())
                    .send()
            })
            .await?;
            groups.extend(page.security_groups.unwrap_or_default().into_iter().map(group));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(groups);
            }
        }
    }

    /// Security groups by their ids; those that are not there are left out.
    pub async fn groups_of(&self, ids: &[String]) -> Result<Vec<Group>> {
        let on = ids.join(", ");
        let answer = call("ec2:DescribeSecurityGroups", &on, || {
            // By a filter: a call that names one that is not there fails, and says no more.
            let wanted = t::Filter::builder().name("group-id").set_values(Some(ids.to_vec())).build();
            self.ec2.describe_security_groups().filters(wanted).send()
        });
        Ok(answer.await?.security_groups.unwrap_or_default().into_iter().map(group).collect())
    }

    /// A machine image that this account may use.
    pub async fn image(&self, id: &str) -> Result<Option<Image>> {
        let describe = call("ec2:DescribeImages", id, || self.ec2.describe_images().image_ids(id).send());
        let gone = ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidAMIID.Malformed"];
        let found =
            absent(describe.await, &gone)?.and_then(|o| o.images).and_then(|all| all.into_iter().next());
        Ok(found.map(|image| {
            let root = image.root_device_name.as_deref();
            let mut devices = image.block_device_mappings.into_iter().flatten();
            let volume =
                devices.find(|device| device.device_name.as_deref() == root).and_then(|device| device.ebs);
            Image {
                architecture: image.architecture.map(|a| a.as_str().to_owned()),
                state: image.state.map(|s| s.as_str().to_owned()),
                root: image.root_device_type.map(|t| t.as_str().to_owned()),
                root_gb: volume.as_ref().and_then(|volume| volume.volume_size),
                is_encrypted: volume.and_then(|volume| volume.encrypted) == Some(true),
                is_windows: image.platform == Some(t::PlatformValues::Windows),
            }
        }))
    }

    /// Makes a group, tagged from its first moment; `None`: there is one of this name in this VPC.
    pub async fn create_group(
        &self,
        name: &str,
        about: &str,
        vpc: &str,
        tags: &Tags,
    ) -> Result<Option<String>> {
        let create = call("ec2:CreateSecurityGroup", name, || {
            self.ec2
                .create_security_group()
                .group_name(name)
                .description(about)
                .vpc_id(vpc)
                .tag_specifications(specification(t::ResourceType::SecurityGroup, tags))
                .send()
        });
        Ok(absent(create.await, &["InvalidGroup.Duplicate"])?.and_then(|o| o.group_id))
    }

    /// Lets addresses reach port 22; those that may already are fine, whatever that rule's description.
    pub async fn allow_ssh(&self, group: &str, rule: &SshRule) -> Result<()> {
        let allow = call("ec2:AuthorizeSecurityGroupIngress", group, || {
            self.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(ssh(rule)).send()
        });
        already(allow.await, &["InvalidPermission.Duplicate"])
    }

    /// Takes that back; a rule that is gone is fine.
    pub async fn forbid_ssh(&self, group: &str, rule: &SshRule) -> Result<()> {
        let revoke = call("ec2:RevokeSecurityGroupIngress", group, || {
            self.ec2.revoke_security_group_ingress().group_id(group).ip_permissions(ssh(rule)).send()
        });
        already(revoke.await, &["InvalidPermission.NotFound"])
    }

    /// Lets a group reach another, or be reached by it; a rule that is there already is fine.
    pub async fn link(&self, group: &str, link: &Link) -> Result<()> {
        let rule = t::IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(link.ports.0)
            .to_port(link.ports.1)
            .user_id_group_pairs(t::UserIdGroupPair::builder().group_id(&link.group).build())
            .build();
        let known = ["InvalidPermission.Duplicate"];
        match link.direction {
            Direction::In => {
                let allow = call("ec2:AuthorizeSecurityGroupIngress", group, || {
                    let request = self.ec2.authorize_security_group_ingress();
                    request.group_id(group).ip_permissions(rule.clone()).send()
                });
                already(allow.await, &known)
            }
            Direction::Out => {
                let allow = call("ec2:AuthorizeSecurityGroupEgress", group, || {
                    let request = self.ec2.authorize_security_group_egress();
                    request.group_id(group).ip_permissions(rule.clone()).send()
                });
                already(allow.await, &known)
            }
        }
    }

    /// Takes away all rules of a group that name another group: EMR makes its groups name each other, and none
    /// could be deleted.
    pub async fn disentangle(&self, group: &Group) -> Result<()> {
        self.forbid(group, Direction::In, group.ingress.iter().filter_map(between).collect()).await?;
        self.forbid(group, Direction::Out, group.egress.iter().filter_map(between).collect()).await
    }

    /// Takes away all rules, but those for SSH, that let the whole internet in.
    pub async fn close(&self, group: &Group) -> Result<()> {
        for rule in group.ingress.iter().filter(|rule| !is_ssh(rule)).filter_map(worldwide) {
            self.forbid(group, Direction::In, vec![rule]).await?;
        }
        Ok(())
    }

    /// Takes away all rules that let a group out to the whole internet.
    pub async fn close_outward(&self, group: &Group) -> Result<()> {
        for rule in group.egress.iter().filter_map(worldwide) {
            self.forbid(group, Direction::Out, vec![rule]).await?;
        }
        Ok(())
    }

    /// Takes rules away in one call; what is gone is fine.
    async fn forbid(&self, group: &Group, direction: Direction, rules: Vec<t::IpPermission>) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let gone = ["InvalidPermission.NotFound", "InvalidGroup.NotFound"];
        match direction {
            Direction::In => {
                let revoke = call("ec2:RevokeSecurityGroupIngress", &group.id, || {
                    let request = self.ec2.revoke_security_group_ingress();
                    request.group_id(&group.id).set_ip_permissions(Some(rules.clone())).send()
                });
                already(revoke.await, &gone)
            }
            Direction::Out => {
                let revoke = call("ec2:RevokeSecurityGroupEgress", &group.id, || {
                    let request = self.ec2.revoke_security_group_egress();
                    request.group_id(&group.id).set_ip_permissions(Some(rules.clone())).send()
                });
                already(revoke.await, &gone)
            }
        }
    }

    /// Deletes a group; one that is gone is fine.
    pub async fn delete_group(&self, id: &str) -> Result<()> {
        let delete =
            call("ec2:DeleteSecurityGroup", id, || self.ec2.delete_security_group().group_id(id).send());
        already(delete.await, &["InvalidGroup.NotFound", "InvalidGroupId.Malformed"])
    }

    /// Key pairs by a filter: `tag:KEY` or `key-name`.
    pub async fn key_pairs(&self, name: &str, value: &str) -> Result<Vec<KeyPair>> {
        let answer = call("ec2:DescribeKeyPairs", value, || {
            self.ec2.describe_key_pairs().filters(filter(name, value)).send()
        })
        .await?;
        let pairs = answer
            .key_pairs
            .unwrap_or_default()
            .into_iter()
            .map(|k| KeyPair { name: k.key_name.unwrap_or_default(), tags: plain(k.tags) });
        Ok(pairs.collect())
    }

    /// Imports a public key, tagged from its first moment. False: there is one of this name.
    pub async fn import_key_pair(&self, name: &str, public_key: &str, tags: &Tags) -> Result<bool> {
        let material = aws_sdk_ec2::primitives::Blob::new(public_key.as_bytes());
        let import = call("ec2:ImportKeyPair", name, || {
            self.ec2
                .import_key_pair()
                .key_name(name)
                .public_key_material(material.clone())
                .tag_specifications(specification(t::ResourceType::KeyPair, tags))
                .send()
        });
        Ok(absent(import.await, &["InvalidKeyPair.Duplicate"])?.is_some())
    }

    /// Deletes a key pair; one that is gone is fine.
    pub async fn delete_key_pair(&self, name: &str) -> Result<()> {
        let delete = call("ec2:DeleteKeyPair", name, || self.ec2.delete_key_pair().key_name(name).send());
        already(delete.await, &["InvalidKeyPair.NotFound"])
    }

    /// Which of these types each zone of the region offers.
    pub async fn offered_types(
        &self,
        types: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let on = types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (mut offers, mut next) = (BTreeMap::<_, BTreeSet<_>>::new(), None);
        loop {
            let page = call("ec2:DescribeInstanceTypeOfferings", &on, || {
                let wanted = t::Filter::builder()
                    .name("instance-type")
                    .set_values(Some(types.iter().cloned().collect()))
                    .build();
                self.ec2
                    .describe_instance_type_offerings()
                    .location_type(t::LocationType::AvailabilityZone)
                    .filters(wanted)
                    .set_next_token(next.clone())
                    .send()
            })
            .await?;
            for offer in page.instance_type_offerings.unwrap_or_default() {
                if let (Some(zone), Some(kind)) = (offer.location, offer.instance_type) {
                    offers.entry(zone).or_default().insert(kind.as_str().to_owned());
                }
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(offers);
            }
        }
    }

    /// The lowest present Spot price of each of these types, over the zones, in dollars an hour.
    pub async fn spot_prices(&self, types: &[String]) -> Result<BTreeMap<String, f64>> {
        let now = aws_sdk_ec2::primitives::DateTime::from(std::time::SystemTime::now());
        let answer = call("ec2:DescribeSpotPriceHistory", &types.join(", "), || {
            self.ec2
                .describe_spot_price_history()
                .set_instance_types(Some(types.iter().map(|t| t.as_str().into()).collect()))
                .product_descriptions("Linux/UNIX")
                .start_time(now)
                .send()
        })
        .await?;
        let mut lowest = BTreeMap::new();
        for price in answer.spot_price_history.unwrap_or_default() {
            if let (Some(kind), Some(Ok(dollars))) =
                (price.instance_type, price.spot_price.map(|p| p.parse::<f64>()))
            {
                let least = lowest.entry(kind.as_str().to_owned()).or_insert(dollars);
                *least = least.min(dollars);
            }
        }
        Ok(lowest)
    }
}

pub(super) fn filter(name: &str, value: &str) -> t::Filter {
    t::Filter::builder().name(name).values(value).build()
}

fn specification(kind: t::ResourceType, tags: &Tags) -> t::TagSpecification {
    let tags = tags.iter().map(|(k, v)| t::Tag::builder().key(k).value(v).build()).collect();
    t::TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
}

fn plain(tags: Option<Vec<t::Tag>>) -> Tags {
    tags.unwrap_or_default()
        .into_iter()
        .map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default()))
        .collect()
}

fn ssh(SshRule { cidr, about }: &SshRule) -> t::IpPermission {
    let about = Some(about.clone()).filter(|about| !about.is_empty());
    let rule = t::IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22);
    if cidr.contains(':') {
        rule.ipv6_ranges(t::Ipv6Range::builder().cidr_ipv6(cidr).set_description(about).build()).build()
    } else {
        rule.ip_ranges(t::IpRange::builder().cidr_ip(cidr).set_description(about).build()).build()
    }
}

fn is_ssh(rule: &t::IpPermission) -> bool {
    rule.ip_protocol.as_deref() == Some("tcp") && (rule.from_port, rule.to_port) == (Some(22), Some(22))
}

fn is_world(cidr: Option<&str>) -> bool {
    cidr.is_some_and(|cidr| cidr.ends_with("/0"))
}

/// What of a rule names other groups.
fn between(rule: &t::IpPermission) -> Option<t::IpPermission> {
    let pairs = rule.user_id_group_pairs.clone().filter(|pairs| !pairs.is_empty())?;
    Some(same_ports(rule).set_user_id_group_pairs(Some(pairs)).build())
}

/// What of a rule is about the whole internet.
fn worldwide(rule: &t::IpPermission) -> Option<t::IpPermission> {
    let v4: Vec<_> = rule.ip_ranges.iter().flatten().filter(|r| is_world(r.cidr_ip())).cloned().collect();
    let v6: Vec<_> = rule.ipv6_ranges.iter().flatten().filter(|r| is_world(r.cidr_ipv6())).cloned().collect();
    if v4.is_empty() && v6.is_empty() {
        return None;
    }
    let rule = same_ports(rule).set_ip_ranges((!v4.is_empty()).then_some(v4));
    Some(rule.set_ipv6_ranges((!v6.is_empty()).then_some(v6)).build())
}

fn same_ports(rule: &t::IpPermission) -> aws_sdk_ec2::types::builders::IpPermissionBuilder {
    t::IpPermission::builder()
        .set_ip_protocol(rule.ip_protocol.clone())
        .set_from_port(rule.from_port)
        .set_to_port(rule.to_port)
}

/// Addresses that a rule is about.
fn cidrs(rule: &t::IpPermission) -> impl Iterator<Item = String> {
    ranges(rule).map(|(cidr, _)| cidr)
}

/// The same, with their descriptions.
fn ranges(rule: &t::IpPermission) -> impl Iterator<Item = (String, String)> {
    let about = |text: &Option<String>| text.clone().unwrap_or_default();
    let v4 = rule
        .ip_ranges
        .iter()
        .flatten()
        .filter_map(move |r| Some((r.cidr_ip.clone()?, about(&r.description))));
    let v6 = rule.ipv6_ranges.iter().flatten();
    v4.chain(v6.filter_map(move |r| Some((r.cidr_ipv6.clone()?, about(&r.description)))))
}

fn ports(rule: &t::IpPermission) -> (i32, i32) {
    (rule.from_port.unwrap_or(0), rule.to_port.unwrap_or(65535))
}

fn port_text(rule: &t::IpPermission) -> String {
    let (first, last) = ports(rule);
    format!("ports {first}-{last}")
}

/// The groups that a rule for TCP names; -1 is any protocol.
fn links(rule: &t::IpPermission, direction: Direction) -> impl Iterator<Item = Link> {
    let is_tcp = matches!(rule.ip_protocol.as_deref(), Some("tcp" | "6" | "-1"));
    let pairs = rule.user_id_group_pairs.iter().flatten().filter(move |_| is_tcp);
    let ports = ports(rule);
    pairs.filter_map(move |pair| Some(Link { direction, ports, group: pair.group_id.clone()? }))
}

fn group(g: t::SecurityGroup) -> Group {
    let (ingress, egress) =
        (g.ip_permissions.unwrap_or_default(), g.ip_permissions_egress.unwrap_or_default());
    let (mut ssh, mut open) = (Vec::new(), Vec::new());
    for rule in &ingress {
        for (cidr, about) in ranges(rule) {
            if is_ssh(rule) {
                ssh.push(SshRule { cidr, about });
            } else if is_world(Some(&cidr)) {
                open.push(format!("{} from {cidr}", port_text(rule)));
            }
        }
    }
    ssh.sort();
    let mut leaks = Vec::new();
    for rule in &egress {
        let worlds = cidrs(rule).filter(|cidr| is_world(Some(cidr)));
        leaks.extend(worlds.map(|cidr| format!("{} to {cidr}", port_text(rule))));
    }
    let inward = ingress.iter().flat_map(|rule| links(rule, Direction::In));
    let links = inward.chain(egress.iter().flat_map(|rule| links(rule, Direction::Out))).collect();
    Group {
        id: g.group_id.unwrap_or_default(),
        name: g.group_name.unwrap_or_default(),
        vpc: g.vpc_id.unwrap_or_default(),
        tags: plain(g.tags),
        ssh,
        open,
        leaks,
        links,
        ingress,
        egress,
    }
}
