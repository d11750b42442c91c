//! Ships what a run needs: the executable for the cluster's processors and C library, the model, the step's script; to
//! the bucket, under the hash of their content, so that each is uploaded once.

use std::path::{Path, PathBuf};

use fruitjob::error::explain_io;

use super::Request;
use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::error::{Error, Result};
use crate::instances::Arch;
use crate::stack::roles::s3_place;
use crate::stack::{Spec, bucket, scripts};

const STEP: &[u8] = include_bytes!("../../bootstrap/step.sh");

/// What lies in the bucket now.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The step's script.
    pub script: String,
    /// The executable.
    pub executable: String,
    /// Its SHA-256.
    pub sha256: String,
    /// The model, as fruitjob is told.
    pub model: Option<String>,
}

/// Uploads what is not there yet.
pub async fn ship(spec: &Spec, request: &Request, aws: &Aws) -> Result<Shipped> {
    let bucket = &spec.bucket.name;
    let path = match &request.executable {
        Some(path) => path.clone(),
        None => beside_us()?,
    };
    let program = read(&path, "executable")?;
    check(&program, &path, spec)?;
    let sha256 = scripts::sha256(&program);
    let executable = put(bucket, "fruitjob", &program, aws).await?;
    let script = put(bucket, "step.sh", STEP, aws).await?;
    let model = match request.job.model.as_deref() {
        None | Some(fruitjob::model::DEFAULT) => request.job.model.clone(),
        Some(uri) if uri.contains("://") => {
            if s3_place(uri).is_none() && !uri.starts_with("http") {
                return Err(Error::usage(format!("a cluster cannot reach the model {uri}"))
                    .next("name a file, or an s3:// or https:// URI"));
            }
            Some(uri.to_owned())
        }
        Some(file) => {
            let file = Path::new(file);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Some(put(bucket, &name, &read(file, "model")?, aws).await?)
        }
    };
    Ok(Shipped { script, executable, sha256, model })
}

/// The fruitjob that lies beside this executable.
fn beside_us() -> Result<PathBuf> {
    let us = std::env::current_exe().map_err(|e| Error::usage(format!("where am I? {e}")))?;
    Ok(us.with_file_name("fruitjob"))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Error::usage(format!("cannot read the {what} {}: {}", path.display(), explain_io(&e)))
            .next("build it (cargo build --release --workspace), or name it: --executable FILE")
    })
}

/// Uploads under the hash of the content; the object's URI.
async fn put(bucket: &str, name: &str, content: &[u8], aws: &Aws) -> Result<String> {
    let key = format!("{}{}/{name}", bucket::JOBS, &scripts::sha256(content)[..16]);
    if !aws.has_object(bucket, &key).await? {
        aws.put_object(bucket, &key, content, Only::Always).await?;
    }
    Ok(format!("s3://{bucket}/{key}"))
}

/// Whether the executable runs on the cluster: its processors, and its C library's version.
fn check(program: &[u8], path: &Path, spec: &Spec) -> Result<()> {
    let wrong = |why: String, next: &str| {
        Err(Error::usage(format!("{} would not run on the cluster: {why}", path.display())).next(next))
    };
    // A script runs anywhere.
    if program.starts_with(b"#!") {
        return Ok(());
    }
    let Some(built) = arch(program) else {
        return wrong(
            "it is no Linux program for x86-64 or aarch64".into(),
            "build fruitjob for Linux, and name it: --executable FILE",
        );
    };
    for kind in spec.cluster.workforce.iter().flat_map(|w| &w.types) {
        let needed = Arch::of(kind);
        if needed != built {
            return wrong(
                format!("it is for {}, and {kind} is {}", built.name(), needed.name()),
                "choose types of one kind under [cluster], such as m5.xlarge for x86-64 and m6g.xlarge for aarch64; or name another: --executable FILE",
            );
        }
    }
    // Amazon Linux 2 and 2023; an emulator's nodes have this machine's.
    let emulated =
        std::env::var("FRUITCTL_NODE_GLIBC").ok().and_then(|text| text.split_once('.')?.1.parse().ok());
    let listed = if spec.cluster.release.starts_with("emr-7") { 34 } else { 26 };
    let has = (2, emulated.unwrap_or(listed));
    let needs = glibc(program);
    if needs > has {
        return wrong(
            format!(
                "it needs glibc {}.{}, and {} has {}.{}",
                needs.0, needs.1, spec.cluster.release, has.0, has.1
            ),
            "build it for an older glibc (cargo zigbuild --target x86_64-unknown-linux-gnu.2.26), or set release under [cluster] to emr-7",
        );
    }
    Ok(())
}

/// From the ELF header. Source: man 5 elf, e_machine.
fn arch(program: &[u8]) -> Option<Arch> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    match program.get(18..20)? {
        [0x3e, 0] => Some(Arch::X86_64),
        [0xb7, 0] => Some(Arch::Aarch64),
        _ => None,
    }
}

/// The newest version of glibc's symbols that is asked for.
fn glibc(program: &[u8]) -> (u32, u32) {
    const MARK: &[u8] = b"GLIBC_2.";
    let mut newest = (2, 0);
    let mut rest = program;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        rest = &rest[at + MARK.len()..];
        let digits: String = rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        newest = newest.max((2, digits.parse().unwrap_or(0)));
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_says_what_it_needs() {
        let us = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(arch(&us), Some(if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }));
        assert!(glibc(&us) > (2, 10) || cfg!(target_env = "musl"));
        assert_eq!(arch(b"#!/bin/sh"), None);
        assert_eq!(glibc(b"..GLIBC_2.17\0GLIBC_2.34\0GLIBC_2.4\0"), (2, 34));
    }
}
