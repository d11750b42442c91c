//! `fruitctl version`: which this is, and what it carries.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fruitjob_interface::error::explain_io;
use serde::Serialize;

use crate::cli::VersionArgs;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::instances::Arch;
use crate::run::elf;
use crate::{bundle, ui};

#[derive(Serialize)]
struct Version {
    version: &'static str,
    /// Operating system and processors that it was built for.
    built_for: String,
    /// What it carries.
    bundle: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    name: String,
    bytes: usize,
    sha256: String,
    /// Of an executable: the oldest glibc that it runs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    glibc: Option<String>,
}

/// Prints it, or writes the executables that are carried.
pub fn run(args: &VersionArgs) -> Result<()> {
    if let Some(dir) = &args.extract {
        return extract(dir);
    }
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        built_for: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        bundle: if args.bundle || args.json { items() } else { Vec::new() },
    };
    if args.json {
        ui::json(&version);
        return Ok(());
    }
    ui::say(&format!("fruitctl {} for {}", version.version, version.built_for));
    let arches: Vec<_> = bundle::arches().map(Arch::name).collect();
    ui::say(&match arches[..] {
        [] => "carries no fruitjob: a development build, which ships the one beside it".into(),
        _ => format!("carries fruitjob for {}", arches.join(" and ")),
    });
    for item in &version.bundle {
        let needs = item.glibc.as_ref().map(|v| format!("  (glibc {v} or later)")).unwrap_or_default();
        ui::say(&format!("{}  {:>10}  {}{needs}", item.sha256, ui::number(item.bytes as u64), item.name));
    }
    Ok(())
}

/// The name of the job's executable for these processors.
fn file_name(arch: Arch) -> String {
    format!("fruitjob-{}", arch.target())
}

fn items() -> Vec<Item> {
    let item = |name: &str, content: &[u8], glibc| Item {
        name: name.to_owned(),
        bytes: content.len(),
        sha256: sha256(content),
        glibc,
    };
    let jobs = bundle::arches().filter_map(|arch| {
        let program = bundle::job(arch)?;
        let (major, minor) = elf::glibc(&program);
        Some(item(&file_name(arch), &program, Some(format!("{major}.{minor}"))))
    });
    jobs.chain(bundle::FILES.iter().map(|(name, content)| item(name, content, None))).collect()
}

fn extract(dir: &Path) -> Result<()> {
    if bundle::arches().next().is_none() {
        return Err(Error::usage("this fruitctl carries no fruitjob: it is a development build")
            .help("cargo build --release --workspace makes one for this machine"));
    }
    for (arch, program) in bundle::arches().filter_map(|arch| Some((arch, bundle::job(arch)?))) {
        let path = dir.join(file_name(arch));
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, &program))
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .map_err(|e| Error::usage(format!("cannot write {}: {}", path.display(), explain_io(&e))))?;
        ui::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}
