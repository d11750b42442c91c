//! Bootstrap actions: scripts of this machine, uploaded under the hash of their content. A changed script is another
//! object, so that no running cluster sees its script change.

use std::path::Path;

use fruitjob_interface::error::explain_io;

use super::bucket::BOOTSTRAP;
use crate::aws::Aws;
use crate::aws::emr::BootstrapAction;
use crate::bundle;
use crate::config::BootstrapConfig;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::stack::change::{Change, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its file's name.
    pub name: String,
    /// Its key in the bucket.
    pub key: String,
    pub content: Vec<u8>,
    /// What it is called with.
    pub args: Vec<String>,
}

/// Ours, by which a node says who it is; then the configured scripts.
pub fn read(configured: &[BootstrapConfig], bucket: &str, region: &str) -> Result<Vec<Script>> {
    let ours =
        Script::new("hostkeys.sh", bundle::HOST_KEYS.into(), vec![bucket.to_owned(), region.to_owned()]);
    let configured = configured.iter().map(|config| {
        let content = std::fs::read(&config.script).map_err(|e| {
            Error::usage(format!("cannot read the bootstrap action {}: {}", config.script, explain_io(&e)))
                .help("correct script under [[cluster.bootstrap]] in fruitctl.toml; paths are relative to it")
        })?;
        if !content.starts_with(b"#!") {
            return Err(Error::usage(format!(
                "the bootstrap action {} has no first line like #!/bin/bash",
                config.script
            ))
            .help("add one: EMR executes the file as it is"));
        }
        let ends_with_return = |line: &[u8]| line.ends_with(b"\r");
        if content.split(|byte| *byte == b'\n').any(ends_with_return) {
            let script = &config.script;
            return Err(Error::usage(format!(
                "the bootstrap action {script} has lines that end in CR LF, as on Windows: its interpreter would \
                 not be found"
            ))
            .help(format!("sed -i 's/\\r$//' {script}")));
        }
        let name = Path::new(&config.script).file_name().unwrap_or_default().to_string_lossy();
        Ok(Script::new(&name, content, config.args.clone()))
    });
    std::iter::once(Ok(ours)).chain(configured).collect()
}

impl Script {
    fn new(name: &str, content: Vec<u8>, args: Vec<String>) -> Script {
        Script {
            name: name.to_owned(),
            key: format!("{BOOTSTRAP}{}/{name}", &sha256(&content)[..16]),
            content,
            args,
        }
    }

    /// What EMR is told.
    pub fn action(&self, bucket: &str) -> BootstrapAction {
        BootstrapAction {
            name: self.name.clone(),
            path: format!("s3://{bucket}/{}", self.key),
            sha256: Some(sha256(&self.content)),
            args: self.args.clone(),
        }
    }
}

/// Keys of those that are in the bucket.
///
/// # Errors
/// [`Kind::Refused`](crate::error::Kind::Refused), where one has another content.
pub async fn observe(scripts: &[Script], bucket: &str, aws: &Aws) -> Result<Vec<String>> {
    let mut there = Vec::new();
    for script in scripts {
        if aws.has_content(bucket, &script.key, &script.content).await? {
            there.push(script.key.clone());
        }
    }
    Ok(there)
}

/// What there is to do.
pub fn diff(scripts: &[Script], there: &[String]) -> Vec<Change> {
    let change =
        |s: &Script| Change::of(Resource::BootstrapAction, &s.key, there.contains(&s.key), Vec::new());
    scripts.iter().map(change).collect()
}

/// Uploads those that are missing.
pub async fn apply(scripts: &[Script], there: &[String], bucket: &str, aws: &Aws) -> Result<()> {
    for script in scripts.iter().filter(|script| !there.contains(&script.key)) {
        aws.ensure_content(bucket, &script.key, &script.content).await?;
    }
    Ok(())
}
