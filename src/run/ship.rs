//! Ships what a run needs: the executable for the cluster's processors and C library, the model, the step's script; to
//! the bucket, under the hash of their content, so that each is uploaded once.

use std::path::Path;

use fruitjob_interface::error::explain_io;
use fruitjob_interface::onnx::files_beside;

use super::{Request, elf};
use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::aws::s3_uri::S3Uri;
use crate::bundle;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::instances::Arch;
use crate::stack::{Spec, bucket};

/// What lies in the bucket now.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The step's script.
    pub script: String,
    pub executable: String,
    pub sha256: String,
    /// The model, as fruitjob is told.
    pub model: Option<String>,
    /// The table of labels, as fruitjob is told.
    pub labels: Option<String>,
}

/// Uploads what is not there yet.
pub async fn ship(spec: &Spec, request: &Request, aws: &Aws) -> Result<Shipped> {
    let bucket = &spec.bucket.name;
    let program = find_executable(request, spec)?;
    let (executable, sha256) = put(bucket, "fruitjob", &program, aws).await?;
    let (script, _) = put(bucket, "step.sh", bundle::STEP.as_bytes(), aws).await?;
    let model = match request.job.model.as_deref() {
        None | Some(fruitjob_interface::model::DEFAULT) => request.job.model.clone(),
        Some(uri) if uri.contains("://") => {
            if S3Uri::parse(uri).is_none() && !uri.starts_with("http") {
                return Err(Error::usage(format!("a cluster cannot reach the model {uri}"))
                    .help("name a file, or an s3:// or https:// URI"));
            }
            Some(uri.to_owned())
        }
        Some(file) => Some(put_model(bucket, Path::new(file), aws).await?),
    };
    let labels = match request.job.labels.as_deref() {
        Some(uri) if uri.contains("://") => {
            if S3Uri::parse(uri).is_none() {
                return Err(Error::usage(format!("a cluster cannot reach the labels {uri}"))
                    .help("name a file, or an s3:// URI"));
            }
            Some(uri.to_owned())
        }
        Some(file) => {
            let file = Path::new(file);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Some(put(bucket, &name, &read(file, "table of labels")?, aws).await?.0)
        }
        None => None,
    };
    Ok(Shipped { script, executable, sha256, model, labels })
}

/// The executable that runs on the cluster: the one that is named, the one that we carry, or one beside us.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) where there is none, or none that runs on the cluster's nodes.
pub fn find_executable(request: &Request, spec: &Spec) -> Result<Vec<u8>> {
    let fitting = |path: &Path| {
        let program = read(path, "executable")?;
        check(&program, &path.display().to_string(), spec)?;
        Ok(program)
    };
    if let Some(path) = &request.executable {
        return fitting(path);
    }
    let arch = Arch::of(spec.cluster.kinds().next().unwrap_or_default());
    if let Some(program) = bundle::job(arch) {
        check(&program, "the fruitjob inside fruitctl", spec)?;
        return Ok(program);
    }
    let us = std::env::current_exe().map_err(|e| Error::usage(format!("where am I? {e}")))?;
    let portable = us.with_file_name(format!("fruitjob-{}", arch.target()));
    match fitting(&us.with_file_name("fruitjob")) {
        Err(_) if portable.exists() => fitting(&portable),
        other => other,
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::usage(format!("cannot read the {what} {}: {}", path.display(), explain_io(&e)))
            .help("build it (cargo build --release --workspace), or name it: --executable FILE")
    })
}

/// Uploads a model and the files beside it that hold its weights, under the hash of all of them; the model's URI.
async fn put_model(bucket: &str, file: &Path, aws: &Aws) -> Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let model = read(file, "model")?;
    let beside = files_beside(&model)
        .map_err(|why| Error::usage(format!("model {}: {why}", file.display())).help("fruitctl help run"))?;
    if beside.is_empty() {
        return Ok(put(bucket, &name, &model, aws).await?.0);
    }
    let mut all = vec![(name.into_owned(), model)];
    for other in beside {
        let weights = std::fs::read(file.with_file_name(&other)).map_err(|e| {
            let why = explain_io(&e);
            Error::usage(format!(
                "model {}: its weights are in {other} beside it, and that file: {why}",
                file.display()
            ))
            .help("copy both files, which belong together, into one folder")
        })?;
        all.push((other, weights));
    }
    let hashes: Vec<String> =
        all.iter().map(|(name, content)| format!("{name}\n{}", sha256(content))).collect();
    let folder = format!("{}{}", bucket::JOBS, &sha256(hashes.join("\n").as_bytes())[..16]);
    // The model last: where it lies, its weights do.
    for (name, content) in all.iter().rev() {
        put_at(bucket, &format!("{folder}/{name}"), content, aws).await?;
    }
    Ok(format!("s3://{bucket}/{folder}/{}", all[0].0))
}

/// Uploads under the hash of the content; the object's URI, and that SHA-256.
async fn put(bucket: &str, name: &str, content: &[u8], aws: &Aws) -> Result<(String, String)> {
    let sha256 = sha256(content);
    let key = format!("{}{}/{name}", bucket::JOBS, &sha256[..16]);
    put_at(bucket, &key, content, aws).await?;
    Ok((format!("s3://{bucket}/{key}"), sha256))
}

async fn put_at(bucket: &str, key: &str, content: &[u8], aws: &Aws) -> Result<()> {
    if !aws.has_object(bucket, key).await? {
        aws.put_object(bucket, key, content, Only::Always).await?;
    }
    Ok(())
}

/// Whether the executable runs on the cluster: its processors, and its C library's version.
fn check(program: &[u8], name: &str, spec: &Spec) -> Result<()> {
    let wrong = |why: String, next: &str| {
        Err(Error::usage(format!("{name} would not run on the cluster: {why}")).help(next))
    };
    // A script runs anywhere.
    if program.starts_with(b"#!") {
        return Ok(());
    }
    let Some(built) = elf::arch(program) else {
        return wrong(
            "it is no Linux program for x86-64 or aarch64".into(),
            "build fruitjob for Linux, and name it: --executable FILE",
        );
    };
    for kind in spec.cluster.kinds() {
        let needed = Arch::of(kind);
        if needed != built {
            return wrong(
                format!("it is for {}, and {kind} is {}", built.name(), needed.name()),
                "choose types of one kind under [cluster], such as m5.xlarge for x86-64 and m6g.xlarge for aarch64; in a clone, release/jobs target/release builds for both; or name another: --executable FILE",
            );
        }
    }
    // Amazon Linux 2 and 2023; an emulator's nodes have this machine's.
    let emulated =
        std::env::var("FRUITCTL_NODE_GLIBC").ok().and_then(|text| text.split_once('.')?.1.parse().ok());
    let listed = if spec.cluster.release.starts_with("emr-7") { 34 } else { 26 };
    let has = (2, emulated.unwrap_or(listed));
    let needs = elf::glibc(program);
    if needs > has {
        return wrong(
            format!(
                "it needs glibc {}.{}, and {} has {}.{}",
                needs.0, needs.1, spec.cluster.release, has.0, has.1
            ),
            "in a clone, release/jobs target/release builds one for glibc 2.26; or set release under [cluster] to emr-7",
        );
    }
    Ok(())
}
