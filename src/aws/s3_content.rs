//! Objects whose keys have the hash of their content in them, and that are believed by their content alone: who may
//! write to the bucket may put anything under any name.

use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_types::base64;
use sha2::{Digest, Sha256};

use super::s3::Only;
use super::{ApiError, Aws, absent, call};
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

impl Aws {
    /// Whether an object is there and has this content. S3 has checked the SHA-256 that it keeps with an object when that
    /// was written, so it is as good as the content; an object that was written without one is read.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.
    ///
    /// # Errors
    /// [`Kind::Refused`], where it has another content.
    pub async fn has_content(&self, bucket: &str, key: &str, content: &[u8]) -> Result<bool> {
        let on = format!("s3://{bucket}/{key}");
        let head =
            || self.s3.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled).send();
        let found = match call("s3:HeadObject", &on, head).await {
            Ok(found) => found,
            Err(error) if error.status == Some(404) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let is_it = match found.checksum_sha256 {
            Some(sum) => sum == base64::encode(Sha256::digest(content)),
            None if found.content_length != i64::try_from(content.len()).ok() => false,
            None => match self.hash_object(bucket, key).await? {
                Some(hash) => hash == sha256(content),
                None => return Ok(false),
            },
        };
        if is_it { Ok(true) } else { Err(replaced(bucket, key, content)) }
    }

    /// The SHA-256 of an object, read as it comes; none, where there is none.
    async fn hash_object(&self, bucket: &str, key: &str) -> Result<Option<String>> {
        let on = format!("s3://{bucket}/{key}");
        let get = call("s3:GetObject", &on, || self.s3.get_object().bucket(bucket).key(key).send());
        let Some(mut found) = absent(get.await, &["NoSuchKey"])? else { return Ok(None) };
        let mut hash = Sha256::new();
        while let Some(chunk) = found.body.next().await {
            let broken = |e: aws_smithy_types::byte_stream::error::Error| {
                ApiError::answer("s3:GetObject", on.clone(), String::new(), e.to_string(), None)
            };
            hash.update(chunk.map_err(broken)?);
        }
        Ok(Some(fruitjob_interface::hex(&hash.finalize())))
    }

    /// Puts content where it is not yet.
    ///
    /// # Errors
    /// Those of [`Aws::has_content`].
    pub async fn ensure_content(&self, bucket: &str, key: &str, content: &[u8]) -> Result<()> {
        if !self.has_content(bucket, key, content).await? {
            self.put_object(bucket, key, content, Only::Always).await?;
        }
        Ok(())
    }
}

fn replaced(bucket: &str, key: &str, content: &[u8]) -> Error {
    let sha256 = sha256(content);
    // The name of a file of a model is whatever its author gave it.
    let is_plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let quoted = if is_plain { key.to_owned() } else { format!("'{}'", key.replace('\'', "'\\''")) };
    Error::new(
        Kind::Refused,
        format!(
            "s3://{bucket}/{key} is not what fruitctl put there: its SHA-256 is not {sha256}; whoever may write to the \
             bucket can have replaced it, and it is not run"
        ),
    )
    .help(format!(
        "when it was written: aws s3api list-object-versions --bucket {bucket} --prefix {quoted}; once you know by \
         whom, remove it, and fruitctl uploads its own again: aws s3 rm s3://{bucket}/{quoted}"
    ))
}
