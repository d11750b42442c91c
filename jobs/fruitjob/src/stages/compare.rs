//! What changed since the results that are published now: images, rejects, labels, and how far vectors moved, so that
//! whoever uses them knows when old and new ones cannot be compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use fruitjob_interface::since::{Drift, LabelChange, Since};

use crate::error::Result;
use crate::fit::Pca;
use crate::layout;
use crate::listing::Entry;
use crate::manifest::Manifest;
use crate::moments::Moments;
use crate::record::{LabelRecord, ModelRecord, RunRecord};
use crate::storage::Output;

/// The results that are published, if all of them are.
pub(crate) fn published(output: &Output) -> Result<Option<RunRecord>> {
    if output.get(layout::SUCCESS)?.is_none() {
        return Ok(None);
    }
    Ok(output.get(layout::PUBLISHED_RECORD)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// What can be said once the images are listed.
pub(crate) fn listed(output: &Output, now: &Manifest) -> Result<Option<Since>> {
    let Some(before) = published(output)? else { return Ok(None) };
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
    match published(output)?.and_then(|run| run.model) {
        Some(before) if before.makes_what(model) => {
            Ok(Some(drift(&Pca::load(output, layout::PUBLISHED_MODEL)?, pca, moments)))
        }
        _ => Ok(None),
    }
}

/// How far `new` is from `old`, on images of these moments.
fn drift(old: &Pca, new: &Pca, moments: &Moments) -> Drift {
    let (d, k) = (new.mean.len(), new.components_len().min(old.components_len()));
    let common =
        algebra::product(&old.components, &new.components, d).iter().map(|x| x * x).sum::<f64>() / k as f64;
    let vectors_moved = (old.components_len() == new.components_len()).then(|| {
        // Where the mean image comes to lie, in each.
        let at = |pca: &Pca, row: &[f64]| -> f64 {
            row.iter().zip(&moments.mean).zip(&pca.mean).map(|((a, x), m)| a * (x - m)).sum()
        };
        let (mut moved, mut length) = (0.0, 0.0);
        for (old_row, new_row) in old.components.chunks_exact(d).zip(new.components.chunks_exact(d)) {
            let difference: Vec<f64> = new_row.iter().zip(old_row).map(|(n, o)| n - o).collect();
            moved += moments.variance_along(&difference) + (at(new, new_row) - at(old, old_row)).powi(2);
            length += moments.variance_along(new_row) + at(new, new_row).powi(2);
        }
        (moved / length).sqrt()
    });
    let vectors_moved = vectors_moved.filter(|moved| moved.is_finite());
    let same = old.mean == new.mean && old.components == new.components;
    // The same space is at a distance of some 1e-8 from itself.
    let distance = if same { 0.0 } else { (1.0 - common).max(0.0).sqrt() };
    Drift { same, subspace_distance: distance, vectors_moved: if same { Some(0.0) } else { vectors_moved } }
}

/// Labels that gained or lost results, once the results are known.
pub(crate) fn labelled(output: &Output, now: &[LabelRecord]) -> Result<Vec<LabelChange>> {
    let before = published(output)?.map(|run| run.labels).unwrap_or_default();
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
    use super::*;
    use crate::moments::Sum;

    fn pca(mean: [f64; 3], components: &[[f64; 3]]) -> Pca {
        Pca { mean: mean.into(), components: components.concat(), spectrum: vec![1.0; 3] }
    }

    /// Of (±2, ±1, 0).
    fn moments() -> Moments {
        let mut sum = Sum::new(3);
        sum.add(&[2.0, 1.0, 0.0, 2.0, -1.0, 0.0, -2.0, 1.0, 0.0, -2.0, -1.0, 0.0]);
        sum.finish()
    }

    const X: [f64; 3] = [1.0, 0.0, 0.0];
    const Y: [f64; 3] = [0.0, 1.0, 0.0];
    const Z: [f64; 3] = [0.0, 0.0, 1.0];

    #[test]
    fn a_pca_is_where_it_was() {
        let one = pca([0.0; 3], &[X, Y]);
        let still = Drift { same: true, subspace_distance: 0.0, vectors_moved: Some(0.0) };
        assert_eq!(drift(&one, &one, &moments()), still);
    }

    #[test]
    fn spaces_at_right_angles_are_far_apart() {
        let far = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[Y]), &moments());
        assert_eq!((far.same, far.subspace_distance), (false, 1.0));
        let half = drift(&pca([0.0; 3], &[X, Y]), &pca([0.0; 3], &[X, Z]), &moments());
        assert!((half.subspace_distance - 0.5f64.sqrt()).abs() < 1e-12, "{half:?}");
        // One holds the other; but vectors of two elements are not to be held against vectors of one.
        let more = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[X, Y]), &moments());
        assert_eq!((more.subspace_distance, more.vectors_moved), (0.0, None));
    }

    #[test]
    fn vectors_move_though_the_space_is_the_same() {
        let flipped = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[[-1.0, 0.0, 0.0]]), &moments());
        assert_eq!(flipped.subspace_distance, 0.0);
        assert!((flipped.vectors_moved.unwrap() - 2.0).abs() < 1e-12, "{flipped:?}");
        // Another mean moves all by as much: 1, where they are sqrt(16 / 3) long.
        let shifted = drift(&pca([1.0, 0.0, 0.0], &[X]), &pca([0.0; 3], &[X]), &moments());
        assert!((shifted.vectors_moved.unwrap() - (3.0f64 / 16.0).sqrt()).abs() < 1e-12, "{shifted:?}");
    }
}
