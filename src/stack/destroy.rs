//! Taking everything away, and proving it. What has not our tag is not touched.

use serde::Serialize;

use super::lock;
use super::names::{BY_PROJECT, Names, OWNER};
use super::resources::bucket::SCRATCH;
use super::resources::{bucket, cluster, key_pair, network, roles, security_configuration};
use crate::aws::Aws;
use crate::aws::s3::{Contents, Found};
use crate::error::{Error, Kind, Result};

/// What of a project exists, by tag and by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inventory {
    /// Ids of clusters that have not ended.
    pub clusters: Vec<String>,
    /// The bucket, if it is there and ours.
    pub bucket: Option<String>,
    /// The bucket was there before fruitctl, and stays.
    #[serde(skip)]
    pub is_adopted: bool,
    /// What lies in it, but for what can be made again.
    pub contents: Contents,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Names of instance profiles.
    pub profiles: Vec<String>,
    /// Names of key pairs.
    pub key_pairs: Vec<String>,
    /// Ids of security groups.
    pub groups: Vec<String>,
    /// Names of security configurations.
    pub security_configurations: Vec<String>,
}

impl Inventory {
    /// Line by line.
    pub fn lines(&self) -> Vec<String> {
        let each = |what: &str, names: &[String]| {
            names.iter().map(|name| format!("{what} {name}")).collect::<Vec<_>>()
        };
        [
            each("cluster", &self.clusters),
            each("security group", &self.groups),
            each("key pair", &self.key_pairs),
            each("instance profile", &self.profiles),
            each("role", &self.roles),
            each("security configuration", &self.security_configurations),
            self.bucket.iter().filter(|_| !self.is_adopted).map(|name| format!("bucket {name}")).collect(),
        ]
        .concat()
    }

    /// What `--purge-bucket` deletes of a bucket that was there before.
    pub fn purged_of_adopted(&self) -> Option<String> {
        let name = self.bucket.as_ref().filter(|_| self.is_adopted)?;
        Some(format!("all below {} of bucket {name}, whoever put it there", bucket::CLEARED.join(", ")))
    }

    /// All of it but the bucket.
    pub fn but_bucket(&self) -> Inventory {
        Inventory { bucket: None, contents: Contents::default(), ..self.clone() }
    }
}

/// Looks for everything. `bucket`: its name, configured or ours.
pub async fn inventory(names: &Names, bucket: &str, aws: &Aws) -> Result<Inventory> {
    let bucket_and_contents = async {
        match aws.find_bucket(bucket).await? {
            Found::Here => {
                let tags = aws.bucket_tags(bucket).await?;
                if !names.owns(&tags) {
                    return Ok((None, false, Contents::default()));
                }
                let contents = aws.contents(bucket, &SCRATCH).await?;
                Ok((Some(bucket.to_owned()), !bucket::is_made(&tags), contents))
            }
            _ => Ok((None, false, Contents::default())),
        }
    };
    let roles_and_profiles = async {
        let (mut roles, mut profiles) = (Vec::new(), Vec::new());
        for name in [names.service_role(), names.node_role()] {
            let (role, profile) = tokio::try_join!(aws.role(&name), aws.profile(&name))?;
            roles.extend(role.filter(|r| names.owns(&r.tags)).map(|_| name.clone()));
            profiles.extend(profile.filter(|p| names.owns(&p.tags)).map(|_| name));
        }
        Ok((roles, profiles))
    };
    let (
        clusters,
        (bucket, is_adopted, contents),
        (roles, profiles),
        key_pairs,
        groups,
        security_configurations,
    ) = tokio::try_join!(
        cluster::living(names, aws),
        bucket_and_contents,
        roles_and_profiles,
        async { Ok(aws.key_pairs(BY_PROJECT, &names.project).await?) },
        async { Ok(aws.groups(BY_PROJECT, &names.project).await?) },
        security_configuration::all(names, aws),
    )?;
    Ok(Inventory {
        clusters: clusters.into_iter().map(|c| c.id).collect(),
        bucket,
        is_adopted,
        contents,
        roles,
        profiles,
        key_pairs: key_pairs.into_iter().map(|k| k.name).collect(),
        groups: groups.into_iter().map(|g| g.id).collect(),
        security_configurations,
    })
}

/// Deletes what there is: clusters first, then what they used, then the bucket. The bucket stays where there are
/// data in it, unless `purge`. `seen`: ids of the clusters that were there when it was decided. `report` hears what is
/// being done.
///
/// # Errors
/// [`Kind::Refused`], where there is a cluster by now that was not there: it is somebody's who came meanwhile.
pub async fn destroy(
    names: &Names,
    bucket: &str,
    purge: bool,
    seen: &[String],
    aws: &Aws,
    report: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let clusters = cluster::living(names, aws).await?;
    if let Some(new) = clusters.iter().find(|found| !seen.contains(&found.id)) {
        let owner = new.cluster.tags.get(OWNER).map_or("somebody", String::as_str);
        return Err(Error::new(
            Kind::Refused,
            format!("cluster {} of {owner} was made while this command waited; nothing was deleted", new.id),
        )
        .help("fruitctl down --dry-run shows what there is now"));
    }
    for found in &clusters {
        report(&format!("terminating cluster {}", found.id));
        cluster::terminate(found, aws).await?;
    }
    let ids: Vec<_> = clusters.iter().map(|c| c.id.clone()).collect();
    cluster::wait_ended(&ids, aws, &|id, state| report(&format!("cluster {id} is {}", state.in_words())))
        .await?;

    report("deleting security groups, key pairs, roles and security configurations");
    // All of them to their end, even if one fails.
    let (service_role, node_role) = (names.service_role(), names.node_role());
    let results = tokio::join!(
        network::destroy(names, aws),
        key_pair::destroy(names, aws),
        roles::destroy(names, &service_role, aws),
        roles::destroy(names, &node_role, aws),
        security_configuration::destroy(names, aws),
    );
    let mut failure = None;
    for result in [results.0, results.1, results.2, results.3, results.4] {
        if let Err(error) = result {
            failure.get_or_insert(error);
        }
    }
    let mut keep = false;
    let tags = match aws.find_bucket(bucket).await? {
        Found::Here => aws.bucket_tags(bucket).await?,
        _ => Default::default(),
    };
    let (lock, deleted) =
        (lock::Name::stack(), |n| report(&format!("deleted {n} objects and versions of bucket {bucket}")));
    if names.owns(&tags) && !bucket::is_made(&tags) {
        keep = true;
        if purge && failure.is_none() {
            report(&format!("deleting what fruitctl has written to bucket {bucket}"));
            bucket::clear(bucket, lock.key(), aws, &deleted).await?;
        }
    } else if names.owns(&tags) {
        keep = !purge && !aws.contents(bucket, &SCRATCH).await?.is_empty();
        // What failed needs the lock, which lies in the bucket, once more.
        if !keep && failure.is_none() {
            report(&format!("deleting bucket {bucket}"));
            bucket::destroy(bucket, lock.key(), aws, &deleted).await?;
        }
    }
    if let Some(failure) = failure {
        return Err(failure.help("fix that, then: fruitctl down"));
    }
    let left = inventory(names, bucket, aws).await?;
    let left = if keep { left.but_bucket() } else { left }.lines();
    if !left.is_empty() {
        return Err(Error::new(Kind::LeftBehind, "not all is gone")
            .leftover(left.join(", "))
            .help("fruitctl down"));
    }
    Ok(())
}
