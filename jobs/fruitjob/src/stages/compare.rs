//! What changed since the results that are published now: images, rejects, labels, and how far vectors moved, so that
//! whoever uses them knows when old and new ones cannot be compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use fruitjob_interface::layout;
use fruitjob_interface::record::{LabelRecord, ModelRecord};
use fruitjob_interface::since::{Drift, LabelChange, Since};

use crate::artifacts::entry::Entry;
use crate::artifacts::manifest::Manifest;
use crate::artifacts::{pcas, published};
use crate::error::Result;
use crate::pca::Pca;
use crate::pca::drift::drift;
use crate::pca::moments::Moments;
use crate::storage::Output;

/// What can be said once the images are listed.
pub(crate) fn listed(output: &Output, now: &Manifest) -> Result<Option<Since>> {
    let Some(before) = published::record(output)? else { return Ok(None) };
    // Results of an earlier version have no listing beside them.
    let Some(listing) = Manifest::open(output, layout::PUBLISHED_MANIFEST)? else { return Ok(None) };
    let mut since = Since {
        finished: before.finished,
        listed: before.images.listed,
        rejected: before.images.rejected,
        explained_variance: before.pca.map(|pca| pca.explained_variance_ratio.iter().sum()),
        ..Since::default()
    };
    compare(&listing, now, &mut since)?;
    Ok(Some(since))
}

/// Walks through both listings side by side, past the partitions that both have.
fn compare(before: &Manifest, now: &Manifest, since: &mut Since) -> Result<()> {
    let (mut old, mut new) = (others(before, now), others(now, before));
    let (mut a, mut b) = (old.next().transpose()?, new.next().transpose()?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        match order {
            Ordering::Less => since.removed += 1,
            Ordering::Greater => since.new += 1,
            Ordering::Equal => {
                let same =
                    a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| (a.size, &a.tag) == (b.size, &b.tag));
                since.changed += u64::from(!same);
            }
        }
        if order != Ordering::Greater {
            a = old.next().transpose()?;
        }
        if order != Ordering::Less {
            b = new.next().transpose()?;
        }
    }
}

/// The images of `these`, in order, but for partitions that `those` has too.
fn others<'a>(these: &'a Manifest, those: &'a Manifest) -> impl Iterator<Item = Result<Entry>> + 'a {
    let shared: HashSet<&str> = those.partitions.iter().map(|p| p.key.as_str()).collect();
    let mine = these.partitions.iter().enumerate().filter(move |(_, p)| !shared.contains(p.key.as_str()));
    mine.flat_map(|(i, _)| match these.entries(i) {
        Ok(entries) => entries.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}

/// How far vectors moved, by what they were fitted on now; none when another model made the published ones.
pub(crate) fn fitted(
    output: &Output,
    model: &ModelRecord,
    pca: &Pca,
    moments: &Moments,
) -> Result<Option<Drift>> {
    match published::record(output)?.and_then(|run| run.model) {
        Some(before) if before.same_features_as(model) => {
            Ok(Some(drift(&pcas::load(output, layout::PUBLISHED_MODEL)?, pca, moments)))
        }
        _ => Ok(None),
    }
}

/// Labels that gained or lost results, once the results are known.
pub(crate) fn labelled(output: &Output, now: &[LabelRecord]) -> Result<Vec<LabelChange>> {
    let before = published::record(output)?.map(|run| run.labels).unwrap_or_default();
    let mut both: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for label in &before {
        both.entry(&label.label).or_default().0 = label.images;
    }
    for label in now {
        both.entry(&label.label).or_default().1 = label.images;
    }
    let changed = both.into_iter().filter(|(_, (before, now))| before != now);
    Ok(changed.map(|(label, (before, now))| LabelChange { label: label.to_owned(), before, now }).collect())
}
