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

/// A step's log in the bucket, as far as it is there, without its first `skip` bytes: piece by piece, in memory that does
/// not grow with it. `unless`: nothing is read while the object has this ETag. Its ETag.
pub async fn read(
    step: (&str, &str, &str),
    stream: Stream,
    skip: u64,
    unless: Option<&str>,
    aws: &Aws,
    mut piece: impl FnMut(&[u8]),
) -> Option<String> {
    let (bucket, cluster, step) = step;
    let at = S3Uri::parse(&format!("{}/{}.gz", step_logs(bucket, cluster, step), stream.file()))?;
    let (body, etag) = aws.get_object_unless(&at.bucket, &at.key, unless).await.ok()??;
    let mut text = MultiGzDecoder::new(&body[..]);
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    // One that is being written is taken as far as it goes.
    while let Some(n) = text.read(&mut buffer).ok().filter(|n| *n > 0) {
        let from = skip.saturating_sub(offset).min(n as u64) as usize;
        piece(&buffer[from..n]);
        offset += n as u64;
        // A log of gigabytes is no reason not to hear a signal.
        tokio::task::yield_now().await;
    }
    Some(etag)
}

/// Bytes of a log that are unpacked at a time.
const PIECE: usize = 256 << 10;

/// The end of a gzipped log in the bucket. It comes some time after the cluster has ended.
pub async fn last_lines(uri: &str, aws: &Aws) -> Option<String> {
    let at = S3Uri::parse(uri)?;
    // A read that fails is tried again, as one that finds nothing.
    let look = async || Ok(aws.get_object(&at.bucket, &at.key).await.ok().flatten());
    let (body, _) = wait::until(COMES, look).await.ok()??;
    Some(shown(&text(&body).lines().collect::<Vec<_>>()))
}

/// The end of what Puppet said when it installed applications on a node, and could not; its errors alone, if it marks
/// some. Below `place`, the folder of a node's logs, a folder has a name that nobody knows before.
/// Source: awsdocs/amazon-emr-management-guide, emr-ranger-troubleshooting-cluster-failed.md.
pub async fn provisioning(place: &str, aws: &Aws) -> Option<String> {
    let at = S3Uri::parse(&format!("{place}/"))?;
    let look = async || {
        let objects = aws.list_objects(&at.bucket, &at.key).await.unwrap_or_default();
        let named = |name: &str| objects.iter().rev().find(|object| object.key.ends_with(name));
        let found = named("/puppet.log.gz").or_else(|| named("/stderr.gz"));
        Ok(found.map(|object| object.key.clone()))
    };
    let key = wait::until(COMES, look).await.ok()??;
    let (body, _) = aws.get_object(&at.bucket, &key).await.ok()??;
    let text = text(&body);
    let errors: Vec<_> =
        text.lines().filter(|line| line.contains("(err)") || line.contains("Error:")).collect();
    Some(shown(&if errors.is_empty() { text.lines().collect() } else { errors }))
}

/// How long to wait for a log of a cluster that has ended.
const COMES: wait::Every = wait::Every { first: 0.0, then: 10.0, looks: 12 };

fn text(gzipped: &[u8]) -> String {
    let mut text = Vec::new();
    let _ = MultiGzDecoder::new(gzipped).take(64 << 20).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The last of these lines that say something.
fn shown(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    let shown: Vec<_> = lines[from..].iter().map(|line| format!("    {}", plain(line))).collect();
    if shown.is_empty() { "    (it is empty)".into() } else { shown.join("\n") }
}

/// Somebody else's words on one line, without what a terminal would obey or show the wrong way round.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // A colour, or another sequence of a terminal: to its last letter.
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_others_are_plain() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\tand\r\nnew \u{202e}back\u{7}"), "red and  new back");
        assert_eq!(plain("It's r5.24xlarge: é, \u{1f34d}."), "It's r5.24xlarge: é, \u{1f34d}.");
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        assert_eq!(shown(&[]), "    (it is empty)");
        let lines: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let shown = shown(&lines);
        assert!(shown.lines().count() == LINES && shown.ends_with("    line 19"), "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_plain_moves_a_cursor(text: String) {
            prop_assert!(!plain(&text).chars().any(char::is_control));
        }
    }
}
