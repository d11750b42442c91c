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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pca::moments::Sum;
    use crate::storage::testing::Scratch;

    fn moments(vectors: &[f32]) -> Moments {
        let mut sum = Sum::new(2);
        sum.add(vectors);
        sum.finish()
    }

    #[test]
    fn nodes_of_a_level_are_folded_from_the_first_to_the_last() {
        let scratch = Scratch::new();
        let nodes = [moments(&[0.1, 0.7]), moments(&[333.3, 3.3, 0.3, 0.1]), moments(&[7.7, 0.9])];
        for (i, node) in nodes.iter().enumerate() {
            save(&scratch.output, 1, i, node).unwrap();
        }
        save(&scratch.output, 0, 0, &moments(&[9.0, 9.0])).unwrap();
        let whole = nodes[0].clone().merge(&nodes[1]).merge(&nodes[2]);
        let backwards = nodes[2].clone().merge(&nodes[1]).merge(&nodes[0]);
        assert_ne!(whole, backwards, "the last bits tell the order");
        assert_eq!(merged(&scratch.output, 1, 0..3, 2).unwrap(), whole);
        assert_eq!(merged(&scratch.output, 1, 2..3, 2).unwrap(), nodes[2]);
        clear(&scratch.output).unwrap();
        assert!(scratch.names().is_empty());
    }

    #[test]
    fn a_node_that_is_missing_or_another_model_s_is_told() {
        let scratch = Scratch::new();
        save(&scratch.output, 0, 0, &moments(&[1.0, 2.0])).unwrap();
        assert!(matches!(merged(&scratch.output, 0, 0..2, 2), Err(Error::Usage(_))));
        assert!(matches!(merged(&scratch.output, 0, 0..1, 3), Err(Error::Failed(_))));
    }
}
