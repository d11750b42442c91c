//! The files of a page, and how they come to where they are served from.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::exec::context::Context;
use crate::storage::{Location, Output};

const INDEX: &str = include_str!("index.html");
const SERVICE_WORKER: &str = include_str!("sw.js");
const MANIFEST: &str = include_str!("manifest.webmanifest");
/// What is the same on every page.
const ASSETS: [(&str, &[u8]); 6] = [
    ("app.js", include_bytes!("app.js")),
    ("words.js", include_bytes!("words.js")),
    ("worker.js", include_bytes!("worker.js")),
    ("style.css", include_bytes!("style.css")),
    ("icon-192.png", include_bytes!("icon-192.png")),
    ("icon-512.png", include_bytes!("icon-512.png")),
];
/// Folders of assets, each a version.
const FOLDER: &str = "assets-";
/// Where a template names the version.
const VERSION: &str = "VERSION";

/// The files of a page.
pub struct Files {
    /// A hash of all that is in it.
    pub version: String,
    /// Below the folder of the version.
    assets: BTreeMap<&'static str, Bytes>,
    /// Beside it, in the order that they are written in.
    top: [(&'static str, String); 3],
}

impl Files {
    /// Around these.
    pub fn new(data: BTreeMap<&'static str, Bytes>) -> Self {
        let mut assets = data;
        assets.extend(ASSETS.map(|(name, bytes)| (name, Bytes::from_static(bytes))));
        let mut hash = Sha256::new();
        let top = [MANIFEST, SERVICE_WORKER, INDEX].map(str::as_bytes);
        for bytes in assets.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]).chain(top) {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        let version: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let names: Vec<&str> = assets.keys().copied().collect();
        let names = serde_json::to_string(&names).expect("plain names");
        let with_version = |text: &str| text.replace(VERSION, &version).replace("\"ASSETS\"", &names);
        let top = [
            ("manifest.webmanifest", with_version(MANIFEST)),
            ("sw.js", with_version(SERVICE_WORKER)),
            // Last: whoever finds it finds everything.
            ("index.html", with_version(INDEX)),
        ];
        Files { version, assets, top }
    }

    /// All of them together.
    pub fn bytes(&self) -> u64 {
        let top: usize = self.top.iter().map(|(_, text)| text.len()).sum();
        (self.assets.values().map(Bytes::len).sum::<usize>() + top) as u64
    }

    /// Writes them, `index.html` last, and takes away the assets of versions before: no picture stays that this page has not.
    pub fn write(self, to: &Location, context: &Context) -> Result<()> {
        let output = Output::open(to, context.runtime.clone())?;
        let folder = format!("{FOLDER}{}", self.version);
        for (name, bytes) in &self.assets {
            context.check()?;
            output.put(&format!("{folder}/{name}"), bytes.clone())?;
        }
        for (name, text) in &self.top {
            context.check()?;
            output.put(name, text.clone())?;
        }
        // A colleague may publish at the same time. Whose index.html stands takes away the others' assets, and has all of his own.
        let [.., (index, text)] = &self.top;
        if output.get(index)?.is_none_or(|now| now != text.as_bytes()) {
            return Ok(());
        }
        let there = output.list("")?;
        for (name, bytes) in &self.assets {
            let name = format!("{folder}/{name}");
            if !there.contains(&name) {
                output.put(&name, bytes.clone())?;
            }
        }
        let old: BTreeSet<String> = there
            .into_iter()
            .filter(|name| is_asset(name) && !name.starts_with(&format!("{folder}/")))
            .collect();
        old.iter().try_for_each(|name| output.delete(name))?;
        if let Location::Local(dir) = to {
            let folders: BTreeSet<&str> = old.iter().filter_map(|name| name.split('/').next()).collect();
            for folder in folders {
                // Empty by now, unless somebody else has put something there.
                let _ = std::fs::remove_dir(dir.join(folder));
            }
        }
        Ok(())
    }
}

/// Whether it is an asset of some version: directly below `assets-` and sixteen digits.
fn is_asset(name: &str) -> bool {
    let version = name.strip_prefix(FOLDER).and_then(|rest| rest.split_once('/'));
    version.is_some_and(|(version, name)| {
        version.len() == 16 && version.bytes().all(|b| b.is_ascii_hexdigit()) && !name.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_assets_are_taken_away() {
        assert!(is_asset("assets-0123456789abcdef/app.js"));
        for name in
            ["index.html", "assets-mine/app.js", "assets-0123456789abcdef/a/b", "assets-0123456789abcdef"]
        {
            assert!(!is_asset(name), "{name}");
        }
    }

    #[test]
    fn another_file_is_another_version() {
        let version =
            |text: &'static str| Files::new(BTreeMap::from([("bundle.bin", Bytes::from(text))])).version;
        assert_eq!(version("a"), version("a"));
        assert_ne!(version("a"), version("b"));
    }

    #[test]
    fn the_page_names_its_version_and_the_worker_all_assets() {
        let files = Files::new(BTreeMap::from([("bundle.bin", Bytes::from("a"))]));
        for (name, text) in &files.top {
            assert!(!text.contains(VERSION) && !text.contains("\"ASSETS\""), "{name}");
        }
        let names = "[\"app.js\",\"bundle.bin\",\"icon-192.png\",\"icon-512.png\",\"style.css\",\"words.js\",\"worker.js\"]";
        assert!(files.top[1].1.contains(names), "{}", files.top[1].1);
        assert!(files.top[2].1.contains(&format!("assets-{}/app.js", files.version)));
    }
}
