//! What changed since the results that are published now: images, rejects, labels, and how far vectors moved, so that
//! whoever uses them knows when old and new ones cannot be compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use fruitjob_interface::changes::{Changes, Drift, LabelChange};
use fruitjob_interface::layout;
use fruitjob_interface::record::{LabelRecord, ModelRecord};

use crate::artifacts::entry::Entry;
use crate::artifacts::manifest::Manifest;
use crate::artifacts::{pcas, published};
use crate::error::Result;
use crate::pca::Pca;
use crate::pca::drift::drift;
use crate::pca::moments::Moments;
use crate::storage::Output;

/// What can be said once the images are listed.
pub(crate) fn listed(output: &Output, now: &Manifest) -> Result<Option<Changes>> {
    let Some(before) = published::record(output)? else { return Ok(None) };
    // Results of an earlier version have no listing beside them.
    let Some(listing) = Manifest::open(output, layout::PUBLISHED_MANIFEST)? else { return Ok(None) };
    let mut changes = Changes {
        finished: before.finished,
        listed: before.images.listed,
        rejected: before.images.rejected,
        explained_variance: before.pca.map(|pca| pca.explained_variance_ratio.iter().sum()),
        ..Changes::default()
    };
    compare(&listing, now, &mut changes)?;
    Ok(Some(changes))
}

/// Walks through both listings side by side, past the partitions that both have.
fn compare(before: &Manifest, now: &Manifest, changes: &mut Changes) -> Result<()> {
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
            Ordering::Less => changes.removed += 1,
            Ordering::Greater => changes.new += 1,
            Ordering::Equal => {
                let same =
                    a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| (a.size, &a.tag) == (b.size, &b.tag));
                changes.changed += u64::from(!same);
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

#[cfg(test)]
mod tests {
    use fruitjob_interface::record::RunRecord;

    use super::*;
    use crate::artifacts::manifest::ManifestWriter;
    use crate::storage::testing::{Scratch, model_record};

    fn entry(i: usize) -> Entry {
        Entry { path: format!("a/{i:05}.jpg"), label: "a".into(), size: 1, tag: "t".into(), problem: None }
    }

    /// The listing of these images, in an output of its own.
    fn manifest(entries: &[Entry]) -> (Scratch, Manifest) {
        let scratch = Scratch::new();
        let mut writer = ManifestWriter::new(&scratch.output, "s3://fruits").unwrap();
        entries.iter().cloned().for_each(|entry| writer.add(entry).unwrap());
        writer.finish().unwrap();
        let manifest = Manifest::load(&scratch.output).unwrap();
        (scratch, manifest)
    }

    /// Images that are new, changed and removed.
    fn counts(before: &[Entry], now: &[Entry]) -> [u64; 3] {
        let mut changes = Changes::default();
        let ((_before, before), (_now, now)) = (manifest(before), manifest(now));
        compare(&before, &now, &mut changes).unwrap();
        [changes.new, changes.changed, changes.removed]
    }

    #[test]
    fn images_are_new_changed_or_removed_wherever_they_lie() {
        let before: Vec<Entry> = (0..400).map(entry).collect();
        assert_eq!(counts(&before, &before), [0, 0, 0]);
        assert_eq!(counts(&before, &before[..399]), [0, 0, 1]);
        assert_eq!(counts(&before[1..], &before), [1, 0, 0]);
        assert_eq!(counts(&before[..1], &before[399..]), [1, 0, 1]);
        let mut now = before.clone();
        now[3].tag = "u".into();
        now[200].size = 2;
        now[200].tag = "u".into();
        now.remove(300);
        now.insert(0, Entry { path: "a/0.jpg".into(), ..entry(0) });
        now.push(entry(400));
        assert_eq!(counts(&before, &now), [2, 2, 1]);
        assert_eq!(counts(&now, &before), [1, 2, 2]);
    }

    #[test]
    fn partitions_that_both_have_are_not_read() {
        // Two partitions and more; the last image alone is another.
        let before: Vec<Entry> = (0..400).map(entry).collect();
        let ((_before, before), (_now, now)) = (manifest(&before), manifest(&before[..399]));
        let (all, read) = (before.partitions.len(), others(&before, &now).count());
        assert!(all > 3 && read < 200, "{read} images of {all} partitions");
        assert!(others(&before, &before).next().is_none());
    }

    fn publish(output: &Output, run: &RunRecord) {
        output.put(layout::PUBLISHED_RECORD, serde_json::to_vec(run).unwrap()).unwrap();
        output.put(layout::SUCCESS, "").unwrap();
    }

    fn label(label: &str, images: u64) -> LabelRecord {
        LabelRecord { label: label.into(), images }
    }

    #[test]
    fn labels_that_gained_or_lost_are_told_in_order() {
        let (scratch, _) = manifest(&[entry(0)]);
        let run =
            RunRecord { labels: vec![label("a", 3), label("b", 2), label("d", 1)], ..Default::default() };
        publish(&scratch.output, &run);
        let now = [label("a", 3), label("c", 4), label("d", 2)];
        let changes: Vec<_> = labelled(&scratch.output, &now)
            .unwrap()
            .into_iter()
            .map(|change| (change.label, change.before, change.now))
            .collect();
        assert_eq!(changes, [("b".into(), 2, 0), ("c".into(), 0, 4), ("d".into(), 1, 2)]);
    }

    #[test]
    fn where_nothing_is_published_nothing_changed() {
        let (scratch, now) = manifest(&[entry(0)]);
        let output = &scratch.output;
        assert!(listed(output, &now).unwrap().is_none());
        let mut run = RunRecord { finished: Some("then".into()), ..Default::default() };
        (run.images.listed, run.images.rejected) = (7, 2);
        publish(output, &run);
        assert!(listed(output, &now).unwrap().is_none(), "no listing beside the results");
        output.copy(layout::MANIFEST, layout::PUBLISHED_MANIFEST).unwrap();
        let changes = listed(output, &now).unwrap().unwrap();
        let want = Changes { finished: Some("then".into()), listed: 7, rejected: 2, ..Changes::default() };
        assert_eq!(changes, want);
    }

    #[test]
    fn a_pca_of_another_model_is_not_compared() {
        let scratch = Scratch::new();
        let output = &scratch.output;
        let pca = Pca { mean: vec![0.0; 2], components: vec![1.0, 0.0], spectrum: vec![1.0, 0.0] };
        let moments = Moments { count: 2, mean: vec![0.0; 2], cross: vec![1.0, 0.0, 1.0] };
        let fitted = |model: &str| fitted(output, &model_record(model), &pca, &moments).unwrap();
        assert!(fitted("one").is_none());
        publish(output, &RunRecord { model: Some(model_record("one")), ..Default::default() });
        pcas::write(output, layout::PUBLISHED_MODEL, &pca).unwrap();
        assert!(fitted("two").is_none());
        assert!(fitted("one").unwrap().same);
    }
}
