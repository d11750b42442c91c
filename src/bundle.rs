//! What this one executable carries: templates, scripts for the nodes, tables of prices and facts, models; and, in a
//! release, a fruitjob for each kind of processor.
//!
//! `release/build` makes the latter and builds with the feature `bundle`. A development build carries none, and ships the
//! fruitjob that lies beside it.

use fruitjob_interface::spark::DRIVER;

use crate::error::{Error, Result};
use crate::instances::Arch;

macro_rules! files {
    ($($name:ident = $path:literal;)*) => {
        $(#[doc = concat!("`", $path, "`")] pub const $name: &str = include_str!(concat!("../", $path));)*

        /// Files that are carried as they are: where they lie in the source, and their content.
        pub static FILES: &[(&str, &[u8])] = &[
            $(($path, $name.as_bytes()),)*
            ("jobs/interface/src/spark.py", DRIVER.as_bytes()),
            #[cfg(feature = "local")]
            ("jobs/fruitjob/models/builtin.onnx", fruitjob::model::inside::BUILTIN),
            #[cfg(feature = "local")]
            ("jobs/fruitjob/models/builtin-1.onnx", fruitjob::model::inside::BUILTIN_1),
            ("jobs/fruitjob/models/mobilenet_v2.onnx", MOBILENET_V2),
        ];
    };
}

files! {
    HOST_KEYS = "bootstrap/hostkeys.sh";
    STEP = "bootstrap/step.sh";
    FACTS = "src/facts.toml";
    PRICES = "src/prices.toml";
    CONFIG_LOCAL = "templates/fruitctl.toml";
    CONFIG_EMR = "templates/fruitctl-emr.toml";
    SERVICE_ROLE = "templates/iam/service-role.json";
    NODE_ROLE = "templates/iam/node-role.json";
    RUN_POLICY = "templates/iam/run.json";
    SETUP_POLICY = "templates/iam/setup.json";
    SWEEP_POLICY = "templates/iam/sweep.json";
    BOUNDARY = "templates/iam/boundary.json";
    GITHUB = "templates/ci/github.yml";
    GITHUB_TRUST = "templates/ci/github-trust.json";
    GITLAB = "templates/ci/gitlab.yml";
    GITLAB_TRUST = "templates/ci/gitlab-trust.json";
    SWEEP_STACK = "templates/ci/sweep-stack.json";
}

#[cfg(feature = "bundle")]
macro_rules! job {
    ($arch:literal) => {
        include_bytes!(concat!(
            env!("FRUITCTL_JOBS", "the feature 'bundle' is for release/build"),
            "/fruitjob-",
            $arch,
            ".zst"
        ))
    };
}

#[cfg(feature = "bundle")]
static JOBS: &[(Arch, &[u8])] = &[(Arch::X86_64, job!("x86_64")), (Arch::Aarch64, job!("aarch64"))];
#[cfg(not(feature = "bundle"))]
static JOBS: &[(Arch, &[u8])] = &[];

/// ImageNet's MobileNetV2, which no fruitjob carries: local runs are given it, and it is shipped to clusters. A static is in the
/// executable once; a constant may be once a place that names it.
pub static MOBILENET_V2: &[u8] = include_bytes!("../jobs/fruitjob/models/mobilenet_v2.onnx");

/// What a page computes with, as release/build has made it.
#[cfg(feature = "bundle")]
static APP: Option<&[u8]> = Some(include_bytes!(concat!(
    env!("FRUITCTL_JOBS", "the feature 'bundle' is for release/build"),
    "/fruitapp.wasm.zst"
)));
#[cfg(not(feature = "bundle"))]
static APP: Option<&[u8]> = None;

/// What a page computes with: WebAssembly that is carried, or, in a development build, that lies beside the executable or in the
/// folder above, `target`.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) where there is none.
pub fn app() -> Result<Vec<u8>> {
    if let Some(packed) = APP {
        return Ok(zstd::decode_all(packed).expect("release/build packed it"));
    }
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.ancestors().skip(1).take(2).map(|folder| folder.join("fruitapp.wasm"));
    beside.into_iter().find_map(|file| std::fs::read(file).ok()).ok_or_else(|| {
        Error::usage("this fruitctl was built without fruitapp.wasm, which a page computes with, and it is not beside it either")
            .help(format!(
                "in the source's folder: release/app {}; a release carries it",
                program.with_file_name("fruitapp.wasm").display()
            ))
    })
}

/// The processors for which a fruitjob is carried.
pub fn arches() -> impl Iterator<Item = Arch> {
    JOBS.iter().map(|(arch, _)| *arch)
}

/// The fruitjob for these processors, if one is carried.
pub fn job(arch: Arch) -> Option<Vec<u8>> {
    let (_, packed) = JOBS.iter().find(|(of, _)| *of == arch)?;
    Some(unpacked(packed).expect("release/build packed it"))
}

/// A job holds the models that are in this executable too, and its packed form leaves them out: `pack_job` in
/// release/toolchain.sh has them for its dictionary.
#[cfg(feature = "bundle")]
fn unpacked(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    use fruitjob::model::inside::{BUILTIN, BUILTIN_1};
    let models = [BUILTIN, BUILTIN_1].concat();
    let mut job = Vec::new();
    std::io::copy(&mut zstd::Decoder::with_dictionary(packed, &models)?, &mut job)?;
    Ok(job)
}

#[cfg(not(feature = "bundle"))]
fn unpacked(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::decode_all(packed)
}
