//! `s3://BUCKET/KEY`.

/// A bucket, and a key or prefix in it; both empty for what is nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Uri {
    pub bucket: String,
    /// A key or prefix, without slashes at its ends; empty for all of the bucket.
    pub key: String,
}

impl S3Uri {
    /// None, of what does not begin with `s3://`.
    pub fn parse(uri: &str) -> Option<S3Uri> {
        let rest = uri.strip_prefix("s3://")?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Some(S3Uri { bucket: bucket.to_owned(), key: key.trim_matches('/').to_owned() })
    }

    /// What keys below it begin with: empty, or ending with a slash.
    pub fn prefix(&self) -> String {
        if self.key.is_empty() { String::new() } else { format!("{}/", self.key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_bucket_and_a_key() {
        let parsed = |uri| S3Uri::parse(uri).map(|at| (at.bucket.clone(), at.key.clone(), at.prefix()));
        let some = |bucket: &str, key: &str, prefix: &str| Some((bucket.into(), key.into(), prefix.into()));
        assert_eq!(parsed("s3://b/a/c/"), some("b", "a/c", "a/c/"));
        assert_eq!(parsed("s3://b"), some("b", "", ""));
        assert_eq!(parsed("s3://b/"), some("b", "", ""));
        // What is special elsewhere is a letter here.
        assert_eq!(parsed("s3://b/#1?x"), some("b", "#1?x", "#1?x/"));
        assert_eq!(parsed("https://b/a"), None);
        assert_eq!(parsed("b/a"), None);
    }
}
