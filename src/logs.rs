//! Where a step's logs are, on the node and in the bucket, and reading them there.
//!
//! Source: <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-manage-view-web-log-files.html>.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::stack::bucket::LOGS;
use crate::wait;

/// Lines of a log that are shown.
pub const LINES: usize = 12;

/// One of a step's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Events.
    Out,
    /// Words.
    Err,
}

impl Stream {
    /// Its file's name.
    pub fn file(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }
}

/// Where EMR puts a step's logs.
pub fn step_logs(bucket: &str, cluster: &str, step: &str) -> String {
    format!("s3://{bucket}/{LOGS}{cluster}/steps/{step}")
}

/// The place on the primary node where a step's logs grow.
pub fn node_logs(step: &str) -> String {
    format!("/mnt/var/log/hadoop/steps/{step}")
}

/// A step's log in the bucket, as far as it is there.
pub async fn fetch(bucket: &str, cluster: &str, step: &str, stream: Stream, aws: &Aws) -> Option<Vec<u8>> {
    let at = S3Uri::parse(&format!("{}/{}.gz", step_logs(bucket, cluster, step), stream.file()))?;
    let (body, _) = aws.get_object(&at.bucket, &at.key).await.ok()??;
    let mut text = Vec::new();
    // One that is being written is taken as far as it goes.
    let _ = MultiGzDecoder::new(&body[..]).read_to_end(&mut text);
    Some(text)
}

/// The end of a gzipped log in the bucket. It comes some time after the cluster has ended.
pub async fn last_lines(uri: &str, aws: &Aws) -> Option<String> {
    let at = S3Uri::parse(uri)?;
    // A read that fails is tried again, as one that finds nothing.
    let look = async || Ok(aws.get_object(&at.bucket, &at.key).await.ok().flatten());
    let (body, _) = wait::until(wait::Every::seconds(10.0, 110.0), look).await.ok()??;
    let mut text = Vec::new();
    let _ = MultiGzDecoder::new(&body[..]).take(64 << 20).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    let shown: Vec<_> = lines[from..].iter().map(|line| format!("    {line}")).collect();
    Some(if shown.is_empty() { "    (it is empty)".into() } else { shown.join("\n") })
}
