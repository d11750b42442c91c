//! PCAs as they are kept: a folder of NumPy arrays. That of a run is kept below `.fruitjob/`, in a folder named after its
//! numbers, so that later runs can be projected on it: vectors of one PCA can be compared, whichever night they are of.

use std::collections::BTreeSet;

use fruitjob_interface::layout::{self, ORIGIN};
use fruitjob_interface::model::{Preprocessing, PreprocessingOptions};
use fruitjob_interface::record::{ModelRecord, RunRecord};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::model::inside;
use crate::pca::{Pca, npy};
use crate::storage::{Location, Output};
use crate::util::shown;

/// Writes a PCA below `folder`, as arrays of f64.
pub(crate) fn write(output: &Output, folder: &str, pca: &Pca) -> Result<()> {
    let (k, d) = (pca.components_len(), pca.mean.len());
    let ratio = pca.explained_variance_ratio();
    for (name, data, shape) in [
        ("mean", &pca.mean[..], &[d][..]),
        ("components", &pca.components, &[k, d]),
        ("explained_variance", pca.explained_variance(), &[k]),
        ("explained_variance_ratio", &ratio, &[k]),
        ("spectrum", &pca.spectrum, &[d]),
    ] {
        output.put(&format!("{folder}/{name}.npy"), npy::write(data, shape))?;
    }
    Ok(())
}

/// Reads the PCA below `folder`.
///
/// # Errors
/// [`Error::Usage`] when there is none, [`Error::Failed`] when it is damaged.
pub fn load(output: &Output, folder: &str) -> Result<Pca> {
    let array = |name: &str| {
        let file = format!("{folder}/{name}.npy");
        let bytes = output.get(&file)?.ok_or_else(|| output.missing(&file, "fit"))?;
        npy::read(&bytes)
            .ok_or_else(|| Error::Failed(format!("{} is damaged; run fit again", output.path(&file))))
    };
    let (mean, _) = array("mean")?;
    let (components, shape) = array("components")?;
    let (spectrum, _) = array("spectrum")?;
    if mean.is_empty() || shape.get(1) != Some(&mean.len()) || spectrum.len() != mean.len() {
        return Err(Error::Failed(format!("{} does not fit together; run fit again", output.path(folder))));
    }
    Ok(Pca { mean, components, spectrum })
}

/// Keeps the staged PCA of a run that is about to be published.
pub(crate) fn save(output: &Output, record: &RunRecord) -> Result<()> {
    let (Some(pca), Some(model)) = (&record.pca, &record.model) else { return Ok(()) };
    let folder = layout::pca(&pca.id);
    let origin = format!("{folder}/{ORIGIN}");
    if output.get(&origin)?.is_none() {
        write(output, &folder, &load(output, layout::STAGED_MODEL)?)?;
        output.put(&origin, serde_json::to_vec_pretty(model).expect("plain data"))?;
    }
    Ok(())
}

/// Finds what `--pin-pca` names: one that is kept in the output, or that of other results.
///
/// # Errors
/// [`Error::Usage`] when there is none, or another model's features were under it.
pub(crate) fn find(pin: &str, output: &Output, model: &ModelRecord, runtime: &Handle) -> Result<Pca> {
    let (place, folder, id) = locate(pin, output, runtime)?;
    let origin = origin_in(&place, &folder)?.ok_or_else(|| unknown(pin, output))?;
    if origin.pixels_version != model.pixels_version {
        return Err(Error::Usage(format!(
            "the PCA {pin} was fitted on images that another version of this program decoded, and vectors of both would \
             not be comparable; leave out --pin-pca to fit one anew, and pin that from then on"
        )));
    }
    if origin.sha256 == model.sha256 && origin.preprocessing != model.preprocessing {
        let differing = differing(&origin.preprocessing, &model.preprocessing);
        return Err(Error::Usage(format!(
            "the PCA {pin} was fitted on images that were preprocessed otherwise: its vectors would mean nothing beside \
             this run's; for that PCA, run with {differing}; or leave out --pin-pca"
        )));
    }
    if !origin.same_features_as(model) {
        // A name may have stood for another model then.
        let name = inside::of_sha256(&origin.sha256)
            .map_or_else(|| shown(&origin.name), |inside| inside.name().into());
        let start = |sha256: &str| shown(&sha256.chars().take(12).collect::<String>());
        return Err(Error::Usage(format!(
            "the PCA {pin} was fitted on features of model {name} ({}), and this run's are of {} ({}): its vectors would \
             mean nothing; for that PCA, run with --model {name}; or leave out --pin-pca",
            start(&origin.sha256),
            model.name,
            start(&model.sha256),
        )));
    }
    let pca = load(&place, &folder)?;
    match id {
        Some(id) if id != pca.id() => Err(Error::Failed(format!(
            "the PCA in {} is not the one of that id: its numbers have the id {}; somebody changed it after it was kept: \
             name another, or leave out --pin-pca",
            place.path(&folder),
            pca.id()
        ))),
        _ => Ok(pca),
    }
}

/// The model whose features the named PCA was fitted on; `None` where there is no such PCA.
pub(crate) fn origin(pin: &str, output: &Output, runtime: &Handle) -> Result<Option<ModelRecord>> {
    let (place, folder, _) = locate(pin, output, runtime)?;
    origin_in(&place, &folder)
}

fn origin_in(place: &Output, folder: &str) -> Result<Option<ModelRecord>> {
    let origin = place.get(&format!("{folder}/{ORIGIN}"))?;
    origin
        .map(|json| serde_json::from_slice(&json))
        .transpose()
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", place.path(folder))))
}

/// The place, the folder in it, and the PCA's id, where it is kept under that.
fn locate(pin: &str, output: &Output, runtime: &Handle) -> Result<(Output, String, Option<String>)> {
    if !pin.contains('/') && output.get(&format!("{}/{ORIGIN}", layout::pca(pin)))?.is_some() {
        return Ok((output.clone(), layout::pca(pin), Some(pin.to_owned())));
    }
    let location = Location::parse(pin)?;
    // Opening it would make it.
    if matches!(&location, Location::Local(dir) if !dir.is_dir()) {
        return Err(unknown(pin, output));
    }
    let place = Output::open(&location, runtime.clone())?;
    if place.get(ORIGIN)?.is_some() {
        let name = location.name();
        let is_kept = location.to_string().ends_with(&layout::pca(&name));
        return Ok((place, String::new(), is_kept.then_some(name)));
    }
    let run = place.get(layout::PUBLISHED_RECORD)?.ok_or_else(|| unknown(pin, output))?;
    let run: RunRecord = serde_json::from_slice(&run)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", place.path(layout::PUBLISHED_RECORD))))?;
    let id = run.pca.map(|pca| pca.id).unwrap_or_default();
    Ok((place, layout::pca(&id), Some(id)))
}

/// The flags that a run with `now` lacks for the preprocessing that was `before`.
fn differing(before: &Preprocessing, now: &Preprocessing) -> String {
    let unless = |same: bool| (!same).then_some(());
    let options = PreprocessingOptions {
        input_size: unless(before.size == now.size).map(|()| before.size[0]),
        resize: unless(before.resize == now.resize).map(|()| before.resize),
        mean: unless(before.mean == now.mean).map(|()| before.mean.to_vec()),
        std: unless(before.std == now.std).map(|()| before.std.to_vec()),
        color: unless(before.color == now.color).map(|()| before.color),
        layout: unless(before.layout == now.layout).map(|()| before.layout),
        resample: unless(before.resample == now.resample).map(|()| before.resample),
        fit: unless(before.fit == now.fit).map(|()| before.fit),
        exif_orientation: unless(before.exif_orientation == now.exif_orientation)
            .map(|()| before.exif_orientation),
    };
    options.args().join(" ")
}

fn unknown(pin: &str, output: &Output) -> Error {
    let kept = kept(output).unwrap_or_default();
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    Error::Usage(format!(
        "there is no PCA '{pin}': name one that is kept in {} ({}), or the place of a run's results",
        output.location(),
        if kept.is_empty() { "there is none yet".to_owned() } else { kept.join(", ") }
    ))
}

/// Ids of those that are kept.
fn kept(output: &Output) -> Result<BTreeSet<String>> {
    let below = format!("{}/", layout::PCAS);
    let names = output.list(layout::PCAS)?;
    Ok(names.iter().filter_map(|n| Some(n.strip_prefix(&below)?.split_once('/')?.0.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fruitjob_interface::model::ExifOrientation;
    use fruitjob_interface::record::PcaRecord;

    use super::*;
    use crate::storage::testing::{Scratch, model_record};

    fn pca() -> Pca {
        Pca { mean: vec![1.0, -2.5], components: vec![0.6, 0.8], spectrum: vec![3.0, 1.0] }
    }

    /// The record of a run with this PCA, on features of a model.
    fn record(pca: &Pca, sha256: &str) -> RunRecord {
        let pca = PcaRecord {
            id: pca.id(),
            pinned: false,
            components: 1,
            features: 2,
            images: 9,
            explained_variance_ratio: vec![0.75],
            total_variance: 4.0,
        };
        RunRecord { pca: Some(pca), model: Some(model_record(sha256)), ..Default::default() }
    }

    /// An output that keeps [`pca`], fitted on features of the model `one`.
    fn kept() -> Scratch {
        let scratch = Scratch::new();
        write(&scratch.output, layout::STAGED_MODEL, &pca()).unwrap();
        save(&scratch.output, &record(&pca(), "one")).unwrap();
        scratch
    }

    fn find_in(scratch: &Scratch, pin: &str, model: &str) -> Result<Pca> {
        find(pin, &scratch.output, &model_record(model), scratch.runtime.handle())
    }

    #[test]
    fn what_is_written_is_loaded_bit_for_bit() {
        let scratch = Scratch::new();
        write(&scratch.output, "some/where", &pca()).unwrap();
        assert_eq!(load(&scratch.output, "some/where").unwrap(), pca());
        let missing = load(&scratch.output, "elsewhere").unwrap_err();
        assert!(
            matches!(missing, Error::Usage(_)) && missing.to_string().contains("fruitjob fit"),
            "{missing}"
        );
    }

    #[test]
    fn arrays_that_do_not_fit_together_are_damage() {
        let scratch = Scratch::new();
        let output = &scratch.output;
        for (name, data, shape) in [
            ("components", vec![1.0, 2.0, 3.0], vec![1, 3]),
            ("spectrum", vec![1.0], vec![1]),
            ("mean", vec![], vec![0]),
        ] {
            write(output, "pca", &pca()).unwrap();
            output.put(&format!("pca/{name}.npy"), npy::write(&data, &shape)).unwrap();
            let error = load(output, "pca").unwrap_err();
            assert!(matches!(error, Error::Failed(_)), "{name}: {error}");
        }
        write(output, "pca", &pca()).unwrap();
        output.put("pca/mean.npy", "no array").unwrap();
        let error = load(output, "pca").unwrap_err().to_string();
        assert!(error.contains("mean.npy is damaged"), "{error}");
    }

    #[test]
    fn a_pca_of_images_that_were_decoded_otherwise_is_refused() {
        let scratch = kept();
        let model = ModelRecord { pixels_version: 1, ..model_record("one") };
        let error =
            find(&pca().id(), &scratch.output, &model, scratch.runtime.handle()).unwrap_err().to_string();
        assert!(error.contains("another version of this program decoded"), "{error}");
    }

    #[test]
    fn a_pca_is_found_by_its_id_and_by_where_its_results_are() {
        let scratch = kept();
        assert_eq!(find_in(&scratch, &pca().id(), "one").unwrap(), pca());
        let place = scratch.folder.path().to_str().unwrap();
        let run = serde_json::to_vec(&record(&pca(), "one")).unwrap();
        scratch.output.put(layout::PUBLISHED_RECORD, run).unwrap();
        let elsewhere = Scratch::new();
        assert_eq!(find_in(&elsewhere, place, "one").unwrap(), pca());
        let folder = format!("{place}/{}", layout::pca(&pca().id()));
        assert_eq!(find_in(&elsewhere, &folder, "one").unwrap(), pca());
    }

    #[test]
    fn a_pca_that_is_not_there_is_told_beside_those_that_are() {
        let scratch = kept();
        let error = find_in(&scratch, "nosuch", "one").unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains("'nosuch'") && error.to_string().contains(&pca().id()), "{error}");
        let error = find_in(&Scratch::new(), "nosuch", "one").unwrap_err().to_string();
        assert!(error.contains("there is none yet"), "{error}");
        assert!(!scratch.folder.path().join("nosuch").exists() && !Path::new("nosuch").exists());
    }

    #[test]
    fn another_model_s_pca_is_refused() {
        let error = find_in(&kept(), &pca().id(), "two").unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains("one.onnx") && error.to_string().contains("two.onnx"), "{error}");
    }

    #[test]
    fn one_whose_saving_was_cut_short_is_saved_again_and_a_whole_one_is_left() {
        let scratch = kept();
        let folder = layout::pca(&pca().id());
        let mean = format!("{folder}/mean.npy");
        let saved = scratch.output.get(&mean).unwrap();
        scratch.output.put(&mean, "cut off").unwrap();
        save(&scratch.output, &record(&pca(), "one")).unwrap();
        assert_eq!(
            scratch.output.get(&mean).unwrap().unwrap(),
            "cut off",
            "its origin says that it is whole"
        );
        scratch.output.delete(&format!("{folder}/{ORIGIN}")).unwrap();
        save(&scratch.output, &record(&pca(), "one")).unwrap();
        assert_eq!(scratch.output.get(&mean).unwrap(), saved);
    }

    #[test]
    fn a_pca_that_was_changed_is_refused_however_it_is_named() {
        let scratch = kept();
        let folder = layout::pca(&pca().id());
        let run = serde_json::to_vec(&record(&pca(), "one")).unwrap();
        scratch.output.put(layout::PUBLISHED_RECORD, run).unwrap();
        write(&scratch.output, &folder, &Pca { mean: vec![1.0, -2.25], ..pca() }).unwrap();
        let place = scratch.folder.path().to_str().unwrap();
        for pin in [pca().id(), place.to_owned(), format!("{place}/{folder}")] {
            let error = find_in(&scratch, &pin, "one").unwrap_err();
            assert!(matches!(error, Error::Failed(_)), "{pin}: {error:?}");
            assert!(error.to_string().contains("is not the one of that id"), "{pin}: {error}");
        }
    }

    #[test]
    fn another_preprocessing_is_named_by_its_flags() {
        let before = model_record("a").preprocessing;
        let now = Preprocessing { exif_orientation: ExifOrientation::Apply, resize: 9, ..before.clone() };
        assert_eq!(differing(&before, &now), "--resize=8 --exif-orientation=ignore");
        assert_eq!(differing(&before, &before), "");
    }
}
