//! Bytes in and out of a place, be it a directory or an object store. Nothing here knows what a file is for.
//!
//! Calls block: they are made from worker threads, never from inside the runtime that serves them.

mod client;
mod flight;
mod input;
mod names;
mod output;
pub(crate) mod parquet;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod walk;

pub use fruitjob_interface::location::Location;
pub use input::Input;
pub(crate) use input::Wanted;
pub use output::{Object, Output, Upload};
pub use store::lend;
pub(crate) use store::{open, read};
pub(crate) use walk::ListedObject;
