//! Places in S3 that the nodes may use beside the project's own. Each is an inline policy of its own of their role: what
//! several `fruitctl.toml` of a project name adds up, and none takes away what another's run needs.

use serde_json::{Value, json};

use super::bucket;
use super::roles::{access, literal};
use crate::aws::s3_uri::S3Uri;
use crate::config::Config;
use crate::hash::sha256;

/// How the names of these policies begin.
const PREFIX: &str = "fruitctl-place-";

/// What policies take for a pattern.
const PATTERN: [char; 3] = ['*', '?', '$'];

/// What nodes do in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// They read what lies below it.
    Read,
    /// They read, write and delete there.
    Write,
    /// They read the model and the files beside it that hold its weights: exporters begin their names with the model's.
    Model,
    /// They read a file.
    File,
}

/// A place, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub purpose: Use,
    pub at: S3Uri,
}

impl Place {
    /// None, of what is not in S3.
    pub fn new(purpose: Use, uri: Option<&str>) -> Option<Place> {
        Some(Place { purpose, at: uri.and_then(S3Uri::parse)? })
    }

    /// The places that a `fruitctl.toml` names.
    pub fn all(config: &Config) -> Vec<Place> {
        let job = &config.written;
        let of_job = [
            Place::new(Use::Read, job.input.as_deref()),
            Place::new(Use::Write, job.output.as_deref()),
            Place::new(Use::Model, job.model.as_deref()),
            Place::new(Use::File, job.labels.as_deref()),
        ];
        let read = config.places.read.iter().map(|uri| Place::new(Use::Read, Some(uri)));
        let write = config.places.write.iter().map(|uri| Place::new(Use::Write, Some(uri)));
        of_job.into_iter().chain(read).chain(write).flatten().collect()
    }

    /// What nodes use of the project's own bucket.
    pub fn own(own: &str) -> Vec<Place> {
        let place = |purpose, prefix: &str| Place {
            purpose,
            at: S3Uri { bucket: own.to_owned(), key: prefix.trim_end_matches('/').to_owned() },
        };
        let read = [bucket::BOOTSTRAP, bucket::JOBS, bucket::INPUT].map(|prefix| place(Use::Read, prefix));
        read.into_iter()
            .chain([bucket::OUTPUT, bucket::TMP].map(|prefix| place(Use::Write, prefix)))
            .collect()
    }

    /// Whether who may use this one may use the other.
    pub fn covers(&self, other: &Place) -> bool {
        if self.at.bucket != other.at.bucket {
            return false;
        }
        let is_same = self.at.key == other.at.key;
        let is_below = is_same || other.at.key.starts_with(&self.at.prefix());
        match (self.purpose, other.purpose) {
            (Use::Write, _) | (Use::Read, Use::Read | Use::Model | Use::File) => is_below,
            (Use::Model, Use::Model | Use::File) | (Use::File, Use::File) => is_same,
            _ => false,
        }
    }

    fn hash(&self) -> String {
        let Place { purpose, at } = self;
        sha256(format!("{purpose:?} {}/{}", at.bucket, at.key).as_bytes())
    }

    /// The name of its policy.
    pub fn policy(&self) -> String {
        format!("{PREFIX}{}", &self.hash()[..12])
    }

    /// The policy. Names of its statements are no other place's, for a boundary holds several.
    pub fn document(&self) -> Value {
        let S3Uri { bucket, key } = &self.at;
        let id = &self.hash()[..8];
        let file = |more: &str| {
            let resource = format!("arn:aws:s3:::{bucket}/{}{more}", literal(key));
            vec![
                json!({ "Sid": format!("File{id}"), "Effect": "Allow", "Action": "s3:GetObject", "Resource": resource }),
            ]
        };
        let statements: Vec<Value> = match self.purpose {
            Use::Read => access(bucket, key, &format!("Read{id}"), &["s3:GetObject"]).into(),
            Use::Write => access(
                bucket,
                key,
                &format!("Write{id}"),
                &["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            )
            .into(),
            Use::Model => file("*"),
            Use::File => file(""),
        };
        json!({ "Version": "2012-10-17", "Statement": statements })
    }

    /// The place that a role's policy is for, if it is, word by word, what would be written for one.
    pub fn of_policy(name: &str, document: &Value) -> Option<Place> {
        let resource = document["Statement"].as_array()?.last()?["Resource"].as_str()?;
        let (bucket, key) = resource.strip_prefix("arn:aws:s3:::")?.split_once('/')?;
        // A pattern is wider than a place.
        if bucket.contains(PATTERN) {
            return None;
        }
        let below = key.strip_suffix("/*").unwrap_or_default();
        let plain = |key: &str| {
            ["${*}", "${?}", "${$}"].iter().fold(key.to_owned(), |key, c| key.replace(c, &c[2..3]))
        };
        let candidates = [
            (Use::Read, below),
            (Use::Write, below),
            (Use::Model, key.strip_suffix('*').unwrap_or(key)),
            (Use::File, key),
        ];
        candidates
            .map(|(purpose, key)| Place { purpose, at: S3Uri { bucket: bucket.to_owned(), key: plain(key) } })
            .into_iter()
            .find(|place| place.policy() == name && place.document() == *document)
    }

    /// `s3://photos/in (read)`.
    pub fn in_words(&self) -> String {
        let S3Uri { bucket, key } = &self.at;
        let purpose = if self.purpose == Use::Write { "write" } else { "read" };
        format!("s3://{bucket}/{key} ({purpose})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(purpose: Use, uri: &str) -> Place {
        Place::new(purpose, Some(uri)).unwrap()
    }

    #[test]
    fn a_policy_is_known_by_all_of_its_words() {
        for purpose in [Use::Read, Use::Write, Use::Model, Use::File] {
            for uri in
                ["s3://photos", "s3://photos/in", "s3://photos/in/x.onnx", "s3://photos/*/what?/5$/${*}/*"]
            {
                let place = place(purpose, uri);
                if place.at.key.is_empty() && matches!(purpose, Use::Model | Use::File) {
                    continue;
                }
                let (name, mut document) = (place.policy(), place.document());
                assert_eq!(Place::of_policy(&name, &document), Some(place));
                assert_eq!(Place::of_policy("more", &document), None);
                document["Statement"][0]["Action"] = json!("s3:*");
                assert_eq!(Place::of_policy(&name, &document), None);
            }
        }
        assert_eq!(Place::of_policy("more", &json!({})), None);
        for wide in ["s3://*", "s3://photos*/in"] {
            let wide = place(Use::Read, wide);
            assert_eq!(Place::of_policy(&wide.policy(), &wide.document()), None);
        }
        // A letter of a key is no pattern, and a pattern no letter.
        let letter = place(Use::Read, "s3://photos/*/x");
        let pattern = letter.document().to_string().replace("${*}", "*");
        assert_eq!(Place::of_policy(&letter.policy(), &serde_json::from_str(&pattern).unwrap()), None);
    }

    #[test]
    fn what_lies_below_is_covered() {
        let photos = place(Use::Read, "s3://photos/2026/");
        for (purpose, uri, is_covered) in [
            (Use::Read, "s3://photos/2026", true),
            (Use::Read, "s3://photos/2026/spring", true),
            (Use::Model, "s3://photos/2026/m.onnx", true),
            (Use::Read, "s3://photos/2026-old", false),
            (Use::Read, "s3://photos", false),
            (Use::Read, "s3://other/2026", false),
            (Use::Write, "s3://photos/2026", false),
        ] {
            assert_eq!(photos.covers(&place(purpose, uri)), is_covered, "{uri}");
        }
        assert!(place(Use::Write, "s3://v").covers(&place(Use::Read, "s3://v/x")));
        let model = place(Use::Model, "s3://m/a.onnx");
        assert!(model.covers(&model) && !model.covers(&place(Use::Model, "s3://m/a.onnx2")));
    }
}
