//! What an engine is: something that runs a compiled graph on one image at a time.

use fruitjob_interface::model::Layout;

use crate::error::Result;

/// The most features a backbone may have: the covariance of this many takes 512 MB.
pub const MAX_FEATURES: usize = 8192;

/// Runs a compiled graph. One per model, shared by all threads.
pub trait Backbone: Send + Sync {
    /// Name of the engine, for the record and for the key of cached features.
    fn engine(&self) -> &str;
    /// Order of axes of the tensors that it takes.
    fn layout(&self) -> Layout;
    /// Number of features.
    fn features(&self) -> usize;
    /// Whether another precision would be faster on this processor.
    fn is_slow(&self) -> bool {
        false
    }
    /// What one thread needs to run images through.
    fn session(&self) -> Result<Box<dyn Session + '_>>;
}

/// Runs one image at a time.
pub trait Session {
    /// `tensor`: one preprocessed image; `features`: [`Backbone::features`] elements, all written.
    fn run(&mut self, tensor: &[f32], features: &mut [f32]) -> Result<()>;
}
