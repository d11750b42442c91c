//! Which pictures a page has, how far from them something may be, and how often they are right.

use std::collections::HashSet;

use fruitjob_interface::page::{PageCheck, PageOptions};

use crate::artifacts::partition;
use crate::gallery::Gallery;
use crate::gallery::known::{ENOUGH, PROBES, limits_of};
use crate::gallery::search::nearest_of;

/// Pictures of a run's results.
pub struct Sample {
    /// What the page has, label after label.
    pub shown: Vec<usize>,
    /// What was set aside.
    pub aside: Vec<usize>,
    /// Pictures of each label in the results.
    pub results: Vec<u64>,
}

/// Draws by the hashes of the paths: the same pictures night after night, as long as they are there. What is set aside depends
/// on its own path alone.
pub fn draw(gallery: &Gallery, options: &PageOptions) -> Sample {
    let mut of_label: Vec<Vec<(u64, usize)>> = vec![Vec::new(); gallery.labels.len()];
    for picture in 0..gallery.len() {
        of_label[gallery.label_number(picture)].push((partition::hash(gallery.path(picture)), picture));
    }
    let mut sample = Sample { shown: Vec::new(), aside: Vec::new(), results: Vec::new() };
    let is_aside = |hash: u64| (hash as f64) < options.check * 2f64.powi(64);
    for mut pictures in of_label {
        sample.results.push(pictures.len() as u64);
        pictures.sort_unstable();
        let (aside, mut rest): (Vec<_>, Vec<_>) = pictures.iter().partition(|(hash, _)| is_aside(*hash));
        // A label of one picture is on the page.
        let aside = if rest.is_empty() {
            rest.extend(aside.first());
            aside.get(1..).unwrap_or_default().to_vec()
        } else {
            aside
        };
        sample.aside.extend(aside.iter().map(|(_, picture)| picture));
        sample.shown.extend(rest.iter().take(options.per_label).map(|(_, picture)| picture));
    }
    sample
}

/// By label, how far from the nearest of `kept` something may be: as the gallery has it, of fewer pictures. What was set `aside`
/// has no say in it, for it is to tell how good the limits are.
pub fn limits(gallery: &Gallery, kept: &[usize], aside: &[usize]) -> Vec<f32> {
    let is_kept: HashSet<usize> = kept.iter().copied().collect();
    let is_aside: HashSet<usize> = aside.iter().copied().collect();
    let labels = gallery.labels.len();
    let (mut of_label, mut others) = (vec![Vec::new(); labels], vec![Vec::new(); labels]);
    for picture in (0..gallery.len()).filter(|picture| !is_aside.contains(picture)) {
        let list = if is_kept.contains(&picture) { &mut of_label } else { &mut others };
        list[gallery.label_number(picture)].push(picture);
    }
    let away = |of: usize, among: &[usize]| {
        let among = among.iter().copied().filter(|other| *other != of);
        nearest_of(gallery.vector(of), gallery.vectors(), among).map(|found| found.1)
    };
    let apart: Vec<Vec<f32>> = of_label
        .iter()
        .zip(&others)
        .map(|(kept, others)| {
            let step = others.len().div_ceil(PROBES).max(1);
            let mut apart: Vec<f32> = others.iter().step_by(step).filter_map(|of| away(*of, kept)).collect();
            if apart.len() < ENOUGH {
                apart.extend(kept.iter().filter_map(|of| away(*of, kept)));
            }
            apart
        })
        .collect();
    let to_others = |of: &usize| {
        let among =
            kept.iter().copied().filter(|other| gallery.label_number(*other) != gallery.label_number(*of));
        nearest_of(gallery.vector(*of), gallery.vectors(), among).map(|found| found.1)
    };
    let step = kept.len().div_ceil(1000).max(1);
    let to_others = kept.iter().step_by(step).filter_map(to_others).collect();
    let few: Vec<bool> = apart.iter().map(|apart| apart.len() < ENOUGH).collect();
    limits_of(apart, |label| few[label], to_others)
}

/// What the page would say of what was set aside.
pub fn check(gallery: &Gallery, kept: &[usize], aside: &[usize], limits: &[f32]) -> Option<PageCheck> {
    let mut check = PageCheck { pictures: aside.len() as u64, ..Default::default() };
    for picture in aside {
        let (first, distance) =
            nearest_of(gallery.vector(*picture), gallery.vectors(), kept.iter().copied())?;
        let label = gallery.label_number(first);
        if distance > limits[label] {
            check.unlike += 1;
        } else if label == gallery.label_number(*picture) {
            check.right += 1;
        } else {
            check.wrong += 1;
        }
    }
    (check.pictures > 0).then_some(check)
}
