//! Moments on their way through the fit stage: the nodes of a tree over the partitions.

use std::ops::Range;

use fruitjob_interface::layout;

use crate::error::{Error, Result};
use crate::pca::moments::Moments;
use crate::storage::Output;

/// Writes a node; level 0 is that of the leaves.
pub(crate) fn save(output: &Output, level: usize, node: usize, moments: &Moments) -> Result<()> {
    output.put(&layout::moments(level, node), moments.to_npy())
}

/// Some nodes of a level together, folded from the first to the last; vectors have `d` elements.
///
/// # Errors
/// [`Error::Usage`] when a node is missing, [`Error::Failed`] when it is damaged.
pub(crate) fn merged(output: &Output, level: usize, nodes: Range<usize>, d: usize) -> Result<Moments> {
    let mut all = Moments::empty(d);
    for node in nodes {
        let name = layout::moments(level, node);
        let bytes = output.get(&name)?.ok_or_else(|| output.missing(&name, "fit"))?;
        let moments = Moments::from_npy(&bytes, d)
            .ok_or_else(|| Error::Failed(format!("{} is damaged; run fit again", output.path(&name))))?;
        all = all.merge(&moments);
    }
    Ok(all)
}

/// Deletes the whole tree.
pub(crate) fn clear(output: &Output) -> Result<()> {
    for name in output.list(layout::MOMENTS)? {
        output.delete(&name)?;
    }
    Ok(())
}
