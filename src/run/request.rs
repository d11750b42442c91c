//! What is asked of a run.

use std::path::PathBuf;

use fruitjob_interface::JobOptions;
use fruitjob_interface::model::PreprocessingOptions;

use crate::aws::s3_uri::S3Uri;
use crate::clock;
use crate::error::{Error, Result};
use crate::stack::bucket;

/// What is asked of a run.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its name, drawn when it is asked for.
    pub id: String,
    /// The job; input and output are S3 URIs.
    pub job: JobOptions,
    /// What the model's file does not say.
    pub preprocessing: PreprocessingOptions,
    /// The executable to ship, if not the one beside this one.
    pub executable: Option<PathBuf>,
    /// Leave the cluster when the run has ended.
    pub keep: bool,
    /// A cluster for this run alone, even if there is one.
    pub one_shot: bool,
    /// Do nothing if the results that are there are of these images.
    pub if_changed: bool,
    /// Say what it would take and cost, and stop.
    pub estimate: bool,
    /// Do not try to see the logs live.
    pub no_ssh: bool,
    /// Seconds after which it is stopped.
    pub max_seconds: u64,
    /// Dollars after which it is stopped.
    pub max_cost: Option<f64>,
    /// Where the report and the summary go on this machine.
    pub download: PathBuf,
}

/// `20261124-020000-4f2a`: sorts by time, and no two are the same.
pub fn new_id() -> String {
    let time: String = clock::rfc3339(clock::now()).chars().filter(char::is_ascii_digit).collect();
    format!("{}-{}-{:04x}", &time[..8], &time[8..14], fastrand::u16(..))
}

/// Input and output as the nodes will reach them; the bucket's own places where none are named.
pub fn places(mut job: JobOptions, bucket: &str) -> Result<JobOptions> {
    for (place, name, prefix) in
        [(&mut job.input, "input", bucket::INPUT), (&mut job.output, "output", bucket::OUTPUT)]
    {
        match place {
            None => *place = Some(format!("s3://{bucket}/{}", prefix.trim_end_matches('/'))),
            Some(uri) if S3Uri::parse(uri).is_some() => {}
            Some(path) => {
                return Err(Error::usage(format!(
                    "the {name} {path} is not in S3, where a cluster could reach it"
                ))
                .help(format!(
                    "fruitctl upload {path}, and leave {name} out of fruitctl.toml; or name an s3:// URI"
                )));
            }
        }
    }
    Ok(job)
}

/// What a run's step is called: how it is found again.
pub fn step_name(id: &str) -> String {
    format!("fruitctl run {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let id = new_id();
        assert_eq!(id.len(), "20261124-020000-4f2a".len(), "{id}");
        assert!(id.starts_with("20"));
    }

    #[test]
    fn what_a_cluster_cannot_reach_is_refused() {
        let job =
            |input: Option<&str>| JobOptions { input: input.map(str::to_owned), ..JobOptions::default() };
        assert_eq!(places(job(None), "b").unwrap().input.as_deref(), Some("s3://b/input"));
        assert_eq!(places(job(Some("s3://x/y")), "b").unwrap().input.as_deref(), Some("s3://x/y"));
        assert!(places(job(Some("fruits")), "b").unwrap_err().to_string().contains("fruitctl upload fruits"));
    }
}
