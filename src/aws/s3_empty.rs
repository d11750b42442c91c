//! Emptying a bucket, or what lies below a prefix.

use aws_sdk_s3::types as t;

use super::{ApiError, Aws, already, call};

type Result<T> = std::result::Result<T, ApiError>;

impl Aws {
    /// Deletes all objects, versions, delete markers and unfinished uploads below a prefix; of the object `but`, not the
    /// present version. `deleted` hears how many, page by page.
    pub async fn empty_bucket(
        &self,
        bucket: &str,
        prefix: &str,
        but: Option<&str>,
        deleted: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let below = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
        loop {
            let page = call("s3:ListObjectVersions", bucket, || {
                let list = self.s3.list_object_versions().bucket(bucket);
                list.set_prefix(below.clone()).send()
            })
            .await?;
            let is_kept =
                |v: &t::ObjectVersion| but.is_some() && v.is_latest == Some(true) && v.key.as_deref() == but;
            let versions = page.versions.unwrap_or_default().into_iter().filter(|v| !is_kept(v));
            let versions = versions.map(|v| (v.key, v.version_id));
            let markers = page.delete_markers.unwrap_or_default().into_iter().map(|m| (m.key, m.version_id));
            let objects: Vec<_> = versions
                .chain(markers)
                .map(|(key, version)| {
                    t::ObjectIdentifier::builder()
                        .key(key.unwrap_or_default())
                        .set_version_id(version)
                        .build()
                        .expect("a key is there")
                })
                .collect();
            if objects.is_empty() {
                break;
            }
            let count = objects.len() as u64;
            let delete = t::Delete::builder()
                .set_objects(Some(objects))
                .quiet(true)
                .build()
                .expect("objects are there");
            let result = call("s3:DeleteObjects", bucket, || {
                self.s3.delete_objects().bucket(bucket).delete(delete.clone()).send()
            })
            .await?;
            if let Some(error) = result.errors.unwrap_or_default().into_iter().next() {
                let on = format!("s3://{bucket}/{}", error.key.unwrap_or_default());
                let (code, message) = (error.code.unwrap_or_default(), error.message.unwrap_or_default());
                return Err(ApiError::answer("s3:DeleteObjects", on, code, message, Some(400)));
            }
            deleted(count);
        }
        let uploads = call("s3:ListMultipartUploads", bucket, || {
            let list = self.s3.list_multipart_uploads().bucket(bucket);
            list.set_prefix(below.clone()).send()
        })
        .await?;
        for upload in uploads.uploads.unwrap_or_default() {
            let abort = call("s3:AbortMultipartUpload", bucket, || {
                self.s3
                    .abort_multipart_upload()
                    .bucket(bucket)
                    .set_key(upload.key.clone())
                    .set_upload_id(upload.upload_id.clone())
                    .send()
            });
            already(abort.await, &["NoSuchUpload"])?;
        }
        Ok(())
    }
}
