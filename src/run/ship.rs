//! Ships what a run needs: the executable for the cluster's processors and C library, the model, the step's script; to
//! the bucket, under the hash of their content, so that each is uploaded once.

use std::path::Path;

use fruitjob_interface::JobOptions;
use fruitjob_interface::error::explain_io;
use fruitjob_interface::job::Sha256Hex;
use fruitjob_interface::location::Location;
use fruitjob_interface::model::{DEFAULT, Inside};
use fruitjob_interface::onnx::{files_beside, hashed_text};

use super::{Request, elf};
use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::bundle;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::instances::Arch;
use crate::stack::{Spec, bucket, cluster};

/// What lies in the bucket now.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The step's script.
    pub script: String,
    pub script_sha256: String,
    pub executable: String,
    pub sha256: String,
    /// The model, as fruitjob is told.
    pub model: Option<String>,
    /// The SHA-256 that it must have, as far as it is known.
    pub model_sha256: Option<Sha256Hex>,
    /// The table of labels, as fruitjob is told.
    pub labels: Option<String>,
}

/// Uploads what is not there yet.
pub async fn ship(spec: &Spec, request: &Request, aws: &Aws) -> Result<Shipped> {
    let bucket = &spec.bucket.name;
    let program = find_executable(request.executable.as_deref(), &spec.cluster)?;
    let (executable, sha256) = put(bucket, "fruitjob", &program, aws).await?;
    let (script, script_sha256) = put(bucket, "step.sh", bundle::STEP.as_bytes(), aws).await?;
    check_address(&request.job)?;
    let name = request.job.model.as_deref().unwrap_or(DEFAULT);
    let files = match Inside::named(name) {
        Some(Inside::MobilenetV2) => Some(vec![(format!("{name}.onnx"), bundle::MOBILENET_V2.to_vec())]),
        Some(Inside::Builtin | Inside::Builtin1) => None,
        None if name.contains("://") => None,
        None => Some(read_model(Path::new(name))?),
    };
    let (model, model_sha256) = match files {
        Some(files) => {
            let expected = request.job.model_sha256.as_ref();
            let (uri, sha256) = put_model(bucket, name, &files, expected, aws).await?;
            (Some(uri), Some(sha256))
        }
        None => (request.job.model.clone(), request.job.model_sha256.clone()),
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
            Some(put(bucket, &name, &read_labels(file)?, aws).await?.0)
        }
        None => None,
    };
    Ok(Shipped { script, script_sha256, executable, sha256, model, model_sha256, labels })
}

/// Whether nodes can be told the model's address: not one that gives whoever reads it a right, for the history, EMR and
/// whoever may see its steps read it.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage), where not; the message has no part of it that is secret.
pub fn check_address(job: &JobOptions) -> Result<()> {
    let Some(uri) = job.model.as_deref().filter(|model| model.contains("://")) else { return Ok(()) };
    if S3Uri::parse(uri).is_some() {
        return Ok(());
    }
    let shown = Location::parse(uri)?;
    match &shown {
        Location::Remote(url) if url.scheme() == "https" => {
            let has_secret = url.query().is_some() || url.fragment().is_some() || url.password().is_some();
            if has_secret || !url.username().is_empty() {
                return Err(Error::usage(format!(
                    "the address of the model {shown} has a signature or a password, which the history of runs and EMR \
                     would show"
                ))
                .help("download it, and name the file, which is shipped: --model FILE"));
            }
            Ok(())
        }
        _ => Err(Error::usage(format!("a cluster cannot reach the model {shown}"))
            .help("name a file, or an s3:// or https:// URI")),
    }
}

/// Whether the table of labels is there, where it is a file.
pub fn find_labels(request: &Request) -> Result<()> {
    match request.job.labels.as_deref().filter(|name| !name.contains("://")) {
        Some(file) => read_labels(Path::new(file)).map(drop),
        None => Ok(()),
    }
}

fn read_labels(file: &Path) -> Result<Vec<u8>> {
    read(file, "table of labels", "name a file that is there, or an s3:// URI")
}

/// The executable that runs on the cluster: the one that is named, the one that we carry, or one beside us.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) where there is none, or none that runs on the cluster's nodes.
pub fn find_executable(named: Option<&Path>, cluster: &cluster::Spec) -> Result<Vec<u8>> {
    let fitting = |path: &Path| {
        let program = read(path, "executable", BUILD)?;
        check(&program, &path.display().to_string(), cluster)?;
        Ok(program)
    };
    if let Some(path) = named {
        return fitting(path);
    }
    let arch = Arch::of(cluster.kinds().next().unwrap_or_default());
    if let Some(program) = bundle::job(arch) {
        check(&program, "the fruitjob inside fruitctl", cluster)?;
        return Ok(program);
    }
    let us = std::env::current_exe().map_err(|e| Error::usage(format!("where am I? {e}")))?;
    let portable = us.with_file_name(format!("fruitjob-{}", arch.target()));
    match fitting(&us.with_file_name("fruitjob")) {
        Err(_) if portable.exists() => fitting(&portable),
        other => other,
    }
}

/// Where a fruitjob comes from, if none is carried.
const BUILD: &str = "build it (cargo build --release --workspace; for Graviton: release/jobs target/release), or name it: \
                     --executable FILE";

fn read(path: &Path, what: &str, next: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::usage(format!("cannot read the {what} {}: {}", path.display(), explain_io(&e))).help(next)
    })
}

/// A model and the files beside it that hold its weights, by name; itself first.
fn read_model(file: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let model = read(file, "model", "name a file that is there, or an s3:// or https:// URI")?;
    let beside = files_beside(&model)
        .map_err(|why| Error::usage(format!("model {}: {why}", file.display())).help("fruitctl help run"))?;
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
    Ok(all)
}

/// Uploads a model's files, itself first, under the hash of all of them; the model's URI, and the SHA-256 that it has for
/// fruitjob.
async fn put_model(
    bucket: &str,
    shown: &str,
    all: &[(String, Vec<u8>)],
    expected: Option<&Sha256Hex>,
    aws: &Aws,
) -> Result<(String, Sha256Hex)> {
    let (first, others) = all.split_first().expect("the model is in it");
    let own = sha256(&first.1);
    let others = others.iter().map(|(name, content)| (name.as_str(), sha256(content)));
    let hash = hashed_text(&own, others).map_or(own, |text| sha256(text.as_bytes()));
    if let Some(expected) = expected.filter(|expected| expected.as_str() != hash) {
        return Err(Error::usage(format!(
            "model {shown} is not the one that --model-sha256 names: its SHA-256 is {hash} and not {}",
            expected.as_str()
        ))
        .help("find out which of the two is wrong"));
    }
    let folder = format!("{}{}", bucket::JOBS, &hash[..16]);
    // The model last: where it lies, its weights do.
    for (name, content) in all.iter().rev() {
        aws.ensure_content(bucket, &format!("{folder}/{name}"), content).await?;
    }
    let sha256 = hash.parse().expect("64 digits");
    Ok((format!("s3://{bucket}/{folder}/{}", all[0].0), sha256))
}

/// Uploads under the hash of the content; the object's URI, and that SHA-256.
async fn put(bucket: &str, name: &str, content: &[u8], aws: &Aws) -> Result<(String, String)> {
    let sha256 = sha256(content);
    let key = format!("{}{}/{name}", bucket::JOBS, &sha256[..16]);
    aws.ensure_content(bucket, &key, content).await?;
    Ok((format!("s3://{bucket}/{key}"), sha256))
}

/// Whether the executable runs on the cluster: its processors, and its C library's version.
fn check(program: &[u8], name: &str, cluster: &cluster::Spec) -> Result<()> {
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
    for kind in cluster.kinds() {
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
    let listed = if cluster.release.starts_with("emr-7") { 34 } else { 26 };
    let has = (2, emulated.unwrap_or(listed));
    let needs = elf::glibc(program);
    if needs > has {
        return wrong(
            format!(
                "it needs glibc {}.{}, and {} has {}.{}",
                needs.0, needs.1, cluster.release, has.0, has.1
            ),
            "in a clone, release/jobs target/release builds one for glibc 2.26; or set release under [cluster] to emr-7",
        );
    }
    Ok(())
}
