//! PCAs that are kept, so that later runs can be projected on them: vectors of one PCA can be compared, whichever
//! night they are of. Each lies in a folder of its own below the output, named after its numbers.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::fit::Pca;
use crate::hex_sha256;
use crate::layout::{self, ORIGIN};
use crate::record::{ModelRecord, RunRecord};
use crate::session::{Context, Session};
use crate::storage::{Location, Output};

/// Keeps the PCA of a run that is about to be published.
pub(crate) fn keep(session: &Session) -> Result<()> {
    let (output, record) = (&session.output, &session.record);
    let (Some(pca), Some(model)) = (&record.pca, &record.model) else { return Ok(()) };
    let folder = layout::pca(&pca.id);
    let origin = format!("{folder}/{ORIGIN}");
    if output.get(&origin)?.is_none() {
        Pca::load(output, layout::STAGED_MODEL)?.save(output, &folder)?;
        output.put(&origin, serde_json::to_vec_pretty(model).expect("plain data"))?;
    }
    Ok(())
}

/// Finds what `--pin-pca` names: one that is kept in the output, or that of other results.
///
/// # Errors
/// [`Error::Usage`] when there is none, or another model's features were under it.
pub(crate) fn find(pin: &str, output: &Output, model: &ModelRecord, context: &Context) -> Result<Pca> {
    let (place, folder) = locate(pin, output, context)?;
    let origin = place.get(&format!("{folder}/{ORIGIN}"))?.ok_or_else(|| unknown(pin, output))?;
    let origin: ModelRecord = serde_json::from_slice(&origin)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", place.path(&folder))))?;
    if !origin.makes_what(model) {
        return Err(Error::Usage(format!(
            "the PCA {pin} was fitted on features of model {} ({}), and this run's are of {} ({}): its vectors would \
             mean nothing; name that model, or leave out --pin-pca",
            origin.name,
            &origin.sha256[..origin.sha256.len().min(12)],
            model.name,
            &model.sha256[..model.sha256.len().min(12)],
        )));
    }
    Pca::load(&place, &folder)
}

fn locate(pin: &str, output: &Output, context: &Context) -> Result<(Output, String)> {
    if !pin.contains('/') && output.get(&format!("{}/{ORIGIN}", layout::pca(pin)))?.is_some() {
        return Ok((output.clone(), layout::pca(pin)));
    }
    let location = Location::parse(pin)?;
    // Opening it would make it.
    if matches!(&location, Location::Local(dir) if !dir.is_dir()) {
        return Err(unknown(pin, output));
    }
    let place = Output::open(&location, context.runtime.clone())?;
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

/// What a PCA is called: a hash of its numbers.
pub(crate) fn id(pca: &Pca) -> String {
    let numbers = [&pca.mean, &pca.components, &pca.spectrum].into_iter().flatten();
    hex_sha256(&numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())[..12].to_owned()
}
