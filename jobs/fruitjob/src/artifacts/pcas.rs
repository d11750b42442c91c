//! PCAs as they are kept: a folder of NumPy arrays. That of a run is kept below `.fruitjob/`, in a folder named after its
//! numbers, so that later runs can be projected on it: vectors of one PCA can be compared, whichever night they are of.

use std::collections::BTreeSet;

use fruitjob_interface::layout::{self, ORIGIN};
use fruitjob_interface::record::{ModelRecord, RunRecord};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::pca::{Pca, npy};
use crate::storage::{Location, Output};

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
    if shape.get(1) != Some(&mean.len()) || spectrum.len() != mean.len() {
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
    let (place, folder) = locate(pin, output, runtime)?;
    let origin = place.get(&format!("{folder}/{ORIGIN}"))?.ok_or_else(|| unknown(pin, output))?;
    let origin: ModelRecord = serde_json::from_slice(&origin)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", place.path(&folder))))?;
    if !origin.same_features_as(model) {
        return Err(Error::Usage(format!(
            "the PCA {pin} was fitted on features of model {} ({}), and this run's are of {} ({}): its vectors would \
             mean nothing; name that model, or leave out --pin-pca",
            origin.name,
            &origin.sha256[..origin.sha256.len().min(12)],
            model.name,
            &model.sha256[..model.sha256.len().min(12)],
        )));
    }
    load(&place, &folder)
}

fn locate(pin: &str, output: &Output, runtime: &Handle) -> Result<(Output, String)> {
    if !pin.contains('/') && output.get(&format!("{}/{ORIGIN}", layout::pca(pin)))?.is_some() {
        return Ok((output.clone(), layout::pca(pin)));
    }
    let location = Location::parse(pin)?;
    // Opening it would make it.
    if matches!(&location, Location::Local(dir) if !dir.is_dir()) {
        return Err(unknown(pin, output));
    }
    let place = Output::open(&location, runtime.clone())?;
    if place.get(ORIGIN)?.is_some() {
        return Ok((place, String::new()));
    }
    let run = place.get(layout::PUBLISHED_RECORD)?.ok_or_else(|| unknown(pin, output))?;
    let run: RunRecord = serde_json::from_slice(&run)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", place.path(layout::PUBLISHED_RECORD))))?;
    let id = run.pca.map(|pca| pca.id).unwrap_or_default();
    Ok((place, layout::pca(&id)))
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
