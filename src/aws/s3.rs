//! S3: a bucket's settings, and the few objects that are ours.
//!
//! Every call on the project's bucket names the owner that we expect: see [`owner`](super::owner).

use std::path::Path;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types as t;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::etag::PART;
use super::{ApiError, Aws, Tags, absent, already, call};

type Result<T> = std::result::Result<T, ApiError>;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A bucket of this account in this region.
    Here,
    /// A bucket in another region.
    Elsewhere(String),
    /// A bucket that we may not see: another account's, or one without permission.
    Forbidden,
}

/// Settings of a bucket, as they are or should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BucketSettings {
    /// Encrypted with S3's keys (`Some(None)`) or a KMS key.
    pub encryption: Option<Option<String>>,
    /// All four kinds of public access are blocked.
    pub public_access_blocked: bool,
    /// ACLs are off: all objects are the bucket owner's.
    pub ownership_enforced: bool,
    /// Versions are kept.
    pub versioning: bool,
    /// Statements of the policy, by `Sid`; statements without have a number.
    pub policy: Vec<serde_json::Value>,
    /// Rules that delete.
    pub lifecycle: Vec<Expiry>,
    pub tags: Tags,
}

/// A lifecycle rule. Days of 0: not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    pub id: String,
    /// Where it applies.
    pub prefix: String,
    /// Days until an object is deleted.
    pub days: i32,
    /// Days until a version that is no longer current is deleted.
    pub noncurrent_days: i32,
    /// Days until an upload that was not completed is given up.
    pub abort_days: i32,
}

/// A write's condition.
#[derive(Debug, Clone, Copy)]
pub enum Only<'a> {
    /// None.
    Always,
    /// There is no such object.
    IfAbsent,
    /// The object has this ETag still.
    IfMatch(&'a str),
}

/// What lies in a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    pub objects: u64,
    /// Their size.
    pub bytes: u64,
    /// Versions of objects that were replaced or deleted, which can be had back.
    pub old_versions: u64,
    /// There is more: not all was counted.
    pub more: bool,
}

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
    /// When it was written, in seconds since 1970.
    pub modified: i64,
    /// Without its quotes; see [`etag`](super::etag).
    pub etag: String,
}

impl Contents {
    /// There is nothing, and nothing to be had back.
    pub fn is_empty(&self) -> bool {
        self.objects + self.old_versions == 0
    }

    /// `12 objects and 3 old versions`.
    pub fn text(&self) -> String {
        let least = if self.more { "more than " } else { "" };
        let objects = fruitjob_interface::count(self.objects, "object");
        match self.old_versions {
            0 => format!("{least}{objects}"),
            n => format!("{least}{objects} and {}", fruitjob_interface::count(n, "old version")),
        }
    }
}

/// The most bytes of an object that is read into memory: whoever may write to the bucket says how long it is.
const LARGEST: i64 = 1 << 30;

/// Where counting stops: people want to know whether there are data, not to wait.
const COUNTED: u64 = 100_000;

impl Aws {
    /// Looks a bucket up.
    pub async fn find_bucket(&self, name: &str) -> Result<Found> {
        let head = call("s3:HeadBucket", name, || self.s3.head_bucket().bucket(name).send());
        match head.await {
            Ok(head) => Ok(match head.bucket_region {
                Some(region) if region != self.region => Found::Elsewhere(region),
                _ => Found::Here,
            }),
            Err(e) if e.status == Some(404) => Ok(Found::Absent),
            Err(e) if e.status == Some(403) => Ok(Found::Forbidden),
            Err(e) if e.status == Some(301) => {
                Ok(Found::Elsewhere(e.bucket_region.unwrap_or_default().into()))
            }
            Err(e) => Err(e),
        }
    }

    /// Makes a bucket, tagged from its first moment. One that is ours already is fine.
    pub async fn create_bucket(&self, name: &str, tags: &Tags) -> Result<()> {
        let mut configuration = t::CreateBucketConfiguration::builder();
        for (key, value) in tags {
            configuration = configuration.tags(tag(key, value));
        }
        // us-east-1 is where a bucket is without a constraint, and refuses one that says so.
        if self.region != "us-east-1" {
            configuration =
                configuration.location_constraint(t::BucketLocationConstraint::from(self.region.as_str()));
        }
        let configuration = configuration.build();
        let create = call("s3:CreateBucket", name, || {
            self.s3.create_bucket().bucket(name).create_bucket_configuration(configuration.clone()).send()
        });
        already(create.await, &["BucketAlreadyOwnedByYou"])
    }

    /// All settings that we care for.
    pub async fn bucket_settings(&self, name: &str) -> Result<BucketSettings> {
        let tags = async {
            let get = call("s3:GetBucketTagging", name, || self.s3.get_bucket_tagging().bucket(name).send());
            let set = absent(get.await, &["NoSuchTagSet"])?.map(|o| o.tag_set).unwrap_or_default();
            Ok(set.into_iter().map(|t| (t.key, t.value)).collect::<Tags>())
        };
        let encryption = async {
            let get =
                call("s3:GetBucketEncryption", name, || self.s3.get_bucket_encryption().bucket(name).send());
            let found = absent(get.await, &["ServerSideEncryptionConfigurationNotFoundError"])?;
            let rule = found
                .and_then(|o| o.server_side_encryption_configuration)
                .and_then(|c| c.rules.into_iter().next());
            Ok(rule.and_then(|r| r.apply_server_side_encryption_by_default).map(|d| d.kms_master_key_id))
        };
        let blocked = async {
            let get = call("s3:GetPublicAccessBlock", name, || {
                self.s3.get_public_access_block().bucket(name).send()
            });
            let found = absent(get.await, &["NoSuchPublicAccessBlockConfiguration"])?;
            let all = [true; 4].map(Some);
            Ok(found.and_then(|o| o.public_access_block_configuration).is_some_and(|c| {
                [c.block_public_acls, c.block_public_policy, c.ignore_public_acls, c.restrict_public_buckets]
                    == all
            }))
        };
        let ownership = async {
            let get = call("s3:GetBucketOwnershipControls", name, || {
                self.s3.get_bucket_ownership_controls().bucket(name).send()
            });
            let found = absent(get.await, &["OwnershipControlsNotFoundError"])?;
            let rules = found.and_then(|o| o.ownership_controls).map(|c| c.rules).unwrap_or_default();
            Ok(rules.iter().any(|r| r.object_ownership == t::ObjectOwnership::BucketOwnerEnforced))
        };
        let versioning = async {
            let get =
                call("s3:GetBucketVersioning", name, || self.s3.get_bucket_versioning().bucket(name).send());
            Ok(get.await?.status == Some(t::BucketVersioningStatus::Enabled))
        };
        let policy = async {
            let get = call("s3:GetBucketPolicy", name, || self.s3.get_bucket_policy().bucket(name).send());
            let text = absent(get.await, &["NoSuchBucketPolicy"])?.and_then(|o| o.policy).unwrap_or_default();
            let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            Ok(document["Statement"].as_array().cloned().unwrap_or_default())
        };
        let lifecycle = async {
            let get = call("s3:GetBucketLifecycleConfiguration", name, || {
                self.s3.get_bucket_lifecycle_configuration().bucket(name).send()
            });
            let found = absent(get.await, &["NoSuchLifecycleConfiguration"])?;
            Ok(found.and_then(|o| o.rules).unwrap_or_default().into_iter().map(expiry).collect::<Vec<_>>())
        };
        let (tags, encryption, public_access_blocked, ownership_enforced, versioning, policy, lifecycle) =
            tokio::try_join!(tags, encryption, blocked, ownership, versioning, policy, lifecycle)?;
        Ok(BucketSettings {
            encryption,
            public_access_blocked,
            ownership_enforced,
            versioning,
            policy,
            lifecycle,
            tags,
        })
    }

    /// Tags of a bucket, and nothing else.
    pub async fn bucket_tags(&self, name: &str) -> Result<Tags> {
        let get = call("s3:GetBucketTagging", name, || self.s3.get_bucket_tagging().bucket(name).send());
        let set =
            absent(get.await, &["NoSuchTagSet", "NoSuchBucket"])?.map(|o| o.tag_set).unwrap_or_default();
        Ok(set.into_iter().map(|t| (t.key, t.value)).collect())
    }

    /// Encrypts what is written from now on.
    pub async fn put_bucket_encryption(&self, name: &str, kms_key: Option<&str>) -> Result<()> {
        let algorithm =
            if kms_key.is_some() { t::ServerSideEncryption::AwsKms } else { t::ServerSideEncryption::Aes256 };
        let default = t::ServerSideEncryptionByDefault::builder()
            .sse_algorithm(algorithm)
            .set_kms_master_key_id(kms_key.map(str::to_owned))
            .build()
            .expect("an algorithm is there");
        let rule = t::ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .set_bucket_key_enabled(kms_key.map(|_| true))
            .build();
        let configuration =
            t::ServerSideEncryptionConfiguration::builder().rules(rule).build().expect("a rule is there");
        call("s3:PutBucketEncryption", name, || {
            self.s3
                .put_bucket_encryption()
                .bucket(name)
                .server_side_encryption_configuration(configuration.clone())
                .send()
        })
        .await
        .map(drop)
    }

    /// Blocks all four kinds of public access.
    pub async fn block_public_access(&self, name: &str) -> Result<()> {
        let all = t::PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        call("s3:PutPublicAccessBlock", name, || {
            self.s3
                .put_public_access_block()
                .bucket(name)
                .public_access_block_configuration(all.clone())
                .send()
        })
        .await
        .map(drop)
    }

    /// Switches ACLs off.
    pub async fn enforce_ownership(&self, name: &str) -> Result<()> {
        let rule = t::OwnershipControlsRule::builder()
            .object_ownership(t::ObjectOwnership::BucketOwnerEnforced)
            .build()
            .expect("an ownership is there");
        let controls = t::OwnershipControls::builder().rules(rule).build().expect("a rule is there");
        call("s3:PutBucketOwnershipControls", name, || {
            self.s3.put_bucket_ownership_controls().bucket(name).ownership_controls(controls.clone()).send()
        })
        .await
        .map(drop)
    }

    /// Keeps versions from now on.
    pub async fn enable_versioning(&self, name: &str) -> Result<()> {
        let on = t::VersioningConfiguration::builder().status(t::BucketVersioningStatus::Enabled).build();
        call("s3:PutBucketVersioning", name, || {
            self.s3.put_bucket_versioning().bucket(name).versioning_configuration(on.clone()).send()
        })
        .await
        .map(drop)
    }

    /// Replaces a bucket's policy.
    pub async fn put_bucket_policy(&self, name: &str, statements: &[serde_json::Value]) -> Result<()> {
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        call("s3:PutBucketPolicy", name, || self.s3.put_bucket_policy().bucket(name).policy(&policy).send())
            .await
            .map(drop)
    }

    /// Sets our rules, and leaves those of other names.
    pub async fn put_lifecycle(
        &self,
        name: &str,
        ours: &[Expiry],
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let get = call("s3:GetBucketLifecycleConfiguration", name, || {
            self.s3.get_bucket_lifecycle_configuration().bucket(name).send()
        });
        let mut rules =
            absent(get.await, &["NoSuchLifecycleConfiguration"])?.and_then(|o| o.rules).unwrap_or_default();
        rules.retain(|rule| !rule.id.as_deref().is_some_and(&is_ours));
        rules.extend(ours.iter().map(lifecycle_rule));
        let configuration = t::BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .expect("rules are there");
        call("s3:PutBucketLifecycleConfiguration", name, || {
            self.s3
                .put_bucket_lifecycle_configuration()
                .bucket(name)
                .lifecycle_configuration(configuration.clone())
                .send()
        })
        .await
        .map(drop)
    }

    /// Writes a small object; `Ok(None)` where the condition does not hold, else its ETag.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        body: &[u8],
        only: Only<'_>,
    ) -> Result<Option<String>> {
        let on = format!("s3://{bucket}/{key}");
        let put = call("s3:PutObject", &on, || {
            let put = self.s3.put_object().bucket(bucket).key(key);
            let put = match only {
                Only::Always => put,
                Only::IfAbsent => put.if_none_match("*"),
                Only::IfMatch(etag) => put.if_match(etag),
            };
            // Kept with the object, so that what it holds is known by asking S3.
            let put = put.checksum_algorithm(t::ChecksumAlgorithm::Sha256);
            put.body(ByteStream::from(body.to_vec())).send()
        });
        // With If-Match, an object that is gone is a condition that does not hold.
        let gone = if matches!(only, Only::IfMatch(_)) { "NoSuchKey" } else { "PreconditionFailed" };
        Ok(absent(put.await, &["PreconditionFailed", gone])?.map(|o| o.e_tag.unwrap_or_default()))
    }

    /// Reads a small object with its ETag. Input and output may be in buckets of other accounts.
    pub async fn get_object(&self, bucket: &str, key: &str) -> Result<Option<(Vec<u8>, String)>> {
        self.get_object_unless(bucket, key, None).await
    }

    /// The same; `None` too where it still has this ETag.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, If-None-Match: 304 Not Modified.
    pub async fn get_object_unless(
        &self,
        bucket: &str,
        key: &str,
        etag: Option<&str>,
    ) -> Result<Option<(Vec<u8>, String)>> {
        let on = format!("s3://{bucket}/{key}");
        let get =
            || self.s3.get_object().bucket(bucket).key(key).set_if_none_match(etag.map(str::to_owned)).send();
        let found = match call("s3:GetObject", &on, get).await {
            Err(error) if etag.is_some() && error.status == Some(304) => return Ok(None),
            answer => absent(answer, &["NoSuchKey"])?,
        };
        let Some(found) = found else { return Ok(None) };
        if let Some(bytes) = found.content_length.filter(|bytes| *bytes > LARGEST) {
            let why = format!("it has {bytes} bytes, and nothing of ours has more than {LARGEST}");
            return Err(ApiError::answer("s3:GetObject", on, String::new(), why, Some(400)));
        }
        let etag = found.e_tag.unwrap_or_default();
        match found.body.collect().await {
            Ok(body) => Ok(Some((body.to_vec(), etag))),
            Err(error) => Err(ApiError::answer("s3:GetObject", on, String::new(), error.to_string(), None)),
        }
    }

    /// Whether a key of KMS encrypts an object.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>, x-amz-server-side-encryption.
    pub async fn has_kms(&self, bucket: &str, key: &str) -> Result<bool> {
        let on = format!("s3://{bucket}/{key}");
        // IAM knows it by the name of GetObject.
        let head =
            call("s3:HeadObject", &on, || self.s3.head_object().bucket(bucket).key(key).send()).await?;
        Ok(head.server_side_encryption.is_some_and(|how| how.as_str().starts_with("aws:kms")))
    }

    /// How many objects there are below a prefix; of more than `enough`, some number that is enough.
    pub async fn count_objects(&self, bucket: &str, prefix: &str, enough: usize) -> Result<usize> {
        Ok(self.list_some(bucket, prefix, enough).await?.len())
    }

    /// Objects below a prefix.
    pub async fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>> {
        self.list_some(bucket, prefix, usize::MAX).await
    }

    /// SHA-256 of keys, ETags and sizes below a prefix, but for what is below another; none of it is held in memory.
    pub async fn fingerprint(&self, bucket: &str, prefix: &str, but: Option<&str>) -> Result<String> {
        let mut hash = Sha256::new();
        let mut next = None;
        loop {
            let page = self.list_page(bucket, prefix, next).await?;
            for object in page.contents.unwrap_or_default() {
                let key = object.key.unwrap_or_default();
                if but.is_some_and(|but| key.starts_with(but)) {
                    continue;
                }
                // Neither a line's end nor a space is left to begin another field.
                let etag = object.e_tag.unwrap_or_default();
                hash.update(format!("{} {key} {etag} {}\n", key.len(), object.size.unwrap_or(0)));
            }
            next = page.next_continuation_token;
            if next.is_none() {
                return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }

    async fn list_page(
        &self,
        bucket: &str,
        prefix: &str,
        next: Option<String>,
    ) -> Result<ListObjectsV2Output> {
        call("s3:ListObjectsV2", bucket, || {
            self.s3
                .list_objects_v2()
                .bucket(bucket)
                .prefix(prefix)
                .set_continuation_token(next.clone())
                .send()
        })
        .await
    }

    /// At least `enough` objects below a prefix, or all.
    async fn list_some(&self, bucket: &str, prefix: &str, enough: usize) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        let mut next = None;
        loop {
            let page = self.list_page(bucket, prefix, next).await?;
            objects.extend(page.contents.unwrap_or_default().into_iter().map(|o| Object {
                key: o.key.unwrap_or_default(),
                bytes: o.size.unwrap_or(0).max(0) as u64,
                modified: o.last_modified.map_or(0, |t| t.secs()),
                etag: o.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
            }));
            next = page.next_continuation_token;
            if next.is_none() || objects.len() >= enough {
                return Ok(objects);
            }
        }
    }

    /// Uploads a file: in one piece, or, if it is large, in parts. An upload of parts that stops half way is cleared up
    /// by the bucket's rules. The outer error is the file's.
    pub async fn upload_file(&self, bucket: &str, key: &str, path: &Path) -> std::io::Result<Result<()>> {
        let mut file = tokio::fs::File::open(path).await?;
        let mut part = async || {
            let mut bytes = Vec::new();
            (&mut file).take(PART).read_to_end(&mut bytes).await?;
            std::io::Result::Ok(bytes)
        };
        let on = format!("s3://{bucket}/{key}");
        let mut bytes = part().await?;
        if (bytes.len() as u64) < PART {
            let put =
                || self.s3.put_object().bucket(bucket).key(key).body(ByteStream::from(bytes.clone())).send();
            return Ok(call("s3:PutObject", &on, put).await.map(drop));
        }
        let create = || self.s3.create_multipart_upload().bucket(bucket).key(key).send();
        let upload = match call("s3:CreateMultipartUpload", &on, create).await {
            Ok(created) => created.upload_id.unwrap_or_default(),
            Err(error) => return Ok(Err(error)),
        };
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let number = parts.len() as i32 + 1;
            let put = || {
                let part =
                    self.s3.upload_part().bucket(bucket).key(key).upload_id(&upload).part_number(number);
                part.body(ByteStream::from(bytes.clone())).send()
            };
            match call("s3:UploadPart", &on, put).await {
                Ok(done) => {
                    parts.push(t::CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build())
                }
                Err(error) => return Ok(Err(error)),
            }
            bytes = part().await?;
        }
        let all = t::CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = || {
            let upload = self.s3.complete_multipart_upload().bucket(bucket).key(key).upload_id(&upload);
            upload.multipart_upload(all.clone()).send()
        };
        Ok(call("s3:CompleteMultipartUpload", &on, complete).await.map(drop))
    }

    /// Whether there is such an object.
    pub async fn has_object(&self, bucket: &str, key: &str) -> Result<bool> {
        let on = format!("s3://{bucket}/{key}");
        let head = || self.s3.head_object().bucket(bucket).key(key).send();
        match call("s3:HeadObject", &on, head).await {
            Ok(_) => Ok(true),
            Err(error) if error.status == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, or, where versions are kept, hides it.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        let on = format!("s3://{bucket}/{key}");
        call("s3:DeleteObject", &on, || self.s3.delete_object().bucket(bucket).key(key).send())
            .await
            .map(drop)
    }

    /// Counts what no prefix of `but` covers: objects, and versions that can be had back.
    pub async fn contents(&self, bucket: &str, but: &[&str]) -> Result<Contents> {
        let mut contents = Contents::default();
        let (mut key, mut version) = (None, None);
        loop {
            let page = call("s3:ListObjectVersions", bucket, || {
                self.s3
                    .list_object_versions()
                    .bucket(bucket)
                    .set_key_marker(key.clone())
                    .set_version_id_marker(version.clone())
                    .send()
            })
            .await?;
            let counts = |key: &Option<String>| {
                !but.iter().any(|prefix| key.as_deref().is_some_and(|key| key.starts_with(prefix)))
            };
            for found in page.versions.unwrap_or_default().iter().filter(|v| counts(&v.key)) {
                if found.is_latest == Some(true) {
                    contents.objects += 1;
                    contents.bytes += found.size.unwrap_or(0).max(0) as u64;
                } else {
                    contents.old_versions += 1;
                }
            }
            contents.more = page.is_truncated == Some(true);
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
            if !contents.more || contents.objects + contents.old_versions >= COUNTED {
                return Ok(contents);
            }
        }
    }

    /// Deletes a bucket; one that is gone is fine.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        let delete = call("s3:DeleteBucket", name, || self.s3.delete_bucket().bucket(name).send());
        already(delete.await, &["NoSuchBucket"])
    }
}

fn tag(key: &str, value: &str) -> t::Tag {
    t::Tag::builder().key(key).value(value).build().expect("key and value are there")
}

/// A rule as far as we understand it.
fn expiry(rule: t::LifecycleRule) -> Expiry {
    Expiry {
        id: rule.id.unwrap_or_default(),
        prefix: rule.filter.and_then(|f| f.prefix).unwrap_or_default(),
        days: rule.expiration.and_then(|e| e.days).unwrap_or(0),
        noncurrent_days: rule.noncurrent_version_expiration.and_then(|e| e.noncurrent_days).unwrap_or(0),
        abort_days: rule.abort_incomplete_multipart_upload.and_then(|a| a.days_after_initiation).unwrap_or(0),
    }
}

fn lifecycle_rule(expiry: &Expiry) -> t::LifecycleRule {
    let days = |n: i32| (n > 0).then_some(n);
    t::LifecycleRule::builder()
        .id(&expiry.id)
        .status(t::ExpirationStatus::Enabled)
        .filter(t::LifecycleRuleFilter::builder().prefix(&expiry.prefix).build())
        .set_expiration(days(expiry.days).map(|n| t::LifecycleExpiration::builder().days(n).build()))
        .set_noncurrent_version_expiration(
            days(expiry.noncurrent_days)
                .map(|n| t::NoncurrentVersionExpiration::builder().noncurrent_days(n).build()),
        )
        .set_abort_incomplete_multipart_upload(
            days(expiry.abort_days)
                .map(|n| t::AbortIncompleteMultipartUpload::builder().days_after_initiation(n).build()),
        )
        .build()
        .expect("a status is there")
}
