//! The key pair: an ed25519 key of this machine, whose public half EC2 gives to the nodes.
//!
//! Its name ends in the hash of the public key, so that each machine has a pair of its own and none replaces
//! another's. The private half never leaves the machine.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fruitjob_interface::error::explain_io;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use crate::aws::Aws;
use crate::aws::ec2::KeyPair;
use crate::config::KeyConfig;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;
use crate::stack::change::{Change, Resource};
use crate::stack::names::{BY_PROJECT, Names};

/// What it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name in EC2.
    pub name: String,
    /// `ssh-ed25519 AAAA...`.
    pub public_key: String,
    /// Where the private half is.
    pub file: PathBuf,
}

impl Spec {
    /// The configured key, or the one in the data directory; made there, if there is none.
    pub fn resolve(names: &Names, config: &KeyConfig) -> Result<Spec> {
        let (file, public_key) = match &config.private_key {
            Some(file) => {
                let file = expand(file);
                let public = file.with_extension("pub");
                (file, read_public(&public)?)
            }
            None => own_key(names)?,
        };
        let name = format!("{}{}", names.prefix(), &sha256(public_key.as_bytes())[..8]);
        Ok(Spec { name, public_key, file })
    }
}

/// `~/` is the home directory.
fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Algorithm and key of a `.pub` file, without the comment.
fn read_public(file: &Path) -> Result<String> {
    let wrong = |why: String| {
        Error::usage(format!("cannot use {} as an SSH public key: {why}", file.display()))
            .help("make a pair (ssh-keygen -t ed25519), or leave [key] out: then fruitctl makes one")
    };
    let text = std::fs::read_to_string(file).map_err(|e| wrong(explain_io(&e)))?;
    let mut key = PublicKey::from_openssh(&text).map_err(|e| wrong(e.to_string()))?;
    if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Rsa { .. }) {
        return Err(wrong(format!("EC2 takes ed25519 and RSA keys, and this is {}", key.algorithm())));
    }
    key.set_comment("");
    key.to_openssh().map(|text| text.trim().to_owned()).map_err(|e| wrong(e.to_string()))
}

/// `$XDG_DATA_HOME/fruitctl`, or `~/.local/share/fruitctl`.
pub fn data_dir() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| Some(var("HOME")?.join(".local/share")))
        .map(|path| path.join("fruitctl"))
        .ok_or_else(|| {
            Error::usage("neither HOME nor XDG_DATA_HOME is set: there is no place for the SSH key")
        })
}

/// The key that we made for this project here; one for each account and region.
fn own_key(names: &Names) -> Result<(PathBuf, String)> {
    let dir = data_dir()?.join("keys");
    let file = dir.join(format!("{}-{}-{}", names.project, names.account, names.region));
    let trouble = |doing: &str, e: std::io::Error| {
        Error::new(Kind::Failed, format!("cannot {doing} the SSH key {}: {}", file.display(), explain_io(&e)))
    };
    if !file.exists() {
        std::fs::create_dir_all(&dir).map_err(|e| trouble("make a place for", e))?;
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700))
            .map_err(|e| trouble("protect", e))?;
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
            .map_err(|e| Error::new(Kind::Bug, e.to_string()))?;
        let text = key.to_openssh(LineEnding::LF).map_err(|e| Error::new(Kind::Bug, e.to_string()))?;
        // Whole or not at all, and the first of two that come at once wins.
        let draft = dir.join(format!(".{}-{:x}", std::process::id(), fastrand::u64(..)));
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(|e| trouble("write", e))?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(|e| trouble("write", e))?;
        let linked = std::fs::hard_link(&draft, &file);
        let _ = std::fs::remove_file(&draft);
        match linked {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(trouble("write", e)),
            _ => {}
        }
    }
    let key =
        PrivateKey::read_openssh_file(&file).map_err(|e| {
            Error::new(Kind::Failed, format!("cannot read the SSH key {}: {e}", file.display()))
                .help(format!("mv {} {}.broken (another is made)", file.display(), file.display()))
        })?;
    let mut public = key.public_key().clone();
    public.set_comment("");
    let public = public.to_openssh().map_err(|e| Error::new(Kind::Bug, e.to_string()))?;
    Ok((file, public.trim().to_owned()))
}

/// The project's key pairs; an error if one has our name and not our tag, or another key.
pub async fn observe(names: &Names, spec: Option<&Spec>, aws: &Aws) -> Result<Vec<KeyPair>> {
    let Some(spec) = spec else { return Ok(Vec::new()) };
    let (tagged, named) =
        tokio::try_join!(aws.key_pairs(BY_PROJECT, &names.project), aws.key_pairs("key-name", &spec.name),)?;
    if let Some(foreign) = named.iter().find(|pair| !names.owns(&pair.tags)) {
        return Err(names.foreign("key pair", &foreign.name, &foreign.tags));
    }
    Ok(tagged)
}

/// What there is to do.
pub fn diff(spec: &Spec, seen: &[KeyPair]) -> Change {
    Change::of(Resource::KeyPair, &spec.name, seen.iter().any(|pair| pair.name == spec.name), Vec::new())
}

/// Imports it.
pub async fn apply(names: &Names, spec: Option<&Spec>, seen: &[KeyPair], aws: &Aws) -> Result<()> {
    let Some(spec) = spec else { return Ok(()) };
    if seen.iter().any(|pair| pair.name == spec.name) {
        return Ok(());
    }
    if !aws.import_key_pair(&spec.name, &spec.public_key, &names.tags()).await? {
        // Made by somebody else since we looked, or by us with the answer lost; the look tells whose it is.
        observe(names, Some(spec), aws).await?;
    }
    Ok(())
}

/// Deletes all of the project's pairs. Private halves on machines stay: they open nothing any more.
pub async fn destroy(names: &Names, aws: &Aws) -> Result<()> {
    for pair in aws.key_pairs(BY_PROJECT, &names.project).await? {
        aws.delete_key_pair(&pair.name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_without_its_comment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("id.pub");
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        std::fs::write(&file, format!("{key} ana@laptop\n")).unwrap();
        assert_eq!(read_public(&file).unwrap(), key);
        std::fs::write(&file, "nonsense").unwrap();
        assert!(read_public(&file).unwrap_err().to_string().contains("ssh-keygen"));
    }
}
