//! The bucket: encrypted, versioned, private, TLS only, without ACLs, and with rules that clear it up.

use serde_json::{Value, json};

use crate::aws::s3::{BucketSettings, Expiry, Found};
use crate::aws::{Aws, Tags, fence};
use crate::config::BucketConfig;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;
use crate::stack::change::{Change, Resource};
use crate::stack::names::{MADE, Names};

/// Where bootstrap actions lie, by the hash of their content.
pub const BOOTSTRAP: &str = "bootstrap/";
/// Where EMR puts its logs.
pub const LOGS: &str = "logs/";
/// Where nodes publish their SSH host keys.
pub const HOST_KEYS: &str = "hostkeys/";
/// Where job executables and models lie, by the hash of their content.
pub const JOBS: &str = "jobs/";
/// Where images lie, unless `[job]` names another place.
pub const INPUT: &str = "input/";
/// Where results lie, unless `[job]` names another place.
pub const OUTPUT: &str = "output/";
/// The history of runs.
pub const RUNS: &str = "runs/";
/// Where nothing lasts.
pub const TMP: &str = "tmp/";
/// What is nobody's but ours.
pub const OWN: &str = ".fruitctl/";
/// What can be made again: no reason to keep a bucket.
pub const SCRATCH: [&str; 5] = [BOOTSTRAP, HOST_KEYS, JOBS, TMP, OWN];

/// What is deleted of a bucket that was there before fruitctl: all but images, which people may have put there.
pub const CLEARED: [&str; 8] = [LOGS, OUTPUT, RUNS, BOOTSTRAP, HOST_KEYS, JOBS, TMP, OWN];

/// What the bucket should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub settings: BucketSettings,
}

impl Spec {
    /// As configured.
    pub fn new(names: &Names, config: &BucketConfig) -> Spec {
        let name = config.name.clone().unwrap_or_else(|| names.bucket());
        let rule = |id: &str, prefix: &str, days: u16| Expiry {
            id: format!("fruitctl-{id}"),
            prefix: prefix.into(),
            days: days.into(),
            noncurrent_days: 0,
            abort_days: 0,
        };
        let lifecycle = vec![
            Expiry { noncurrent_days: config.undo_days.into(), abort_days: 7, ..rule("all", "", 0) },
            rule("logs", LOGS, config.logs_days),
            rule("tmp", TMP, config.tmp_days),
        ];
        let settings = BucketSettings {
            encryption: Some(config.kms_key.clone()),
            public_access_blocked: true,
            ownership_enforced: true,
            versioning: true,
            policy: vec![tls_only(&name)],
            lifecycle,
            tags: names.tags().into_iter().chain([(MADE.to_owned(), "bucket".to_owned())]).collect(),
        };
        Spec { name, settings }
    }

    /// What a plan says of a bucket that was there before fruitctl: it keeps its settings, and what they lack is said.
    pub fn note(&self, seen: Option<&BucketSettings>) -> Option<String> {
        let seen = seen.filter(|seen| !is_made(&seen.tags))?;
        let missing: Vec<_> = wrong(&self.settings, seen).into_iter().map(|(_, reason)| reason).collect();
        if missing.is_empty() {
            return None;
        }
        Some(format!(
            "bucket {} was not made by fruitctl, and keeps its settings; it could: {}",
            self.name,
            missing.join("; ")
        ))
    }
}

/// Whether fruitctl made the bucket that has these tags.
pub fn is_made(tags: &Tags) -> bool {
    tags.contains_key(MADE)
}

/// Requests without TLS are refused.
fn tls_only(bucket: &str) -> Value {
    json!({
        "Sid": "FruitctlTlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    })
}

/// Its settings, if it is there and ours; an error if it is not ours.
pub async fn observe(names: &Names, name: &str, aws: &Aws) -> Result<Option<BucketSettings>> {
    match aws.find_bucket(name).await? {
        Found::Absent => Ok(None),
        Found::Here => {
            let settings = aws.bucket_settings(name).await?;
            if names.owns(&settings.tags) {
                Ok(Some(settings))
            } else {
                Err(names.foreign("bucket", name, &settings.tags))
            }
        }
        Found::Elsewhere(region) => Err(Error::new(
            Kind::Refused,
            format!("bucket {name} is in {region}, and the configured region is {}", names.region),
        )
        .help("set region under [aws] to where the bucket is, or another name under [bucket]")),
        Found::Forbidden => Err(Error::new(
            Kind::Denied,
            format!(
                "bucket {name} is another account's, or these credentials may not see it (s3:ListBucket)"
            ),
        )
        .help(format!("where it is yours: fruitctl policy; else {}", another_name(names, name)))),
    }
}

/// What to do about a name that another account has: one that is not proposed is the same again.
fn another_name(names: &Names, taken: &str) -> String {
    let mut name = names.bucket();
    if name == taken {
        // 63 characters are the most; they are ASCII.
        name.truncate(54);
        name = format!("{}-{}", name.trim_end_matches('-'), &sha256(taken.as_bytes())[..8]);
    }
    format!("set another name under [bucket] in fruitctl.toml, such as {name}")
}

/// A setting that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    PublicAccess,
    Ownership,
    Encryption,
    Versioning,
    Lifecycle,
    Policy,
}

fn is_ours(rule: &str) -> bool {
    rule.starts_with("fruitctl-")
}

/// What is wrong, each with its reason; in the order in which it is fixed: what protects first.
fn wrong(spec: &BucketSettings, seen: &BucketSettings) -> Vec<(Setting, String)> {
    let mut wrong = Vec::new();
    let mut note = |setting, reason: &str| wrong.push((setting, reason.to_owned()));
    if !seen.public_access_blocked {
        note(Setting::PublicAccess, "block public access");
    }
    if !seen.ownership_enforced {
        note(Setting::Ownership, "switch ACLs off");
    }
    // Without a configuration, S3 encrypts with its own keys; we say so anyway.
    if seen.encryption != spec.encryption {
        match &spec.encryption {
            Some(Some(key)) => note(Setting::Encryption, &format!("encrypt with {key}")),
            _ => note(Setting::Encryption, "encrypt with S3's keys"),
        }
    }
    if !seen.versioning {
        note(Setting::Versioning, "keep versions");
    }
    let ours: Vec<_> = seen.lifecycle.iter().filter(|rule| is_ours(&rule.id)).collect();
    if ours.len() != spec.lifecycle.len() || !spec.lifecycle.iter().all(|rule| ours.contains(&rule)) {
        note(Setting::Lifecycle, "set rules that expire logs, tmp, old versions and unfinished uploads");
    }
    if !spec.policy.iter().all(|statement| seen.policy.contains(statement)) {
        note(Setting::Policy, "refuse requests without TLS");
    }
    wrong
}

/// What there is to do.
pub fn diff(spec: &Spec, seen: Option<&BucketSettings>) -> Change {
    let ours = seen.filter(|seen| is_made(&seen.tags));
    let reasons =
        ours.map(|seen| wrong(&spec.settings, seen).into_iter().map(|(_, reason)| reason).collect());
    Change::of(Resource::Bucket, &spec.name, seen.is_some(), reasons.unwrap_or_default())
}

/// Makes it, without any setting but its tags: the place where the lock lies.
pub async fn create(names: &Names, spec: &Spec, aws: &Aws) -> Result<()> {
    aws.create_bucket(&spec.name, &spec.settings.tags).await.map_err(|error| match error.code.as_str() {
        "BucketAlreadyExists" => Error::new(
            Kind::Refused,
            format!(
                "another account has a bucket of the name {}; names of buckets are the world's",
                spec.name
            ),
        )
        .help(another_name(names, &spec.name)),
        _ => error.into(),
    })
}

/// Sets what is not as it should be. `seen`: the settings of a bucket that is not new. One that fruitctl did not make is
/// left as it is: it may serve others.
pub async fn apply(spec: &Spec, seen: Option<&BucketSettings>, aws: &Aws) -> Result<()> {
    if seen.is_some_and(|seen| !is_made(&seen.tags)) {
        return Ok(());
    }
    let new = BucketSettings::default();
    let (name, settings, seen) = (&spec.name, &spec.settings, seen.unwrap_or(&new));
    for (setting, _) in wrong(settings, seen) {
        match setting {
            Setting::PublicAccess => aws.block_public_access(name).await?,
            Setting::Ownership => aws.enforce_ownership(name).await?,
            Setting::Encryption => {
                aws.put_bucket_encryption(name, settings.encryption.as_ref().and_then(Option::as_deref))
                    .await?;
            }
            Setting::Versioning => aws.enable_versioning(name).await?,
            Setting::Lifecycle => aws.put_lifecycle(name, &settings.lifecycle, is_ours).await?,
            // Statements of other people stay.
            Setting::Policy => {
                let others = seen
                    .policy
                    .iter()
                    .filter(|s| !s["Sid"].as_str().is_some_and(|sid| sid.starts_with("Fruitctl")));
                let statements: Vec<Value> = others.chain(&settings.policy).cloned().collect();
                aws.put_bucket_policy(name, &statements).await?;
            }
        }
    }
    Ok(())
}

/// Deletes what lies below our prefixes in a bucket that was there before fruitctl, but for the images: who put them
/// there is not known. The lock goes last.
pub async fn clear(name: &str, lock: &str, aws: &Aws, deleted: &(dyn Fn(u64) + Sync)) -> Result<()> {
    for prefix in CLEARED {
        aws.empty_bucket(name, prefix, Some(lock), deleted).await?;
    }
    Ok(())
}

/// Deletes it with all that is in it. Only for `--purge-bucket`, or where nothing but scratch is in it. `lock`: the key of
/// the lock under which this is done, which goes last.
pub async fn destroy(name: &str, lock: &str, aws: &Aws, deleted: &(dyn Fn(u64) + Sync)) -> Result<()> {
    match aws.empty_bucket(name, "", Some(lock), deleted).await {
        Err(error) if error.is(&["NoSuchBucket"]) => return Ok(()),
        other => other?,
    }
    fence::prove().await?;
    fence::retire();
    fence::lifted(async {
        // Somebody may still be writing: a cluster's last logs come late.
        for _ in 0..5 {
            match aws.empty_bucket(name, "", None, deleted).await {
                Err(error) if error.is(&["NoSuchBucket"]) => return Ok(true),
                other => other?,
            }
            match aws.delete_bucket(name).await {
                Err(error) if error.is(&["BucketNotEmpty"]) => crate::clock::sleep(2.0).await,
                other => return other.map(|()| true),
            }
        }
        Ok(false)
    })
    .await?
    .then_some(())
    .ok_or_else(|| {
        Error::new(Kind::LeftBehind, format!("bucket {name} fills while it is being emptied"))
            .leftover(format!("bucket {name}"))
            .help("find out who writes to it, then: fruitctl down --purge-bucket")
    })
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::change::Action;

    fn spec() -> Spec {
        let names = Names {
            project: "fruits".into(),
            region: "eu-west-3".into(),
            account: "1".into(),
            more_tags: [].into(),
        };
        Spec::new(&names, &BucketConfig::default())
    }

    #[test]
    fn a_bucket_as_it_should_be_is_kept() {
        let spec = spec();
        assert_eq!(diff(&spec, Some(&spec.settings)).action, Action::Keep);
        assert_eq!(diff(&spec, None).action, Action::Create);
        // What others added is theirs.
        let mut seen = spec.settings.clone();
        seen.tags.insert("team".into(), "fruit".into());
        seen.policy.push(json!({ "Sid": "Theirs" }));
        seen.lifecycle.push(Expiry { id: "theirs".into(), ..seen.lifecycle[0].clone() });
        assert_eq!(diff(&spec, Some(&seen)).action, Action::Keep);
    }

    /// A company's bucket, with a tag that says that the project may use it.
    #[test]
    fn a_bucket_that_was_there_keeps_its_settings() {
        let spec = spec();
        let mut seen = BucketSettings { tags: spec.settings.tags.clone(), ..BucketSettings::default() };
        assert_eq!((diff(&spec, Some(&seen)).action, spec.note(Some(&seen))), (Action::Update, None));
        seen.tags.remove(MADE);
        assert_eq!(diff(&spec, Some(&seen)).action, Action::Keep);
        let note = spec.note(Some(&seen)).unwrap();
        assert!(note.contains("it could: block public access; ") && note.ends_with("without TLS"), "{note}");
        let whole = BucketSettings { tags: seen.tags.clone(), ..spec.settings.clone() };
        assert_eq!(spec.note(Some(&whole)), None);
    }

    #[test]
    fn each_setting_that_drifted_is_an_update_of_its_own() {
        let spec = spec();
        let drifts: [fn(&mut BucketSettings); 6] = [
            |s| s.public_access_blocked = false,
            |s| s.ownership_enforced = false,
            |s| s.encryption = None,
            |s| s.versioning = false,
            |s| s.lifecycle[1].days += 1,
            |s| s.policy.clear(),
        ];
        for drift in drifts {
            let mut seen = spec.settings.clone();
            drift(&mut seen);
            let change = diff(&spec, Some(&seen));
            assert_eq!((change.action, change.reasons.len()), (Action::Update, 1), "{:?}", change.reasons);
        }
        assert_eq!(wrong(&spec.settings, &BucketSettings::default()).len(), 6);
    }
}
